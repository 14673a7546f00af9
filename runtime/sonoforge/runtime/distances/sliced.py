"""Measure the sliced Wasserstein distance: how far apart two sets are along random directions, on average.

Rabin, Peyre, Delon, Bernot, "Wasserstein Barycenter and Its Application to Texture Mixing", SSVM 2011; here with the
Wasserstein-1 distance and directions of length 1.  `laplacian_swd` applies it to patches on each level of a Laplacian
pyramid: Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs", ICLR 2018, section 5, after Burt, Adelson 1983;
the finest level shows sharpness, speckle and noise, the coarsest (16 to 31) the large structures.  128 patches of 7x7
from each image and level, each channel scaled by its set's mean and deviation, 4 times 128 directions, times 1000.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid_kid import check_pair
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed

_BLOCK_ENTRIES = 8_000_000  # projections held at a time: 64 MB
# Of `laplacian_swd`, from section 5 of the paper and its authors' code.
COARSEST = 16  # no level below this side
PATCH = 7
PATCHES = 128  # of each image and level
REPEATS, DIRECTIONS = 4, 128
SCALE = 1000.0
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16  # Burt, Adelson 1983, with a = 3/8

_IMAGES = 64  # at a time
_ROWS = 16  # of projections, sorted and compared at a time by one thread


def sliced_wasserstein(generated: NDArray[Any], real: NDArray[Any], projections: int = 512, seed: int = 0) -> float:
    """Measure the mean Wasserstein-1 distance between the projections of (N, D) and (M, D) on random unit directions.

    The result is in units of the features, 0 or more.

    Raises:
        SonoforgeError: A set is empty, or a feature is not a finite number.
        ValueError: The sets are not two tables of equal width, or there are no projections.
    """
    x, y = check_pair("sliced Wasserstein", generated, real, minimum=1)
    if projections < 1:
        raise ValueError(f"sliced Wasserstein: {projections} projections are too few; give at least 1")
    rng = np.random.default_rng(derive_seed(seed, "sliced Wasserstein directions"))
    directions = unit_directions(projections, x.shape[1], rng)
    total = 0.0
    step = max(1, _BLOCK_ENTRIES // (len(x) + len(y)))
    for start in range(0, projections, step):
        block = directions[start : start + step]
        total += float(wasserstein_1(block @ x.T, block @ y.T).sum())
    return total / projections


def unit_directions(count: int, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw (count, size) vectors uniformly on the unit sphere."""
    directions = rng.standard_normal((count, size))
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def wasserstein_1(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return the Wasserstein-1 distance (P,) between each row of (P, N) and of (P, M), as sets of N and M numbers.

    In one dimension it is the area between the two quantile functions: for equal counts the mean distance between
    the sorted numbers.  Otherwise both functions are constant between neighbouring levels i / N and j / M.
    """
    n, m = first.shape[1], second.shape[1]
    in_first, in_second, widths = _levels(n, m)
    gaps = np.empty((len(first), len(widths)), np.result_type(first, second))

    def compare(start: int) -> None:
        rows = slice(start, start + _ROWS)
        a, b = np.sort(first[rows], axis=1), np.sort(second[rows], axis=1)
        if n != m:
            a, b = np.take(a, in_first, axis=1), np.take(b, in_second, axis=1)
        np.abs(np.subtract(a, b, out=gaps[rows]), out=gaps[rows])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compare, range(0, len(first), _ROWS)))
    if n == m:
        return np.asarray(gaps.mean(1, dtype=np.float64))
    return np.asarray(gaps @ widths.astype(gaps.dtype), np.float64)


@functools.lru_cache(maxsize=4)
def _levels(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the place in both quantile functions and the width of each piece where both are constant."""
    levels = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in units of 1 / (N M), exact
    return levels[:-1] // m, levels[:-1] // n, np.diff(levels) / (n * m)


def laplacian_swd(generated: NDArray[np.uint8], real: NDArray[np.uint8], seed: int = 0) -> dict[int, float]:
    """Measure the distance of (N, S, S, C) and (M, S, S, C) uint8 on each level; see the top of this file.

    The levels are the side S, halved while it is even and the half is at least 16; the last one also holds everything
    coarser. Return a dict from each level's side to its distance times 1000, finest first.

    Raises:
        ValueError: The images are not square uint8 images with equal sides and numbers of channels.
        SonoforgeError: A set is empty, or the images are too small.
    """
    for name, images in (("generated", generated), ("real", real)):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
            raise ValueError(f"SWD: {name} images are {images.dtype} {images.shape}, not uint8 (N, S, S, C)")
        if not len(images):
            raise SonoforgeError(f"SWD: there are no {name} images")
    if generated.shape[1:] != real.shape[1:]:
        raise ValueError(f"SWD: shapes {generated.shape} and {real.shape} differ in side or channels")
    sides = level_sides(real.shape[1])
    found = {}
    bands = [images.astype(np.float32) for images in (generated, real)]
    for side in sides:
        last = side == sides[-1]
        halves = bands if last else [down(band) for band in bands]
        sets = []
        for name, band, half in zip(("generated", "real"), bands, halves, strict=True):
            rng = np.random.default_rng(derive_seed(seed, f"SWD patches, {name}", side))
            places = rng.integers(0, side - PATCH + 1, (2, len(band), PATCHES))
            sets.append(normalised(patches(band, None if last else half, places)))
        rng = np.random.default_rng(derive_seed(seed, "SWD directions", side))
        means = []
        for _ in range(REPEATS):
            directions = unit_directions(DIRECTIONS, sets[0].shape[1], rng).astype(np.float32)
            means.append(wasserstein_1(directions @ sets[0].T, directions @ sets[1].T).mean())
        found[side] = SCALE * float(np.mean(means))
        bands = halves
    return found


def level_sides(side: int) -> list[int]:
    """Return the levels' sides for images of this side, finest first; refuse images that are too small."""
    if side < COARSEST:
        raise SonoforgeError(f"SWD: images of side {side} are too small; at least {COARSEST} is needed")
    sides = [side]
    while sides[-1] % 2 == 0 and sides[-1] // 2 >= COARSEST:
        sides.append(sides[-1] // 2)
    return sides


def down(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Halve (N, S, S, C), S even: apply the binomial filter and keep every second pixel."""
    starts = range(0, len(images), _IMAGES)
    return np.concatenate([_filtered(images[start : start + _IMAGES])[:, ::2, ::2] for start in starts])


def up(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Double (N, S, S, C): put zeros between the pixels and apply the binomial filter times 4, to keep the mean."""
    count, side, _, channels = images.shape
    spread = np.zeros((count, 2 * side, 2 * side, channels), np.float32)
    spread[:, ::2, ::2] = images
    return 4 * _filtered(spread)


def patches(
    images: NDArray[np.float32], half: NDArray[np.float32] | None, places: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Cut patches (N * P, C, 49) out of one level (N, S, S, C), minus its upsampled ``half`` unless it is the last.

    ``places`` (2, N, P) are the row and column of each patch's first pixel.
    """
    count, _, _, channels = images.shape
    found = np.empty((count, places.shape[2], channels, PATCH, PATCH), np.float32)
    for start in range(0, count, _IMAGES):
        block = slice(start, start + _IMAGES)
        band = images[block] if half is None else images[block] - up(half[block])
        windows = np.lib.stride_tricks.sliding_window_view(band, (PATCH, PATCH), axis=(1, 2))
        rows, columns = places[:, block]
        found[block] = windows[np.arange(len(band))[:, None], rows, columns]
    return found.reshape(-1, channels, PATCH * PATCH)


def normalised(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each channel of (K, C, 49) to mean 0 and deviation 1, or to 0 if constant; flatten to (K, C * 49)."""
    mean = descriptors.mean((0, 2), dtype=np.float64, keepdims=True)
    centred = descriptors - mean.astype(np.float32)
    deviation = np.sqrt(np.square(centred).mean((0, 2), dtype=np.float64, keepdims=True))
    centred /= np.where(deviation > 0, deviation, 1.0).astype(np.float32)
    return np.asarray(centred.reshape(len(centred), -1))


def _filtered(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter the rows and columns of (N, S, S, C), mirrored about the last pixel at the rim."""
    side = images.shape[1]
    padded = np.pad(images, ((0, 0), (2, 2), (0, 0), (0, 0)), mode="reflect")
    images = sum(weight * padded[:, i : i + side] for i, weight in enumerate(BINOMIAL))
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (0, 0)), mode="reflect")
    return np.asarray(sum(weight * padded[:, :, i : i + side] for i, weight in enumerate(BINOMIAL)))
