"""The items of the checklists, and what a run answers to them.

Items are put in our own words, one a line of ``*.csv``; read the checklists themselves at their sources.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

AUTHORS = "To be filled in by the authors"
ANSWERED, PARTLY, OPEN = "answered by the run", "partly answered", "open"


class Item(NamedTuple):
    """What a checklist asks for, in our words, and which `answers` belong to it."""

    section: str
    number: str  # as the checklist counts; empty where it does not
    asks: str
    topics: tuple[str, ...] = ()
    left: str = ""  # what no run can know; empty where its answers are complete


class Answer(NamedTuple):
    """What a run says on one topic."""

    text: str
    where: str  # file, and place in it


class Filled(NamedTuple):
    """An item with its answer."""

    item: Item
    status: str  # `ANSWERED`, `PARTLY` or `OPEN`
    text: str
    left: str  # what the authors must still write; empty if nothing
    where: str


class Checklist(NamedTuple):
    """A checklist and its source."""

    name: str
    anchor: str
    source: str
    items: tuple[Item, ...]


def _read(name: str, anchor: str, source: str) -> Checklist:
    with (Path(__file__).parent / f"{anchor}.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row | {"topics": tuple(row["topics"].split())} for row in csv.DictReader(stream)]
    return Checklist(name, anchor, source, tuple(Item(**row) for row in rows))


TRIPOD_AI = _read("TRIPOD+AI", "tripod-ai", "Collins et al., BMJ 385 (2024) e078378")
"""Reporting of clinical prediction models: 27 items with sub-items."""
CLAIM = _read(
    "CLAIM",
    "claim",
    "Mongan et al., Radiology: Artificial Intelligence 2 (2020) e200029, numbers of that edition; update: "
    "Tejani et al., 6 (2024) e240300",
)
"""Artificial intelligence in medical imaging; what the update adds follows without numbers, as it counts anew."""
DATASHEET = _read("Data sheet", "data-sheet", "Gebru et al., Communications of the ACM 64 (12), 2021, 86-92")
CHECKLISTS = (TRIPOD_AI, CLAIM, DATASHEET)


def fill(items: Sequence[Item], answers: Mapping[str, Answer]) -> list[Filled]:
    """Answer each item from the topics that a run has; what it lacks stays open."""
    filled = []
    for item in items:
        found = [answers[topic] for topic in item.topics if topic in answers]
        missing = len(found) < len(item.topics) or not item.topics
        left = item.left or ("this run does not record it" if missing else "")
        status = OPEN if not found else PARTLY if left else ANSWERED
        where = "; ".join(dict.fromkeys(place for answer in found for place in answer.where.split("; ")))
        filled.append(Filled(item, status, " ".join(answer.text for answer in found), left, where))
    return filled
