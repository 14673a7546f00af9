"""How an answer is to be taken, and that the terminal, the page and the app say it in the same words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.inference.verdict import ADVICE, STATES, Verdict, judge, verdict_of

ALL = ("normal", "benign", "malignant")
WORDS = Path(__file__).parents[3] / "mobile" / "www" / "words"


@pytest.mark.parametrize(
    ("abstained", "causes", "left", "state", "heading"),
    [
        (False, [], ALL[:1], "clear", "normal"),
        (False, [Cause.POOR_SCAN], ALL[2:], "poor image", "malignant, from a poor image"),
        (False, [Cause.POOR_SCAN], ALL[1:], "undecided", "Undecided: benign or malignant"),
        (False, [], ALL, "cannot tell", "Cannot tell"),
        (False, [Cause.UNLIKE_TRAINING], ALL[:1], "do not use", "Do not use this answer"),
        (False, [Cause.OTHER_KIND, Cause.UNLIKE_TRAINING], ALL[:1], "do not use", "Do not use this answer"),
        (False, [Cause.NOT_ONE_SCAN, Cause.POOR_SCAN], ALL, "do not use", "Do not use this answer"),
        (True, [Cause.UNLIKE_TRAINING], ALL[:1], "uncertain", "Uncertain: no answer"),
        (True, [], ALL[1:], "uncertain", "Uncertain: no answer"),
    ],
)
def test_how_an_answer_is_to_be_taken(
    abstained: bool, causes: list[Cause], left: tuple[str, ...], state: str, heading: str
) -> None:
    phrases = [cause.value for cause in causes]
    found = judge(abstained, phrases, left, len(ALL))
    assert (found.state, found.heading) == (state, heading)
    assert found.advice == (ADVICE[phrases[0]] if state == "do not use" else STATES[state].advice)
    entry = {"ok": True, "abstained": "why" * abstained, "trust": {"causes": phrases}, "set": [*left]}
    assert verdict_of({**entry, "probabilities": dict.fromkeys(ALL, 1 / 3)}) == found


def test_with_two_classes_both_left_cannot_tell() -> None:
    assert judge(False, [], ("cyst", "tumour"), 2).state == "cannot tell"


def test_a_failure_says_why() -> None:
    failed = {"file": "a.png", "ok": False, "error": {"code": "empty", "message": "a.png: is empty"}}
    assert verdict_of(failed) == Verdict("no answer", "No answer", "a.png: is empty")


def test_every_cause_but_a_poor_scan_has_its_advice() -> None:
    assert ADVICE.keys() == {cause.value for cause in Cause} - {Cause.POOR_SCAN.value}


def test_the_app_says_the_same_in_english_and_all_of_it_in_its_other_languages() -> None:
    words = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in WORDS.glob("*.json")}
    expected = {f"advice {cause}": advice for cause, advice in ADVICE.items()}
    for name, (heading, advice) in STATES.items():
        expected |= {} if name in ("clear", "no answer") else {name: heading}
        expected |= {} if name in ("do not use", "no answer") else {f"{name} advice": advice}
    assert {key: words["en"].get(key) for key in expected} == expected
    for language, said in words.items():
        assert not expected.keys() - said.keys(), language
        for key, english in expected.items():
            assert ("{classes}" in said[key]) == ("{classes}" in english)
