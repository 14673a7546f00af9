"""Where the scan lies in an ultrasound picture, and how large a pixel is, as the machine recorded it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sonoforge.runtime.images.limits import MIN_SIDE

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# DICOM PS3.3, C.8.5.5.1.1 (2D), C.8.5.5.1.2 (tissue) and C.8.5.5.1.15 (cm).
_FORMAT_2D, _TISSUE, _CENTIMETRES = 1, 1, 3


@dataclass(frozen=True)
class Region:
    """One two-dimensional tissue region."""

    box: tuple[int, int, int, int]  # left, top, right, bottom, as Pillow crops: the last two are outside it
    count: int  # how many such regions the picture has; this is the largest


@dataclass(frozen=True)
class Spacing:
    """Size of a pixel in mm."""

    vertical: float
    horizontal: float
    source: str  # `region`, `PixelSpacing` or `ImagerPixelSpacing` (on the detector, not in the body)


def read_region(header: Dataset, width: int, height: int) -> tuple[Region | None, Spacing | None]:
    """Choose the largest two-dimensional tissue region of an ultrasound picture.

    A region counts where it is at least 16 pixels wide and high within the picture; colour flow, spectra and curves
    do not count.

    Returns:
        The region, and its pixel spacing where the machine gives it in cm; None for what is not recorded.
    """
    best, spacing, count = None, None, 0
    for item in header.get("SequenceOfUltrasoundRegions") or ():
        if item.get("RegionSpatialFormat") != _FORMAT_2D or item.get("RegionDataType") != _TISSUE:
            continue
        # The standard's corner X1, Y1 is the last pixel inside.
        left, top = max(0, int(item.RegionLocationMinX0)), max(0, int(item.RegionLocationMinY0))
        right = min(width, int(item.RegionLocationMaxX1) + 1)
        bottom = min(height, int(item.RegionLocationMaxY1) + 1)
        if min(right - left, bottom - top) < MIN_SIDE:
            continue
        count += 1
        if best is None or (right - left) * (bottom - top) > (best[2] - best[0]) * (best[3] - best[1]):
            best, spacing = (left, top, right, bottom), _region_spacing(item)
    return (Region(best, count), spacing) if best else (None, None)


def _region_spacing(item: Dataset) -> Spacing | None:
    units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
    if units != (_CENTIMETRES, _CENTIMETRES):
        return None
    # A direction may be negative: the axis then runs the other way.
    return _spacing(10 * abs(float(item.PhysicalDeltaY)), 10 * abs(float(item.PhysicalDeltaX)), "region")


def read_spacing(header: Dataset) -> Spacing | None:
    """Return the pixel spacing of the picture, else of the detector; None where neither is recorded."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = header.get(name)
        if values is not None and not isinstance(values, str) and len(values) == 2:
            return _spacing(float(values[0]), float(values[1]), name)
    return None


def _spacing(vertical: float, horizontal: float, source: str) -> Spacing | None:
    usable = all(math.isfinite(value) and value > 0 for value in (vertical, horizontal))
    return Spacing(vertical, horizontal, source) if usable else None
