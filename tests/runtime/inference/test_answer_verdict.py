"""How an answer is to be taken, and that the terminal, the page and the app say it in the same words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.inference.verdict import ADVICE, STATES, Verdict, state_of, verdict_of

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
        (False, [Cause.NOT_ONE_SCAN, Cause.POOR_SCAN], ALL, "do not use", "Do not use this answer"),
        (True, [Cause.UNLIKE_TRAINING], ALL[:1], "uncertain", "Uncertain: no answer"),
        (True, [], ALL[1:], "uncertain", "Uncertain: no answer"),
    ],
)
def test_how_an_answer_is_to_be_taken(
    abstained: bool, causes: list[Cause], left: tuple[str, ...], state: str, heading: str
) -> None:
    phrases = [cause.value for cause in causes]
    assert state_of(abstained, phrases, left, len(ALL)) == state
    found = verdict_of({"ok": True, "verdict": state, "trust": {"causes": phrases}, "set": [*left]})
    assert (found.state, found.heading) == (state, heading)


def test_of_two_classes_both_left_is_to_tell_neither() -> None:
    assert state_of(False, [], ("cyst", "tumour"), 2) == "cannot tell"


def test_the_first_cause_says_what_to_do() -> None:
    entry = {"ok": True, "verdict": "do not use", "set": ["normal"]}
    for causes in (["another kind of image", "unlike the training scans"], ["unlike the training scans", "poor scan"]):
        assert verdict_of({**entry, "trust": {"causes": causes}}).advice == ADVICE[causes[0]]


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
