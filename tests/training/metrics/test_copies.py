"""The copy test: planted copies are found, fresh real images are not taken for copies, and its statistics are exact."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.metrics.copies import (
    HELD_OUT,
    OTHER_GROUPS,
    copy_test,
    data_copying,
    find_copies,
    nearest_other_group,
    nearest_training,
)
from sonoforge.training.phantom.dataset import generate_phantom_set

Pixels = NDArray[np.uint8]
Set = tuple[Pixels, NDArray[np.int64]]


@pytest.fixture(scope="module")
def phantoms() -> Set:
    images = list(generate_phantom_set(600, seed=3, size=64))
    _, groups = np.unique([image.group for image in images], return_inverse=True)
    return np.stack([image.pixels for image in images])[..., None], groups


@pytest.fixture(scope="module")
def scans(busi: ImageCache) -> Set:
    return np.array(busi.images[..., :1]), busi.duplicates.groups


def _thirds(groups: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    third = np.empty(len(order), np.int64)
    third[order] = np.arange(len(order)) % 3
    return [np.flatnonzero(third[groups] == part) for part in range(3)]


def _brightness(shift: int) -> Callable[[Pixels], Pixels]:
    return lambda images: np.clip(images.astype(int) + shift, 0, 255).astype(np.uint8)


def _jpeg(images: Pixels) -> Pixels:
    copies = []
    for image in images[..., 0]:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=75)
        copies.append(np.asarray(Image.open(stream)))
    return np.stack(copies)[..., None]


def _blurred(images: Pixels) -> Pixels:
    return np.round(ndimage.gaussian_filter(images.astype(float), (0, 1, 1, 0))).astype(np.uint8)


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "exact": lambda images: images,
    "mirrored": lambda images: images[:, :, ::-1],
    "brightness +10": _brightness(10),
    "brightness +40": _brightness(40),
    "brightness -10": _brightness(-10),
    "brightness -40": _brightness(-40),
    "brighter, mirrored": lambda images: _brightness(25)(images[:, :, ::-1]),
    "JPEG": _jpeg,
    "blurred": _blurred,
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("source", ["phantoms", "scans"])
def test_planted_copies_are_found(source: str, kind: str, request: pytest.FixtureRequest) -> None:
    images, groups = request.getfixturevalue(source)
    training, held_out, _ = _thirds(groups, 0)
    planted = COPIES[kind](images[training])
    test, nearest = find_copies(planted, images[training], groups[training], (images[held_out], groups[held_out]))
    assert test.calibration == HELD_OUT
    assert test.share.value >= 0.99
    assert test.memorised >= 0.98
    assert test.p_value < 1e-9
    assert test.data_copying < -10
    # To the very image, but for its own near-duplicates, and known to be mirrored.
    own = groups[training][nearest.training_index] == groups[training]
    assert own.mean() >= 0.99
    assert nearest.mirrored[own].mean() == pytest.approx(float("mirrored" in kind), abs=0.01)
    without_held_out, _ = find_copies(planted, images[training], groups[training])
    assert without_held_out.calibration == OTHER_GROUPS
    assert without_held_out.share.value >= 0.99


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("source", ["phantoms", "scans"])
def test_fresh_real_images_are_no_copies(source: str, held_out: bool, request: pytest.FixtureRequest) -> None:
    images, groups = request.getfixturevalue(source)
    shares, copying, surprises = [], [], 0
    for seed in range(8):
        training, other, fresh = _thirds(groups, seed)
        calibration = (images[other], groups[other]) if held_out else None
        test, _ = find_copies(images[fresh], images[training], groups[training], calibration)
        shares.append(test.share.value)
        copying.append(test.data_copying)
        surprises += test.p_value < 0.01
    assert np.mean(shares) <= 0.03
    assert np.mean(np.array(shares) <= 0.05) >= 0.8
    assert abs(np.mean(copying)) < 1.5
    assert surprises <= 1


def test_half_memorised_is_measured_as_half(phantoms: Set) -> None:
    images, groups = phantoms
    training, other, fresh = _thirds(groups, 1)
    mixed = np.concatenate([images[training[:100]], images[fresh[:100]]])
    test, _ = find_copies(mixed, images[training], groups[training], (images[other], groups[other]))
    assert test.share.low < 0.5 < test.share.high
    assert test.memorised == pytest.approx(0.5, abs=0.03)
    assert (test.copies, test.generated, test.training) == (round(200 * test.share.value), 200, len(training))


def test_nearest_agrees_with_a_slow_search_pair_by_pair() -> None:
    images = np.stack([draw_scan(seed, 64) for seed in range(7)])[..., None]
    training = np.concatenate([images[3:], images[:1, :, ::-1]])

    def detail(image: Pixels) -> NDArray[np.float64]:
        small = image[..., 0].astype(float).reshape(32, 2, 32, 2).mean((1, 3))
        return small - ndimage.gaussian_filter(small, 2, mode="nearest")

    found = nearest_training(images, training)
    for number, image in enumerate(images):
        options = [
            (1 - float(np.corrcoef(detail(image).ravel(), detail(other[:, ::step]).ravel())[0, 1]), index, step < 0)
            for index, other in enumerate(training)
            for step in (1, -1)
        ]
        best = min(options)
        assert found.distance[number] == pytest.approx(best[0], abs=1e-5)
        assert (found.training_index[number], found.mirrored[number]) == best[1:]
    others = nearest_other_group(training, np.array([0, 0, 1, 2, 2]))
    for number in range(5):
        allowed = [other for other in range(5) if [0, 0, 1, 2, 2][other] != [0, 0, 1, 2, 2][number]]
        expected = nearest_training(training[number : number + 1], training[allowed])
        assert others.distance[number] == pytest.approx(expected.distance[0], abs=1e-6)
        assert others.training_index[number] == allowed[expected.training_index[0]]


def test_sizes_and_channels_need_not_agree_but_thumbnails_must() -> None:
    scan = draw_scan(0, 128)[None, :, :, None]
    half = scan.reshape(1, 64, 2, 64, 2, 1).mean((2, 4)).round().astype(np.uint8)
    assert nearest_training(scan, np.repeat(half, 3, axis=3)).distance[0] < 0.001
    odd = np.asarray(Image.fromarray(scan[0, :, :, 0]).resize((50, 50), Image.Resampling.BOX))[None, :, :, None]
    assert nearest_training(scan, odd).distance[0] < 0.05
    with pytest.raises(ValueError, match="training vectors"):
        nearest_training(scan, half[:, :16, :16])
    with pytest.raises(ValueError, match=r"expected \(N, S, S, C\)"):
        nearest_training(scan[..., 0], half)


def test_an_image_without_detail_is_no_copy_of_anything() -> None:
    blank = np.full((2, 64, 64, 1), 80, np.uint8)
    scan = draw_scan(0, 64)[None, :, :, None]
    with np.errstate(all="raise"):
        assert nearest_training(blank, np.concatenate([blank, scan])).distance.tolist() == [1.0, 1.0]


def test_threshold_is_the_conformal_quantile_of_groups() -> None:
    # 79 groups of one distance each but the first, of three: rank floor(0.025 * 80) = 2.
    real = np.concatenate([np.arange(79) / 100 + 0.2, [0.9, 0.95]])
    groups = np.concatenate([np.arange(79), [0, 0]])
    generated = np.array([0.0, 0.205, real[1], 0.5])  # as near as the threshold is not below it
    test = copy_test(generated, real, groups, HELD_OUT, training=10)
    assert (test.threshold, test.calibrating, test.level) == (pytest.approx(0.21), 79, pytest.approx(2 / 80))
    assert (test.copies, test.share.value) == (2, 0.5)
    assert test.memorised == pytest.approx((0.5 - 0.025) / 0.975)
    assert (test.share.low, test.share.high) == pytest.approx((0.150, 0.850), abs=1e-3)  # Wilson, 2 of 4


def test_p_value_is_exact_over_the_calibrations() -> None:
    """Real against real, both drawn afresh: how often so many are below the threshold is what the p-value says."""
    rng = np.random.default_rng(0)
    runs = [copy_test(*np.split(rng.random(80), [40]), np.arange(40), HELD_OUT, 10) for _ in range(4000)]
    copies = np.array([run.copies for run in runs])
    p_values = {run.copies: run.p_value for run in runs}
    assert p_values[0] == pytest.approx(1)
    for number in (1, 2, 4):
        assert (copies >= number).mean() == pytest.approx(p_values[number], abs=0.02)
    assert copies.mean() / 40 == pytest.approx(runs[0].level, abs=0.002)
    # With a calibration as good as infinite it is the binomial test.
    many = copy_test(np.linspace(0, 1, 60) ** 2, np.linspace(0, 1, 100_001), np.arange(100_001), HELD_OUT, 10)
    expected = stats.binomtest(many.copies, 60, 0.025, alternative="greater").pvalue
    assert many.p_value == pytest.approx(expected, rel=0.05)


def test_data_copying_is_the_z_score_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(1)
    for shift in (-0.5, 0.0, 0.8):
        generated, real = rng.normal(shift, 1, 60), rng.normal(0, 1, 45)
        farther = (generated[:, None] > real[None]).sum()
        expected = (farther - 60 * 45 / 2) / np.sqrt(60 * 45 * 106 / 12)
        assert data_copying(generated, real) == pytest.approx(expected)
        p_value = stats.mannwhitneyu(generated, real, method="asymptotic", use_continuity=False).pvalue
        assert 2 * stats.norm.sf(abs(data_copying(generated, real))) == pytest.approx(p_value)
    assert data_copying(np.zeros(30), np.ones(30)) < -6 < 6 < data_copying(np.ones(30), np.zeros(30))
    ties = np.repeat([0.1, 0.2], 5)
    assert data_copying(ties, ties) == pytest.approx(0)


def test_too_few_real_images_are_refused_not_guessed() -> None:
    with pytest.raises(
        SonoforgeError, match=r"found 3 generated images and 38 near-duplicate groups .* at least 1 and 39"
    ):
        copy_test(np.zeros(3), np.ones(38), np.arange(38), HELD_OUT, 10)
    assert copy_test(np.zeros(3), np.ones(39), np.arange(39), HELD_OUT, 10).copies == 3
    assert copy_test(np.zeros(3), np.ones(19), np.arange(19), HELD_OUT, 10, alpha=0.05).copies == 3
    with pytest.raises(SonoforgeError, match="found 0 generated images"):
        copy_test(np.zeros(0), np.ones(50), np.arange(50), HELD_OUT, 10)
    images = np.stack([draw_scan(seed, 32) for seed in range(3)])[..., None]
    with pytest.raises(SonoforgeError, match="one near-duplicate group only"):
        nearest_other_group(images, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="found 1 groups both held out and trained on"):
        find_copies(images, images, np.array([0, 1, 2]), (images[:1], np.array([2])))
