"""Pixels, image files that Pillow cannot write, and the check of a refusal."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.limits import ImageError

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def refused(path: Path | str) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return caught.value.code, message


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(values: np.ndarray, order: str, photometric: int, bits: int = 16, sample: int = 1) -> bytes:
    """Write the smallest uncompressed one-strip TIFF by hand."""
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(data)), (339, sample)]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
