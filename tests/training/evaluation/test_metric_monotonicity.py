"""Each metric moves with what it is meant to see, in order of strength, and stays where it is known to be blind.

Phantoms, one picture of each, are split into two halves: A is real, and B, damaged in one way at growing strength,
stands for generated images.  The features are those of the shipped bundle, and pixels.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from corners import corners
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd
from sonoforge.training.evaluation.spaces import Space, embed_cached, open_space
from sonoforge.training.phantom.dataset import generate_phantom_set

Pixels = NDArray[np.uint8]
Damage = Callable[[Pixels, float], Pixels]
IMAGES = 75  # a side


class Halves(NamedTuple):
    """Two sets of as many phantoms, none in both, each (75, 64, 64, 1)."""

    real: Pixels
    other: Pixels


@pytest.fixture(scope="module")
def halves() -> Halves:
    first_frames = {image.group: image.pixels for image in reversed(list(generate_phantom_set(400, 0, size=64)))}
    pixels = np.stack([first_frames[group] for group in sorted(first_frames)])[: 2 * IMAGES, :, :, None]
    assert len(pixels) == 2 * IMAGES
    return Halves(pixels[0::2], pixels[1::2])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Space:
    """The shipped bundle, which embeds equal sets once."""
    space, folder = open_space("bundle"), tmp_path_factory.mktemp("features")
    return replace(space, run=lambda images: embed_cached(space, images, folder), batch=IMAGES)


def _one_by_one(images: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    return np.stack([np.asarray(change(Image.fromarray(image[..., 0])))[..., None] for image in images])


def blurred(images: Pixels, radius: float) -> Pixels:
    return _one_by_one(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def noisy(images: Pixels, levels: float) -> Pixels:
    noise = np.random.default_rng(0).normal(size=images.shape)  # the same at each strength
    return np.clip(np.rint(images + levels * noise), 0, 255).astype(np.uint8)


def compressed(images: Pixels, quality: float) -> Pixels:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _one_by_one(images, change)


def flattened(images: Pixels, contrast: float) -> Pixels:
    return np.clip(np.rint(128 + contrast * (images - 128.0)), 0, 255).astype(np.uint8)


DAMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "blur": (blurred, (0.5, 1, 4)),
    "noise": (noisy, (10, 20, 40)),
    "jpeg": (compressed, (50, 25, 5)),
    "contrast": (flattened, (0.8, 0.4, 0.2)),
}


def _series(halves: Halves, name: str) -> list[Pixels]:
    """B undamaged, then at growing strength."""
    damage, strengths = DAMAGES[name]
    return [halves.other, *(damage(halves.other, strength) for strength in strengths)]


def _embedded(halves: Halves, name: str, space: Space) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    return space.embed(halves.real).features, [space.embed(images).features for images in _series(halves, name)]


def _rises(values: list[float]) -> bool:
    return all(after > before for before, after in itertools.pairwise(values))


def _falls(values: list[float]) -> bool:
    return _rises([-value for value in values])


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_shows_in_the_bundle_s_features_in_order_of_strength(halves: Halves, bundle: Space, name: str) -> None:
    real, series = _embedded(halves, name, bundle)
    kid = [kernel_distance(fake, real).value for fake in series]
    fid = [frechet_distance(fake, real) for fake in series]
    precision = [precision_recall(fake, real)[0] for fake in series]
    density = [density_coverage(fake, real)[0] for fake in series]
    assert _rises(kid), kid
    assert _rises(fid), fid
    # Precision counts images: of 75 with a share of 0.9, its binomial deviation is 2.6, so five either way are chance.
    # It is blunter than the distances: the network was taught to see past what scanners differ by.
    assert all(after < before + 5.5 / IMAGES for before, after in itertools.pairwise(precision)), precision
    assert precision[0] > 0.9
    assert precision[-1] < 0.85 * precision[0]
    assert density[-1] < 0.85 * density[0]
    # Real against real is 0 within the error of KID; the strongest damage is beyond it, noise by 3.9 times the error.
    whole = kernel_distance(series[0], real)
    assert abs(whole.value) < 2 * whole.standard_error
    strongest = kernel_distance(series[-1], real)
    assert strongest.value > 3 * strongest.standard_error


@pytest.mark.parametrize("name", corners(("blur", "noise", "jpeg"), "noise"))
def test_damage_to_detail_shows_in_the_pyramid_at_the_finest_level_first(halves: Halves, name: str) -> None:
    levels = [laplacian_swd(images, halves.real) for images in _series(halves, name)]
    means = [float(np.mean(list(level.values()))) for level in levels]
    finest = [level[64] for level in levels]
    # The weakest compression, of quality 50, is within what real images differ by.
    first = 1 if name == "jpeg" else 0
    assert _rises(means[first:]), means
    assert _rises(finest[first:]), finest
    assert means[-1] > 1.5 * means[0]
    assert max(levels[2], key=lambda side: levels[2][side] - levels[0][side]) == 64


def test_pixels_see_contrast_and_noise_and_are_misled_by_blur(halves: Halves) -> None:
    """Why pixels are no space to judge by: blurred images lie nearer to all others, so precision praises them."""
    pixels = open_space("pixels")
    real, contrast = _embedded(halves, "contrast", pixels)
    assert _rises([kernel_distance(fake, real).value for fake in contrast])
    _, noise = _embedded(halves, "noise", pixels)
    assert _rises([frechet_distance(fake, real) for fake in noise])
    assert _falls([precision_recall(fake, real)[0] for fake in noise])
    _, blur = _embedded(halves, "blur", pixels)
    assert _rises([kernel_distance(fake, real).value for fake in blur])
    assert _rises([density_coverage(fake, real)[0] for fake in blur])
    assert frechet_distance(blur[-1], real) < frechet_distance(blur[0], real)


KEPT = (75, 30, 18, 4)


@pytest.fixture(scope="module")
def collapsing(halves: Halves) -> list[Pixels]:
    """As many images as ever, of fewer and fewer phantoms: those that are left are repeated with other noise."""
    rng = np.random.default_rng(1)
    order = rng.permutation(IMAGES)
    found = []
    for kept in KEPT:
        images = halves.other[np.resize(order[:kept], IMAGES)]
        found.append(np.clip(np.rint(images + rng.normal(0, 2, images.shape)), 0, 255).astype(np.uint8))
    return found


@pytest.mark.parametrize("choice", corners(("bundle", "pixels"), "pixels"))
def test_dropped_modes_show_in_recall_and_coverage(
    halves: Halves, bundle: Space, collapsing: list[Pixels], choice: str
) -> None:
    space = bundle if choice == "bundle" else open_space("pixels")
    real = space.embed(halves.real).features
    fakes = [space.embed(images).features for images in collapsing]
    recall = [precision_recall(fake, real)[1] for fake in fakes]
    coverage = [density_coverage(fake, real)[1] for fake in fakes]
    fid = [frechet_distance(fake, real) for fake in fakes]
    # Of 18 phantoms each is there four times: its three neighbours are its own repetitions.
    assert _falls([share for share in recall if share > 0]), recall
    assert recall == sorted(recall, reverse=True), recall
    assert recall[2:] == [0, 0]
    assert _falls(coverage), coverage
    assert _rises(fid), fid  # its covariance sees it, too
    # What is left is no worse: precision must not be read for variety.
    assert precision_recall(fakes[-1], real)[0] >= 0.5 * precision_recall(fakes[0], real)[0]
