"""MedMNIST: small pictures of one modality in a numpy archive, such as ``breastmnist_224.npz``.

Yang et al., "MedMNIST v2", Scientific Data 10:41, 2023.  BreastMNIST is BUSI in grey at 28, 64, 128 or 224 pixels, with
normal and benign as one class.  The other sets of pictures with one label each are read as well, with classes called
``label-0`` and so on.  Patients are not published: each picture is its own group, so a split by groups may share them.
"""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.checked_file import read_npz
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, Reader

NAMES = {"breastmnist": ("malignant", "normal-benign")}
_PARTS = ("train", "val", "test")
_MOST_BYTES = 4_000_000_000  # of the pictures, which are decoded at once


def _find_archives(folder: Path) -> list[Path]:
    return sorted(folder.glob("*mnist*.npz"))


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the pictures in the order of the authors' parts."""
    archives = _find_archives(folder)
    if len(archives) > 1:
        raise SonoforgeError(f"{folder}: holds {len(archives)} archives; keep the one to be imported")
    return [picture for path in archives for picture in _pictures(path, settings.longest)]


def _pictures(path: Path, longest: int) -> list[PlannedPicture]:
    planned = []
    names = NAMES.get(path.stem.split("_")[0], ())
    for part, (images, labels) in _read(path).items():
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            name = names[label] if label < len(names) else f"label-{label}"
            file = f"{name}/{part}{number:05d}.png"
            read = functools.partial(_shrink, pixels, longest)
            planned.append(PlannedPicture(file, f"{part}{number}", {"split": part}, read))
    return planned


def _shrink(pixels: NDArray[np.uint8], longest: int) -> Picture:
    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return Picture(np.asarray(picture))


def _read(path: Path) -> dict[str, tuple[NDArray[np.uint8], list[int]]]:
    """Return the pictures (N, H, W) or (N, H, W, 3) uint8 and the labels of each part."""
    names = [f"{part}_{array}" for part in _PARTS for array in ("images", "labels")]
    arrays = read_npz(path, names, most_bytes=_MOST_BYTES)
    found = {part: (arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in _PARTS}
    for images, labels in found.values():
        grey_or_colour = images.dtype == np.uint8 and (images.ndim == 3 or images.shape[3:] == (3,))
        if not grey_or_colour or labels.shape != (len(images), 1) or labels.dtype.kind not in "iu":
            raise SonoforgeError(
                f"{path}: holds images {images.dtype}{images.shape} with labels {labels.shape}; "
                "only sets of 2D pictures with one label each can be imported"
            )
    return {part: (images, labels[:, 0].tolist()) for part, (images, labels) in found.items()}


READER = Reader("MedMNIST archive such as breastmnist_224.npz", ("longest",), plan, _find_archives)
