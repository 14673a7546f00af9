"""IDRiD, part A: fundus photographs with the optic disc outlined, 54 for training and 27 for testing.

Porwal et al., "Indian Diabetic Retinopathy Image Dataset (IDRiD)", Data 3(3):25, 2018.  As published: below ``A.
Segmentation``, ``1. Original Images/a. Training Set/IDRiD_01.jpg`` and ``2. All Segmentation Groundtruths/a. Training
Set/5. Optic Disc/IDRiD_01_OD.tif`` (``.png``, too), and ``b. Testing Set`` likewise.  The masks of retinal lesions
overlap the disc and each other, and are left out.  Patients are not published: each photograph is a group of its own.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Collection, Picture, PlannedPicture

CLASS = "fundus"
STRUCTURE = "optic-disc"
_SPLITS = {"a. Training Set": "train", "b. Testing Set": "test"}


def find_tables(folder: Path) -> list[Path]:
    """Return the photographs: there is no table."""
    return [path for path, _ in _photographs(folder)]


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the photographs; see `importing.Collection`."""
    return [
        PlannedPicture(
            f"{CLASS}/{path.stem}.png", path.stem, {"split": split}, functools.partial(_read, path, settings.longest)
        )
        for path, split in _photographs(folder)
        if not settings.splits or split in settings.splits
    ]


def _photographs(folder: Path) -> list[tuple[Path, str]]:
    return [
        (path, split)
        for name, split in _SPLITS.items()
        for path in sorted(folder.glob(f"**/1. Original Images/{name}/IDRiD_*.jpg"))
    ]


def _read(path: Path, longest: int) -> Picture:
    masks = path.parents[2] / "2. All Segmentation Groundtruths" / path.parent.name / "5. Optic Disc"
    mask = next((own for kind in ("tif", "png") if (own := masks / f"{path.stem}_OD.{kind}").is_file()), None)
    if mask is None:
        raise SonoforgeError(f"{path}: found no {masks / path.stem}_OD.tif, expected the mask of its optic disc")
    picture, outline = read_image(path).convert("RGB"), read_image(mask).convert("L")
    if outline.size != picture.size:
        raise SonoforgeError(
            f"{mask}: found {outline.width}x{outline.height} pixels, expected {picture.width}x{picture.height} as its "
            f"image {path}; use the pair as published"
        )
    # The original masks are drawn in red, (255, 0, 0), whose grey level is 76: whatever is not black is inside.
    inside = outline.point(lambda level: 255 * (level > 0))
    if max(picture.size) > longest:
        share = longest / max(picture.size)
        size = round(picture.width * share), round(picture.height * share)
        picture, inside = (own.resize(size, Image.Resampling.BOX) for own in (picture, inside))
    return Picture(np.asarray(picture), structures={STRUCTURE: np.asarray(inside) >= 128})


COLLECTION = Collection("idrid", "'A. Segmentation/1. Original Images'", ("longest", "splits"), find_tables, plan)
