"""One grey picture of a DICOM file, bright where the object is dense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.reader import open_dicom


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
    image = open_dicom(path)
    if image.photometric not in ("MONOCHROME1", "MONOCHROME2") or image.frame_count != 1:
        raise SonoforgeError(
            f"{path}: found {image.frame_count} {image.photometric} frames, expected one grey frame; leave it out"
        )
    (pixels,) = image.stored_frames()
    if image.photometric == "MONOCHROME1":
        # The stored levels run from lowest to highest; their sum minus a level swaps the ends, in its own type.
        lowest, highest = image.stored_range
        pixels = (lowest + highest - pixels.astype(np.int64)).astype(pixels.dtype)
    return pixels
