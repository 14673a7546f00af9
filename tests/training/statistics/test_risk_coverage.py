"""The risk-coverage curve against its definition, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sonoforge.training.statistics.flagged import TARGETS, area_under_risk, cuts, risks


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


def test_a_network_that_is_never_right_keeps_nothing() -> None:
    found = cuts(np.ones(20, bool), np.linspace(0.5, 1, 20), np.arange(20))
    assert [cut["abstained"]["value"] for cut in found] == [1.0, 1.0, 1.0]


def test_whole_groups_make_wider_intervals() -> None:
    rng = np.random.default_rng(1)
    confidence = np.repeat(rng.uniform(0.4, 1, 100), 6)
    wrong = np.repeat(rng.uniform(size=100) < (1 - np.unique(confidence)[::-1]) * 0.2 + 0.1, 6)
    images = np.arange(600)
    alone, together = (cuts(wrong, confidence, groups)[0]["abstained"] for groups in (images, images // 6))
    assert together["high"] - together["low"] > alone["high"] - alone["low"]
