"""One grey picture of a DICOM file, bright where the object is dense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError


def read_dicom(path: Path) -> NDArray[Any]:
    """Decode the stored levels of a single grey frame.

    ``MONOCHROME1`` (the lowest level is white) is inverted within the range of the stored bits, so that every picture
    is bright on dark (DICOM PS3.3, C.7.6.3.1.2).  Windows that the file suggests are not applied.

    Returns:
        (H, W) of the file's own integer type.

    Raises:
        SonoforgeError: pydicom is not installed, or the file is no grey picture, is damaged, or is compressed in a
            way that needs a further decoder.
    """
    try:
        import pydicom  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise SonoforgeError(f"{path}: reading DICOM needs pydicom; pip install 'sonoforge[dicom]'") from error
    try:
        file = pydicom.dcmread(path)
        interpretation = str(file.PhotometricInterpretation)
        pixels: NDArray[Any] = file.pixel_array
        bits, signed = int(file.BitsStored), bool(file.PixelRepresentation)
    except Exception as error:  # a decoder meets damaged bytes: any of its errors is the file's fault
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise SonoforgeError(
            f"{path}: cannot be read as a DICOM picture ({reason}); obtain the file again, or install the decoder named"
        ) from error
    if interpretation not in ("MONOCHROME1", "MONOCHROME2") or pixels.ndim != 2:
        raise SonoforgeError(
            f"{path}: found {interpretation} pixels of shape {pixels.shape}, expected one grey frame; leave it out"
        )
    if interpretation == "MONOCHROME1":
        # The stored levels run from lowest to highest; their sum minus a level swaps the ends, in its own type.
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        pixels = (lowest + highest - pixels.astype(np.int64)).astype(pixels.dtype)
    return pixels
