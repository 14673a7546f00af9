"""Say how to take an answer: one state, its heading and what to do about it, in the same words everywhere.

The terminal, the page of ``classify --html``, the picture of an answer, the DICOM report and the app all use these
words; the app's are in ``mobile/www/words/en.json``, with the other languages beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.images.quality_metrics import flag_in_words
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.notice import TRAINED_THIS


class Verdict(NamedTuple):
    """How to take an answer."""

    state: str  # row of `STATES`
    heading: str  # the answer in a few words, such as ``Undecided: benign or malignant``
    advice: str  # what to do, in one or two sentences


_WORDS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
ADVICE: dict[str, str] = _WORDS["advice"]
"""What to do if an answer must not be used, by cause; the first cause that applies counts."""
STATES = {name: Verdict(name, **words) for name, words in _WORDS["states"].items()}
"""In the order in which a person should look at them; ``{classes}`` stands for those that cannot be ruled out."""

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
    _, words, advice = STATES[state]
    heading = words.format(classes=" or ".join(left))
    return Verdict(state, heading[0].upper() + heading[1:], blocking[0] if state == "do not use" else advice)


def verdict_of(entry: Mapping[str, Any]) -> Verdict:
    """Return how to take the answer in an entry of ``sonoforge classify --json``."""
    if not entry["ok"]:
        return STATES["no answer"]._replace(advice=str(entry["error"]["message"]))
    return judge(bool(entry["abstained"]), entry["trust"]["causes"], entry["set"], len(entry["probabilities"]))


def notes_on(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield further notes on an answer, each with a title of a word or two."""
    from sonoforge.runtime.images import repeats  # noqa: PLC0415 - numpy, which --help does not wait for

    trust = entry["trust"]
    if entry["trained_on"]:
        yield "Careful", TRAINED_THIS
    if entry["abstained"] and not trust["causes"]:
        yield "Why", entry["abstained"]
    if trust["reasons"]:
        yield f"Trust {trust['score']:.2f} of 1", "; ".join(trust["reasons"])
    flags = map(flag_in_words, entry["quality"]["flags"])
    if faults := [words for words in flags if words not in " ".join(trust["reasons"])]:
        yield "Image quality", ", ".join(faults)
    if entry["marks"]["summary"]:
        yield "Burned-in marks", entry["marks"]["summary"]
    if entry["crop"] and entry["crop"]["kept"] < 1:
        yield "Cropped to", entry["crop"]["reason"]
    for remark in entry["remarks"]:
        yield "As read", remark
    if "clip" in entry:
        clip, motion = entry["clip"], entry["clip"]["motion"]
        about = f"{clip['distinct']} distinct of {clip['frames']} frames, the best is {clip['best_frame']}"
        if motion["per_frame"] is not None:
            about += f"; moves by {motion['per_frame']:.1f} {motion['unit']}"
        yield "Clip", ". ".join([about, *motion["advice"]])
    for sentence in repeats.in_words(entry):
        yield "Repeated", sentence
