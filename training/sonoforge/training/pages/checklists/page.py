"""``checklists.html`` and ``checklists.md``: every item with its answer, where it stands, and what authors must add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.pages.checklists.answers import answer
from sonoforge.training.pages.checklists.claim import CLAIM
from sonoforge.training.pages.checklists.datasheet import DATASHEET
from sonoforge.training.pages.checklists.item import ANSWERED, AUTHORS, OPEN, PARTLY, Checklist, Filled, fill
from sonoforge.training.pages.checklists.run import FinishedRun
from sonoforge.training.pages.checklists.tripod_ai import TRIPOD_AI
from sonoforge.training.pages.shell import write_page

PAGE, TEXT = "checklists.html", "checklists.md"
CHECKLISTS = (TRIPOD_AI, CLAIM, DATASHEET)
_TITLE = "Reporting checklists"


class FilledChecklist(NamedTuple):
    """A checklist with every item answered or left open."""

    checklist: Checklist
    rows: list[Filled]

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by status."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in (ANSWERED, PARTLY, OPEN)}


def fill_checklists(run: FinishedRun) -> list[FilledChecklist]:
    """Answer every item of every checklist from a run."""
    answers = answer(run)
    return [FilledChecklist(checklist, fill(checklist.items, answers)) for checklist in CHECKLISTS]


def write_checklists(folder: Path, run: FinishedRun, filled: Sequence[FilledChecklist]) -> tuple[Path, Path]:
    """Write both files into a run folder; return the page and the text."""
    write_text(folder / TEXT, as_markdown(run, filled))
    counts = [(one.checklist.name, len(one.rows), one.counts) for one in filled]
    context = {
        "run": run,
        "title": _TITLE,
        "filled": filled,
        "authors": AUTHORS,
        "levels": _LEVELS,
        "links": [(one.checklist.anchor, one.checklist.name) for one in filled],
        "counted_rows": [
            (name, f"{own[ANSWERED]} of {total}", f"items answered; {own[PARTLY]} in part, {own[OPEN]} open")
            for name, total, own in counts
        ],
    }
    return write_page(folder / PAGE, "checklists/page.html.j2", context), folder / TEXT


_LEVELS = {ANSWERED: "ok", PARTLY: "", OPEN: "bad"}


def as_markdown(run: FinishedRun, filled: Sequence[FilledChecklist]) -> str:
    """Return the checklists as tables, to paste into a supplement."""
    lines = [f"# {_TITLE}: {run.name}", "", f"**{NOTICE}** Filled from the run; what no run can know is left open.", ""]
    for checklist, rows in filled:
        counts = FilledChecklist(checklist, rows).counts
        said = ", ".join(f"{count} {status}" for status, count in counts.items())
        lines += [f"## {checklist.name}", "", f"After {checklist.source}; items in our words. {said}.", ""]
        lines += ["| item | asks for | answer | where |", "|---|---|---|---|"]
        for row in rows:
            left = f"**{AUTHORS}: {row.left}.**" if row.left else ""
            cells = (
                row.item.number or row.item.section,
                row.item.asks,
                " ".join(part for part in (row.text, left) if part),
                row.where or "-",
            )
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Keep names of files and classes from becoming markup."""
    special = {"|": "\\|", "<": "&lt;", "\n": " ", "[": "\\["}
    return "".join(special.get(character, character) for character in text)
