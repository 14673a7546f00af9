"""``checklists.html`` and ``checklists.md``: every item with its answer, where it stands, and what authors must add."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.reports.blocks import Cell, Fact, Facts, Page, Section, Table, Text
from sonoforge.training.reports.checklists.answers import answer
from sonoforge.training.reports.checklists.items import (
    ANSWERED,
    AUTHORS,
    CHECKLISTS,
    OPEN,
    PARTLY,
    Checklist,
    Filled,
    fill,
)
from sonoforge.training.reports.checklists.run import FinishedRun

PAGE, TEXT = "checklists.html", "checklists.md"
_TITLE = "Reporting checklists"
_STYLE = """
.checks td { vertical-align: top; min-width: 9rem; overflow-wrap: anywhere; }
.checks tbody th { vertical-align: top; min-width: 6.5rem; max-width: 8rem; }
.checks td.said { min-width: 16rem; }
.checks td.where { font-size: .8125rem; }
.checks td small, .checks th small { font-size: .75rem; }
@media screen and (max-width: 40rem) {
  .checks, .checks tbody, .checks tr, .checks td, .checks caption { display: block; }
  .checks thead { display: none; }
  .checks tr { border-bottom: 1px solid var(--line); padding: .6rem 0; }
  .scroll .checks tbody th[scope=row] { display: block; position: static; max-width: none; }
  .checks th, .checks td { border: 0; padding: .1rem 0; }
  .checks th small { display: inline; margin-left: .5rem; }
  .checks td.where:not(.none)::before { content: "Where: "; color: var(--soft); }
  .checks td.none { display: none; }
}
.checks .left { display: block; color: var(--no); font-weight: 600; }
"""


class FilledChecklist(NamedTuple):
    """A checklist with every item answered or left open."""

    checklist: Checklist
    rows: list[Filled]

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by status."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in (ANSWERED, PARTLY, OPEN)}

    @property
    def said(self) -> str:
        """The counts in words."""
        return ", ".join(f"{count} {status}" for status, count in self.counts.items())


def fill_checklists(run: FinishedRun) -> list[FilledChecklist]:
    """Answer every item of every checklist from a run."""
    answers = answer(run)
    return [FilledChecklist(checklist, fill(checklist.items, answers)) for checklist in CHECKLISTS]


def write_checklists(folder: Path, run: FinishedRun, filled: Sequence[FilledChecklist]) -> tuple[Path, Path]:
    """Write both files into a run folder; return the page and the text."""
    write_text(folder / TEXT, as_markdown(run, filled))
    said = (
        "Every item with what the run answers and where the figure stands. What no run can know is left open and "
        "says so. Items are put in our words; read the checklists themselves at their sources before you submit."
    )
    facts = []
    for one in filled:
        others = f"items answered; {one.counts[PARTLY]} in part, {one.counts[OPEN]} open"
        facts.append(Fact(one.checklist.name, f"{one.counts[ANSWERED]} of {len(one.rows)}", others))
    page = Page(
        title=f"{_TITLE}: {run.name}",
        meta=f"sonoforge checklists · {run.name}",
        heading=_TITLE,
        summary=[Text(said), Facts(facts)],
        sections=[Section(own.anchor, own.name, [_table(own, rows)]) for own, rows in filled],
        made=f"Filled from run {run.name}; nothing was computed for this page.",
        style=_STYLE,
    )
    return page.write(folder / PAGE), folder / TEXT


def _table(checklist: Checklist, rows: Sequence[Filled]) -> Table:
    caption = f"{checklist.name}, after {checklist.source}."
    head = ("item", "asks for", "answer", "where")
    return Table(f"Items of {checklist.name}", head, [*map(_row, rows)], caption, words=range(len(head)), kind="checks")


def _row(row: Filled) -> tuple[str, str, Cell, Cell]:
    item, left = row.item, Markup("")
    if row.left:
        left = Markup(' <span class="left">{}: {}.</span>').format(AUTHORS, row.left)
    return (
        Markup("{}<small>{}</small>").format(item.number, item.section) if item.number else item.section,
        Markup("{}<small{}>{}</small>").format(item.asks, _LEVELS[row.status], row.status),
        Cell(Markup("{}{}").format(row.text, left), "said"),
        Cell(Markup("_<wbr>").join((row.where or "-").split("_")), "where" if row.where else "where none"),
    )


_LEVELS = {ANSWERED: Markup(' class="ok"'), PARTLY: "", OPEN: Markup(' class="bad"')}


def as_markdown(run: FinishedRun, filled: Sequence[FilledChecklist]) -> str:
    """Return the checklists as tables, to paste into a supplement."""
    lines = [f"# {_TITLE}: {run.name}", "", f"**{NOTICE}** Filled from the run; what no run can know is left open.", ""]
    for one in filled:
        source = f"After {one.checklist.source}; items in our words. {one.said}."
        lines += [f"## {one.checklist.name}", "", source, ""]
        lines += ["| item | asks for | answer | where |", "|---|---|---|---|"]
        for row in one.rows:
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
