"""Read IDRiD, part A: fundus photographs with the optic disc outlined, 54 for training and 27 for testing.

Porwal et al., "Indian Diabetic Retinopathy Image Dataset (IDRiD)", Data 3(3):25, 2018.  As published: below ``A.
Segmentation``, ``1. Original Images/a. Training Set/IDRiD_01.jpg`` and ``2. All Segmentation Groundtruths/a. Training
Set/5. Optic Disc/IDRiD_01_OD.tif`` (or ``.png``), and ``b. Testing Set`` likewise.  The masks of retinal lesions
overlap the disc and each other, and are left out.  Patients are not published: each photograph is its own group.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, Reader

_SPLITS = {"a. Training Set": "train", "b. Testing Set": "test"}


def _find_photographs(folder: Path) -> list[Path]:
    return [path for name in _SPLITS for path in sorted(folder.glob(f"**/1. Original Images/{name}/IDRiD_*.jpg"))]


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the photographs, the training set first."""
    planned = []
    for path in _find_photographs(folder):
        split = _SPLITS[path.parent.name]
        if not settings.splits or split in settings.splits:
            read = functools.partial(_read, path, settings.longest)
            planned.append(PlannedPicture(f"fundus/{path.stem}.png", path.stem, {"split": split}, read))
    return planned


def _read(path: Path, longest: int) -> Picture:
    masks = path.parents[2] / "2. All Segmentation Groundtruths" / path.parent.name / "5. Optic Disc"
    mask = next((own for kind in ("tif", "png") if (own := masks / f"{path.stem}_OD.{kind}").is_file()), None)
    if mask is None:
        raise SonoforgeError(f"{path}: the mask of its optic disc, {masks / path.stem}_OD.tif, is missing")
    picture, outline = read_image(path).convert("RGB"), read_image(mask).convert("L")
    if outline.size != picture.size:
        raise SonoforgeError(
            f"{mask}: has {outline.width}x{outline.height} pixels, but its image {path} has "
            f"{picture.width}x{picture.height}; use the pair as published"
        )
    # The masks are drawn in red, (255, 0, 0), which is grey level 76: anything not black is inside.
    inside = outline.point(lambda level: 255 * (level > 0))
    if max(picture.size) > longest:
        share = longest / max(picture.size)
        size = round(picture.width * share), round(picture.height * share)
        picture, inside = (own.resize(size, Image.Resampling.BOX) for own in (picture, inside))
    return Picture(np.asarray(picture), structures={"optic-disc": np.asarray(inside) >= 128})


READER = Reader("'A. Segmentation/1. Original Images'", ("longest", "splits"), plan, _find_photographs)
