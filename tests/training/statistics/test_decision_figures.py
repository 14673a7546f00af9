"""What a bundle decides by, against closed forms and plain recounts, and the shipped bundle's against kept answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.adaptation import at_shares
from sonoforge.training.crossval.final_model import prediction_sets
from sonoforge.training.reports.conclusions import judge_coverage, judge_guessing
from sonoforge.training.statistics import calibration, decision
from sonoforge.training.statistics.calibration import conformal_thresholds, expected_calibration_error, own_answers
from sonoforge.training.statistics.predictions import Predictions, read_predictions
from sonoforge.training.statistics.tables import ALPHA, describe_arm

ANSWERS = Path(__file__).parents[3] / "training" / "studies" / "other-scanners" / "answers" / "left-out.csv.gz"


def answers(labels: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> Predictions:
    count = len(labels)
    return Predictions("real", "sealed", 0, tuple(map(str, range(count))), np.arange(count), folds, labels,
                       probabilities)  # fmt: skip


def two_gaussians(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the exact posterior of N(-1, 1) and N(1, 1) where the second class has this share."""
    labels = (rng.uniform(size=count) < share).astype(np.int64)
    x = rng.normal(2.0 * labels - 1, 1)
    odds = np.exp(2 * x) * share / (1 - share)
    return labels, np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)


def test_reference_shares_are_those_of_the_training_and_never_next_to_nothing() -> None:
    labels = np.repeat([0, 1, 2], [100, 200, 100])
    assert decision.reference_shares(labels, np.ones(3)).tolist() == [0.25, 0.5, 0.25]
    assert decision.reference_shares(labels, np.array([2.0, 1, 2])) == pytest.approx(np.full(3, 1 / 3))
    rare = decision.reference_shares(np.repeat([1, 2], [1, 1]), np.ones(3))
    assert rare == pytest.approx(np.array([0.05, 0.5, 0.5]) / 1.05)


def test_bayes_rule_leads_from_one_mixture_to_another() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = two_gaussians(rng, 40_000, 0.9)
    here, there = np.array([0.1, 0.9]), np.array([0.7, 0.3])
    # The posterior in the other mixture in closed form, from the same x.
    odds = probabilities[:, 1] / probabilities[:, 0] * (0.1 / 0.9) * (0.3 / 0.7)
    moved = at_shares(probabilities, there / here)
    assert moved[:, 1] == pytest.approx(odds / (1 + odds))
    labels, probabilities = two_gaussians(rng, 40_000, 0.3)
    wrong_shares = at_shares(probabilities, here / there)
    assert expected_calibration_error(labels, wrong_shares) > 0.1
    assert expected_calibration_error(labels, at_shares(wrong_shares, there / here)) < 0.01


def test_set_thresholds_of_one_collection_are_conformal_and_of_two_weigh_their_images() -> None:
    rng = np.random.default_rng(2)
    labels, equal = two_gaussians(rng, 300, 0.5)
    assert decision.set_thresholds(labels, equal, (), 0.1) == pytest.approx(conformal_thresholds(labels, equal, 0.1))
    assert decision.set_thresholds(labels, equal, ["A"] * 300, 0.1) == pytest.approx(
        conformal_thresholds(labels, equal, 0.1)
    )
    weights = decision.collection_weights(["A"] * 400 + ["B"] * 50, np.ones(450, bool))
    assert weights[:400].sum() == pytest.approx(100 / 150)
    assert weights[400:].sum() == pytest.approx(50 / 150)


@pytest.mark.parametrize("aim", decision.AIMS)
def test_a_threshold_is_the_largest_that_reaches_its_aim(aim: float) -> None:
    rng = np.random.default_rng(3)
    scores, weights = rng.integers(0, 30, 200) / 30, rng.uniform(0.1, 2, 200)
    reaching = [own for own in set(scores.tolist()) if weights[scores >= own].sum() / weights.sum() >= aim]
    assert decision.threshold_for(aim, scores, weights) == max(reaching)


def test_each_fold_is_divided_by_the_class_shares_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "fit_temperature", lambda labels, probabilities: 1.0)
    labels, folds = np.array([0, 0, 0, 1, 0, 1, 1, 1]), np.repeat([0, 1], 4)
    equal = own_answers(decision.equal_by_fold(answers(labels, np.full((8, 2), 0.5), folds), np.ones(2)))
    # Fold 0 is answered with the shares 1/4 and 3/4 of fold 1, and the other way round.
    assert equal[:4] == pytest.approx(np.tile([0.75, 0.25], (4, 1)))
    assert equal[4:] == pytest.approx(np.tile([0.25, 0.75], (4, 1)))


def test_a_collection_whose_labels_are_shuffled_keeps_its_sets_and_calls() -> None:
    """Nothing that decides about a collection that was left out may have read it."""
    (part,), classes = read_predictions(ANSWERS)
    own = np.array(part.collections) == "BUS-BRA"
    labels = part.labels.copy()
    labels[own] = np.random.default_rng(0).permutation(labels[own])
    before, after = (
        decision.measure_decision(one, classes, decision.equal_by_fold(one, np.ones(3)), ALPHA)
        for one in (part, dataclasses.replace(part, labels=labels))
    )
    for name in ("mean_set_size", "single_class", "called"):
        assert before["BUS-BRA"][name] == after["BUS-BRA"][name]
        assert before["BUSI"][name] != after["BUSI"][name]
    assert before["BUS-BRA"]["coverage"] != after["BUS-BRA"]["coverage"]


def test_the_shipped_bundle_follows_from_the_kept_answers() -> None:
    (part,), classes = read_predictions(ANSWERS)
    manifest, even = open_bundle().manifest.raw, np.ones(len(classes))
    by_fold = decision.equal_by_fold(part, even)
    equal, measured = decision.equal_in_bundle(part, even), decision.measure_decision(part, classes, by_fold, ALPHA)
    found = {
        "measured": measured,
        "decision": decision.fit_decision(part, classes, even, by_fold),
        "conformal": prediction_sets(part, equal, measured, classes),
        "policy": decision.choose_abstention(part, equal)._asdict(),
        "guessing": describe_arm(part, classes)["guessing"],
    }
    policy = manifest["trust"]["checks"]["policy"]
    kept = {
        "measured": manifest["evaluation"]["decision"],
        "decision": manifest["decision"],
        "conformal": manifest["conformal"],
        "policy": {name: policy[name] for name in ("error", "least_probability")},
        "guessing": manifest["evaluation"]["guessing"],
    }
    assert flat(kept) == pytest.approx(flat(found), abs=1e-9)
    verdict = judge_coverage(measured, ALPHA)
    assert verdict is not None
    low = [(where, name) for where, own in measured.items() for name, c in own["coverage"].items() if c["high"] < 0.9]
    assert ("BrEaST", "benign") in low
    assert [all(word in said for word in pair) for said, pair in zip(verdict.sentences, low, strict=True)]
    assert judge_coverage({"BUSI": measured["BUSI"]}, 0.9) is None


def flat(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {key: own for k, v in value.items() for key, own in flat(v, f"{name}.{k}").items()}
    if isinstance(value, list):
        return {key: own for k, v in enumerate(value) for key, own in flat(v, f"{name}.{k}").items()}
    return {name: value}


def test_who_guesses_is_told_so_and_who_knows_is_not() -> None:
    rng = np.random.default_rng(4)
    labels, probabilities = two_gaussians(rng, 300, 0.5)
    folds = np.arange(300) % 5
    assert judge_guessing(describe_arm(answers(labels, probabilities, folds), ("a", "b"))) is None
    verdict = judge_guessing(describe_arm(answers(rng.permutation(labels), probabilities, folds), ("a", "b")))
    assert verdict is not None
    # Always the most frequent class: right often, and knows nothing.
    constant = np.tile([0.8, 0.2], (300, 1))
    assert judge_guessing(describe_arm(answers((np.arange(300) % 7 == 0).astype(int), constant, folds), ("a", "b")))
