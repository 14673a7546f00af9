"""The phantom obeys the physics and the statistics of its documentation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage, special, stats
from scipy.spatial import ConvexHull

from sonoforge.training.phantom import dataset as phantom_scanner
from sonoforge.training.phantom import tissue as phantom_tissue

PIXEL_MM = 40 / 256


@pytest.fixture(scope="module")
def speckle() -> np.ndarray:
    """Eight envelopes of a uniform medium, (8, 256, 256)."""
    rng = np.random.default_rng(7)
    spread = phantom_scanner.point_spread((256, 256), 256, frequency=10.0, focus=18.0)
    uniform = np.ones((256, 256), np.float32)
    return np.stack([phantom_scanner.envelope(uniform, None, spread, rng) for _ in range(8)]).astype(float)


@pytest.fixture(scope="module")
def independent(speckle: np.ndarray) -> np.ndarray:
    """Samples of the speckle further apart than it is correlated."""
    intensity = speckle**2
    centred = intensity - intensity.mean()
    for axis, step in ((1, 6), (2, 9)):
        correlation = np.mean(centred * np.roll(centred, step, axis=axis)) / centred.var()
        assert abs(correlation) < 0.03
    return speckle[:, ::6, ::9].ravel()


def test_speckle_has_the_rayleigh_ratio_of_mean_to_deviation(speckle: np.ndarray) -> None:
    # Wagner et al. 1983: sqrt(pi / (4 - pi)) = 1.913.
    assert speckle.mean() / speckle.std() == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), abs=0.02)
    # At every depth, for the point-spread function changes with depth and its power must not.
    by_depth = speckle.reshape(8, 8, 32, 256).transpose(1, 0, 2, 3).reshape(8, -1)
    assert by_depth.mean(axis=1) / by_depth.std(axis=1) == pytest.approx(np.full(8, 1.913), abs=0.08)
    assert (by_depth**2).mean(axis=1) == pytest.approx(np.ones(8), abs=0.06)


def test_speckle_amplitude_follows_rayleighs_law(independent: np.ndarray) -> None:
    scale = math.sqrt(np.mean(independent**2) / 2)
    distance = stats.kstest(independent, stats.rayleigh(scale=scale).cdf).statistic
    assert distance < 1.36 / math.sqrt(independent.size)  # the 5 % point; a fitted scale makes it harder to exceed
    # The test has power: half as much again of a coherent echo (Rice) is refused.
    coherent = np.abs(independent * np.exp(2j * np.pi * np.random.default_rng(0).random(independent.size)) + 0.7)
    scale = math.sqrt(np.mean(coherent**2) / 2)
    assert stats.kstest(coherent, stats.rayleigh(scale=scale).cdf).statistic > 1.63 / math.sqrt(independent.size)


def test_compounding_raises_the_speckle_ratio() -> None:
    rng = np.random.default_rng(1)
    ones = np.ones((256, 256), np.float32)
    ratios = []
    for looks in (1, 2, 3):
        spread = phantom_scanner.point_spread((256, 256), 256, 10.0, 18.0, looks)
        picture = phantom_scanner.envelope(ones, None, spread, rng)
        ratios.append(picture.mean() / picture.std())
    # The bound is sqrt(looks), for looks that share nothing.
    assert 1.2 * ratios[0] < ratios[1] <= 1.05 * math.sqrt(2) * ratios[0]
    assert 1.1 * ratios[1] < ratios[2] <= 1.05 * math.sqrt(3) * ratios[0]


def _lateral_response(depth_mm: float) -> np.ndarray:
    echo, point = np.zeros((256, 256), np.float32), np.zeros((256, 256), np.float32)
    row = round(depth_mm / PIXEL_MM)
    point[row, 128] = 1
    spread = phantom_scanner.point_spread((256, 256), 256, 10.0, 18.0)
    response = phantom_scanner.envelope(echo, point, spread, np.random.default_rng(0))[row]
    return response / response.max()


def test_point_target_in_focus_shows_the_sinc_squared_beam_of_a_uniform_aperture() -> None:
    offset = (np.arange(256) - 128) * PIXEL_MM
    expected = np.sinc(offset / (0.154 * phantom_scanner.F_NUMBER)) ** 2  # 10 MHz: wavelength 0.154 mm
    assert _lateral_response(18.0) == pytest.approx(expected, abs=0.02)


def test_beam_widens_away_from_the_focus() -> None:
    def width(depth_mm: float) -> float:
        # Equivalent width: finer than counting pixels.
        response = _lateral_response(depth_mm)
        return float(response.sum())

    assert width(18) < width(10) < width(4)
    assert width(18) < width(28) < width(38)
    assert width(38) > 1.2 * width(18)


def _uniform_tissue(decibels_per_cm_mhz: float) -> phantom_tissue.Tissue:
    rows, columns, margin = 270, 320, 32
    depth_cm = np.arange(rows)[:, None] * PIXEL_MM / 10
    loss = np.broadcast_to(2 * decibels_per_cm_mhz * depth_cm, (rows, columns)).astype(np.float32)
    ones = np.ones((rows, columns), np.float32)
    return phantom_tissue.Tissue(ones, 0 * ones, loss, ones < 0, margin, 256)


def _slope_db_per_cm(tissue: phantom_tissue.Tissue, scanner: phantom_scanner.Scanner) -> float:
    level, _ = phantom_scanner.scan(tissue, scanner, 0, np.random.default_rng(0))
    profile = level.mean(axis=1)[16:-16]
    return float(np.polyfit(np.arange(profile.size) * PIXEL_MM / 10, profile, 1)[0])


def test_echo_falls_by_twice_the_attenuation_times_frequency() -> None:
    scanner = phantom_scanner.Scanner(frequency=7.5, tgc=0.0)
    assert _slope_db_per_cm(_uniform_tissue(0.5), scanner) == pytest.approx(-2 * 0.5 * 7.5, abs=0.15)


def test_matching_gain_compensation_makes_a_uniform_medium_uniform() -> None:
    scanner = phantom_scanner.Scanner(frequency=7.5, tgc=0.5, tgc_limit=100)
    assert _slope_db_per_cm(_uniform_tissue(0.5), scanner) == pytest.approx(0, abs=0.15)


def test_electronic_noise_is_what_remains_below_the_reach_of_the_echo() -> None:
    level, _ = phantom_scanner.scan(
        _uniform_tissue(5.0), phantom_scanner.Scanner(tgc=0.0, looks=1), 0, np.random.default_rng(0)
    )
    # The mean of 20 log10 of a Rayleigh amplitude lies 10 gamma / ln 10 = 2.51 dB below its mean power.
    assert level[128:].mean() == pytest.approx(phantom_scanner.NOISE_DB - 10 * np.euler_gamma / math.log(10), abs=0.3)


def test_log_compression_maps_the_dynamic_range_to_grey() -> None:
    scanner = phantom_scanner.Scanner(dynamic_range=60, gain=20)
    grey = phantom_scanner.compress(np.array([[-70, -40, -25, -10, 20, 30]], np.float32), scanner)
    assert grey.tolist() == [[0, 0, 63, 127, 255, 255]]


def test_random_field_has_the_variance_and_correlation_asked_for() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([phantom_tissue.random_field((256, 320), (4.0, 9.0), rng) for _ in range(20)]).astype(float)
    assert fields.var() == pytest.approx(1, abs=0.01)
    for axis, length in ((1, 4.0), (2, 9.0)):
        for lag in (3, 8):
            correlation = np.mean(fields * np.roll(fields, lag, axis=axis))
            # White noise smoothed by a Gaussian of deviation s has the correlation exp(-lag^2 / (4 s^2)).
            assert correlation == pytest.approx(math.exp(-(lag**2) / (4 * length**2)), abs=0.04)


def test_tissue_attenuates_like_soft_tissue_and_only_ever_loses() -> None:
    rates = []
    for seed in range(8):
        tissue = phantom_tissue.build_tissue(0, 128, np.random.default_rng(seed))
        assert np.all(np.diff(tissue.loss, axis=0) > 0)
        assert np.isfinite(tissue.echo).all()
        assert (tissue.specular >= 0).all()
        depth_cm = 0.75 * 4
        rates.append(np.median(tissue.loss[96]) / (2 * depth_cm))
    assert 0.45 < np.mean(rates) < 0.75  # dB/cm/MHz


def test_contour_encloses_the_area_asked_for() -> None:
    rng = np.random.default_rng(0)
    for malignant in (False, True):
        contour = phantom_tissue.draw_contour(phantom_tissue.draw_descriptors(malignant, rng), 5.0, rng)
        angle = np.linspace(0, 2 * math.pi, contour.size, endpoint=False)
        x, y = contour * np.cos(angle), contour * np.sin(angle)
        shoelace = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
        assert shoelace == pytest.approx(math.pi * 25, rel=0.01)


def test_a_mask_is_the_exact_support_of_what_the_lesion_replaces() -> None:
    rng = np.random.default_rng(0)
    lesion = phantom_tissue.draw_lesion(False, (20.0, 20.0), rng)
    disc = dataclasses.replace(lesion, contour=np.full(720, 5.0), blur=0.05, halo=0.0, echo=-30.0, calcifications=0)
    canvas = phantom_tissue._Canvas(256, rng)
    canvas.layers()
    before = canvas.echo.copy()
    canvas.mass(disc)
    row, column = np.mgrid[: before.shape[0], : before.shape[1]]
    distance = np.hypot(row * PIXEL_MM - 20, (column - canvas.margin) * PIXEL_MM - 20)
    np.testing.assert_array_equal(canvas.lesion, distance <= 5)
    np.testing.assert_array_equal(canvas.echo[distance > 5], before[distance > 5])
    assert np.all(canvas.echo[distance < 4.9] < before[distance < 4.9] - 5)


def test_a_lesion_changes_its_surroundings_and_nothing_further_away() -> None:
    for seed in range(6):
        # The same seed gives the same tissue; only the lesion is added.
        with_lesion = phantom_tissue.build_tissue(2, 256, np.random.default_rng(seed))
        without = phantom_tissue.build_tissue(0, 256, np.random.default_rng(seed))
        ratio = np.abs(20 * np.log10(with_lesion.echo / without.echo))
        distance_mm = ndimage.distance_transform_edt(~with_lesion.lesion) * PIXEL_MM
        assert np.all(ratio[distance_mm > 6.0] < 1e-3)
        assert not with_lesion.lesion[: int(2.4 / PIXEL_MM)].any()  # the skin is spared
        assert not without.lesion.any()


def _height_to_width(mask: np.ndarray) -> float:
    return float(np.ptp(np.flatnonzero(mask.any(axis=1))) + 1) / (np.ptp(np.flatnonzero(mask.any(axis=0))) + 1)


def _solidity(mask: np.ndarray) -> float:
    row, column = np.nonzero(mask)
    corners = np.concatenate([np.stack([row + a, column + b], 1) for a in (0, 1) for b in (0, 1)])
    return float(mask.sum() / ConvexHull(corners).volume)


def _area_under_curve(low: list[float], high: list[float]) -> float:
    return float(stats.mannwhitneyu(high, low).statistic / (len(low) * len(high)))


def test_masks_show_the_geometry_of_their_class_and_the_classes_overlap() -> None:
    lesions = {
        label: [phantom_tissue.build_tissue(label, 128, np.random.default_rng((label, k))).lesion for k in range(60)]
        for label in (1, 2)
    }
    upright = {label: [_height_to_width(mask) for mask in masks] for label, masks in lesions.items()}
    ragged = {label: [1 - _solidity(mask) for mask in masks] for label, masks in lesions.items()}
    assert np.median(upright[1]) < 0.8 < np.median(upright[2])
    # One descriptor alone tells the classes apart as its separation says, Phi(d' / sqrt(2)) = 0.97, or less.
    assert 0.85 < _area_under_curve(upright[1], upright[2]) < 0.995
    assert 0.85 < _area_under_curve(ragged[1], ragged[2]) < 0.999
    assert max(upright[1]) > np.quantile(upright[2], 0.2)
    assert max(ragged[1]) > np.quantile(ragged[2], 0.1)


def test_what_is_not_a_class_descriptor_does_not_tell_the_class() -> None:
    def area(label: int) -> list[float]:
        return [
            float(phantom_tissue.build_tissue(label, 64, np.random.default_rng((9, label, k))).lesion.sum())
            for k in range(150)
        ]

    assert stats.ks_2samp(area(1), area(2)).pvalue > 0.01


def test_ideal_observer_formula_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    draws = {
        malignant: np.array([phantom_tissue.draw_descriptors(malignant, rng) for _ in range(8000)])
        for malignant in (False, True)
    }
    share = 27 / 83
    # The likelihood ratio in full, from the covariance as documented, not the shortcut of summing.
    covariance = np.full((5, 5), phantom_tissue.COHERENCE) + (1 - phantom_tissue.COHERENCE) * np.eye(5)
    means = {malignant: np.full(5, (malignant - 0.5) * phantom_tissue.SEPARATION) for malignant in (False, True)}
    right = {}
    for malignant, values in draws.items():
        log_ratio = stats.multivariate_normal(means[True], covariance).logpdf(values)
        log_ratio -= stats.multivariate_normal(means[False], covariance).logpdf(values)
        right[malignant] = np.mean((log_ratio > math.log((1 - share) / share)) == malignant)
    simulated = (1 - share) * right[False] + share * right[True]
    # The closed form of the module's documentation.
    distance = phantom_tissue.SEPARATION * math.sqrt(5 / (1 + 4 * phantom_tissue.COHERENCE))
    threshold = math.log((1 - share) / share) / distance
    ends = special.ndtr([distance / 2 + threshold, distance / 2 - threshold])
    assert ends @ (1 - share, share) == pytest.approx(simulated, abs=0.004)
    assert 0.95 < simulated < 0.995
    one = special.ndtr(phantom_tissue.SEPARATION / 2)
    assert np.mean(draws[True][:, 0] > 0) == pytest.approx(one, abs=0.015)


def test_lesions_shadow_or_enhance_what_lies_behind_them() -> None:
    behind: dict[int, list[float]] = {1: [], 2: []}
    for label, contrasts in behind.items():
        for index in range(50):
            rng = np.random.default_rng((4, label, index))
            tissue = phantom_tissue.build_tissue(label, 128, rng)
            level, mask = phantom_scanner.scan(tissue, phantom_scanner.Scanner(tgc_limit=99), 0, rng)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            middle, half = int(columns.mean()), max(2, columns.size // 5)
            below = slice(min(rows[-1] + 4, 110), min(rows[-1] + 16, 126))
            beside = np.r_[max(0, columns[0] - 14) : max(1, columns[0] - 6), columns[-1] + 7 : columns[-1] + 15]
            beside = beside[beside < 128]
            contrasts.append(level[below, middle - half : middle + half].mean() - level[below][:, beside].mean())
    assert np.mean(behind[1]) > 1.0  # enhancement, dB
    assert np.mean(behind[2]) < -3.0  # shadow, dB
    assert 0.7 < _area_under_curve(behind[2], behind[1]) < 0.995
