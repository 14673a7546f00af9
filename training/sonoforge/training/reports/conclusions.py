"""Put a comparison's conclusions into words: pure functions of its figures, by the rules of `statistics.verdict`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.training.crossval.arms import title_of
from sonoforge.training.reports.words import plain, read_yaml
from sonoforge.training.statistics.decision import ALL_IMAGES
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import ComparisonRow, Record, interval_text, share_text
from sonoforge.training.statistics.verdict import UNKNOWN, Verdict, judge

_WORDS = read_yaml("run-verdicts")


def _filled(key: str, sentences: Sequence[str] | None = None, /, **facts: object) -> Verdict:
    own, facts = _WORDS[key], {**facts, "share_text": share_text, "interval_text": interval_text}
    said = sentences or [plain(text, facts) for text in own["sentences"]]
    return Verdict(plain(own["level"], facts), plain(own["headline"], facts), tuple(filter(None, said)))


def judge_guessing(figures: Mapping[str, Any]) -> Verdict | None:
    """Say that a classifier is not shown to be better than guessing; None if it is, or if it was not computed."""
    found = figures.get("guessing")
    return None if found is None or found["better"] else _filled("guessing", figures=figures, found=found)


def judge_coverage(decision: Mapping[str, Record], alpha: float) -> Verdict | None:
    """Say which classes prediction sets hold less often than promised, beyond chance; None if there are none.

    Args:
        decision: Figures by collection, see `decision.measure_decision`.
        alpha: Error rate promised for each class.
    """
    each = [
        _filled("coverage", name=name, where=where, covered=covered, alpha=alpha, all_images=ALL_IMAGES)
        for where, figures in decision.items()
        for name, covered in figures["coverage"].items()
        if covered["high"] < 1 - alpha
    ]
    return each[0]._replace(sentences=tuple(own.sentences[0] for own in each)) if each else None


def judge_weights(source: str) -> Verdict | None:
    """Say that initial weights may have seen the test images; None if they are known not to."""
    return _filled("weights", source=source) if UNKNOWN in source else None


def protocol_name(protocol: str, weights: str) -> str:
    """Return a protocol's name for readers: nothing is sealed from weights that may have seen the test images."""
    return "grouped" if protocol == "sealed" and UNKNOWN in weights else protocol


def doubts_about(results: Mapping[str, Any]) -> list[str]:
    """Return what speaks against a comparison's figures: `judge_weights`, and for each arm `judge_guessing`."""
    found = {"": judge_weights(results.get("weights", ""))}
    found |= {f"{title_of(name)}: ": judge_guessing(own) for name, own in results.get("arms", {}).items()}
    return [f"{title}{verdict}" for title, verdict in found.items() if verdict]


def doubts(evaluation: Mapping[str, Any], alpha: float, weights: str) -> dict[str, Verdict]:
    """Return the doubts about a classifier from `judge_weights`, `judge_guessing` and `judge_coverage`, by question.

    ``evaluation`` is of its model record or its bundle's manifest.
    """
    found = {
        "Were the weights trained on other images?": judge_weights(weights),
        "Is the classifier of any use?": judge_guessing(evaluation),
        "Do prediction sets hold what they promise?": judge_coverage(evaluation["decision"], alpha),
    }
    return {question: verdict for question, verdict in found.items() if verdict is not None}


def judge_gan(
    comparison: ComparisonRow, placebo: ComparisonRow | None, arms: Mapping[str, Record], leaks: str
) -> Verdict:
    """Answer "do generated images help?" only from the paired interval and the sign-flip test.

    ``comparison`` is oriented ``gan - baseline``, ``placebo`` is oriented ``gan - duplicates`` (None: that arm was not
    run). ``leaks`` says what training read of its test images, and what follows; empty if it read none.
    """
    outcome, added = judge(comparison), arms[comparison["second"]]["generated_per_fold"]
    if not sum(added):
        return _filled("nothing")
    if outcome == "better":
        beaten = placebo is not None and judge(placebo) == "better"
        outcome = "leaked" if leaks else "alone" if placebo is None else "better" if beaten else "copies"
    facts = _facts(comparison, arms)
    keys = (_WORDS["grounds"], _WORDS["added"], _WORDS[outcome]["because"], _WORDS["power"])
    said = [plain(text, {**facts, "added": added, "leaks": leaks, "placebo": placebo}) for text in keys]
    return _filled(outcome, said)


def judge_arm(comparison: ComparisonRow, arms: Mapping[str, Record]) -> Verdict:
    """Say whether one arm differs from the baseline, for runs that do not ask about a GAN."""
    facts = _facts(comparison, arms)
    return _filled("arm", [plain(_WORDS[key], facts) for key in ("grounds", "power")], **facts)


def in_plain_words(comparison: ComparisonRow, arms: Mapping[str, Record]) -> str:
    """Say a comparison of two arms without statistics."""
    return plain(_WORDS["plain"], _facts(comparison, arms))


def _facts(row: ComparisonRow, arms: Mapping[str, Record]) -> dict[str, object]:
    first, second = arms[row["first"]], arms[row["second"]]
    change, test = row["accuracy_difference"], row["sign_flip_test"]
    return {
        **{"row": row, "test": test, "first": first, "second": second, "outcome": judge(row)},
        "images": first["images"],
        "right": [round(own["accuracy"]["value"] * own["images"]) for own in (first, second)],
        "excludes_zero": change["low"] > 0 or change["high"] < 0,
        "significant": test["p_value"] < LEVEL,
        "difference": _difference,
    }


def _difference(row: ComparisonRow) -> str:
    return plain(_WORDS["difference"], {"change": row["accuracy_difference"], "test": row["sign_flip_test"]})
