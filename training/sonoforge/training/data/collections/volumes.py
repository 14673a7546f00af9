"""Plan pictures of volumes, NIfTI (by nibabel) and MetaImage, with their label maps: one for each slice.

A slice appears as the volume stores it, x to the right and y downwards; orientation matrices are not applied. A fourth
dimension is time, and each time point a volume. Voxels that are NaN or infinite become black, with a remark.
"""

import contextlib
import functools
import gzip
import itertools
import math
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError, refusing, require
from sonoforge.runtime.images.limits import check_size
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture

MOST_VOXELS = 1 << 30
_MOST_LABELS = 255
_GREATEST_LABEL = (1 << 53) - 1  # up to which float64 holds every whole number
_MOST_INFLATED = 1032  # bytes from one byte of DEFLATE (zlib.net/zlib_tech.html)
_META_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 16
_Decoded = tuple[NDArray[Any], tuple[str, ...]]  # an array of a volume, and remarks
_decoding = threading.Lock()  # several slices of a volume are requested at once, and it is decoded once

COLUMNS = ("volume", "slice", "mm_x", "mm_y", "mm_z")
"""Columns of ``groups.csv``: the volume, the number of the slice in it, and the spacing of its voxels in mm."""


class Volume(NamedTuple):
    """A volume before its voxels are read."""

    shape: tuple[int, ...]  # numbers of columns, rows and slices, and of time points if there are several
    spacing: tuple[float, ...]  # of their centres in mm, for as many dimensions as are known
    # Reads them, (columns, rows, slices of all time points in turn); colours have the fields R, G, B and perhaps A.
    voxels: Callable[[], NDArray[Any]]  # raises SonoforgeError where they cannot be read


def open_volume(path: Path) -> Volume:
    """Read the header of a ``.nii``, ``.nii.gz`` or ``.mhd`` file."""
    if not path.is_file():
        raise SonoforgeError(f"{path}: no such file; unpack the set again")
    shape, steps, voxels = _open_meta(path) if path.suffix.lower() == ".mhd" else _open_nifti(path)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise SonoforgeError(f"{path}: has {_times(shape)} voxels, not those of one picture, volume or series in time")
    if math.prod(shape) > MOST_VOXELS:
        raise SonoforgeError(f"{path}: has {_times(shape)} voxels, more than the limit of {MOST_VOXELS}")
    check_size(shape[0], shape[1], path)
    steps = steps[: min(len(shape), 3)] if all(math.isfinite(step) and step > 0 for step in steps[:3]) else ()
    columns, rows, *others = shape
    return Volume((columns, rows, *(others or [1])), steps, lambda: voxels().reshape((columns, rows, -1), order="F"))


def _open_nifti(path: Path) -> tuple[tuple[int, ...], tuple[float, ...], Callable[[], NDArray[Any]]]:
    require(f"{path}: a NIfTI volume", "segment", "nibabel")
    import nibabel  # noqa: PLC0415 - the train extra without segment does not have it

    remedy = "obtain it again, and let its name end in .nii.gz if it is compressed, otherwise in .nii"
    with refusing(f"{path}: is not a NIfTI volume", remedy, Exception):
        image: Any = nibabel.load(path)
        shape, unit = tuple(map(int, image.shape)), image.header.get_xyzt_units()[0]
        steps, kind = tuple(map(float, image.header.get_zooms())), image.get_data_dtype()
        most = path.stat().st_size * (_MOST_INFLATED if path.suffix.lower() == ".gz" else 1)
    if kind.kind == "c" or kind.itemsize > 8:
        raise SonoforgeError(f"{path}: has {kind} voxels; save them as float32, complex ones as their magnitude")
    if math.prod(shape) * kind.itemsize > most:  # before each of its slices is planned
        raise SonoforgeError(f"{path}: is too short for {_times(shape)} voxels; obtain it again")

    def voxels() -> NDArray[Any]:
        with refusing(f"{path}: its voxels are incomplete or damaged", "obtain it again", Exception):
            # To its end: nibabel stops before the checksum of gzip, and makes room for whatever the header states.
            with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
                size = sum(map(len, iter(functools.partial(file.read, 1 << 20), b"")))
            if size < math.prod(shape) * kind.itemsize:
                raise EOFError(f"{size} bytes for {_times(shape)} voxels")
            # Colours are never scaled (nifti1.h, on scl_slope).
            return np.asarray(image.dataobj.get_unscaled() if kind.names else image.dataobj)

    return shape, steps if unit == "mm" else (), voxels


def _open_meta(path: Path) -> tuple[tuple[int, ...], tuple[float, ...], Callable[[], NDArray[Any]]]:
    needed = "DimSize, ElementType and ElementDataFile"
    with refusing(f"{path}: is not a MetaImage header with {needed}", "obtain it again"), path.open("rb") as file:
        lines = file.read(_LONGEST_HEADER).decode("latin-1").splitlines()
        parts = (line.partition("=") for line in lines)
        entries = {key.strip(): value.strip() for key, sep, value in parts if sep}
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


@functools.lru_cache(maxsize=2)
def _levels(path: Path, window: tuple[float, float] | None) -> _Decoded | SonoforgeError:
    """Return levels and remarks or the error, so that a damaged volume is not decoded anew for each slice.

    Without a window, bytes stay unchanged, and other numbers are spread between the 0.5th and the 99.5th percentile.
    Colours stay as they are, on black where they are transparent.
    """
    try:
        voxels = open_volume(path).voxels()
        finite, remarks = _look_at(path, voxels)
    except SonoforgeError as error:
        return error
    if voxels.dtype.names:
        colours = np.stack([voxels[name] for name in "RGB"], axis=-1)
        if "A" in voxels.dtype.names and voxels["A"].any():  # otherwise alpha is not in use
            colours = ((colours.astype(np.uint16) * voxels["A"][..., None] + 127) // 255).astype(np.uint8)
        return colours, ()
    if window is None and voxels.dtype == np.uint8:
        return voxels, ()
    known = voxels[finite] if remarks else voxels
    with np.errstate(all="ignore"):  # between values that differ by more than the greatest float
        low, high = map(float, np.percentile(known, (0.5, 99.5)) if window is None else window)
    if not -math.inf < low < high < math.inf:  # hardly any voxel differs from the others
        low, high = float(known.min()), float(known.max())
    halves = voxels.astype(np.result_type(voxels, np.float32)).clip(low, high) / 2  # whose differences do not overflow
    scaled = (halves - low / 2) / (high / 2 - low / 2 or 1)
    return np.rint(np.where(finite, scaled, 0) * 255).astype(np.uint8), remarks


def _look_at(path: Path, voxels: NDArray[Any]) -> _Decoded:
    """Return which voxels are finite, and a remark if some are not; refuse a volume in which none is."""
    finite = np.isfinite(voxels) if voxels.dtype.kind == "f" else np.ones(1, np.bool_)
    missing = finite.size - np.count_nonzero(finite)
    if missing == finite.size:
        raise SonoforgeError(f"{path}: all {missing} voxels are NaN or infinite; obtain it again")
    return finite, (f"{path}: {missing} of {finite.size} voxels are NaN or infinite, now black",) if missing else ()


@functools.lru_cache(maxsize=2)
def _labels(path: Path) -> _Decoded:
    """Read a label map (columns, rows, slices) of whole numbers, with its remarks."""
    voxels = open_volume(path).voxels()
    if voxels.dtype.names:
        raise SonoforgeError(f"{path}: is in colour; save the label map as one whole number for each voxel")
    finite, remarks = _look_at(path, voxels)
    labels = np.where(finite, voxels, 0) if remarks else voxels
    whole = np.rint(labels) if labels.dtype.kind == "f" else labels
    wrong = (whole < 0) | (whole > _GREATEST_LABEL) | (np.abs(labels - whole) > 1e-3)  # a slope moves them
    if wrong.any():
        raise SonoforgeError(
            f"{path}: label {labels[wrong][0]} is not a whole number from 0 to {_GREATEST_LABEL}; correct the label map"
        )
    return whole if whole.dtype.kind in "iu" else whole.astype(np.int64), remarks


def label_numbers(path: Path) -> frozenset[int]:
    """Return the labels other than 0 that occur in a label map; refuse one that cannot be used."""
    _labels.cache_clear()  # the map may have been corrected since the last import
    labels = _labels(path)[0]
    numbers = frozenset(map(int, np.unique(labels[labels != 0])))
    if len(numbers) > _MOST_LABELS:
        raise SonoforgeError(
            f"{path}: has {len(numbers)} different labels, more than {_MOST_LABELS}; rename it if it is not a label map"
        )
    return numbers


def labels_in(maps: Iterable[Path]) -> list[int]:
    """Return the sorted labels that occur in any of several maps; unusable ones are refused with their volumes."""
    found: set[int] = set()
    for path in maps:
        with contextlib.suppress(SonoforgeError):
            found |= label_numbers(path)
    return sorted(found)


@dataclass(frozen=True)
class LabelledVolume:
    """A volume, its label map if any, and its patient."""

    name: str  # of the files that are written
    image: Path
    labels: Path | None
    structures: Mapping[int, str]  # names by label
    patient: str
    facts: Mapping[str, str]  # further columns of groups.csv, the same ones for all volumes of a set
    window: tuple[float, float] | None = None  # values that become 0 and 255, see `_levels`
    problem: str = ""  # why it cannot be used, if that is known before it is read

    def read(self, number: int) -> Picture:
        """Return one slice, numbered from 0 over all time points, with its masks and remarks."""
        with _decoding:
            levels = _levels(self.image, self.window)
            labels, noted = _labels(self.labels) if self.labels else (np.zeros(0), ())
        if isinstance(levels, SonoforgeError):
            raise levels
        names = self.structures if self.labels else {}
        masks = {name: np.equal(labels[:, :, number].T, label) for label, name in names.items()}
        return Picture(np.ascontiguousarray(levels[0][:, :, number].swapaxes(0, 1)), (), masks, levels[1] + noted)


def level_window(settings: ImportSettings) -> tuple[float, float] | None:
    """Return the values to show as black and white; None if none are given."""
    if not settings.window:
        return None
    if len(settings.window) != 2 or not settings.window[0] < settings.window[1]:
        given = ",".join(f"{level:g}" for level in settings.window)
        raise SonoforgeError(f"window: {given} is not LOW,HIGH, such as -160,240 in Hounsfield units")
    return settings.window[0], settings.window[1]


def plan_slices(class_name: str, volumes: list[LabelledVolume]) -> list[PlannedPicture]:
    """List the slices of all volumes in order; a volume that cannot be opened becomes one picture that says why."""
    planned: list[PlannedPicture] = []
    for volume in volumes:
        try:
            planned += _slices(class_name, volume)
        except SonoforgeError as error:
            facts = {**volume.facts, **dict.fromkeys(COLUMNS, ""), "volume": volume.name}
            read = functools.partial(_refuse, error)
            planned.append(PlannedPicture(f"{class_name}/{volume.name}.png", volume.patient, facts, read))
    return planned


def _slices(class_name: str, volume: LabelledVolume) -> list[PlannedPicture]:
    _levels.cache_clear()  # as above
    if volume.problem:
        raise SonoforgeError(f"{volume.image}: {volume.problem}")
    if volume.labels and not volume.labels.is_file():
        raise SonoforgeError(f"{volume.image}: its label map {volume.labels.name} is missing")
    image = open_volume(volume.image)
    if volume.labels:
        if (shape := open_volume(volume.labels).shape) != image.shape:
            raise SonoforgeError(
                f"{volume.labels}: has {_times(shape)} voxels, but its image {volume.image} has {_times(image.shape)}; "
                "use the pair as published"
            )
        if unknown := label_numbers(volume.labels) - set(volume.structures):
            known = ", ".join(f"{label} {name}" for label, name in {0: "background", **volume.structures}.items())
            raise SonoforgeError(f"{volume.labels}: label {min(unknown)} is not one of {known}; correct the label map")
    planned = []
    slices, times = (*image.shape[2:], 1)[:2]
    for place in range(slices * times):
        time, number = divmod(place, slices)
        name = f"{volume.name}_time{time + 1:03d}" if times > 1 else volume.name
        own = (name, str(number), *map("{:g}".format, image.spacing))
        facts = dict(itertools.zip_longest(COLUMNS, own, fillvalue=""))
        path = f"{class_name}/{name}_slice{number + 1:03d}.png"
        read = functools.partial(volume.read, place)
        planned.append(PlannedPicture(path, volume.patient, {**volume.facts, **facts}, read))
    return planned


def _refuse(error: SonoforgeError) -> Picture:
    raise error
