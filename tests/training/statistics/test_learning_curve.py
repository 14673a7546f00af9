"""The learning curve, and how many real images the generated ones are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sonoforge.training.statistics import learning_curve
from sonoforge.training.statistics.learning_curve import (
    LARGEST_RATIO,
    Lines,
    fit_lines,
    learning_curves,
    real_ratio,
    split_share,
)
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.tables import evaluate

SHARES = (0.25, 0.5, 0.75, 1.0)


def test_exact_power_laws_give_their_exponent_and_ratio() -> None:
    images = 700 * np.array(SHARES)[:, None]
    lines = fit_lines(images[:, 0], 3 * images**-0.4, 3 * (1.3 * images) ** -0.4)
    assert lines.slope[0] == pytest.approx(0.4, rel=1e-12)
    again = Lines(np.repeat(lines.slope, 50), np.repeat(lines.offset, 50))
    ratio = real_ratio(again)
    assert ratio["value"] == pytest.approx(1.3, rel=1e-12)
    assert ratio["low"] == ratio["high"] == ratio["value"]


def test_the_lines_are_those_of_ordinary_least_squares() -> None:
    rng = np.random.default_rng(0)
    images, errors = np.array([50.0, 90.0, 200.0]), rng.uniform(0.05, 0.4, (2, 3, 20))
    lines = fit_lines(images, *errors)
    design = np.zeros((6, 3))
    design[:, 0], design[3:, 1], design[:, 2] = 1, 1, -np.tile(np.log(images), 2)
    solved = np.linalg.lstsq(design, np.log(errors).reshape(6, 20), rcond=None)[0]
    np.testing.assert_allclose(lines.offset, solved[1], atol=1e-12)
    np.testing.assert_allclose(lines.slope, solved[2], atol=1e-12)


@pytest.mark.parametrize("correlation", [-0.5, 0.7])
def test_the_interval_is_fieller_s_where_both_estimates_are_normal(correlation: float) -> None:
    """Fieller's theorem in closed form: the k for which (d + b log k)^2 <= z^2 times its variance."""
    mean, deviation = np.array([-0.1, 0.4]), np.array([0.05, 0.08])  # of offset and slope
    covariance = np.outer(deviation, deviation) * np.array([[1, correlation], [correlation, 1]])
    drawn = np.random.default_rng(1).multivariate_normal(mean, covariance, 8000)
    ratio = real_ratio(Lines(np.concatenate([mean[1:], drawn[:, 1]]), np.concatenate([mean[:1], drawn[:, 0]])))
    z2 = stats.norm.ppf(0.975) ** 2
    squared = [mean[1] ** 2, 2 * mean[0] * mean[1], mean[0] ** 2]
    variance = [covariance[1, 1], 2 * covariance[0, 1], covariance[0, 0]]
    low, high = np.exp(np.sort(np.roots(np.array(squared) - z2 * np.array(variance))))
    assert ratio["value"] == pytest.approx(math.exp(0.25))
    assert (ratio["low"], ratio["high"]) == (pytest.approx(low, rel=0.05), pytest.approx(high, rel=0.05))


def test_where_more_real_images_do_not_help_there_is_no_worth_and_no_end() -> None:
    rng = np.random.default_rng(2)
    flat = real_ratio(Lines(np.concatenate([[-0.01], rng.normal(0, 0.1, 999)]), rng.normal(0, 0.05, 1000)))
    assert math.isnan(flat["value"]) and (flat["low"], flat["high"]) == (0.0, math.inf)
    worse = real_ratio(Lines(rng.normal(-0.02, 0.05, 1000), np.full(1000, 0.5)))
    assert math.isnan(worse["value"]) and worse["low"] < 1, "an arm that does worse is worth no real image"
    beyond = real_ratio(Lines(np.full(100, 0.1), np.full(100, -0.1 * math.log(2 * LARGEST_RATIO))))
    assert math.isnan(beyond["value"]) and (beyond["low"], beyond["high"]) == (0.0, math.inf)


def answers(rng: np.random.Generator, errors: dict[str, float], groups: np.ndarray) -> list[Predictions]:
    """Answers to two classes with these true error rates; images of a group are hard together, for all arms alike."""
    labels = groups % 2
    hard = np.sqrt(0.4) * rng.normal(size=groups.max() + 1)[groups] + np.sqrt(0.3) * rng.normal(size=len(groups))
    parts = []
    for arm, error in errors.items():
        latent = stats.norm.cdf(hard + np.sqrt(0.3) * rng.normal(size=len(groups)))
        sure = np.where(latent < error, latent / error / 2, 0.5 + (latent - error) / (1 - error) / 2)
        probabilities = np.empty((len(groups), 2))
        probabilities[np.arange(len(groups)), labels] = sure
        probabilities[np.arange(len(groups)), 1 - labels] = 1 - sure
        files = tuple(f"{i}.png" for i in range(len(groups)))
        parts.append(Predictions(arm, "sealed", 0, files, groups, groups % 5, labels, probabilities))
    return parts


def curves_of(rng: np.random.Generator, ratio: float, groups: np.ndarray, exponent: float = 0.5) -> list[Predictions]:
    errors = {f"real@{s:g}": 0.15 * s**-exponent for s in reversed(SHARES)}
    errors |= {f"gan@{s:g}": 0.15 * (ratio * s) ** -exponent for s in reversed(SHARES)}
    return answers(rng, {name.removesuffix("@1"): error for name, error in errors.items()}, groups)


def test_the_interval_holds_the_true_worth_in_about_95_of_100_data_sets() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(120), rng.integers(1, 4, 120))
    held = []
    for _ in range(40):
        (row,) = learning_curve._describe("accuracy", curves_of(rng, 1.5, groups), "real", [*SHARES])["worth"]
        held.append(row["ratio"]["low"] <= 1.5 <= row["ratio"]["high"])
    assert np.mean(held) >= 0.85, "binomial: 3 in 1000 by chance if it is 0.95"


def test_the_curve_is_that_of_the_answers_and_the_worth_that_of_its_ratio() -> None:
    parts = curves_of(np.random.default_rng(4), 1.0, np.arange(3000))
    curve = learning_curve._describe("accuracy", parts, "real", [*SHARES])
    assert (curve["baseline"], curve["images"]) == ("real", 2400.0)  # five folds
    assert [point["images"] for point in curve["points"]["real"]] == [600, 1200, 1800, 2400]
    assert curve["exponent"]["low"] < 0.5 < curve["exponent"]["high"]
    (row,) = curve["worth"]
    for end in ("value", "low", "high"):
        assert row["images"][end] == pytest.approx(2400 * (row["ratio"][end] - 1))  # type: ignore[literal-required]
    assert row["images"]["low"] < 0 < row["images"]["high"]
    last = curve["extrapolated"][-1]
    assert last["images"] == 4800 and last["error"]["low"] < 0.15 * 2**-0.5 < last["error"]["high"]


def test_arms_are_compared_with_as_many_real_images_each() -> None:
    parts = curves_of(np.random.default_rng(6), 1.0, np.arange(60))
    evaluation = evaluate([part for part in parts if split_share(part.arm)[1] != 0.75], ("a", "b"))
    pairs = [(row["first"], row["second"]) for row in evaluation["comparisons"]]
    assert pairs == [("real", "gan"), ("real@0.5", "gan@0.5"), ("real@0.25", "gan@0.25")]
    assert [own["figure"] for own in evaluation["learning_curves"]] == ["accuracy", "macro_auc"]


def test_two_shares_make_no_curve() -> None:
    parts = curves_of(np.random.default_rng(5), 1.0, np.arange(40))
    assert learning_curves([part for part in parts if split_share(part.arm)[1] >= 0.75]) == []
