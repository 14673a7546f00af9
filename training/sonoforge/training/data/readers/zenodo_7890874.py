"""Read Zenodo 7890874: microscope pictures of breast cytology, in a folder for each class.

The collection of Berezsky and Liashchynskyi (doi:10.5281/zenodo.7890874) also has histology and immunohistochemistry,
which are left out.  Pictures are read from class folders below a folder such as ``Cytology``, or at the top if there is
none.  Patients are not published: each picture is its own group.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, Reader

_OTHERS = ("histo", "immuno")
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def _find_pictures(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _PICTURES]
    return [
        path for path in found if not any(p.lower().startswith(_OTHERS) for p in path.relative_to(folder).parts[:-2])
    ]


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the pictures of cytology."""
    chosen = _find_pictures(folder)
    classes = {path.parent for path in chosen if path.parent != folder}
    if len({path.name for path in classes}) < max(2, len(classes)):
        found = ", ".join(sorted(path.relative_to(folder).as_posix() for path in classes)) or "none"
        raise SonoforgeError(
            f"{folder}: needs two or more class folders of different names, at the top or in a folder such as Cytology "
            f"(present: {found})"
        )
    loose = next((path for path in chosen if path.parent == folder), None)
    if loose is not None:
        raise SonoforgeError(f"{loose}: is not in a class folder; move it into one")
    return [
        PlannedPicture(
            f"{path.parent.name.lower().replace(' ', '_')}/{path.stem}.png",
            path.relative_to(folder).as_posix(),
            {},
            functools.partial(_read, path, settings.longest),
        )
        for path in chosen
    ]


def _read(path: Path, longest: int) -> Picture:
    picture = read_image(path).convert("RGB")
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return Picture(np.asarray(picture))


READER = Reader("pictures in folders of classes", ("longest",), plan, _find_pictures)
