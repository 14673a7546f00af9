"""Say how to take an answer: one state, its heading and what to do about it, in the same words everywhere.

The terminal, the page of ``classify --html``, the picture of an answer, the DICOM report and the app all use these
words; the app's are in ``mobile/www/words/en.json``, with the other languages beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.images.quality_metrics import flag_in_words
from sonoforge.runtime.inference.trust import Cause


class Verdict(NamedTuple):
    """How to take an answer."""

    state: str  # row of `STATES`
    heading: str  # the answer in a few words, such as ``Undecided: benign or malignant``
    advice: str  # what to do, in one or two sentences


class State(NamedTuple):
    """The words of a state; ``{classes}`` in the heading stands for the classes that cannot be ruled out."""

    heading: str
    advice: str


_WORDS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
ADVICE: dict[str, str] = _WORDS["advice"]
"""What to do if an answer must not be used, by cause; the first cause that applies counts."""
STATES = {name: State(**words) for name, words in _WORDS["states"].items()}
"""In the order in which a person should look at them."""

UNUSABLE = ("no answer", "do not use", "uncertain")
"""States that make label and probabilities meaningless."""


def judge(abstained: bool, causes: Sequence[str], left: Sequence[str], count: int) -> Verdict:
    """Return how to take an answer, given the classes ``left`` and causes not to trust it, see `Cause`."""
    blocking = [ADVICE[cause] for cause in ADVICE if cause in causes]
    if abstained:
        state = "uncertain"
    elif blocking:
        state = "do not use"
    elif len(left) > 1:
        state = "cannot tell" if len(left) == count else "undecided"
    else:
        state = "poor image" if Cause.POOR_SCAN.value in causes else "clear"
    heading, advice = STATES[state]
    return Verdict(state, heading.format(classes=" or ".join(left)), blocking[0] if state == "do not use" else advice)


def verdict_of(entry: Mapping[str, Any]) -> Verdict:
    """Return how to take the answer in an entry of ``sonoforge classify --json``."""
    if not entry["ok"]:
        return Verdict("no answer", STATES["no answer"].heading, str(entry["error"]["message"]))
    return judge(bool(entry["abstained"]), entry["trust"]["causes"], entry["set"], len(entry["probabilities"]))


def faults_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the faults of an entry's image in words, except those already among its trust reasons."""
    said = " ".join(entry["trust"]["reasons"])
    return [words for words in map(flag_in_words, entry["quality"]["flags"]) if words not in said]
