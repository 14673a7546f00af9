"""Copies made of pictures on purpose, to measure which kinds of them a search finds.

Geometry is meant as a person would say it: a crop of 25 % cuts a quarter off the width and the height, a shift of 15 %
moves the picture by 15 % of both, and what a shift, a turn or a zoom out uncovers is black.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.confirmation import padding
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.copies.search import match_pictures, prepare
from sonoforge.training.statistics.intervals import Interval, wilson_interval

Plant = Callable[[Picture, np.random.Generator], Picture]


def crop(share: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Cut ``share`` off the width and the height, at a random place."""
    height, width = picture.shape
    rows, columns = max(1, round(height * (1 - share))), max(1, round(width * (1 - share)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return picture[top : top + rows, left : left + columns]


def shift(share: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Move by ``share`` of the width and of the height, to a random corner."""
    height, width = picture.shape
    across, down = rng.choice((-share, share), 2)
    return _warp(picture, np.array([[1, 0, across * width], [0, 1, down * height]]))


def turn(degrees: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Turn about the middle, to a random side."""
    angle = float(rng.choice((-degrees, degrees)))
    return _warp(picture, _about_the_middle(picture, angle, 1.0))


def zoom(factor: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Magnify about the middle at the same size; below 1, the picture gets a black surround."""
    return _warp(picture, _about_the_middle(picture, 0.0, factor))


def frame(share: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Add a black border of ``share`` of the longest side all round."""
    return np.pad(picture, round(share * max(picture.shape)))


def letterbox(share: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Add black bars of ``share`` of the height above and below."""
    return np.pad(picture, ((round(share * picture.shape[0]),) * 2, (0, 0)))


def mirror(picture: Picture, rng: np.random.Generator) -> Picture:
    """Exchange left and right."""
    return picture[:, ::-1]


def upside_down(picture: Picture, rng: np.random.Generator) -> Picture:
    """Exchange top and bottom."""
    return picture[::-1]


def invert(picture: Picture, rng: np.random.Generator) -> Picture:
    """Exchange black and white."""
    return 255 - picture


def half(picture: Picture, rng: np.random.Generator) -> Picture:
    """Keep the left, right, upper or lower half, see `_showing_something`."""
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    parts = [picture[:, :columns], picture[:, columns:], picture[:rows], picture[rows:]]
    return _showing_something(parts, picture, rng)


def quarter(picture: Picture, rng: np.random.Generator) -> Picture:
    """Keep one of the four quarters, see `_showing_something`."""
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    parts = [
        part[:, side] for part in (picture[:rows], picture[rows:]) for side in (slice(columns), slice(columns, None))
    ]
    return _showing_something(parts, picture, rng)


def _showing_something(parts: Sequence[Picture], picture: Picture, rng: np.random.Generator) -> Picture:
    """Draw a part with at least half its fair share of what is not padding; others show nothing to know them by."""
    shown = (~padding(picture.astype(np.float32))).mean()
    enough = [part for part in parts if (~padding(part.astype(np.float32))).mean() >= 0.5 * shown]
    return enough[int(rng.integers(len(enough)))]


def compress(quality: int, picture: Picture, rng: np.random.Generator) -> Picture:
    """Store as JPEG and read back."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def blur(share: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Smooth by a Gaussian whose standard deviation is ``share`` of the longest side."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), share * max(picture.shape)), np.uint8)


def add_noise(levels: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Add Gaussian noise of this standard deviation in grey levels."""
    return _clip(picture + rng.normal(0, levels, picture.shape))


def change_gain(factor: float, offset: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Scale the grey levels and add an offset, clipped to 0..255."""
    return _clip(picture.astype(np.float64) * factor + offset)


def stretch(factor: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Widen by ``factor``, the height as it is."""
    size = max(1, round(picture.shape[1] * factor)), picture.shape[0]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def halve_size(picture: Picture, rng: np.random.Generator) -> Picture:
    """Store at half the width and height."""
    size = max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def unchanged(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture itself."""
    return picture


GEOMETRY: dict[str, Plant] = {
    "crop 25 %": functools.partial(crop, 0.25),
    "shift 15 %": functools.partial(shift, 0.15),
    "turn 10 degrees": functools.partial(turn, 10.0),
    "zoom 0.7": functools.partial(zoom, 0.7),
    "zoom 1.4": functools.partial(zoom, 1.4),
    "mirrored": mirror,
    "border": functools.partial(frame, 0.1),
    "letterbox": functools.partial(letterbox, 0.2),
    "inverted": invert,
    "upside down": upside_down,
}
"""Kinds that are also planted two at a time."""

KINDS: dict[str, Plant] = {
    "exact": unchanged,
    "JPEG 30": functools.partial(compress, 30),
    "blur": functools.partial(blur, 0.008),
    "noise": functools.partial(add_noise, 15.0),
    "gain": functools.partial(change_gain, 0.6, 30.0),
    "half size": halve_size,
    "stretch 15 %": functools.partial(stretch, 1.15),
    "crop 10 %": functools.partial(crop, 0.10),
    "shift 5 %": functools.partial(shift, 0.05),
    "turn 5 degrees": functools.partial(turn, 5.0),
    **GEOMETRY,
    "half": half,
    "quarter": quarter,
}
"""Kinds of copies by name, the mildest first."""

TWO_AT_ONCE = "two at once"


def plant(kind: str, picture: Picture, rng: np.random.Generator) -> Picture:
    """Copy a grey (H, W) uint8 picture; ``kind`` is one of `KINDS`, or `TWO_AT_ONCE` for any two of `GEOMETRY`."""
    if kind == TWO_AT_ONCE:
        names = list(GEOMETRY)
        first, second = rng.choice(len(names), 2, replace=False)
        return plant(names[second], plant(names[first], picture, rng), rng)
    return np.ascontiguousarray(KINDS[kind](picture, rng))


def _about_the_middle(picture: Picture, degrees: float, factor: float) -> NDArray[np.float64]:
    height, width = picture.shape
    return np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, factor), np.float64)


def _warp(picture: Picture, matrix: NDArray[np.float64]) -> Picture:
    height, width = picture.shape
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _clip(values: NDArray[np.float64]) -> Picture:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


PLANTED_KINDS = (*KINDS, TWO_AT_ONCE)

How = Callable[[str, Picture, np.random.Generator], Picture]


class PlantedRow(NamedTuple):
    """Copies of one kind."""

    kind: str
    planted: int
    found: int  # matched with their original at the set's limit
    recall: Interval  # found / planted, with Wilson's 95 % interval


def measure_recall(
    pictures: Sequence[Picture],
    limit: float,
    count: int,
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[PlantedRow]:
    """Plant ``count`` copies of each kind of `KINDS`, and of two kinds of geometry at once, and count those found.

    About 0.1 core-seconds a copy, and 0.02 a picture of the set.

    Args:
        pictures: N grey (H, W) uint8 pictures; the originals are drawn from them.
        limit: Score from which two pictures count as one scan.
        count: Copies of each kind, at least 1.
        seed: Of the choice of originals and places.
        advance: Hears how many candidates of how many are compared.
    """
    originals, copies = plant_copies(pictures, count, seed)
    matches = match_pictures(prepare(pictures), prepare(copies), advance).confirmed(limit)
    hits = np.zeros(len(copies), bool)
    hits[matches.second[originals[matches.second] == matches.first]] = True
    return count_found(hits)


def plant_copies(
    pictures: Sequence[Picture], count: int, seed: int, how: How = plant
) -> tuple[NDArray[np.int64], list[Picture]]:
    """Plant ``count`` copies of each of the `PLANTED_KINDS`, one kind after the other.

    Returns:
        The index of each copy's original, (kinds * count,), and the copies.
    """
    rng = np.random.default_rng(derive_seed(seed, "planted copies"))
    originals = rng.integers(0, len(pictures), (len(PLANTED_KINDS), count))
    copies = [
        how(kind, pictures[original], rng)
        for kind, row in zip(PLANTED_KINDS, originals.tolist(), strict=True)
        for original in row
    ]
    return originals.reshape(-1), copies


def count_found(hits: NDArray[np.bool_]) -> list[PlantedRow]:
    """Count by kind which copies of `plant_copies` were found, (kinds * count,)."""
    by_kind = hits.reshape(len(PLANTED_KINDS), -1)
    count = by_kind.shape[1]
    return [
        PlantedRow(kind, count, number, wilson_interval(number, count))
        for kind, number in zip(PLANTED_KINDS, by_kind.sum(axis=1).tolist(), strict=True)
    ]
