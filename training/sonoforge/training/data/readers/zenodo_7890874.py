"""Zenodo 7890874: microscope pictures of breast tissue, in a folder for each class.

The collection of Berezsky and Liashchynskyi (doi:10.5281/zenodo.7890874): cytology, on which GA-GAN was searched and
trained, histology and immunohistochemistry.  Pictures are read from class folders below a folder whose name begins like
the modality, or from the top where there is none.  Patients are not published: each picture is its own group, and
near-duplicates are joined when folds are made.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, Reader

_BEGINNINGS = {"cytology": "cyto", "histology": "histo", "immunohistochemistry": "immuno"}
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def _find_pictures(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _PICTURES]


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the pictures of one modality."""
    chosen = [path for path in _find_pictures(folder) if _modality(folder, path) in ("", settings.modality)]
    classes = {path.parent for path in chosen if path.parent != folder}
    if len({path.name for path in classes}) < max(2, len(classes)):
        found = ", ".join(sorted(path.relative_to(folder).as_posix() for path in classes)) or "none"
        raise SonoforgeError(
            f"{folder}: {settings.modality} needs two or more class folders of different names, at the top or below a "
            f"folder such as Cytology (present: {found}); see --set import.modality"
        )
    loose = next((path for path in chosen if path.parent == folder), None)
    if loose is not None:
        raise SonoforgeError(f"{loose}: is not in a class folder; move it into one")
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
    """Return the modality named by a folder above a picture; empty if none is."""
    for part in path.relative_to(folder).parts[:-2]:
        for name, beginning in _BEGINNINGS.items():
            if part.lower().startswith(beginning):
                return name
    return ""


def _read(path: Path, longest: int) -> Picture:
    picture = read_image(path).convert("RGB")
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return Picture(np.asarray(picture))


READER = Reader("pictures in folders of classes", ("longest", "modality"), plan, _find_pictures)
