"""The members of a search as they are kept: what each was asked to be, and what its training gave."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoforge.models.ga_gan.codes import digest, parse
from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.training.search.early_stopping import Bars
from sonoforge.training.search.evolution import WORST, Fitness, Member, Tried
from sonoforge.training.trials.training import DIVERGED, Reports

STATE = "search.json"
STAGES = ("generator", "discriminator")
"""The networks in the order in which they are searched, each in a stage of its own."""


@dataclasses.dataclass(frozen=True)
class Child:
    """A member, and its training as far as that is known."""

    member: Member
    bars: Bars  # which its training has to clear
    state: str = ""  # see `trials.training.Result`; empty: not ended yet
    reports: Reports = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)  # of `Result`, `parameters` and `latency_ms`

    @property
    def ended(self) -> bool:
        """Whether its training is over."""
        return bool(self.state)

    @property
    def fitness(self) -> Fitness | None:
        """Further measurements first, then the lowest metric; None as long as it is not known."""
        if not self.ended:
            return None
        if self.state == DIVERGED or not self.reports:
            return WORST
        number, value = self.reports[-1]
        return (-number, value)

    def tried(self, known: bool = True) -> Tried:
        """Return what evolution sees of it."""
        return Tried(self.member, self.fitness if known else None)


def child_folder(run: Path, stage: str, member: Member) -> Path:
    """Return where a child is kept in the run folder."""
    return run / stage / f"child-{member.number:04d}-{digest(member.code)}"


def write_children(run: Path, stages: Mapping[str, Sequence[Child]]) -> None:
    """Write ``search.json``, in one piece."""
    write_json(run / STATE, {stage: [_record(child) for child in children] for stage, children in stages.items()})


def read_children(run: Path) -> dict[str, list[Child]]:
    """Read ``search.json``; nothing where the search has not begun.

    Raises:
        SonoforgeError: It is damaged.
    """
    path = run / STATE
    if not path.is_file():
        return {stage: [] for stage in STAGES}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {stage: [_child(stage, record) for record in kept[stage]] for stage in STAGES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SonoforgeError(
            f"{path}: found no readable state of a search ({reason(error)}); leave out --resume to start again"
        ) from error


def _record(child: Child) -> dict[str, Any]:
    member = child.member
    return {
        "number": member.number,
        "code": str(member.code),
        "parent": member.parent,
        "heir_of": member.heir_of,
        "bars": {"rungs": {str(number): value for number, value in child.bars.rungs.items()}, "end": child.bars.end},
        "state": child.state,
        "reports": [list(report) for report in child.reports],
        "details": child.details,
    }


def _child(stage: str, record: dict[str, Any]) -> Child:
    member = Member(record["number"], parse(record["code"], stage), record["parent"], record["heir_of"])
    rungs = {int(number): float(value) for number, value in record["bars"]["rungs"].items()}
    reports = tuple((int(number), float(value)) for number, value in record["reports"])
    return Child(member, Bars(rungs, record["bars"]["end"]), record["state"], reports, record["details"])
