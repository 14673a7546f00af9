"""From stored values to 8-bit grey or colour, by the steps of DICOM PS3.4, annex N.2: modality, values of interest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.limits import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
# pydicom hands these out as RGB: YBR_FULL and YBR_FULL_422 by its own conversion, YBR_RCT and YBR_ICT by JPEG 2000's.
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PALETTE = "PALETTE COLOR"


class Levels:
    """How the values of one file become 8-bit levels; one table serves all frames.

    * Grey: modality table or rescaling; then the table of values of interest or else the first window; without
      either, the range of the stored bits, or of those bits that the values fill.  The darkest value of that range
      becomes 0, the brightest 255, rounded.  ``MONOCHROME1`` is inverted last.
    * Palette colours are looked up; colours of more than 8 bits are scaled from the stored bits.
    """

    def __init__(self, header: Dataset, path: Path | str, filled_bits: int) -> None:
        """Remember what the file says of its values; nothing is computed before the first frame.

        Args:
            header: Its elements.
            path: The file, for messages.
            filled_bits: How many bits the values of all its frames fill, see `is_wide`; those stored elsewhere.
        """
        self._filled_bits = filled_bits
        self._header = header
        self._path = path
        self._photometric = str(header.PhotometricInterpretation)
        self._tables: dict[np.dtype[Any], NDArray[np.uint8]] = {}

    def convert(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert one frame, (H, W) or, of RGB, (H, W, 3) integers as pydicom returns them, to uint8 of that shape."""
        if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
            raise ImageError(
                "unsupported",
                f"{self._path}: found {8 * values.dtype.itemsize}-bit pixels, expected integers of at most 16 bits; "
                "export it as 8- or 16-bit DICOM or PNG",
            )
        if self._photometric in COLOUR:
            bits = int(self._header.BitsStored)
            if bits == 8 and values.dtype == np.uint8:
                return values
            return _to_bytes(values.astype(np.float64), 0, 2**bits - 1)
        if values.dtype not in self._tables:
            every = np.arange(2 ** (8 * values.dtype.itemsize), dtype=f"u{values.dtype.itemsize}")
            self._tables[values.dtype] = self._levels_of(every.view(values.dtype))
        # A signed value's bit pattern is its place in the table.
        table = self._tables[values.dtype]
        return np.asarray(table[values.view(f"u{values.dtype.itemsize}")])

    def _levels_of(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the 8-bit level of each of the stored values, or its colour, (N, 3)."""
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut  # noqa: PLC0415 - an extra

        header = self._header
        if self._photometric == PALETTE:
            colours = apply_color_lut(stored, header)
            return colours if colours.dtype == np.uint8 else _to_bytes(colours.astype(np.float64), 0, 65535)
        modality = apply_modality_lut(stored, header)
        if header.get("VOILUTSequence"):
            shown = apply_voi_lut(modality, header, 0)
            low, high = 0.0, 2.0 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
        else:
            low, high = self._range()
            windowed = header.get("WindowCenter") is not None and header.get("WindowWidth") is not None
            shown = apply_voi_lut(modality, header, 0) if windowed else modality
        levels = _to_bytes(shown.astype(np.float64), low, high)
        return 255 - levels if self._photometric == "MONOCHROME1" else levels

    def _range(self) -> tuple[float, float]:
        """Return the least and the greatest value after the modality step, as PS3.3 C.11.2.1.2 takes it for windows."""
        header = self._header
        if header.get("ModalityLUTSequence"):
            return 0.0, 2.0 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        low, high = _range_of(self._filled_bits, header)
        if header.get("RescaleSlope") is not None and header.get("RescaleIntercept") is not None:
            slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
            return low * slope + intercept, high * slope + intercept
        return float(low), float(high)


def stored_range(header: Dataset) -> tuple[int, int]:
    """Return the least and the greatest value that the stored bits can hold."""
    return _range_of(int(header.BitsStored), header)


def _range_of(bits: int, header: Dataset) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.get("PixelRepresentation") else (0, 2**bits - 1)


def is_wide(header: Dataset) -> bool:
    """Whether nothing but the number of stored bits says how to show values, and they may fill fewer: grey, above 8."""
    tables = ("WindowCenter", "VOILUTSequence", "ModalityLUTSequence")
    return header.PhotometricInterpretation in GREY and header.BitsStored > 8 and not any(map(header.get, tables))


def _to_bytes(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Spread low..high over 0..255, rounded to the nearest level; what lies beyond is clipped."""
    if not np.isfinite([low, high]).all() or low == high:
        raise ValueError("no range of values")
    return np.rint(np.clip((values - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
