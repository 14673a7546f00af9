"""Write PNG files of every kind that the specification allows, also those that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(
    values: NDArray[np.uint16],
    colour: int,
    depth: int,
    *,
    interlaced: bool = False,
    extra: Sequence[tuple[bytes, bytes]] = (),
    seed: int = 0,
) -> bytes:
    """Encode samples (H, W, S) with a random filter for each row; ``extra`` chunks come before the pixels."""
    rng = np.random.default_rng(seed)
    height, width, samples = values.shape
    assert samples == _SAMPLES[colour]
    bits = depth * samples
    step = max(1, bits // 8)
    raw = bytearray()
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = values[top::down, left::across]
        if not part.size:
            continue
        above = np.zeros((part.shape[1] * bits + 7) // 8, np.int64)
        for row in part:
            line = _packed(row, depth)
            kind = int(rng.integers(5))
            raw += bytes([kind]) + _filtered(kind, line, above, step)
            above = line
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    middle = b"".join(chunk(*pair) for pair in extra)
    data = zlib.compress(bytes(raw))
    half = len(data) // 2  # two chunks of pixels, as encoders write them
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + middle
        + chunk(b"IDAT", data[:half])
        + chunk(b"IDAT", data[half:])
        + chunk(b"IEND", b"")
    )


def _packed(row: NDArray[np.uint16], depth: int) -> NDArray[np.int64]:
    flat = row.reshape(-1).astype(np.int64)
    if depth == 16:
        return np.stack([flat >> 8, flat & 255], axis=1).reshape(-1)
    if depth == 8:
        return flat
    bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(-1).astype(np.uint8)).astype(np.int64)


def _filtered(kind: int, line: NDArray[np.int64], above: NDArray[np.int64], step: int) -> bytes:
    left, corner = np.zeros_like(line), np.zeros_like(line)
    left[step:], corner[step:] = line[:-step], above[:-step]
    near = np.abs(above - corner), np.abs(left - corner), np.abs(left + above - 2 * corner)
    paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], above, corner))
    predicted = (np.zeros_like(line), left, above, (left + above) >> 1, paeth)[kind]
    return bytes(((line - predicted) & 255).astype(np.uint8))
