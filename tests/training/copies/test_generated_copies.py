"""The copy test: planted copies are found, fresh images are not taken for copies, and its statistics are exact."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.copies.generated import (
    CALIBRATING,
    HELD_OUT,
    NOTHING,
    OTHER_GROUPS,
    Best,
    calibrating_images,
    copy_test,
    find_copies,
    grey_pictures,
    match_training,
    prepare_sought,
    prepare_training,
)
from sonoforge.training.copies.near_duplicates import LOWEST_LIMIT, Prepared
from sonoforge.training.copies.planting import KINDS, plant_squared

Pixels = NDArray[np.uint8]
COUNT = 40
EACH = 10
"""Planted copies of a kind."""
TRAINING = np.stack([draw_scan(seed, 64) for seed in range(COUNT)])[..., None]
FRESH = np.stack([draw_scan(1000 + seed, 64) for seed in range(COUNT + 20)])[..., None]
GROUPS = np.arange(COUNT)
COPIED = ("exact", "mirrored", "shift 5 %", "crop 10 %", "turn 5 degrees", "letterbox", "half", "quarter")


@pytest.fixture(scope="module")
def wanted() -> Prepared:
    return prepare_training(TRAINING)


@pytest.fixture(scope="module")
def real(wanted: Prepared) -> Best:
    return match_training(wanted.take(np.arange(COUNT)), wanted, (GROUPS, GROUPS))


def test_a_set_of_copies_of_one_kind_is_called_copied(wanted: Prepared, real: Best) -> None:
    rng = np.random.default_rng(0)
    scans = grey_pictures(TRAINING)[:EACH]
    best = match_training(prepare_sought([plant_squared(kind, scan, rng) for kind in COPIED for scan in scans]), wanted)
    for number, kind in enumerate(COPIED):
        own = Best._make(field[EACH * number : EACH * (number + 1)] for field in best)
        test = copy_test(own.score, real.score, GROUPS, OTHER_GROUPS)
        assert test["share"] >= 0.95, kind
        assert test["p_value"] < 1e-9, kind
        # Of the very image, and known to be mirrored.
        found = own.score > test["threshold"]
        assert np.array_equal(own.training_index[found], np.flatnonzero(found)), kind
        assert own.mirrored[found].mean() == float(kind == "mirrored"), kind


def test_a_fresh_set_is_not_copied_and_the_kinds_that_this_holds_for_are_named() -> None:
    found = find_copies(FRESH[:EACH], TRAINING, GROUPS, planted=1)
    assert (found.test["copies"], found.test["calibration"], found.test["threshold"]) == (0, OTHER_GROUPS, LOWEST_LIMIT)
    assert found.test["false_alarm"] == pytest.approx(1 / (COUNT + 1))
    assert found.test["p_value"] == pytest.approx(1)
    assert [row["kind"] for row in found.recall] == [*KINDS]
    assert {"exact", "crop 10 %", "shift 5 %", "turn 5 degrees", "half"} <= {
        row["kind"] for row in found.recall if row["holds"]
    }
    assert all(0 <= row["found"] <= row["planted"] == 1 for row in found.recall)


def test_kinds_that_are_not_found_are_known() -> None:
    """Without detail nothing is found, and the test must say that it cannot say."""
    smooth = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], 16, axis=1)
    images = np.clip(np.repeat(smooth, COUNT, axis=0) * np.linspace(0.3, 1, COUNT)[:, None, None, None], 0, 255)
    found = find_copies(images[:3].astype(np.uint8), images.astype(np.uint8), GROUPS, planted=2)
    assert found.test["copies"] == 0
    assert not any(row["holds"] for row in found.recall)


def test_the_training_images_themselves_are_matched_with_other_groups_only(wanted: Prepared) -> None:
    everything = match_training(wanted.take(np.arange(COUNT)), wanted)
    assert np.array_equal(everything.training_index, GROUPS)
    pairs = GROUPS // 2
    others = match_training(wanted.take(np.arange(COUNT)), wanted, (pairs, pairs))
    found = others.training_index != NOTHING
    assert (pairs[others.training_index[found]] != pairs[found]).all()
    assert others.score.max() < LOWEST_LIMIT < everything.score.min()


def test_of_many_groups_some_set_the_threshold_each_with_all_its_images() -> None:
    groups = np.arange(3000) // 2
    drawn = calibrating_images(groups, seed=0)
    assert len(np.unique(groups[drawn])) == CALIBRATING
    assert np.array_equal(drawn, np.flatnonzero(np.isin(groups, groups[drawn])))
    assert not np.array_equal(drawn, calibrating_images(groups, seed=1))
    assert np.array_equal(calibrating_images(GROUPS, seed=0), np.arange(COUNT))


def test_threshold_is_the_conformal_quantile_of_groups() -> None:
    # 79 groups of one score each but the first, of three: rank floor(0.025 * 80) = 2.
    real = np.concatenate([60.0 - np.arange(79), [3.0, 2.0]])
    groups = np.concatenate([np.arange(79), [0, 0]])
    generated = np.array([90.0, 59.5, 59.0, 30.0])  # as high as the threshold is not above it
    test = copy_test(generated, real, groups, HELD_OUT)
    assert (test["threshold"], test["calibrating"], test["false_alarm"]) == (59.0, 79, pytest.approx(2 / 80))
    assert (test["copies"], test["share"]) == (2, 0.5)
    assert test["memorised"] == pytest.approx((0.5 - 0.025) / 0.975)
    assert (test["low"], test["high"]) == pytest.approx((0.150, 0.850), abs=1e-3)  # Wilson, 2 of 4


def test_where_real_images_hardly_match_the_threshold_is_the_limit_of_the_search() -> None:
    real = np.zeros(99)
    real[:3] = [20.0, 5.0, 1.0]  # the second largest, 5, proves nothing
    test = copy_test(np.array([19.0, 8.5, 7.5, 0.0]), real, np.arange(99), HELD_OUT)
    assert (test["threshold"], test["copies"], test["false_alarm"]) == (LOWEST_LIMIT, 2, pytest.approx(2 / 100))
    # One of 99 real images is above and two of 4 generated ones are: Fisher's exact test.
    assert test["p_value"] == pytest.approx(stats.fisher_exact([[2, 2], [1, 98]], alternative="greater").pvalue)


def test_p_value_is_exact_over_the_calibrations() -> None:
    """Real against real, both drawn afresh: how often so many are above the threshold is what the p-value says."""
    rng = np.random.default_rng(0)
    runs = [copy_test(*np.split(100 + rng.random(80), [40]), np.arange(40), HELD_OUT) for _ in range(2000)]
    copies = np.array([run["copies"] for run in runs])
    p_values = {run["copies"]: run["p_value"] for run in runs}
    assert p_values[0] == pytest.approx(1)
    for number in (1, 2, 4):
        assert (copies >= number).mean() == pytest.approx(p_values[number], abs=0.02)
    assert copies.mean() / 40 == pytest.approx(runs[0]["false_alarm"], abs=0.002)


@pytest.mark.parametrize("rate", [0.002, 0.02, 0.1])
def test_real_images_are_rarely_called_copied_however_often_they_match(rate: float) -> None:
    """At a rate of matches above the limit, also where calibrations stand on both sides of it."""
    rng = np.random.default_rng(1)

    def scores(count: int) -> NDArray[np.float64]:
        return np.where(rng.random(count) < rate, LOWEST_LIMIT + rng.exponential(5, count), 0.0)

    runs = [copy_test(scores(120), scores(150), np.arange(150), HELD_OUT) for _ in range(1000)]
    assert np.mean([run["p_value"] < 0.05 for run in runs]) < 0.06
    assert np.mean([run["share"] for run in runs]) < 0.025


def test_too_few_real_images_are_refused_not_guessed() -> None:
    with pytest.raises(SonoforgeError, match=r"3 generated images and 38 .* needs 39 groups"):
        copy_test(np.full(3, 9.0), np.zeros(38), np.arange(38), HELD_OUT)
    assert copy_test(np.full(3, 9.0), np.zeros(39), np.arange(39), HELD_OUT)["copies"] == 3
    with pytest.raises(SonoforgeError, match="0 generated images"):
        copy_test(np.zeros(0), np.ones(50), np.arange(50), HELD_OUT)
    with pytest.raises(ValueError, match="1 groups"):
        find_copies(TRAINING[:3], TRAINING[:3], np.array([0, 1, 2]), (TRAINING[:1], np.array([2])))
