"""Which planted copies does neither search notice, and what do unrelated scans score?

    python training/studies/near-duplicates/planted.py BUSI/ BrEaST/ --singles 300 --count 4

Plants ``--count`` copies of each of 41 kinds (those of the package, and those below) among one scan of each group of a
collection, at the files' own size; with ``--augmented N`` instead N copies of mixed kinds of each scan, as in a set
that was augmented before it was handed over; with ``--count 0`` none, for the limits alone.  A copy is noticed if a
search joins it to its original.  Prints as JSON, by collection: the limits of both searches, the first one's own limit
and usual score, copies that it misses, and that neither notices, and pairs without a common scan that either joins.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.training.copies.matches import join_groups
from sonoforge.training.copies.near_duplicates import find_near_duplicates, null_limit, prepare, usual_score
from sonoforge.training.copies.pictures import Picture, fit
from sonoforge.training.copies.planting import KINDS, about_the_middle, plant
from sonoforge.training.copies.second_search import find_repeated
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset

_MAPS = ("JET", "RAINBOW", "TURBO", "HOT", "COOL", "OCEAN", "PINK")
Field = NDArray[np.float32]


def _clip(values: NDArray[np.floating]) -> Picture:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Field:
    field = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), sigma)
    return np.asarray(field / field.std(), np.float32)


def _read_at(picture: Picture, x: NDArray[np.floating], y: NDArray[np.floating]) -> Picture:
    return np.asarray(cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR), np.uint8)


def elastic(picture: Picture, rng: np.random.Generator) -> Picture:
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    side = max(picture.shape)
    across, down = (0.04 * side / 2 * _smooth_noise(picture.shape, side / 8, rng) for _ in range(2))
    return _read_at(picture, x + across, y + down)


def curved_probe(picture: Picture, rng: np.random.Generator) -> Picture:
    """Bend rows into arcs, as a scan converter does for a convex probe with an opening of 44 to 76 degrees."""
    height, width = picture.shape
    opening = np.deg2rad(rng.uniform(44, 76))
    nearest = max(0.15 * height, width / opening - height / 2)  # keeps the width at half depth
    farthest = nearest + height
    top = nearest * np.cos(opening / 2)
    across = int(2 * farthest * np.sin(opening / 2))
    y, x = np.mgrid[: int(farthest - top), :across]
    y, x = y + top, x - across / 2
    return _read_at(picture, (np.arctan2(x, y) / opening + 0.5) * width, np.hypot(x, y) - nearest)


def speckled(picture: Picture, rng: np.random.Generator) -> Picture:
    """Smooth the speckle away and draw it anew, multiplied, with grains of 0.5 % of the side."""
    side = max(picture.shape)
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.008 * side).astype(np.float32)
    grain = np.hypot(*(_smooth_noise(picture.shape, 0.003 * side, rng) for _ in range(2)))  # Rayleigh
    return _clip(smooth * (0.5 + 0.5 * grain / grain.mean()))


def turned_and_zoomed(picture: Picture, rng: np.random.Generator) -> Picture:
    return about_the_middle(picture, float(rng.choice((-8.0, 8.0))), 1.25)


def blurred_and_speckled(picture: Picture, rng: np.random.Generator) -> Picture:
    return speckled(KINDS["blur"](picture, rng), rng)


def solarised(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.where(picture >= rng.choice((64, 96, 128)), 255 - picture, picture)


def coloured(picture: Picture, rng: np.random.Generator) -> Picture:
    colours = cv2.applyColorMap(picture, getattr(cv2, f"COLORMAP_{rng.choice(_MAPS)}"))
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY), np.uint8)


def laplacian(picture: Picture, rng: np.random.Generator) -> Picture:
    return _clip(2.0 * np.abs(cv2.Laplacian(picture, cv2.CV_64F, ksize=3)))


def peppered(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.where(rng.random(picture.shape) < 0.05, rng.choice((0, 255), picture.shape), picture).astype(np.uint8)


def sheared(picture: Picture, rng: np.random.Generator) -> Picture:
    slope = float(rng.choice((-0.15, 0.15)))
    matrix = np.array([[1, slope, -slope * picture.shape[0] / 2], [0, 1, 0]])
    return np.asarray(cv2.warpAffine(picture, matrix, picture.shape[::-1]), np.uint8)


EXTRA = {
    "elastic 4 %": elastic,
    "curved probe": curved_probe,
    "solarised": solarised,
    "colour map": coloured,
    "speckle": speckled,
    "speckle, turned and zoomed": lambda picture, rng: turned_and_zoomed(speckled(picture, rng), rng),
    "blur and speckle": blurred_and_speckled,
    "Laplacian": laplacian,
    "gamma": lambda picture, rng: _clip(255 * (picture / 255) ** float(rng.choice((0.5, 2.0)))),
    "CLAHE": lambda picture, rng: np.asarray(cv2.createCLAHE(4.0, (8, 8)).apply(picture), np.uint8),
    "salt and pepper": peppered,
    "median": lambda picture, rng: np.asarray(cv2.medianBlur(picture, max(3, round(0.015 * max(picture.shape)) | 1))),
    "sheared": sheared,
}
"""Kinds beyond those of the package that need no other scan."""


def set_in(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Show a part of 0.4 to 0.6 of both sides inside another scan."""
    made, share = other.copy(), rng.uniform(0.4, 0.6)
    rows, columns = (int(share * min(pair)) for pair in zip(picture.shape, other.shape, strict=True))
    top, left = (int(rng.integers(side - own + 1)) for side, own in zip(picture.shape, (rows, columns), strict=True))
    y, x = (int(rng.integers(side - own + 1)) for side, own in zip(other.shape, (rows, columns), strict=True))
    made[y : y + rows, x : x + columns] = picture[top : top + rows, left : left + columns]
    return made


def halves(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Fade the left half into the right half of another scan, over a tenth of the width."""
    resized = np.asarray(cv2.resize(other, picture.shape[::-1], interpolation=cv2.INTER_AREA), np.float64)
    right = 1 / (1 + np.exp(-np.linspace(-20, 20, picture.shape[1])))
    return _clip(picture * (1 - right) + resized * right)


def mixed(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Take the mean of two scans."""
    return _clip(0.5 * picture + 0.5 * np.asarray(cv2.resize(other, picture.shape[::-1]), np.float64))


WITH_ANOTHER = {"patch in another scan": set_in, "halves of two scans": halves, "mean of two scans": mixed}
"""Kinds that show a second scan as well."""

NAMES = (*KINDS, *EXTRA, *WITH_ANOTHER)


def make(kind: str, picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    if kind in KINDS:
        return plant(kind, picture, rng)
    return EXTRA[kind](picture, rng) if kind in EXTRA else WITH_ANOTHER[kind](picture, other, rng)


class Planted(NamedTuple):
    """Scans, and copies of them behind."""

    pictures: list[Picture]
    scans: int
    kinds: list[str]  # of each copy
    of: NDArray[np.int64]  # the original of each copy
    other: NDArray[np.int64]  # the second scan that it shows, or the original again


def plant_in(folder: Path, given: argparse.Namespace) -> Planted:
    """Plant copies among scans of a collection."""
    data = open_cache(read_dataset(folder), 64)
    rng = np.random.default_rng(given.seed)
    own = np.unique(data.near_duplicates.groups, return_index=True)[1]
    chosen = rng.permutation(own)[: given.singles].tolist()
    whole = [grey_levels(read_image(folder / data.dataset.items[place].path)) for place in chosen]
    if given.augmented:
        kinds = [kind for _ in whole for kind in rng.choice(NAMES, given.augmented, replace=False).tolist()]
        of = np.repeat(np.arange(len(whole)), given.augmented)
    else:
        kinds = [kind for kind in NAMES for _ in range(given.count)]
        of = np.resize(rng.permutation(len(whole)), len(kinds))
    other = (of + rng.integers(1, len(whole), len(of))) % len(whole)
    copies = [make(kind, whole[a], whole[b], rng) for kind, a, b in zip(kinds, of, other, strict=True)]
    other = np.where(np.isin(kinds, list(WITH_ANOTHER)), other, of)
    return Planted([fit(picture) for picture in (*whole, *copies)], len(whole), kinds, of, other)


def measure(planted: Planted) -> dict[str, object]:
    """Search a set and count what was missed, and pairs that have no scan in common."""
    pictures, scans, kinds, of, other = planted
    first = find_near_duplicates(pictures)
    with threadpool_limits(1, "blas"):
        second = find_repeated(pictures, first.groups)
    again = np.array([(match.first, match.second) for match in second.matches], np.int64).reshape(-1, 2)
    both = join_groups(first.groups.max() + 1, *first.groups[again].T)[first.groups]
    shown = np.stack([np.concatenate((np.arange(scans), source)) for source in (of, other)])

    def false_pairs(one: NDArray[np.int64], two: NDArray[np.int64]) -> list[list[int]]:
        apart = (shown[:, None, one] != shown[None, :, two]).all(axis=(0, 1))
        return np.stack((one, two), axis=1)[apart].tolist()

    def missed(groups: NDArray[np.int64]) -> dict[str, int]:
        return Counter(kind for kind, hit in zip(kinds, groups[scans:] == groups[of], strict=True) if not hit)

    return {
        "scans": scans,
        "copies": len(kinds),
        "limits": [round(first.threshold, 1), round(second.threshold, 2)],
        "own limit": round(null_limit(first.measured, len(pictures)), 1),
        "usual score": round(usual_score(prepare(pictures)), 1),
        "first search misses": missed(first.groups),
        "neither notices": missed(both),
        "false pairs": [false_pairs(first.pairs.first, first.pairs.second), false_pairs(*again.T)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("collections", nargs="+", type=Path)
    parser.add_argument("--singles", type=int, default=300, help="scans of each collection")
    parser.add_argument("--count", type=int, default=4, help="copies of each kind")
    parser.add_argument("--augmented", type=int, default=0, metavar="N", help="copies of each scan, of mixed kinds")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for folder in given.collections:
        print(json.dumps({folder.name: measure(plant_in(folder, given))}), flush=True)


if __name__ == "__main__":
    main()
