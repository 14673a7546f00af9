"""Errors of flagged scans, and the risk-coverage curve, against plain counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sonoforge.training.statistics.calibration import (
    TARGETS,
    area_under_risk,
    beyond,
    cuts,
    describe_flags,
    error_ratio,
    risks,
)
from sonoforge.training.statistics.predictions import Predictions

COUNT = 400


def answers(sure: float) -> tuple[Predictions, np.ndarray]:
    """Two classes, a fifth answered wrongly with the probability ``sure``, the others with 0.9; and which are wrong."""
    rng = np.random.default_rng(4)
    labels, wrong = rng.integers(0, 2, COUNT), rng.random(COUNT) < 0.2
    said = np.where(wrong, 1 - labels, labels)
    probability = np.where(wrong, sure, rng.uniform(0.88, 0.92, COUNT))
    probabilities = np.where(said[:, None] == [0, 1], probability[:, None], 1 - probability[:, None])
    part = Predictions(
        arm="real", protocol="sealed", seed=0, files=tuple(map(str, range(COUNT))), groups=np.arange(COUNT) // 2,
        folds=np.arange(COUNT) % 5, labels=labels, probabilities=probabilities,
    )  # fmt: skip
    return part, wrong


def test_counts_and_rates_are_those_of_the_flagged_and_of_the_others() -> None:
    part, wrong = answers(0.6)
    flag = np.random.default_rng(5).random(COUNT) < 0.3
    rows = {
        row["flag"]: row for row in describe_flags(part, 0.1, {}, {"odd": flag, "no": flag & ~flag, "all": flag | 1})
    }
    assert list(rows) == ["several classes left", "odd"]
    odd = rows["odd"]
    assert odd["images"] == flag.sum()
    assert odd["errors"]["value"] == pytest.approx(wrong[flag].mean())
    assert odd["errors_of_others"]["value"] == pytest.approx(wrong[~flag].mean())
    assert odd["ratio"] is not None
    assert odd["ratio"]["value"] == pytest.approx(wrong[flag].mean() / wrong[~flag].mean())
    assert odd["ratio"]["low"] < 1 < odd["ratio"]["high"]  # a flag at random


def test_flags_are_counted_in_each_collection() -> None:
    part, _ = answers(0.6)
    flag = np.arange(COUNT) < 150
    assert "by_collection" not in describe_flags(part, 0.1, {}, {"early": flag})[-1]
    part = dataclasses.replace(part, collections=("first",) * 100 + ("second",) * 300)
    found = describe_flags(part, 0.1, {}, {"early": flag})[-1]["by_collection"]
    assert (found["first"]["value"], found["second"]["value"]) == (1, pytest.approx(50 / 300))
    assert found["second"]["low"] < 50 / 300 < found["second"]["high"]


def test_no_limit_comes_from_the_fold_that_it_judges() -> None:
    folds = np.repeat(np.arange(4), 50)
    values = np.random.default_rng(6).random(200)
    values[folds == 3] += 10
    marked = beyond(values, folds)
    assert marked[folds == 3].all()
    assert not marked[folds < 3].any()
    for fold in range(4):
        limit = np.percentile(values[folds != fold], 80)
        assert (beyond(values, folds, 80)[folds == fold] == (values[folds == fold] > limit)).all()


def test_the_ratio_has_an_interval_by_group_and_none_where_the_others_make_no_error() -> None:
    rng = np.random.default_rng(7)
    flag, groups = rng.random(COUNT) < 0.4, np.arange(COUNT)
    wrong = rng.random(COUNT) < np.where(flag, 0.4, 0.1)
    single = error_ratio(wrong, flag, groups)
    doubled = error_ratio(np.repeat(wrong, 2), np.repeat(flag, 2), np.repeat(groups, 2))
    assert single is not None and doubled is not None
    assert single["low"] > 1.5
    assert doubled["high"] - doubled["low"] == pytest.approx(single["high"] - single["low"], rel=0.25)
    assert error_ratio(flag, flag, groups) is None
    part, wrong = answers(0.6)
    assert describe_flags(part, 0.1, {}, {"wrong": wrong})[1]["ratio"] is None


def test_risk_is_the_share_of_errors_among_those_kept() -> None:
    wrong = np.array([True, False, False, True, False])
    confidence = np.array([0.4, 0.9, 0.8, 0.8, 0.7])
    (risk, weighted), (kept, _), least = risks(wrong, confidence, np.array([[1.0] * 5, [2, 0, 1, 3, 0]]))
    assert kept.tolist() == [1, 3, 4, 5]  # the two of 0.8 are kept together
    assert risk.tolist() == pytest.approx([0, 1 / 3, 1 / 4, 2 / 5])
    assert weighted.tolist() == pytest.approx([np.nan, 3 / 4, 3 / 4, 5 / 6], nan_ok=True)
    assert least.tolist() == [0.9, 0.8, 0.7, 0.4]
    assert area_under_risk(wrong, confidence) == pytest.approx((0 + 2 * 1 / 3 + 1 / 4 + 2 / 5) / 5)


def test_the_cut_keeps_as_many_as_the_target_allows() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.4, 1, 600)
    wrong = rng.uniform(size=600) < (1 - confidence) * 0.8
    found = cuts(wrong, confidence, np.arange(600))
    assert [cut["error"] for cut in found] == list(TARGETS)
    for cut in found:
        kept = confidence >= cut["least_probability"]
        assert wrong[kept].mean() <= cut["error"]
        assert cut["abstained"]["value"] == pytest.approx(1 - kept.mean())
        assert cut["abstained"]["low"] <= cut["abstained"]["value"] <= cut["abstained"]["high"]
        more = [limit for limit in confidence if limit < cut["least_probability"]]
        assert all(wrong[confidence >= limit].mean() > cut["error"] for limit in more)
    assert found[0]["abstained"]["value"] < found[1]["abstained"]["value"] < found[2]["abstained"]["value"]
