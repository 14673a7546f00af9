"""Class shares estimated without labels: known mixtures, what classify offers, and that it applies nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime.inference.prevalence import LEAST_SCANS, SharesSeen, estimate_shares, likeliest_shares


def two_gaussians(shares: tuple[float, float], count: int, seed: int) -> NDArray[np.float64]:
    """Probabilities (N, 2) of equally frequent classes, N(0, 1) and N(2, 1): by the densities themselves."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(2, size=count, p=shares)
    x = rng.normal(2.0 * labels, 1)
    odds = np.exp(2 * x - 2)  # of N(2, 1) to N(0, 1) at x
    return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_the_shares_of_two_gaussians_are_found(share: float) -> None:
    equal = two_gaussians((1 - share, share), 20_000, seed=1)
    found = likeliest_shares(equal, np.ones((1, len(equal))))[0]
    assert found == pytest.approx([1 - share, share], abs=0.01)


def test_the_interval_holds_the_true_share_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(40):
        found = estimate_shares(two_gaussians((0.7, 0.3), 150, seed), range(150))
        inside += found[1].low <= 0.3 <= found[1].high
    assert inside >= 34  # 95 % of 40 are 38; fewer than 34 in one of 1000 such runs


def test_the_likelihood_is_highest_at_the_estimate() -> None:
    equal = np.random.default_rng(2).dirichlet((0.4, 0.7, 1), size=300)
    found = likeliest_shares(equal, np.ones((1, 300)))[0]
    rng = np.random.default_rng(3)
    best = np.log(equal @ found).sum()
    assert all(np.log(equal @ rng.dirichlet(50 * found + 0.5)).sum() <= best + 1e-3 for _ in range(200))


def test_scans_of_one_patient_make_the_interval_wider() -> None:
    once = two_gaussians((0.6, 0.4), 60, seed=4)
    five = np.repeat(once, 5, axis=0)
    apart = estimate_shares(five, range(300))[1]
    together = estimate_shares(five, np.repeat(np.arange(60), 5).tolist())[1]
    assert together.share == pytest.approx(apart.share)
    assert together.high - together.low > 1.7 * (apart.high - apart.low)


def test_the_clinic_that_was_answered_for_does_not_matter() -> None:
    equal = np.random.default_rng(5).dirichlet((1, 1, 1), size=LEAST_SCANS)
    found = []
    for prevalence in (
        {"normal": 1 / 3, "benign": 1 / 3, "malignant": 1 / 3},
        {"normal": 0.8, "benign": 0.15, "malignant": 0.05},
    ):
        seen = SharesSeen(prevalence)
        here = equal * list(prevalence.values())
        for i, row in enumerate(here / here.sum(axis=1, keepdims=True)):
            probabilities = dict(zip(prevalence, row.tolist(), strict=True))
            seen.add(
                {"ok": True, "file": f"{i}", "probabilities": probabilities, "copy_of": None, "seems_copy_of": None}
            )
        found.append(seen.estimate())
    assert found[0] and found[1]
    assert [one["share"] for one in found[0]["shares"].values()] == pytest.approx(
        [one["share"] for one in found[1]["shares"].values()]
    )


def test_classify_offers_shares_that_prevalence_takes_and_applies_none(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "bundle")
    scans = tmp_path / "scans"
    scans.mkdir()
    for i in range(LEAST_SCANS):
        Image.fromarray(factory.scan(i)).save(scans / f"{i}.png")
    done = sonoforge("classify", scans, "--bundle", bundle, "--json").json
    estimate = done["summary"]["prevalence_estimate"]
    assert estimate["scans"] == LEAST_SCANS
    assert sum(one["share"] for one in estimate["shares"].values()) == pytest.approx(1)
    assert all(one["low"] <= one["share"] <= one["high"] for one in estimate["shares"].values())
    assert set(done["clinic"]["prevalence"].values()) == {1 / 3}
    text = sonoforge("classify", scans, "--bundle", bundle)
    assert f"--prevalence {estimate['option']}" in text.out
    given = sonoforge("classify", scans, "--bundle", bundle, "--prevalence", estimate["option"], "--json").json
    shares = given["summary"]["prevalence_estimate"]["shares"]
    assert {name: one["share"] for name, one in shares.items()} == pytest.approx(
        {name: one["share"] for name, one in estimate["shares"].items()}
    )
    (scans / "0.png").unlink()
    assert sonoforge("classify", scans, "--bundle", bundle, "--json").json["summary"]["prevalence_estimate"] is None
