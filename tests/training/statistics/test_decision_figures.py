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
from sonoforge.training.statistics.results import Record
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


def three_classes(rng: np.random.Generator, count: int, moved: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities of a network that moves the malignant logit of this collection."""
    labels = np.repeat([0, 1, 2], count)
    logits = 2.0 * np.eye(3)[labels] + rng.normal(size=(len(labels), 3))
    logits[:, 2] += moved
    shares = np.exp(logits)
    return labels, shares / shares.sum(axis=1, keepdims=True)


def test_default_shares_are_even_where_no_label_is_better_by_trying_all() -> None:
    rng = np.random.default_rng(5)
    (labels, first), (_, second) = three_classes(rng, 60, 0.0), three_classes(rng, 60, 1.5)
    both, equal = np.tile(labels, 2), np.concatenate([first, second])
    names = ["A"] * 180 + ["B"] * 180
    classes = ("normal", "benign", "malignant")

    def called(shares: np.ndarray) -> list[tuple[float, float, float]]:
        found = (equal * shares).argmax(axis=1)
        sides = [(found[own], both[own]) for own in (np.arange(360) < 180, np.arange(360) >= 180)]
        return [((f[t == 2] == 2).mean(), (f[t == 1] != 2).mean(), (f[t > 0] == 0).mean()) for f, t in sides]

    shares = decision.default_shares(both, equal, classes, names)
    assert shares.sum() == pytest.approx(1)
    worst = min(min(found - 0.85, spared - 0.70) for found, spared, _ in called(shares * [1e-9, 1, 1]))
    tried = (np.array([1e-9, 1, np.exp(-limit)]) for limit in np.linspace(-4, 4, 801))
    assert worst >= max(min(min(f - 0.85, s - 0.70) for f, s, _ in called(one)) for one in tried) - 1e-9
    assert max(calm for *_, calm in called(shares)) == pytest.approx(decision.MISSED, abs=1 / 120)
    assert decision.default_shares(both, equal, ("a", "b", "c"), names).tolist() == [1 / 3] * 3


def test_the_strictest_collection_sets_the_points_of_a_question_about_all_scans() -> None:
    rng = np.random.default_rng(6)
    (labels, first), (_, second) = three_classes(rng, 200, 0.0), three_classes(rng, 200, 0.0)
    second[:, 0] *= 20  # a hospital whose lesions look more normal
    second /= second.sum(axis=1, keepdims=True)
    classes, names = ("normal", "benign", "malignant"), ["A"] * 600 + ["B"] * 600
    found = decision.choose_rules(np.tile(labels, 2), np.concatenate([first, second]), classes, names)
    for question, points in (("lesion", (1 + np.array(decision.AIMS)) / 2), ("malignant", np.array(decision.AIMS))):
        own = next(one for one in found.questions if one.name == question)
        for scans in (first, second):
            score = scans[:, own.positive].sum(axis=1) / scans[:, own.among].sum(axis=1)
            reached = (score[own.positive[labels]][:, None] >= own.thresholds).mean(axis=0)
            if question == "lesion":
                assert (reached >= points - 1e-9).all()
            elif scans is first:
                assert reached == pytest.approx(points, abs=0.03), "the second moves both lesions alike"


def test_each_fold_is_divided_by_the_class_shares_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "fit_temperature", lambda labels, probabilities: 1.0)
    labels, folds = np.array([0, 0, 0, 1, 0, 1, 1, 1]), np.repeat([0, 1], 4)
    equal = own_answers(decision.equal_by_fold(answers(labels, np.full((8, 2), 0.5), folds), np.ones(2)))
    # Fold 0 is answered with the shares 1/4 and 3/4 of fold 1, and the other way round.
    assert equal[:4] == pytest.approx(np.tile([0.75, 0.25], (4, 1)))
    assert equal[4:] == pytest.approx(np.tile([0.25, 0.75], (4, 1)))


def measured(part: Predictions, classes: tuple[str, ...]) -> dict[str, Record]:
    by_fold = decision.equal_by_fold(part, np.ones(len(classes)))
    decided = decision.decide_by_fold(part, classes, by_fold)
    return decision.measure_decision(part, classes, own_answers(by_fold), decided)


def test_a_collection_whose_labels_are_shuffled_keeps_its_sets_and_calls() -> None:
    """Nothing that decides about a collection that was left out may have read it."""
    (part, *_), classes = read_predictions(ANSWERS)  # the shipped network is of seed 0, the first
    own = np.array(part.collections) == "BUS-BRA"
    labels = part.labels.copy()
    labels[own] = np.random.default_rng(0).permutation(labels[own])
    before, after = (measured(one, classes) for one in (part, dataclasses.replace(part, labels=labels)))
    for name in ("mean_set_size", "single_class", "called"):
        assert before["BUS-BRA"][name] == after["BUS-BRA"][name]
        assert before["BUSI"][name] != after["BUSI"][name]
    assert before["BUS-BRA"]["coverage"] != after["BUS-BRA"]["coverage"]


def test_the_shipped_bundle_follows_from_the_kept_answers() -> None:
    (part, *_), classes = read_predictions(ANSWERS)
    manifest, even = open_bundle().manifest.raw, np.ones(len(classes))
    decided = decision.decide_by_fold(part, classes, decision.equal_by_fold(part, even))
    equal = decision.equal_in_bundle(part, even)
    rules = decision.choose_rules(part.labels, equal, classes, part.collections)
    by_collection = measured(part, classes)
    found = {
        "measured": by_collection,
        "decision": decision.record_decision(part, classes, even, rules, decided),
        "conformal": prediction_sets(rules, by_collection, classes),
        "policy": decision.choose_abstention(part, at_shares(equal, rules.prevalence))._asdict(),
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
    flagged, several = decided.sets.sum(axis=1) != 1, manifest["evaluation"]["flags"][0]
    assert (several["flag"], several["images"]) == ("several classes left", flagged.sum())
    assert several["errors"]["value"] == pytest.approx((decided.labels != part.labels)[flagged].mean())
    verdict = judge_coverage(by_collection, ALPHA)
    assert verdict is not None
    low = [
        (where, name) for where, own in by_collection.items() for name, c in own["coverage"].items() if c["high"] < 0.9
    ]
    assert ("BrEaST", "benign") in low
    assert [all(word in said for word in pair) for said, pair in zip(verdict.sentences, low, strict=True)]
    assert judge_coverage({"BUSI": by_collection["BUSI"]}, 0.9) is None


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
