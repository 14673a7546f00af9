"""Volumes on disk, NIfTI and MetaImage, as slices with label maps, and these as planned pictures: one for each slice.

NIfTI is read by nibabel.  MetaImage is a header of ``Key = Value`` lines and a file of raw numbers, which is read here:
the library that reads it, SimpleITK, takes 50 MB.

A slice is shown as the volume stores it, x to the right and y downwards; orientation matrices are not applied.
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

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Picture, PlannedPicture

MOST_VOXELS = 1 << 30
_META_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 16
_decoding = threading.Lock()  # several slices of a volume are asked for at once, and it is decoded once


class Volume(NamedTuple):
    """A volume whose voxels are not read yet."""

    path: Path
    shape: tuple[int, int, int]  # numbers of columns, rows and slices
    spacing: tuple[float, float, float] | None  # distances of their centres in mm, or None where they are not known
    voxels: Callable[[], NDArray[Any]]  # reads them, in this shape; raises SonoforgeError where they cannot be read


_Header = tuple[tuple[int, ...], tuple[float, ...], Callable[[], NDArray[Any]]]  # shape, steps in mm, voxels


def open_volume(path: Path) -> Volume:
    """Read the header of a ``.nii``, ``.nii.gz`` or ``.mhd`` file.

    Raises:
        SonoforgeError: It is missing, damaged, too large, or not a volume of three dimensions.
    """
    try:
        shape, steps, voxels = _open_meta(path) if path.suffix == ".mhd" else _open_nifti(path)
    except FileNotFoundError:
        raise SonoforgeError(f"{path}: no such file; unpack the set again") from None
    if len(shape) != 3 or min(shape) < 1:
        raise SonoforgeError(f"{path}: found {_times(shape)} voxels, expected three dimensions: one volume")
    if math.prod(shape) > MOST_VOXELS:
        raise SonoforgeError(f"{path}: found {_times(shape)} voxels, expected {MOST_VOXELS} at most")
    known = len(steps) == 3 and all(math.isfinite(step) and step > 0 for step in steps)
    return Volume(path, (shape[0], shape[1], shape[2]), (steps[0], steps[1], steps[2]) if known else None, voxels)


def _open_nifti(path: Path) -> _Header:
    try:
        import nibabel  # noqa: PLC0415 - the train extra without segment does not have it
    except ModuleNotFoundError:
        raise SonoforgeError(
            f"{path}: reading NIfTI needs nibabel, which is not installed; run pip install 'sonoforge[segment]'"
        ) from None
    try:
        image: Any = nibabel.load(path)
        header = image.header
        shape, unit = tuple(map(int, image.shape)), header.get_xyzt_units()[0]
        steps = tuple(map(float, header.get_zooms()[:3]))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise SonoforgeError(f"{path}: found no NIfTI header ({_first_line(error)}); download it again") from error

    def voxels() -> NDArray[Any]:
        try:
            return np.asarray(image.dataobj)
        except Exception as error:
            raise SonoforgeError(f"{path}: its voxels end early or are damaged; download it again") from error

    return shape, steps if unit == "mm" else (), voxels


def _open_meta(path: Path) -> _Header:
    with path.open("rb") as file:
        text = file.read(_LONGEST_HEADER).decode("latin-1")
    entries = {
        key.strip(): value.strip() for key, sep, value in (line.partition("=") for line in text.splitlines()) if sep
    }
    try:
        shape = tuple(int(number) for number in entries["DimSize"].split())
        kind = _META_TYPES[entries["ElementType"]]
        data = entries["ElementDataFile"]
        steps = tuple(float(number) for number in entries.get("ElementSpacing", entries.get("ElementSize", "")).split())
    except (KeyError, ValueError) as error:
        raise SonoforgeError(
            f"{path}: found no {_first_line(error)}, expected a MetaImage header with DimSize, ElementType and "
            "ElementDataFile; download it again"
        ) from error
    if Path(data).name != data or data in (".", ".."):
        raise SonoforgeError(f"{path}: found data file {data!r}, expected the name of a file beside it")
    big = any(entries.get(key, "").lower() == "true" for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    packed = entries.get("CompressedData", "").lower() == "true"
    number = np.dtype(kind).newbyteorder(">" if big else "<")

    def voxels() -> NDArray[Any]:
        raw, wanted = path.with_name(data), math.prod(shape) * number.itemsize
        try:
            content = raw.read_bytes()
            if packed:
                content = zlib.decompressobj().decompress(content, wanted + 1)
        except (OSError, zlib.error) as error:
            raise SonoforgeError(
                f"{raw}: cannot be read ({_first_line(error)}), expected the voxels of {path.name}; download it again"
            ) from error
        if len(content) != wanted:
            raise SonoforgeError(
                f"{raw}: found {len(content)} bytes, expected {wanted} for {_times(shape)} voxels; download it again"
            )
        # x runs fastest.
        return np.frombuffer(content, number).reshape(shape[::-1]).T

    return shape, steps, voxels


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@functools.lru_cache(maxsize=2)
def _levels(path: Path, window: tuple[float, float] | None) -> NDArray[np.uint8]:
    voxels = open_volume(path).voxels()
    if window is None and voxels.dtype == np.uint8:
        return voxels
    low, high = np.percentile(voxels, (0.5, 99.5)) if window is None else window
    scaled = (voxels.astype(np.float32) - low) / max(high - low, 1e-6)
    levels: NDArray[np.uint8] = np.rint(np.nan_to_num(scaled).clip(0, 1) * 255).astype(np.uint8)
    return levels


def slice_levels(path: Path, number: int, window: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Return one slice as grey levels.

    Args:
        path: Of the volume.
        number: Of the slice, from 0.
        window: The values that become 0 and 255, such as Hounsfield units.  None: bytes as they are, other numbers
            between the 0.5th and the 99.5th percentile of the volume.

    Returns:
        (H, W) uint8.

    Raises:
        SonoforgeError: The volume cannot be read.
    """
    with _decoding:
        return np.ascontiguousarray(_levels(path, window)[:, :, number].T)


@functools.lru_cache(maxsize=2)
def _labels(path: Path, names: tuple[str, ...]) -> NDArray[np.uint8]:
    voxels = open_volume(path).voxels()
    rounded = np.rint(voxels)
    wrong = ~np.isclose(voxels, rounded) | (rounded < 0) | (rounded > len(names))
    if wrong.any():
        found = voxels[wrong].flat[0]
        known = ", ".join(f"{label} {name}" for label, name in enumerate(("background", *names)))
        raise SonoforgeError(f"{path}: found label {found:g}, expected {known}; correct the label map")
    labels: NDArray[np.uint8] = rounded.astype(np.uint8)
    return labels


def slice_structures(path: Path, number: int, names: tuple[str, ...]) -> Mapping[str, NDArray[np.bool_]]:
    """Return the masks (H, W) of one slice of a label map whose labels 1 to K are of these structures.

    Raises:
        SonoforgeError: The volume cannot be read, or has another label.
    """
    with _decoding:
        labels = _labels(path, names)[:, :, number].T
    return {name: labels == label for label, name in enumerate(names, start=1)}


def check_same_grid(image: Volume, labels: Volume) -> None:
    """Refuse a label map of another size than its image.

    Raises:
        SonoforgeError: The sizes differ.
    """
    if labels.shape != image.shape:
        raise SonoforgeError(
            f"{labels.path}: found {_times(labels.shape)} voxels, expected {_times(image.shape)} as its image "
            f"{image.path}; use the pair as published"
        )


COLUMNS = ("volume", "slice", "mm_x", "mm_y", "mm_z")
"""What ``groups.csv`` says of a slice: the volume, the slice's number in it, and the distances of its pixels in mm."""


@dataclass(frozen=True)
class LabelledVolume:
    """A volume, the label map of its structures where there is one, and whose it is."""

    name: str  # of the files that are written
    image: Path
    labels: Path | None
    structures: tuple[str, ...]  # names of the labels 1 to K
    patient: str
    facts: Mapping[str, str]  # further columns of groups.csv, the same ones for all volumes of a set
    window: tuple[float, float] | None = None  # see `slice_levels`


def level_window(settings: ImportSettings) -> tuple[float, float] | None:
    """Return the values that become black and white; None where none are given.

    Raises:
        SonoforgeError: They are no two growing values.
    """
    if not settings.window:
        return None
    if len(settings.window) != 2 or not settings.window[0] < settings.window[1]:
        found = ",".join(f"{level:g}" for level in settings.window)
        raise SonoforgeError(f"--window: found {found}, expected LOW,HIGH such as Hounsfield units, -160,240")
    return settings.window[0], settings.window[1]


def plan_slices(class_name: str, volumes: list[LabelledVolume], settings: ImportSettings) -> list[PlannedPicture]:
    """List the slices of all volumes, in their order; of one that cannot be opened, a single picture that says why.

    With ``settings.outlined``, slices in which nothing is outlined are left out.
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
        raise SonoforgeError(f"{volume.image}: found no {volume.labels.name} beside it, expected its label map")
    image = open_volume(volume.image)
    if volume.labels:
        check_same_grid(image, open_volume(volume.labels))
    planned = []
    for number in range(image.shape[2]):
        if settings.outlined and not any(mask.any() for mask in _structures(volume, number).values()):
            continue
        steps = ["" if image.spacing is None else f"{step:g}" for step in image.spacing or (0, 0, 0)]
        facts = dict(zip(COLUMNS, (volume.name, str(number), *steps), strict=True))
        path = f"{class_name}/{volume.name}_slice{number + 1:03d}.png"
        read = functools.partial(_read, volume, number)
        planned.append(PlannedPicture(path, volume.patient, {**volume.facts, **facts}, read))
    return planned


def _read(volume: LabelledVolume, number: int) -> Picture:
    pixels = slice_levels(volume.image, number, volume.window)
    return Picture(pixels, structures=_structures(volume, number))


def _structures(volume: LabelledVolume, number: int) -> Mapping[str, NDArray[np.bool_]]:
    return slice_structures(volume.labels, number, volume.structures) if volume.labels else {}


def _refuse(error: SonoforgeError) -> Picture:
    raise error
