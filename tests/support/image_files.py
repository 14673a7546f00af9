"""Pixels, files that no library writes, a picture as HEIC, and the checks of a refusal."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.runtime.images.clip_files import clip_frames
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.limits import ImageError

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
GREY_FRAMES = np.random.default_rng(7).integers(0, 256, (3, 48, 64), dtype=np.uint8)
COLOUR_FRAMES = np.random.default_rng(8).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)

# Written by libheif 1.23 with x265, without loss: 4:4:4, matrix coefficients 0 (the identity), full range.
HEIC = Path(__file__).parents[1].joinpath("golden", "picture.heic").read_bytes()
_ROWS, _COLUMNS = np.mgrid[:48, :64]
HEIC_PIXELS = np.stack([_COLUMNS * 4 % 256, _ROWS * 5 % 256, (_COLUMNS // 8 + _ROWS // 8) % 2 * 200], axis=-1)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def refused(path: Path | str, read: Any = read_image) -> tuple[str, str]:
    """Return the error code and the one-line message with which a file is refused."""
    with pytest.raises(ImageError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return caught.value.code, message


def frames_of(path: Path | str, data: bytes | None = None) -> NDArray[np.uint8]:
    """Return all frames of a clip, (N, H, W, 3)."""
    return np.stack([np.asarray(frame.convert("RGB")) for frame in clip_frames(path, data)])


def clip_refused(path: Path) -> tuple[str, str]:
    return refused(path, frames_of)


def png_chunk(kind: bytes, content: bytes) -> bytes:
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
    bits = depth * samples
    step = max(1, bits // 8)
    raw = bytearray()
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = values[top::down, left::across]
        if not part.size:
            continue
        above = np.zeros((part.shape[1] * bits + 7) // 8, np.int64)
        for row in part:
            line = _png_row(row, depth)
            kind = int(rng.integers(5))
            raw += bytes([kind]) + _filtered(kind, line, above, step)
            above = line
    data = zlib.compress(bytes(raw))
    half = len(data) // 2  # two chunks of pixels, as encoders write them
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    parts = [(b"IHDR", header), *extra, (b"IDAT", data[:half]), (b"IDAT", data[half:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def _png_row(row: NDArray[np.uint16], depth: int) -> NDArray[np.int64]:
    flat = row.reshape(-1).astype(np.int64)
    if depth >= 8:
        return np.stack([flat >> 8, flat & 255], axis=1).reshape(-1) if depth == 16 else flat
    bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(-1).astype(np.uint8)).astype(np.int64)


def _filtered(kind: int, line: NDArray[np.int64], above: NDArray[np.int64], step: int) -> bytes:
    left, corner = np.zeros_like(line), np.zeros_like(line)
    left[step:], corner[step:] = line[:-step], above[:-step]
    near = np.abs(above - corner), np.abs(left - corner), np.abs(left + above - 2 * corner)
    paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], above, corner))
    predicted = (np.zeros_like(line), left, above, (left + above) >> 1, paeth)[kind]
    return bytes(((line - predicted) & 255).astype(np.uint8))


def write_tiff(
    values: NDArray[Any],
    photometric: int,
    bits: int,
    *,
    order: str = "<",
    tile: int = 0,
    planar: bool = False,
    tags: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """A TIFF of one page; values are (H, W, samples), below 2 to the power of ``bits``.

    Args:
        values: The samples.
        photometric: Tag 262.
        bits: Of each sample: 1, 2, 4, 8 or 16.
        order: Of bytes, as `struct` writes it.
        tile: Side of a tile in pixels, a multiple of 16; 0 for strips of seven rows.
        planar: Whether the samples lie in planes apart.
        tags: Further tags, or others in their place, as SHORT.
    """
    height, width, samples = values.shape
    planes = [values[..., k : k + 1] for k in range(samples)] if planar else [values]
    high, wide = (tile, tile) if tile else (7, width)
    blocks = []
    for plane in planes:
        for top in range(0, height, high):
            for left in range(0, width, wide):
                block = plane[top : top + high, left : left + wide]
                if tile:
                    block = np.pad(block, ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0)))
                blocks.append(_packed(block.reshape(block.shape[0], -1), bits, order))
    starts = 8 + np.cumsum([0, *map(len, blocks)])
    head = {256: (width,), 257: (height,), 258: (bits,) * samples, 259: (1,), 262: (photometric,), 277: (samples,)}
    head |= {284: (1 + planar,)}
    where = {324: tuple(starts[:-1]), 325: tuple(map(len, blocks)), 322: (tile,), 323: (tile,)}
    if not tile:
        where = {273: where[324], 279: where[325], 278: (high,)}
    return _file({**head, **where, **(tags or {})}, b"".join(blocks), order)


def _packed(rows: NDArray[Any], bits: int, order: str) -> bytes:
    if bits >= 8:
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    each = (rows[..., None].astype(np.uint8) >> np.arange(bits - 1, -1, -1).astype(np.uint8)) & 1
    return np.packbits(each.reshape(len(rows), -1), axis=1).tobytes()


def _file(tags: dict[int, tuple[int, ...]], pixels: bytes, order: str) -> bytes:
    entries, beyond = [], b""
    start = 8 + len(pixels)
    behind = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        kind, letter = (4, "I") if tag in (273, 279, 324, 325) else (3, "H")
        data = struct.pack(f"{order}{len(values)}{letter}", *map(int, values))
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", behind + len(beyond))
        beyond += data if len(data) > 4 else b""
        entries.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + place)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + pixels + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4) + beyond
