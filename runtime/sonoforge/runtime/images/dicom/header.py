"""Where the scan lies in a DICOM picture, how large its pixels are, and which pictures a DICOMDIR names.

A DICOMDIR lists the files of a disc or a folder (PS3.3, annex F; PS3.10, section 8).  Any fault in a file becomes one
`ImageError`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sonoforge.runtime.images.limits import MAX_CLIP_FILE_BYTES, MIN_SIDE, ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INSTALL = "pip install 'sonoforge[dicom]'"
MOST_MM = 1e3  # no pixel is larger
_MAX_DIRECTORY_BYTES = 200_000_000

# DICOM PS3.3, C.8.5.5.1.1 (2D), C.8.5.5.1.2 (tissue) and C.8.5.5.1.15 (cm).
_FORMAT_2D, _TISSUE, _CENTIMETRES = 1, 1, 3

# Parts of a file's name hold eight capital letters, digits and underscores (PS3.10, section 8.5); other characters,
# which real discs use, are accepted too, except those that lead elsewhere.
_PART = re.compile(r"[^/\\:\x00-\x1f]{1,255}")


def check_file(path: Path) -> None:
    """Refuse anything but a regular file of a sensible size; a pipe or a device is never opened."""
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("unreadable", f"{path}: is a folder, pipe or device, not a DICOM file")
    if status.st_size > MAX_CLIP_FILE_BYTES:
        raise ImageError(
            "too_large",
            f"{path}: {status.st_size / 1e6:.0f} MB, more than {MAX_CLIP_FILE_BYTES / 1e6:.0f} MB; cut the clip",
        )


def import_pydicom(path: Path | str) -> None:
    """Import pydicom and silence it: its warnings and log lines quote values from the file."""
    try:
        import pydicom.config  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ImageError("unsupported", f"{path}: DICOM needs {INSTALL}") from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


@contextlib.contextmanager
def one_line(path: Path | str) -> Iterator[None]:
    """Turn any error of pydicom or a decoder into an `ImageError` that quotes nothing from the file."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too_large", f"{path}: needs more memory than is free; cut the clip") from None
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("not_found", f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ImageError("unreadable", f"{path}: cannot be read ({error.strerror or 'damaged image data'})") from None
    except Exception as error:  # a parser meets hostile bytes: any of its errors is the file's fault
        # Only the error's type: its text may quote a name, and so would a traceback, hence `from None`.
        raise ImageError(
            "truncated", f"{path}: damaged or invalid DICOM ({type(error).__name__}); obtain the file again"
        ) from None


@dataclass(frozen=True)
class Region:
    """One two-dimensional tissue region."""

    box: tuple[int, int, int, int]  # left, top, right, bottom, the last two exclusive, as Pillow crops
    count: int  # how many such regions the picture has; this is the largest


@dataclass(frozen=True)
class Spacing:
    """Size of a pixel in mm."""

    vertical: float
    horizontal: float
    source: str  # `region`, `PixelSpacing` or `ImagerPixelSpacing` (on the detector, not in the body)


def read_region(header: Dataset, width: int, height: int) -> tuple[Region | None, Spacing | None, bool]:
    """Choose the largest two-dimensional tissue region of an ultrasound picture.

    A region counts if it is at least 16 pixels wide and high within the picture; colour flow, spectra and curves do not
    count, nor does a region with a damaged record.

    Returns:
        The region, and its pixel spacing if the machine gives it in cm, each None if not recorded; and whether a record
        was damaged.
    """
    best, spacing, count, damaged = None, None, 0, False
    try:
        items = list(header.get("SequenceOfUltrasoundRegions") or ())
    except Exception:  # of pydicom, which meets hostile bytes
        items, damaged = [], True
    for item in items:
        try:
            if item.get("RegionSpatialFormat") != _FORMAT_2D or item.get("RegionDataType") != _TISSUE:
                continue
            # The standard's corner X1, Y1 is the last pixel inside.
            left, top = max(0, int(item.RegionLocationMinX0)), max(0, int(item.RegionLocationMinY0))
            right = min(width, int(item.RegionLocationMaxX1) + 1)
            bottom = min(height, int(item.RegionLocationMaxY1) + 1)
        except Exception:
            damaged = True
            continue
        if min(right - left, bottom - top) < MIN_SIDE:
            continue
        count += 1
        if best is None or (right - left) * (bottom - top) > (best[2] - best[0]) * (best[3] - best[1]):
            best, spacing = (left, top, right, bottom), _region_spacing(item)
    return (Region(best, count), spacing, damaged) if best else (None, None, damaged)


def _region_spacing(item: Dataset) -> Spacing | None:
    try:
        units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
        if units != (_CENTIMETRES, _CENTIMETRES):
            return None
        # A direction may be negative: the axis then runs the other way.
        return _spacing(10 * abs(float(item.PhysicalDeltaY)), 10 * abs(float(item.PhysicalDeltaX)), "region")
    except Exception:  # of pydicom; the region itself is sound
        return None


def read_spacing(header: Dataset) -> Spacing | None:
    """Return the pixel spacing of the picture, else of the detector; None if neither is recorded."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = header.get(name)
        if values is not None and not isinstance(values, str) and len(values) == 2:
            return _spacing(float(values[0]), float(values[1]), name)
    return None


def _spacing(vertical: float, horizontal: float, source: str) -> Spacing | None:
    usable = all(math.isfinite(value) and 0 < value <= MOST_MM for value in (vertical, horizontal))
    return Spacing(vertical, horizontal, source) if usable else None


def listed_images(path: Path | str) -> list[str]:
    """List the image files that a DICOMDIR names, in its order, each once; they may be missing.

    Raises:
        ImageError: The directory is damaged, or names a file outside its folder.
    """
    with one_line(path):
        directory = Path(path)
        check_file(directory)
        if directory.stat().st_size > _MAX_DIRECTORY_BYTES:
            raise ImageError(
                "too_large", f"{path}: more than {_MAX_DIRECTORY_BYTES / 1e6:.0f} MB; name the images instead"
            )
        import_pydicom(path)
        from pydicom import dcmread  # noqa: PLC0415 - an extra

        records = dcmread(directory, specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        found: dict[str, None] = {}
        for record in records:
            if record.get("DirectoryRecordType") != "IMAGE" or record.get("ReferencedFileID") is None:
                continue
            name = record.ReferencedFileID
            parts = [name] if isinstance(name, str) else [str(part) for part in name]
            file = directory.parent.joinpath(*parts)
            plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
            if not parts or not plain or not file.resolve().is_relative_to(directory.parent.resolve()):
                # The name is not quoted: it comes from the file.
                raise ImageError("unreadable", f"{path}: names a file outside its folder; name the images instead")
            found[str(file)] = None
        return list(found)
