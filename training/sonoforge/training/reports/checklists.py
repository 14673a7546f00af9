"""Fill in reporting checklists and a data sheet from a finished run of ``crossval`` or ``run``.

The items are in our own words (``wording/*.csv``); read the checklists at their sources. A run's answers to their
topics are in ``wording/checklist-answers.yaml``.
"""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from markupsafe import Markup

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training import run_folder
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.choices import choosing_of, describe_choice, name_grid
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.data.data_option import PHANTOM, recorded_data
from sonoforge.training.reports.blocks import Cell, Fact, Facts, Page, Section, Table, Text
from sonoforge.training.reports.run.statements import describe_comparators, describe_optimiser
from sonoforge.training.reports.words import WORDING, Said, fill_in, read_said, read_yaml
from sonoforge.training.statistics.predictions import ANSWERS
from sonoforge.training.statistics.results import SEALED, Record, interval_text
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.statistics.wording import spread

PAGE = "checklists.html"
AUTHORS = "To be filled in by the authors"
ANSWERED, PARTLY, OPEN = "answered by the run", "partly answered", "open"
_LEVELS = {ANSWERED: Markup(' class="ok"'), PARTLY: "", OPEN: Markup(' class="bad"')}
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
SAID = read_said("checklist-answers")


class Item(NamedTuple):
    """What a checklist asks for, in our words."""

    section: str
    number: str  # as the checklist counts; empty where it does not
    asks: str
    topics: tuple[str, ...] = ()  # of the answers that belong to it
    left: str = ""  # what no run can know; empty where its answers are complete


class Checklist(NamedTuple):
    """A checklist and its source."""

    name: str
    anchor: str
    source: str
    items: tuple[Item, ...]


def _read(name: str, anchor: str, source: str) -> Checklist:
    with (WORDING / f"{anchor}.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row | {"topics": tuple(row["topics"].split())} for row in csv.DictReader(stream)]
    return Checklist(name, anchor, source, tuple(Item(**row) for row in rows))


CHECKLISTS = tuple(_read(**row) for row in read_yaml("checklists"))


@dataclass(frozen=True)
class FinishedRun:
    """The figures of a run and its settings."""

    name: str  # of its folder
    results: Record  # of `crossval`, without the keys that `run` adds
    audit: Record | None  # only `run` writes one
    environment: dict[str, Any]  # of the last start
    data: tuple[str, ...]  # as the user named it; `PHANTOM` for simulated images
    has_bundle: bool
    doubt: str  # on whose word the figures stand, see `evidence.read_answers`


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run; its figures are those that its answers give.

    Raises:
        SonoforgeError: There is no run, or it is unfinished or from another command.
    """
    if not run_folder.is_finished(folder):
        found = "unfinished" if (folder / run_folder.CONFIG).is_file() else "not a run"
        raise SonoforgeError(f"{folder}: {found}; give a finished run of sonoforge run or crossval")
    with refusing(f"{folder}: cannot be read", "restore its files, or run it again"):
        results = run_folder.read_results(folder)
        if not {"arms", "split", "class_counts"} <= set(results):
            raise SonoforgeError(f"{folder}: another kind of run; give one of sonoforge run or crossval")
        parts, classes, doubt = read_answers(folder / ANSWERS)
        figures = plain(evaluate(parts, classes))  # whatever the results say
        results["arms"] = {arm: own | figures["arms"][arm] for arm, own in results["arms"].items()}
        results["comparisons"] = figures["comparisons"]
        audit = folder / run_folder.AUDIT
        return FinishedRun(
            name=folder.resolve().name,
            results=results,
            audit=cast(Record, json.loads(audit.read_text(encoding="utf-8"))) if audit.is_file() else None,
            environment=json.loads((folder / run_folder.ENVIRONMENT).read_text(encoding="utf-8"))["runs"][-1],
            data=recorded_data(run_folder.read_config(folder)),
            has_bundle=(folder / "bundle" / "manifest.json").is_file(),
            doubt=doubt,
        )


# ---- what a run answers, by topic


def answer(run: FinishedRun) -> dict[str, Said]:
    """Return the answers by topic; topics that the run does not cover are absent."""
    found = fill_in(SAID, _facts(run), (run.results["protocol"],))
    return {own.topic: own for own in found.values() if own.where}


def _facts(run: FinishedRun) -> dict[str, object]:
    results, environment = run.results, run.environment
    split, classifier, arms = results["split"], results["classifier"], results["arms"]
    seeds = next(iter(arms.values()))["seeds"]["seeds"]
    commit, plus, changes = (environment["git_revision"] or "").partition("+")
    gan: Mapping[str, object] = results["gan"]
    balanced = [
        f"{figures['title']}: {spread(figures['generated_per_fold'])} images a fold"
        for name, figures in arms.items()
        if find_arm(name).fill
    ]
    balanced += [figures["title"] for name, figures in arms.items() if find_arm(name).class_weights]
    choice = describe_choice(
        results["budget"], classifier, split["chosen_on"], split["images"], seeds, choosing_of(results)
    )
    detectable = [row["minimum_detectable_difference"] for row in results["comparisons"]]
    lengths = [f"{gan[unit]} {unit}" for unit in ("steps", "epochs", "kimg") if gan.get(unit) is not None]
    return {
        **{"results": results, "split": split, "classifier": classifier, "gan": gan, "audit": run.audit},
        **{"environment": environment, "name": run.name, "arms": arms, "seeds": seeds, "choice": choice},
        **{"interval_text": interval_text, "balanced": balanced},
        **{"own_arms": [*map(find_arm, arms)], "has_bundle": run.has_bundle, "simulated": run.data == PHANTOM},
        "titles": [figures["title"] for figures in arms.values()],
        "sealed": results["protocol"] in SEALED,
        "optimiser": describe_optimiser(classifier),
        "but_for": f", but for {name_grid(results['choice']['grid'])}" if "choice" in results else "",
        "comparators": describe_comparators(arms),
        "revision": f", revision {commit[:12]}{plus}{changes}" if commit else "",
        "duration": lengths[0] if lengths else "the recipe's duration",
        "detectable": max((100 * value for value in detectable if value is not None), default=None),
    }


# ---- the filled checklists, as a page


class Filled(NamedTuple):
    """An item with its answer."""

    item: Item
    status: str  # `ANSWERED`, `PARTLY` or `OPEN`
    text: str
    left: str  # what the authors must still write; empty if nothing
    where: str


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

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, see ``sonoforge settings compare``."""
        rows = [
            {
                **{key: getattr(row.item, key) for key in ("section", "number", "asks")},
                **{"status": row.status, "answer": row.text, "left": row.left, "where": row.where},
            }
            for row in self.rows
        ]
        return {"name": self.checklist.name, "source": self.checklist.source, "counts": self.counts, "items": rows}


def fill_run(folder: Path) -> tuple[str, Path, list[FilledChecklist]]:
    """Fill in the checklists of a finished run, and write them into its folder; return its doubt, the page and them."""
    run = read_run(folder)
    answers = answer(run)
    filled = [FilledChecklist(checklist, fill(checklist.items, answers)) for checklist in CHECKLISTS]
    return run.doubt, write_checklists(folder, run, filled), filled


def fill(items: Sequence[Item], answers: Mapping[str, Said]) -> list[Filled]:
    """Answer each item from the topics of a run; items without an answer stay open."""
    filled = []
    for item in items:
        found = [answers[topic] for topic in item.topics if topic in answers]
        missing = len(found) < len(item.topics) or not item.topics
        left = item.left or ("this run does not record it" if missing else "")
        status = OPEN if not found else PARTLY if left else ANSWERED
        where = "; ".join(dict.fromkeys(place for own in found for place in own.where.split("; ")))
        filled.append(Filled(item, status, " ".join(own.says for own in found), left, where))
    return filled


def write_checklists(folder: Path, run: FinishedRun, filled: Sequence[FilledChecklist]) -> Path:
    """Write ``checklists.html`` into a run folder; return its path."""
    said = (
        "Every item with the run's answer and the place of its figure. What no run can know is left open. Items are in "
        "our own words; read the checklists at their sources before you submit."
    )
    facts, sections = [], []
    for one in filled:
        others = f"items answered; {one.counts[PARTLY]} in part, {one.counts[OPEN]} open"
        facts.append(Fact(one.checklist.name, f"{one.counts[ANSWERED]} of {len(one.rows)}", others))
        caption, head = f"{one.checklist.name}, after {one.checklist.source}.", ("item", "asks for", "answer", "where")
        label, every = f"Items of {one.checklist.name}", range(len(head))
        table = Table(label, head, [*map(_cells, one.rows)], caption, words=every, kind="checks")
        sections.append(Section(one.checklist.anchor, one.checklist.name, [table]))
    page = Page(
        title=f"{_TITLE}: {run.name}",
        meta=f"sonoforge compare --checklists · {run.name}",
        heading=_TITLE,
        summary=[Text(run.doubt), Text(said), Facts(facts)],
        sections=sections,
        made=f"Filled from run {run.name}; nothing was computed for this page.",
        style=_STYLE,
    )
    return page.write(folder / PAGE)


def _cells(row: Filled) -> tuple[str, str, Cell, Cell]:
    item, left = row.item, Markup("")
    if row.left:
        left = Markup(' <span class="left">{}: {}.</span>').format(AUTHORS, row.left)
    return (
        Markup("{}<small>{}</small>").format(item.number, item.section) if item.number else item.section,
        Markup("{}<small{}>{}</small>").format(item.asks, _LEVELS[row.status], row.status),
        Cell(Markup("{}{}").format(row.text, left), "said"),
        Cell(Markup("_<wbr>").join((row.where or "-").split("_")), "where" if row.where else "where none"),
    )
