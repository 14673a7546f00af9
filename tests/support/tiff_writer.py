"""Write a small uncompressed TIFF of any layout, for what Pillow reads but does not write."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_SHORT, _LONG = 3, 4


def write_tiff(
    values: NDArray[np.uint8] | NDArray[np.uint16],
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


def _packed(rows: NDArray[np.uint8] | NDArray[np.uint16], bits: int, order: str) -> bytes:
    if bits >= 8:
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    each = (rows[..., None].astype(np.uint8) >> np.arange(bits - 1, -1, -1).astype(np.uint8)) & 1
    return np.packbits(each.reshape(len(rows), -1), axis=1).tobytes()


def _file(tags: dict[int, tuple[int, ...]], pixels: bytes, order: str) -> bytes:
    entries, beyond = [], b""
    start = 8 + len(pixels)
    behind = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        kind, letter = (_LONG, "I") if tag in (273, 279, 324, 325) else (_SHORT, "H")
        data = struct.pack(f"{order}{len(values)}{letter}", *map(int, values))
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", behind + len(beyond))
        beyond += data if len(data) > 4 else b""
        entries.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + place)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return head + pixels + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4) + beyond
