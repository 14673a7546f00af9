"""Plan pictures of volumes, NIfTI (by nibabel) and MetaImage, with their label maps: one for each slice.

A slice appears as the volume stores it, x to the right and y downwards; orientation matrices are not applied.
"""

import functools
import math
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError, refusing, require
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture

MOST_VOXELS = 1 << 30
_META_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 16
_decoding = threading.Lock()  # several slices of a volume are requested at once, and it is decoded once

COLUMNS = ("volume", "slice", "mm_x", "mm_y", "mm_z")
"""Columns of ``groups.csv``: the volume, the number of the slice in it, and the spacing of its voxels in mm."""


class Volume(NamedTuple):
    """A volume before its voxels are read."""

    shape: tuple[int, ...]  # numbers of columns, rows and slices
    spacing: tuple[float, ...] | None  # of their centres in mm, or None where unknown
    voxels: Callable[[], NDArray[Any]]  # reads them, in this shape; raises SonoforgeError where they cannot be read


def open_volume(path: Path) -> Volume:
    """Read the header of a ``.nii``, ``.nii.gz`` or ``.mhd`` file."""
    if not path.is_file():
        raise SonoforgeError(f"{path}: no such file; unpack the set again")
    shape, steps, voxels = _open_meta(path) if path.suffix == ".mhd" else _open_nifti(path)
    if len(shape) != 3 or min(shape) < 1:
        raise SonoforgeError(f"{path}: has {_times(shape)} voxels, not the three dimensions of one volume")
    if math.prod(shape) > MOST_VOXELS:
        raise SonoforgeError(f"{path}: has {_times(shape)} voxels, more than the limit of {MOST_VOXELS}")
    known = len(steps) == 3 and all(math.isfinite(step) and step > 0 for step in steps)
    return Volume(shape, steps if known else None, voxels)


def _open_nifti(path: Path) -> tuple[tuple[int, ...], tuple[float, ...], Callable[[], NDArray[Any]]]:
    require(f"{path}: a NIfTI volume", "segment", "nibabel")
    import nibabel  # noqa: PLC0415 - the train extra without segment does not have it

    with refusing(f"{path}: is not a NIfTI volume", "download it again", Exception):
        image: Any = nibabel.load(path)
        shape, unit = tuple(map(int, image.shape)), image.header.get_xyzt_units()[0]
        steps = tuple(map(float, image.header.get_zooms()[:3]))

    def voxels() -> NDArray[Any]:
        with refusing(f"{path}: its voxels are incomplete or damaged", "download it again", Exception):
            return np.asarray(image.dataobj)

    return shape, steps if unit == "mm" else (), voxels


def _open_meta(path: Path) -> tuple[tuple[int, ...], tuple[float, ...], Callable[[], NDArray[Any]]]:
    with path.open("rb") as file:
        text = file.read(_LONGEST_HEADER).decode("latin-1")
    entries = {
        key.strip(): value.strip() for key, sep, value in (line.partition("=") for line in text.splitlines()) if sep
    }
    needed = "DimSize, ElementType and ElementDataFile"
    with refusing(f"{path}: is not a MetaImage header with {needed}", "download it again"):
        shape = tuple(int(number) for number in entries["DimSize"].split())
        kind = _META_TYPES[entries["ElementType"]]
        data = entries["ElementDataFile"]
        steps = tuple(float(number) for number in entries.get("ElementSpacing", entries.get("ElementSize", "")).split())
    if Path(data).name != data or data in (".", ".."):
        raise SonoforgeError(f"{path}: its data file {data!r} is not a file beside it")
    big = any(entries.get(key, "").lower() == "true" for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    packed = entries.get("CompressedData", "").lower() == "true"
    number = np.dtype(kind).newbyteorder(">" if big else "<")

    def voxels() -> NDArray[Any]:
        raw, wanted = path.with_name(data), math.prod(shape) * number.itemsize
        kinds = OSError, zlib.error
        with refusing(f"{raw}: the voxels of {path.name} cannot be read", "download it again", kinds):
            content = raw.read_bytes()
            if packed:
                content = zlib.decompressobj().decompress(content, wanted + 1)
        if len(content) != wanted:
            raise SonoforgeError(
                f"{raw}: has {len(content)} bytes, but {_times(shape)} voxels need {wanted}; download it again"
            )
        return np.frombuffer(content, number).reshape(shape[::-1]).T  # x runs fastest

    return shape, steps, voxels


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def slice_levels(path: Path, number: int, window: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Return one slice, numbered from 0, as grey levels, (H, W) uint8.

    The window becomes 0 and 255. None keeps bytes unchanged, and spreads other numbers between the 0.5th and the 99.5th
    percentile.
    """
    with _decoding:
        return np.ascontiguousarray(_levels(path, window)[:, :, number].T)


@functools.lru_cache(maxsize=2)
def _levels(path: Path, window: tuple[float, float] | None) -> NDArray[np.uint8]:
    voxels = open_volume(path).voxels()
    if window is None and voxels.dtype == np.uint8:
        return voxels
    low, high = np.percentile(voxels, (0.5, 99.5)) if window is None else window
    scaled = (voxels.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.asarray(np.rint(np.nan_to_num(scaled).clip(0, 1) * 255).astype(np.uint8))


@functools.lru_cache(maxsize=2)
def _labels(path: Path, names: tuple[str, ...]) -> NDArray[np.uint8]:
    voxels = open_volume(path).voxels()
    rounded = np.rint(voxels)
    wrong = ~np.isclose(voxels, rounded) | (rounded < 0) | (rounded > len(names))
    if wrong.any():
        known = ", ".join(f"{label} {name}" for label, name in enumerate(("background", *names)))
        raise SonoforgeError(f"{path}: label {voxels[wrong].flat[0]:g} is not one of {known}; correct the label map")
    return np.asarray(rounded.astype(np.uint8))


@dataclass(frozen=True)
class LabelledVolume:
    """A volume, its label map if any, and its patient."""

    name: str  # of the files that are written
    image: Path
    labels: Path | None
    structures: tuple[str, ...]  # names of the labels 1 to K
    patient: str
    facts: Mapping[str, str]  # further columns of groups.csv, the same ones for all volumes of a set
    window: tuple[float, float] | None = None  # see `slice_levels`

    def masks(self, number: int) -> dict[str, NDArray[np.bool_]]:
        """Return the mask (H, W) of each structure in one slice."""
        if not self.labels:
            return {}
        with _decoding:
            labels = _labels(self.labels, self.structures)[:, :, number].T
        return {name: labels == label for label, name in enumerate(self.structures, start=1)}

    def read(self, number: int) -> Picture:
        """Return one slice with its masks."""
        return Picture(slice_levels(self.image, number, self.window), structures=self.masks(number))


def level_window(settings: ImportSettings) -> tuple[float, float] | None:
    """Return the values to show as black and white; None if none are given."""
    if not settings.window:
        return None
    if len(settings.window) != 2 or not settings.window[0] < settings.window[1]:
        given = ",".join(f"{level:g}" for level in settings.window)
        raise SonoforgeError(f"window: {given} is not LOW,HIGH, such as -160,240 in Hounsfield units")
    return settings.window[0], settings.window[1]


def plan_slices(class_name: str, volumes: list[LabelledVolume], settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices of all volumes in order; a volume that cannot be opened becomes one picture that says why.

    With ``settings.outlined``, leave out slices without any outline.
    """
    planned: list[PlannedPicture] = []
    for volume in volumes:
        try:
            planned += _slices(class_name, volume, settings)
        except SonoforgeError as error:
            facts = {**volume.facts, **dict.fromkeys(COLUMNS, ""), "volume": volume.name}
            read = functools.partial(_refuse, error)
            planned.append(PlannedPicture(f"{class_name}/{volume.name}.png", volume.patient, facts, read))
    return planned


def _slices(class_name: str, volume: LabelledVolume, settings: ImportSettings) -> list[PlannedPicture]:
    if volume.labels and not volume.labels.is_file():
        raise SonoforgeError(f"{volume.image}: its label map {volume.labels.name} is missing")
    image = open_volume(volume.image)
    if volume.labels and (shape := open_volume(volume.labels).shape) != image.shape:
        raise SonoforgeError(
            f"{volume.labels}: has {_times(shape)} voxels, but its image {volume.image} has {_times(image.shape)}; use "
            "the pair as published"
        )
    steps = ["" if image.spacing is None else f"{step:g}" for step in image.spacing or (0, 0, 0)]
    planned = []
    for number in range(image.shape[2]):
        if settings.outlined and not any(mask.any() for mask in volume.masks(number).values()):
            continue
        facts = dict(zip(COLUMNS, (volume.name, str(number), *steps), strict=True))
        path = f"{class_name}/{volume.name}_slice{number + 1:03d}.png"
        read = functools.partial(volume.read, number)
        planned.append(PlannedPicture(path, volume.patient, {**volume.facts, **facts}, read))
    return planned


def _refuse(error: SonoforgeError) -> Picture:
    raise error
