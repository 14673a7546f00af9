"""Put a comparison's conclusions into words: pure functions of its figures, so that no sentence goes beyond them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.training.statistics.decision import ALL_IMAGES
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import ComparisonRow, Interval, Record, interval_text, share_text
from sonoforge.training.statistics.wording import counted, is_number, p_value, points, share, spread, why_not_detectable


@dataclass(frozen=True)
class Verdict:
    """What the run says about one question."""

    level: str  # `yes`, `no` or `open`
    headline: str  # the answer in one line
    sentences: tuple[str, ...]  # its grounds and its limits

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.headline}: {' '.join(self.sentences)}"

    def __str__(self) -> str:
        """Return the same."""
        return self.line


def judge(comparison: ComparisonRow) -> str:
    """Judge a paired comparison: ``better`` or ``worse`` if interval and test agree, else ``undecided``."""
    change, p = comparison["accuracy_difference"], comparison["sign_flip_test"]["p_value"]
    if not (is_number(change["low"]) and is_number(change["high"])):
        return "undecided"
    if change["low"] > 0 and p < LEVEL:
        return "better"
    return "worse" if change["high"] < 0 and p < LEVEL else "undecided"


def judge_guessing(figures: Mapping[str, Any]) -> Verdict | None:
    """Say that a classifier is not shown to be better than guessing; None if it is, or if it was not computed."""
    guessing = figures.get("guessing")
    if guessing is None or guessing["better"]:
        return None
    gain = guessing["gain"]
    return Verdict(
        "no",
        "Not shown to be better than guessing",
        (
            f"Accuracy {share_text(figures['accuracy'])}; calling every image {guessing['label']} would be right for "
            f"{guessing['share']:.1%}, a difference of {points(gain['value'])} points [{points(gain['low'])}, "
            f"{points(gain['high'])}].",
            f"Macro-AUC {interval_text(figures['macro_auc'])}; guessing has 0.5.",
        ),
    )


def judge_coverage(decision: Mapping[str, Record], alpha: float) -> Verdict | None:
    """Say which classes prediction sets hold less often than promised, beyond chance; None if there are none.

    Args:
        decision: Figures by collection, see `decision.measure_decision`.
        alpha: Error rate promised for each class.
    """
    missed = tuple(
        f"The set holds the class of {share_text(covered)} of the {name} images"
        f"{'' if where == ALL_IMAGES else f' of {where}'}."
        for where, figures in decision.items()
        for name, covered in figures["coverage"].items()
        if covered["high"] < 1 - alpha
    )
    return Verdict("no", f"Prediction sets hold less than the {1 - alpha:.0%} promised", missed) if missed else None


UNKNOWN = "of unknown origin"
"""Text in the source of initial weights with unknown training images."""


def judge_weights(source: str) -> Verdict | None:
    """Say that initial weights may have seen the test images; None if they are known not to."""
    if UNKNOWN not in source:
        return None
    known = "known are the ImageNet weights of torchvision and the program's own bundles"
    return Verdict("no", "These weights may have seen the test images", (f"{source}; {known}.",))


def doubts(evaluation: Mapping[str, Any], alpha: float, weights: str) -> list[Verdict]:
    """Return the doubts about a classifier from `judge_weights`, `judge_guessing` and `judge_coverage`.

    ``evaluation`` is of its model record or its bundle's manifest.
    """
    found = (judge_weights(weights), judge_guessing(evaluation), judge_coverage(evaluation["decision"], alpha))
    return [verdict for verdict in found if verdict is not None]


def flipped(comparison: ComparisonRow) -> ComparisonRow:
    """Turn ``second - first`` into ``first - second``."""

    def negative(interval: Interval) -> Interval:
        return Interval(value=-interval["value"], low=-interval["high"], high=-interval["low"])

    test = comparison["sign_flip_test"]
    return {
        **comparison,
        "first": comparison["second"],
        "second": comparison["first"],
        "accuracy_difference": negative(comparison["accuracy_difference"]),
        "macro_auc_difference": negative(comparison["macro_auc_difference"]),
        "sign_flip_test": {**test, "first_only": test["second_only"], "second_only": test["first_only"]},
    }


GAN, PLACEBO = ("gan", "gan-all"), ("duplicates", "duplicates-all")
"""Arms that ask whether generated images help, and arms that add as many copies of real ones."""


def gan_comparison(comparisons: Sequence[ComparisonRow]) -> ComparisonRow | None:
    """Return the comparison of an arm of `GAN` with its baseline, oriented ``gan - baseline``, or None."""
    for row in comparisons:
        if row["second"] in GAN and row["first"] not in PLACEBO:
            return row
    for row in comparisons:
        if row["first"] in GAN and row["second"] not in PLACEBO:
            return flipped(row)
    return None


def judge_gan(
    comparison: ComparisonRow, placebo: ComparisonRow | None, arms: Mapping[str, Record], leaks: str
) -> Verdict:
    """Answer "does the GAN help?" only from the paired interval and the sign-flip test.

    ``comparison`` is oriented ``gan - baseline``, ``placebo`` is oriented ``gan - duplicates`` (None: that arm was not
    run). ``leaks`` says what training read of its test images, and what follows; empty if it read none.
    """
    outcome = judge(comparison)
    baseline, gan = arms[comparison["first"]], arms[comparison["second"]]
    added = gan["generated_per_fold"]
    if not sum(added):
        return Verdict("open", "Nothing to judge: no training fold was given a generated image", ())
    grounds = [_grounds(comparison, baseline, gan), _describe_added(added)]
    if leaks and outcome == "better":
        level, headline = (
            "open",
            "Accuracy rose, but this is no evidence of benefit: test images leaked into training",
        )
        grounds.append(leaks)
    elif outcome == "better" and placebo is not None and judge(placebo) != "better":
        level, headline = "open", "Accuracy rose, but the gain is not shown to come from the generator"
        grounds.append(
            "Simply duplicating real images (the placebo arm) was not shown to do worse than adding generated ones: "
            f"{_difference(placebo)}."
        )
    elif outcome == "better":
        level, headline = "yes", "Yes, in this run: adding generated images raised accuracy"
        if placebo is None:
            grounds.append(
                "No placebo arm (duplicated images) was run, so part of the gain may come from balancing the classes "
                "alone; run with --arms real,gan,duplicates to find out."
            )
        else:
            grounds.append(f"It also beat the placebo arm of duplicated real images: {_difference(placebo)}.")
    elif outcome == "worse":
        level, headline = "no", "No: adding generated images lowered accuracy"
    else:
        level, headline = "open", "Not shown: this run cannot tell whether generated images help"
    grounds.append(_power(comparison, baseline["images"]))
    return Verdict(level, headline, tuple(grounds))


def in_plain_words(comparison: ComparisonRow, arms: Mapping[str, Record]) -> str:
    """Say a comparison of two arms without statistics."""
    first, second = (arms[comparison[end]] for end in ("first", "second"))
    right = [round(own["accuracy"]["value"] * own["images"]) for own in (first, second)]
    meaning = {
        "better": "That is more than chance would explain.",
        "worse": "That is fewer than chance would explain.",
        "undecided": "So small a difference may be chance.",
    }[judge(comparison)]
    return (
        f"Of {counted(first['images'], 'test image')}, {right[0]} were answered rightly after training on "
        f"{first['title']}, and {right[1]} on {second['title']}. {meaning}"
    )


def judge_arm(comparison: ComparisonRow, arms: Mapping[str, Record]) -> Verdict:
    """Say whether one arm differs from the baseline, for runs that do not ask about a GAN."""
    outcome = judge(comparison)
    first, second = arms[comparison["first"]], arms[comparison["second"]]
    level = {"better": "yes", "worse": "no", "undecided": "open"}[outcome]
    said = {"better": "better than", "worse": "worse than", "undecided": "not shown to differ from"}[outcome]
    headline = f"{second['title']}: {said} {first['title']}"
    return Verdict(level, headline, (_grounds(comparison, first, second), _power(comparison, first["images"])))


def _difference(comparison: ComparisonRow) -> str:
    change, p = comparison["accuracy_difference"], comparison["sign_flip_test"]["p_value"]
    return (
        f"{points(change['value'])} points, 95 % interval {points(change['low'])} to {points(change['high'])}, "
        f"sign-flip test by group p {p_value(p)}"
    )


def _grounds(comparison: ComparisonRow, first: Record, second: Record) -> str:
    change, test = comparison["accuracy_difference"], comparison["sign_flip_test"]
    sentence = (
        f"Accuracy: {share(first['accuracy']['value'])} with {first['title']}, {share(second['accuracy']['value'])} "
        f"with {second['title']}; the difference is {_difference(comparison)}. "
    )
    if test["first_only"] + test["second_only"]:
        sentence += (
            f"On {counted(test['first_only'], 'image')} only the first is right, on {test['second_only']} only the "
            "second."
        )
    else:
        sentence += "Both classified exactly the same images correctly."
    excludes_zero = change["low"] > 0 or change["high"] < 0
    significant = test["p_value"] < LEVEL
    if excludes_zero != significant:
        sentence += (
            f" The interval {'excludes' if excludes_zero else 'includes'} zero while the sign-flip test does "
            f"{'' if significant else 'not '}call the difference significant; this report counts a difference as "
            "shown only where both agree."
        )
    elif not excludes_zero:
        sentence += " The interval includes zero."
    return sentence


def _power(comparison: ComparisonRow, images: int) -> str:
    smallest = comparison["minimum_detectable_difference"]
    if not is_number(smallest):
        return (
            "Which differences this comparison can detect cannot be computed: "
            f"{why_not_detectable(comparison)}. A small effect would go unnoticed."
        )
    return (
        f"With {counted(images, 'image')}, this comparison can be expected to detect differences of about "
        f"{points(smallest, sign='')} points or more (80\u00a0% power); a smaller one may exist and go unnoticed."
    )


def _describe_added(added: Sequence[int]) -> str:
    """Say how many generated images joined the training folds."""
    none = sum(count == 0 for count in added)
    said = f"{spread(added)} generated images were added to each training fold."
    return said + (f" To {none} of {len(added)} folds, none was added." if none else "")
