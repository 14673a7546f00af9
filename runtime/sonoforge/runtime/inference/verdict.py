"""How an answer is to be taken: one state, its heading and what to do about it, in the same words everywhere.

The terminal, the page of ``classify --html``, the picture of an answer, the report for DICOM and the app say these; the
app's are in ``mobile/www/words/en.json``, in other languages beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sonoforge.runtime.images.quality_metrics import flag_in_words
from sonoforge.runtime.inference.trust import Cause


class Verdict(NamedTuple):
    """How an answer is to be taken.

    Attributes:
        state: Row of `STATES`.
        heading: The answer in a few words, such as ``Undecided: benign or malignant``.
        advice: What to do, in one or two sentences.
    """

    state: str
    heading: str
    advice: str


class State(NamedTuple):
    """What an answer of this state is called, where ``{classes}`` is what it leaves; and what to do about it."""

    heading: str
    advice: str


ADVICE = {
    Cause.OTHER_KIND.value: "This does not look like the kind of image that the network learned from, so the "
    "network’s answer means nothing. Give it the picture as the scanner saved it: no photo of a screen and no other "
    "kind of image.",
    Cause.NOT_ONE_SCAN.value: "The network learned from single grey scans. Give it one, without the colours of Doppler "
    "or elastography and with no second scan beside it.",
    Cause.UNLIKE_TRAINING.value: "This picture is unlike those that the network learned from, so its answer means "
    "nothing here. If it is a photo of a screen, give it the picture that the scanner saved. Otherwise a person must "
    "read it.",
}
"""What to do where an answer must not be used, by its causes: the first is said."""

STATES = {
    "no answer": State("No answer", "The file could not be read."),
    "do not use": State("Do not use this answer", ADVICE[Cause.UNLIKE_TRAINING.value]),
    "uncertain": State(
        "Uncertain: no answer",
        "The network is set to give no answer for a scan like this one. A person must read it.",
    ),
    "cannot tell": State(
        "Cannot tell",
        "No class can be ruled out. Take it as no answer: another view may help, and a person must read this scan.",
    ),
    "undecided": State(
        "Undecided: {classes}",
        "The network cannot decide between these. Take it as no answer: another view may help, and a person must read "
        "this scan.",
    ),
    "poor image": State(
        "{classes}, from a poor image",
        "The picture is worse than those that the network learned from, so do not rely on the answer. Scan again if "
        "you can.",
    ),
    "clear": State(
        "{classes}", "Only this class is left. It is an estimate, not a diagnosis: a person must read the scan."
    ),
}
"""Those to look at first come first."""

UNUSABLE = ("no answer", "do not use", "uncertain")
"""States whose label and probabilities mean nothing."""


def state_of(abstained: bool, causes: Sequence[str], left: Sequence[str], count: int) -> str:
    """Return the state of an answer.

    Args:
        abstained: Whether the classifier gives no label.
        causes: Why not to trust it: phrases of `Cause`.
        left: Classes that cannot be ruled out.
        count: Number of all classes.
    """
    if abstained:
        return "uncertain"
    if not ADVICE.keys().isdisjoint(causes):
        return "do not use"
    if len(left) > 1:
        return "cannot tell" if len(left) == count else "undecided"
    return "poor image" if Cause.POOR_SCAN.value in causes else "clear"


def verdict_of(entry: Mapping[str, Any]) -> Verdict:
    """Return how the answer in an entry of ``sonoforge classify --json`` is to be taken."""
    if not entry["ok"]:
        return Verdict("no answer", STATES["no answer"].heading, str(entry["error"]["message"]))
    return in_words(entry["verdict"], entry["trust"]["causes"], entry["set"])


def faults_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the faults of an entry's image in words, without those that its reasons for distrust say already."""
    said = " ".join(entry["trust"]["reasons"])
    return [words for words in map(flag_in_words, entry["quality"]["flags"]) if words not in said]


def in_words(state: str, causes: Sequence[str], left: Sequence[str]) -> Verdict:
    """Return a state with its words, for causes and classes as of `state_of`."""
    heading, advice = STATES[state]
    if state == "do not use":
        advice = next(said for cause, said in ADVICE.items() if cause in causes)
    return Verdict(state, heading.format(classes=" or ".join(left)), advice)
