"""Say how to take an answer: one state, its heading and what to do about it, in the same words everywhere.

The terminal, the page of ``classify --html``, the picture of an answer, the DICOM report and the app all use these
words; the app's are in ``mobile/www/words/en.json``, with the other languages beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""What to do if an answer must not be used, by cause; the first cause that applies counts."""

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
