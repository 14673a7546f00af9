"""Plant copies among pictures, to measure which kinds of copies a search finds.

A crop of 25 % cuts a quarter off the width and the height, a shift of 15 % moves the picture by 15 % of both; areas
uncovered by a shift, a rotation or a zoom out are black.
"""

import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.plain_image import encoded
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.confirmation import padding
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.statistics.intervals import wilson_interval
from sonoforge.training.statistics.results import Record

Plant = Callable[[Picture, np.random.Generator], Picture]

STANDS = 0.95
"""Recall above which "no copies found" holds for a kind."""


def _crop(picture: Picture, rng: np.random.Generator, share: float) -> Picture:
    """Cut ``share`` off the width and the height, at a random place."""
    height, width = picture.shape
    rows, columns = max(1, round(height * (1 - share))), max(1, round(width * (1 - share)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return picture[top : top + rows, left : left + columns]


def _shift(picture: Picture, rng: np.random.Generator, share: float) -> Picture:
    """Move by ``share`` of the width and of the height, to a random corner."""
    height, width = picture.shape
    across, down = rng.choice((-share, share), 2)
    return _warp(picture, np.array([[1, 0, across * width], [0, 1, down * height]]))


def about_the_middle(picture: Picture, degrees: float, factor: float = 1.0) -> Picture:
    """Rotate and magnify about the middle, keeping the size; a factor below 1 leaves a black surround."""
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, factor)
    return _warp(picture, np.asarray(matrix, np.float64))


def _part(picture: Picture, rng: np.random.Generator, quarters: bool) -> Picture:
    """Keep one half or quarter, drawn from those with at least half their fair share of non-padding."""
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    parts = [picture[:, :columns], picture[:, columns:], picture[:rows], picture[rows:]]
    if quarters:
        parts = [own[:, side] for own in parts[2:] for side in (slice(columns), slice(columns, None))]
    shown = (~padding(picture.astype(np.float32))).mean()
    enough = [own for own in parts if (~padding(own.astype(np.float32))).mean() >= 0.5 * shown]
    return enough[int(rng.integers(len(enough)))]


def _compress(picture: Picture) -> Picture:
    return np.asarray(Image.open(io.BytesIO(encoded(Image.fromarray(picture), "JPEG", quality=30))))


def _resize(picture: Picture, across: float, down: float, resampling: Image.Resampling) -> Picture:
    size = max(1, round(picture.shape[1] * across)), max(1, round(picture.shape[0] * down))
    return np.asarray(Image.fromarray(picture).resize(size, resampling))


def _warp(picture: Picture, matrix: NDArray[np.float64]) -> Picture:
    height, width = picture.shape
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _clip(values: NDArray[np.float64]) -> Picture:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


GEOMETRY: dict[str, Plant] = {
    "crop 25 %": lambda picture, rng: _crop(picture, rng, 0.25),
    "shift 15 %": lambda picture, rng: _shift(picture, rng, 0.15),
    "turn 10 degrees": lambda picture, rng: about_the_middle(picture, float(rng.choice((-10.0, 10.0)))),
    "zoom 0.7": lambda picture, rng: about_the_middle(picture, 0.0, 0.7),
    "zoom 1.4": lambda picture, rng: about_the_middle(picture, 0.0, 1.4),
    "mirrored": lambda picture, rng: picture[:, ::-1],
    "border": lambda picture, rng: np.pad(picture, round(0.1 * max(picture.shape))),
    "letterbox": lambda picture, rng: np.pad(picture, ((round(0.2 * picture.shape[0]),) * 2, (0, 0))),
    "inverted": lambda picture, rng: 255 - picture,
    "upside down": lambda picture, rng: picture[::-1],
}
"""Kinds to plant two at a time as well."""

TWO_AT_ONCE = "two at once"


def _two_at_once(picture: Picture, rng: np.random.Generator) -> Picture:
    kinds = list(GEOMETRY.values())
    first, second = rng.choice(len(kinds), 2, replace=False)
    return np.asarray(kinds[second](np.ascontiguousarray(kinds[first](picture, rng)), rng))


KINDS: dict[str, Plant] = {
    "exact": lambda picture, rng: picture,
    "JPEG 30": lambda picture, rng: _compress(picture),
    "blur": lambda picture, rng: np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.008 * max(picture.shape)), np.uint8),
    "noise": lambda picture, rng: _clip(picture + rng.normal(0, 15.0, picture.shape)),  # of 15 grey levels
    "gain": lambda picture, rng: _clip(picture.astype(np.float64) * 0.6 + 30.0),
    "half size": lambda picture, rng: _resize(picture, 0.5, 0.5, Image.Resampling.BOX),
    "stretch 15 %": lambda picture, rng: _resize(picture, 1.15, 1, Image.Resampling.BICUBIC),
    "crop 10 %": lambda picture, rng: _crop(picture, rng, 0.10),
    "shift 5 %": lambda picture, rng: _shift(picture, rng, 0.05),
    "turn 5 degrees": lambda picture, rng: about_the_middle(picture, float(rng.choice((-5.0, 5.0)))),
    **GEOMETRY,
    "half": lambda picture, rng: _part(picture, rng, quarters=False),
    "quarter": lambda picture, rng: _part(picture, rng, quarters=True),
    "zoom 2": lambda picture, rng: about_the_middle(picture, 0.0, 2.0),
    "third of the size in black": lambda picture, rng: about_the_middle(picture, 0.0, 1 / 3),
    TWO_AT_ONCE: _two_at_once,
}
"""Kinds of copies by name."""


def plant(kind: str, picture: Picture, rng: np.random.Generator) -> Picture:
    """Copy a grey (H, W) uint8 picture; ``kind`` is one of `KINDS`."""
    return np.ascontiguousarray(KINDS[kind](picture, rng))


def plant_squared(kind: str, picture: Picture, rng: np.random.Generator) -> Picture:
    """Copy a grey (S, S) uint8 picture and stretch the copy to (S, S)."""
    return np.asarray(Image.fromarray(plant(kind, picture, rng)).resize(picture.shape, Image.Resampling.BICUBIC))


def plant_copies(pictures: Sequence[Picture], count: int, seed: int) -> list[Picture]:
    """Plant ``count`` copies of each of the `KINDS` of grey (S, S) uint8 pictures, one kind after the other."""
    rng = np.random.default_rng(derive_seed(seed, "planted copies"))
    originals = rng.integers(0, len(pictures), (len(KINDS), count)).tolist()
    return [plant_squared(kind, pictures[one], rng) for kind, row in zip(KINDS, originals, strict=True) for one in row]


def count_found(hits: NDArray[np.bool_]) -> list[Record]:
    """Count the found copies of `plant_copies` by kind; ``hits`` (kinds * count,).

    ``recall`` comes with Wilson's 95 % interval; ``holds`` says whether it is at least `STANDS`.
    """
    by_kind = hits.reshape(len(KINDS), -1)
    planted, rows = by_kind.shape[1], []
    for kind, found in zip(KINDS, by_kind.sum(axis=1).tolist(), strict=True):
        own = wilson_interval(found, planted)
        counts = {"kind": kind, "planted": planted, "found": found, "recall": own["value"]}
        rows.append({**counts, "low": own["low"], "high": own["high"], "holds": own["value"] >= STANDS})
    return rows
