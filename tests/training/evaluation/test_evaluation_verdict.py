"""An evaluation's answers follow its figures, by the rules that `verdict` states."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation_results import answered, change, good, planted, row
from sonoforge.training.copies.generated import OTHER_GROUPS
from sonoforge.training.evaluation.verdict import FEW
from sonoforge.training.statistics.wording import share


def answers(results: dict[str, Any]) -> tuple[str, ...]:
    return tuple(verdict["answer"] for verdict in answered(results)["verdicts"].values())


def test_nothing_found_against_a_generator_gives_good_answers_with_their_limits() -> None:
    verdicts = answered(good())["verdicts"]
    assert answers(good()) == ("yes", "yes", "no")
    assert "105 images per set" in verdicts["realistic"]["headline"]
    assert "up to 3.9" in verdicts["copied"]["text"]
    # No sign of copies, of the kinds alone that are found.
    assert "unknown for 1 of 3 kinds" in verdicts["copied"]["headline"]
    assert "holds for exact and crop 10 %" in verdicts["copied"]["text"]
    assert "half (11 of 20)" in verdicts["copied"]["text"]


@pytest.mark.parametrize(
    ("metric", "figures", "expected"),
    [
        ("kid", {"matched": 0.03, "matched_low": 0.02, "matched_high": 0.04}, ("no", "yes", "no")),
        ("kid", {"matched": 0.003, "matched_low": 0.001, "matched_high": 0.005}, ("partly", "yes", "no")),
        ("kid", {"matched": -0.01, "matched_low": -0.02, "matched_high": -0.005}, ("yes", "yes", "no")),
        ("recall", {"matched": 0.3, "matched_low": 0.2, "matched_high": 0.4}, ("yes", "partly", "no")),
        ("recall", {"matched": 0.99, "matched_low": 0.98, "matched_high": 1.0}, ("yes", "yes", "no")),
        ("ms_ssim", {"matched": 0.4, "matched_low": 0.35, "matched_high": 0.45}, ("yes", "partly", "no")),
        ("ms_ssim", {"matched": 0.1, "matched_low": 0.05, "matched_high": 0.12}, ("yes", "yes", "no")),
        ("lpips_pairs", {"matched": 4, "matched_low": 3, "matched_high": 5}, ("yes", "partly", "no")),
        ("lpips_pairs", {"matched": 8, "matched_low": 7, "matched_high": 9}, ("yes", "yes", "no")),
        ("copies", {"p_value": 0.001, "share": 0.08}, ("yes", "yes", "yes")),
        ("copies", {"data_copying_z": -4.0}, ("yes", "yes", "partly")),
        ("copies", {"calibration": OTHER_GROUPS, "data_copying_z": -2.0}, ("yes", "yes", "no")),
        ("copies", {"data_copying_z": None}, ("yes", "yes", "no")),
        ("copies", {"images": 49}, ("yes", "yes", "unknown")),
        ("copies", {"memorised": 0.004, "p_value": 0.3}, ("yes", "yes", "partly")),
        ("copies", {"recall": [planted("exact", 18)]}, ("yes", "yes", "unknown")),
        ("copies", {"recall": [planted("exact", 18)], "p_value": 0.001}, ("yes", "yes", "yes")),
    ],
)
def test_each_answer_follows_its_own_figures(metric: str, figures: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert answers(change(good(), metric, **figures)) == expected


def test_recall_and_coverage_both_below_real_images_is_a_no() -> None:
    results = change(good(), "recall", matched=0.3, matched_low=0.2, matched_high=0.4)
    results = change(results, "coverage", matched=0.5, matched_low=0.4, matched_high=0.6)
    results["metrics"][1]["ratio"], results["metrics"][2]["ratio"] = 0.64 / 0.3, 0.87 / 0.5
    verdict = answered(results)["verdicts"]["diverse"]
    assert verdict["answer"] == "no" and verdict["value"] == share(0.3, 0)


def test_few_images_can_convict_but_not_acquit() -> None:
    few = {**good(), "n": FEW - 1}
    assert answers(few) == ("unknown", "unknown", "no")
    bad = change(few, "kid", matched=0.03, matched_low=0.02, matched_high=0.04)
    assert answers(bad) == ("no", "unknown", "no")


def test_two_feature_spaces_that_disagree_give_a_partly() -> None:
    results = good()
    far = change(results, "kid", matched=0.03, matched_low=0.02, matched_high=0.04, ratio=14.3)["metrics"][0]
    results["metrics"].append({**far, "space": "inception"})
    verdict = answered(results)["verdicts"]["realistic"]
    assert verdict["answer"] == "partly" and "inception" in verdict["figure"] and verdict["value"] == "14.3 times"


def test_a_recall_of_nothing_is_the_worst_of_all() -> None:
    results = good()
    results["metrics"].append(row("recall", "high", "diverse", (0.0, 0.0, 0.0), (0.7, 0.6, 0.8)))
    verdict = answered(results)["verdicts"]["diverse"]
    assert verdict["value"] == share(0, 0) and verdict["answer"] == "partly"
