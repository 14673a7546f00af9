"""Zenodo 7890874: microscope pictures of breast tissue, in a folder for each class.

The collection of Berezsky and Liashchynskyi (doi:10.5281/zenodo.7890874): cytology, which GA-GAN was searched and
trained on, histology and immunohistochemistry.  Read is whatever has pictures in folders of classes, below a folder
whose name begins like the modality, or at the top where there is none.  Patients are not published: each picture is a
group of its own, and near-duplicates are joined when folds are made.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Collection, Picture, PlannedPicture

MODALITIES = {"cytology": "cyto", "histology": "histo", "immunohistochemistry": "immuno"}
"""What folders of each are called at least in the beginning."""
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def find_tables(folder: Path) -> list[Path]:
    """Return the pictures: their folders are the table."""
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _PICTURES]


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the pictures of one modality; see `importing.Collection`."""
    chosen = [path for path in find_tables(folder) if _modality(folder, path) in ("", settings.modality)]
    classes = {path.parent for path in chosen if path.parent != folder}
    if len({path.name for path in classes}) < max(2, len(classes)):
        found = ", ".join(sorted(path.relative_to(folder).as_posix() for path in classes)) or "none"
        raise SonoforgeError(
            f"{folder}: found {settings.modality} in folders {found}, expected two or more of different names, one for "
            "each class, at the top or below a folder such as Cytology; see --modality"
        )
    loose = next((path for path in chosen if path.parent == folder), None)
    if loose is not None:
        raise SonoforgeError(f"{loose}: lies in no folder of a class, expected each picture in one; move it")
    return [
        PlannedPicture(
            f"{path.parent.name.lower().replace(' ', '_')}/{path.stem}.png",
            path.relative_to(folder).as_posix(),
            {"modality": settings.modality},
            functools.partial(_read, path, settings.longest),
        )
        for path in chosen
    ]


def _modality(folder: Path, path: Path) -> str:
    """Return the modality that a folder above a picture is called by; nothing if none is."""
    for part in path.relative_to(folder).parts[:-2]:
        for name, beginning in MODALITIES.items():
            if part.lower().startswith(beginning):
                return name
    return ""


def _read(path: Path, longest: int) -> Picture:
    picture = read_image(path).convert("RGB")
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return Picture(np.asarray(picture))


COLLECTION = Collection("zenodo-7890874", "pictures in folders of classes", ("longest", "modality"), find_tables, plan)
