"""The verdict claims no more than interval and test allow; numbers print as a reader expects."""

from __future__ import annotations

from typing import Any

import pytest

from sonoforge.training.reports.conclusions import judge_gan
from sonoforge.training.statistics.verdict import gan_comparison, judge
from sonoforge.training.statistics.wording import (
    bracket,
    duration,
    figure,
    listed,
    number,
    p_value,
    points,
    share,
    size,
    times,
    tiny,
)


def comparison(
    first: str, second: str, value: float, low: float, high: float, p: float, smallest: float | None = 0.02
) -> dict[str, Any]:
    interval = {"value": value, "low": low, "high": high}
    test = {"first_only": 10, "second_only": 20, "p_value": p}
    row = {"first": first, "second": second, "accuracy_difference": interval, "macro_auc_difference": interval}
    return row | {"sign_flip_test": test, "minimum_detectable_difference": smallest}


ARMS = {
    name: {"title": f"the {name} arm", "images": 780, "accuracy": {"value": value}, "generated_per_fold": [20, 21]}
    for name, value in (("real", 0.85), ("gan", 0.87), ("duplicates", 0.86))
}


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "level", "words"),
    [
        (0.03, 0.01, 0.05, 0.01, "yes", "Yes, in this run: adding generated images raised accuracy"),
        (-0.03, -0.05, -0.01, 0.01, "no", "No: adding generated images lowered accuracy"),
        (0.01, -0.01, 0.03, 0.4, "open", "Not shown"),
        (-0.01, -0.03, 0.01, 0.4, "open", "Not shown"),
        (0.03, 0.001, 0.05, 0.06, "open", "Not shown"),  # the interval alone is not enough
        (0.03, -0.001, 0.05, 0.04, "open", "Not shown"),  # nor is the test alone
        (-0.03, -0.05, -0.001, 0.05, "open", "Not shown"),
        (0.0, 0.0, 0.0, 1.0, "open", "Not shown"),
        (float("nan"), float("nan"), float("nan"), 1.0, "open", "Not shown"),
    ],
)
def test_the_verdict_follows_interval_and_test(
    value: float, low: float, high: float, p: float, level: str, words: str
) -> None:
    verdict = judge_gan(comparison("real", "gan", value, low, high, p), None, ARMS, "")
    assert verdict.level == level and verdict.headline.startswith(words)
    said = " ".join(verdict.sentences)
    assert f"sign-flip test by group p = {p:.3f}" in said and "differences of about 2.0 points or more" in said
    assert ("The interval includes zero." in said) == (level == "open" and not (low > 0 or high < 0) and p >= 0.05)
    assert ("only where both agree" in said) == ((low > 0 or high < 0) != (p < 0.05))
    assert ("No placebo arm" in said) == (level == "yes")


def test_a_gain_is_not_put_down_to_the_gan_without_beating_the_placebo() -> None:
    gain = comparison("real", "gan", 0.03, 0.01, 0.05, 0.01)
    equal = judge_gan(gain, comparison("duplicates", "gan", 0.01, -0.01, 0.03, 0.5), ARMS, "")
    assert equal.level == "open" and "not shown to come from the generator" in equal.headline
    beaten = judge_gan(gain, comparison("duplicates", "gan", 0.03, 0.01, 0.05, 0.02), ARMS, "")
    assert beaten.level == "yes" and "beat the placebo" in " ".join(beaten.sentences)


def test_a_gain_under_the_leaking_protocol_is_no_evidence() -> None:
    verdict = judge_gan(comparison("real", "gan", 0.03, 0.01, 0.05, 0.01), None, ARMS, "Near-duplicates leaked.")
    assert verdict.level == "open" and "no evidence of benefit" in verdict.headline
    assert "Near-duplicates leaked." in verdict.sentences


def test_nothing_is_judged_where_no_image_was_added() -> None:
    for row in (comparison("real", "gan", 0.03, 0.01, 0.05, 0.01), comparison("real", "gan", 0.0, 0.0, 0.0, 1.0)):
        arms = ARMS | {"gan": ARMS["gan"] | {"generated_per_fold": [0, 0, 0]}}
        verdict = judge_gan(row, None, arms, "")
        assert verdict.level == "open" and verdict.headline.startswith("Nothing to judge")
        assert not verdict.sentences


def test_how_many_images_were_added_is_said() -> None:
    def said(added: list[int]) -> str:
        arms = ARMS | {"gan": ARMS["gan"] | {"generated_per_fold": added}}
        return " ".join(judge_gan(comparison("real", "gan", 0.0, 0.0, 0.0, 1.0), None, arms, "").sentences)

    assert "20 generated images were added to each training fold." in said([20, 20])
    assert "0 to 2 generated images were added to each training fold. To 2 of 3 folds, none was added." in said(
        [0, 2, 0]
    )


def test_a_missing_minimum_detectable_difference_is_said_not_invented() -> None:
    for nothing in (None, float("nan")):
        verdict = judge_gan(comparison("real", "gan", 0.0, 0.0, 0.0, 1.0, nothing), None, ARMS, "")
        assert "cannot be computed: too few groups of images tell the arms apart" in verdict.sentences[-1]
    same = comparison("real", "gan", 0.0, 0.0, 0.0, 1.0, float("nan"))
    same["sign_flip_test"] |= {"first_only": 0, "second_only": 0}
    said = " ".join(judge_gan(same, None, ARMS, "").sentences)
    assert "Both classified exactly the same images correctly" in said and "alone" not in said
    assert "cannot be computed: both arms classified exactly the same images correctly" in said
    assert "nan" not in said and "n/a" not in said


def test_the_comparison_is_turned_round_where_the_gan_is_the_baseline() -> None:
    row = gan_comparison([comparison("gan", "real", -0.03, -0.05, -0.01, 0.01)])
    assert row is not None and (row["first"], row["second"]) == ("real", "gan")
    assert row["accuracy_difference"] == {"value": 0.03, "low": 0.01, "high": 0.05}
    assert (row["sign_flip_test"]["first_only"], row["sign_flip_test"]["second_only"]) == (20, 10)
    assert judge(row) == "better"
    assert gan_comparison([comparison("real", "duplicates", 0, 0, 0, 1)]) is None
    assert gan_comparison([comparison("duplicates", "gan", 0, 0, 0, 1)]) is None


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (share(0.8564), "85.6\u00a0%"),
        (share(None), "n/a"),
        (share(float("nan")), "n/a"),
        (points(-0.0132), "−1.3"),
        (points(0.0132), "+1.3"),
        (points(0.0132, sign=""), "1.3"),
        (number(-0.5, 2), "−0.50"),
        (number(float("inf")), "n/a"),
        (tiny(2.44e-6), "2.4e−06"),
        (tiny(0.0), "0"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0496), "= 0.050"),
        (duration(4.24), "4.2\u00a0s"),
        (duration(59.96), "1\u00a0min 00\u00a0s"),
        (duration(185), "3\u00a0min 05\u00a0s"),
        (duration(7620), "2\u00a0h 07\u00a0min"),
        (size(999), "999\u00a0B"),
        (size(999_960), "1.0\u00a0MB"),
        (bracket("1", "2"), "[1,\u00a02]"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a", "b", "c"], 2), "a, b and 1 more"),
    ],
)
def test_numbers_print_as_a_reader_expects(printed: str, expected: str) -> None:
    assert printed == expected


def test_figures_have_three_significant_digits() -> None:
    found = [figure(value) for value in (0.031249, 58.123, 1234.4, 100.0, -0.0011, 0.0, None, float("nan"))]
    assert found == ["0.0312", "58.1", "1234", "100", "\u22120.00110", "0", "n/a", "n/a"]
    assert [times(value) for value in (0.523, 5.68, 143.2, None)] == ["0.52", "5.7", "143", "n/a"]
