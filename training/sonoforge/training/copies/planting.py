"""Copies planted among pictures, to measure which kinds of copies a search finds.

A crop of 25 % cuts a quarter off the width and the height, a shift of 15 % moves the picture by 15 % of both, and
areas that a shift, a turn or a zoom out uncovers are black.
"""

import io
from collections.abc import Callable, Sequence
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.confirmation import padding
from sonoforge.training.copies.near_duplicates import match_pictures, prepare
from sonoforge.training.copies.pictures import Picture
from sonoforge.training.statistics.intervals import wilson_interval

Plant = Callable[[Picture, np.random.Generator], Picture]
How = Callable[[str, Picture, np.random.Generator], Picture]

_BOX, _BICUBIC = Image.Resampling.BOX, Image.Resampling.BICUBIC

STANDS = 0.95
"""Recall from which "no copies found" holds for a kind."""


def crop(picture: Picture, rng: np.random.Generator, share: float) -> Picture:
    """Cut ``share`` off the width and the height, at a random place."""
    height, width = picture.shape
    rows, columns = max(1, round(height * (1 - share))), max(1, round(width * (1 - share)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return picture[top : top + rows, left : left + columns]


def shift(picture: Picture, rng: np.random.Generator, share: float) -> Picture:
    """Move by ``share`` of the width and of the height, to a random corner."""
    height, width = picture.shape
    across, down = rng.choice((-share, share), 2)
    return _warp(picture, np.array([[1, 0, across * width], [0, 1, down * height]]))


def about_the_middle(picture: Picture, degrees: float, factor: float = 1.0) -> Picture:
    """Turn and magnify about the middle, keeping the size; a factor below 1 leaves a black surround."""
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, factor)
    return _warp(picture, np.asarray(matrix, np.float64))


def part(picture: Picture, rng: np.random.Generator, quarters: bool) -> Picture:
    """Keep one half or quarter, drawn from those with at least half their fair share of what is not padding."""
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    parts = [picture[:, :columns], picture[:, columns:], picture[:rows], picture[rows:]]
    if quarters:
        parts = [own[:, side] for own in parts[2:] for side in (slice(columns), slice(columns, None))]
    shown = (~padding(picture.astype(np.float32))).mean()
    enough = [own for own in parts if (~padding(own.astype(np.float32))).mean() >= 0.5 * shown]
    return enough[int(rng.integers(len(enough)))]


def compress(picture: Picture, quality: int) -> Picture:
    """Save as JPEG and read back."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resize(picture: Picture, width: int, height: int, resampling: Image.Resampling) -> Picture:
    """Scale to a width and height in pixels, at least 1."""
    return np.asarray(Image.fromarray(picture).resize((max(1, width), max(1, height)), resampling))


def curve(picture: Picture, rng: np.random.Generator) -> Picture:
    """Show a linear scan as a curved probe would: depth becomes the radius, the width an arc of 44 to 76 degrees."""
    height, width = picture.shape
    half, inner = np.deg2rad(rng.uniform(22, 38)), rng.uniform(0.3, 0.8) * height
    size = round(inner + height - inner * np.cos(half)), round(2 * (inner + height) * np.sin(half))
    down, across = np.mgrid[: size[0], : size[1]].astype(np.float32)
    down, across = down + np.float32(inner * np.cos(half)), across - np.float32((size[1] - 1) / 2)
    columns = (np.arctan2(across, down) / half + 1) / 2 * (width - 1)
    return _remap(picture, columns, np.hypot(across, down) - inner, cv2.BORDER_CONSTANT)


def bend(picture: Picture, rng: np.random.Generator, share: float) -> Picture:
    """Move every point smoothly, by up to ``share`` of the longer side."""
    side = max(picture.shape)
    fields = [cv2.GaussianBlur(rng.standard_normal(picture.shape), (0, 0), 0.1 * side) for _ in range(2)]
    down, across = (share * side * field / np.abs(field).max() for field in fields)
    rows, columns = np.indices(picture.shape)
    return _remap(picture, columns + across, rows + down, cv2.BORDER_REPLICATE)


def draw_speckle_anew(picture: Picture, rng: np.random.Generator) -> Picture:
    """Smooth away a scan's speckle and multiply by new speckle, half of it fully developed (Rayleigh)."""
    size = 0.006 * max(picture.shape)
    tissue = cv2.GaussianBlur(cv2.medianBlur(np.ascontiguousarray(picture), 3), (0, 0), size).astype(np.float64)
    waves = [cv2.GaussianBlur(rng.standard_normal(picture.shape), (0, 0), 0.6 * size) for _ in range(2)]
    speckle = np.hypot(*waves)
    return _clip(tissue * (0.5 + 0.5 * speckle / speckle.mean()))


def edges(picture: Picture) -> Picture:
    """Keep only the magnitude of the gradient."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.003 * max(picture.shape)).astype(np.float32)
    steep = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)).astype(np.float64)
    return _clip(255 * steep / max(float(np.percentile(steep, 99.5)), 1.0))


def colour(picture: Picture) -> Picture:
    """Colour with Jet, whose grey rises and falls, and read as grey."""
    coloured = cv2.applyColorMap(np.ascontiguousarray(picture), cv2.COLORMAP_JET)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2GRAY), np.uint8)


GEOMETRY: dict[str, Plant] = {
    "crop 25 %": lambda picture, rng: crop(picture, rng, 0.25),
    "shift 15 %": lambda picture, rng: shift(picture, rng, 0.15),
    "turn 10 degrees": lambda picture, rng: about_the_middle(picture, float(rng.choice((-10.0, 10.0)))),
    "zoom 0.7": lambda picture, rng: about_the_middle(picture, 0.0, 0.7),
    "zoom 1.4": lambda picture, rng: about_the_middle(picture, 0.0, 1.4),
    "mirrored": lambda picture, rng: picture[:, ::-1],
    "border": lambda picture, rng: np.pad(picture, round(0.1 * max(picture.shape))),
    "letterbox": lambda picture, rng: np.pad(picture, ((round(0.2 * picture.shape[0]),) * 2, (0, 0))),
    "inverted": lambda picture, rng: 255 - picture,
    "upside down": lambda picture, rng: picture[::-1],
}
"""Kinds that are also planted two at a time."""

KINDS: dict[str, Plant] = {
    "exact": lambda picture, rng: picture,
    "JPEG 30": lambda picture, rng: compress(picture, 30),
    "blur": lambda picture, rng: np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.008 * max(picture.shape)), np.uint8),
    "noise": lambda picture, rng: _clip(picture + rng.normal(0, 15.0, picture.shape)),  # of 15 grey levels
    "gain": lambda picture, rng: _clip(picture.astype(np.float64) * 0.6 + 30.0),
    "half size": lambda picture, rng: resize(picture, picture.shape[1] // 2, picture.shape[0] // 2, _BOX),
    "stretch 15 %": lambda picture, rng: resize(picture, round(picture.shape[1] * 1.15), picture.shape[0], _BICUBIC),
    "crop 10 %": lambda picture, rng: crop(picture, rng, 0.10),
    "shift 5 %": lambda picture, rng: shift(picture, rng, 0.05),
    "turn 5 degrees": lambda picture, rng: about_the_middle(picture, float(rng.choice((-5.0, 5.0)))),
    **GEOMETRY,
    "half": lambda picture, rng: part(picture, rng, quarters=False),
    "quarter": lambda picture, rng: part(picture, rng, quarters=True),
    "zoom 2": lambda picture, rng: about_the_middle(picture, 0.0, 2.0),
    "third of the size in black": lambda picture, rng: about_the_middle(picture, 0.0, 1 / 3),
    "elastic 4 %": lambda picture, rng: bend(picture, rng, 0.04),
    "curved probe": curve,
    "solarised": lambda picture, rng: np.where(picture < 128, picture, 255 - picture),
    "colour map": lambda picture, rng: colour(picture),
    "speckle anew": draw_speckle_anew,
    "speckle anew, turn, zoom": lambda picture, rng: about_the_middle(
        draw_speckle_anew(picture, rng), float(rng.choice((-8.0, 8.0))), 1.25
    ),
    "edges only": lambda picture, rng: edges(picture),
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


def _warp(picture: Picture, matrix: NDArray[np.float64]) -> Picture:
    height, width = picture.shape
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _remap(picture: Picture, columns: NDArray[np.float64], rows: NDArray[np.float64], border: int) -> Picture:
    places = columns.astype(np.float32), rows.astype(np.float32)
    return np.asarray(cv2.remap(picture, *places, cv2.INTER_LINEAR, borderMode=border), np.uint8)


def _clip(values: NDArray[np.float64]) -> Picture:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


PLANTED_KINDS = (*KINDS, TWO_AT_ONCE)


class PlantedRow(TypedDict):
    """How many planted copies of one kind were found."""

    kind: str
    planted: int
    found: int  # matched with their original at the set's limit
    recall: float  # found / planted, with Wilson's 95 % interval
    low: float
    high: float
    holds: bool  # whether "no copies found" holds for this kind: recall is at least `STANDS`


def measure_recall(
    pictures: Sequence[Picture], limit: float, count: int, seed: int = 0, title: str = ""
) -> list[PlantedRow]:
    """Plant ``count`` copies of each of the `PLANTED_KINDS` and count those found.

    About 0.1 core-seconds a copy, and 0.02 a picture of the set.

    Args:
        pictures: N grey (H, W) uint8 pictures; the originals are drawn from them.
        limit: Score from which two pictures count as one scan.
        count: Copies of each kind, at least 1.
        seed: Of the originals and places.
        title: See `sonoforge.training.progress.in_threads`.
    """
    originals, copies = plant_copies(pictures, count, seed)
    matches = match_pictures(prepare(pictures), prepare(copies), title).confirmed(limit)
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
    """Count the found copies of `plant_copies` by kind; ``hits`` (kinds * count,)."""
    by_kind = hits.reshape(len(PLANTED_KINDS), -1)
    planted, rows = by_kind.shape[1], []
    for kind, found in zip(PLANTED_KINDS, by_kind.sum(axis=1).tolist(), strict=True):
        recall = wilson_interval(found, planted)
        rows.append(
            PlantedRow(
                kind=kind,
                planted=planted,
                found=found,
                recall=recall["value"],
                low=recall["low"],
                high=recall["high"],
                holds=recall["value"] >= STANDS,
            )
        )
    return rows
