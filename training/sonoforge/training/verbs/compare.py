"""``sonoforge compare RUN RUN ...``: show what a change in settings, or an arm, gained or lost on the same images."""

from collections.abc import Sequence
from pathlib import Path

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.jobs.between_runs import compare_runs
from sonoforge.training.reports.checklists import fill_run
from sonoforge.training.reports.terminal import plain_table
from sonoforge.training.settings.crossval import CompareConfig
from sonoforge.training.statistics.results import Record, interval_text


def main(config: CompareConfig) -> Outcome:
    """Read the runs' answers, and compare each run with the first; or fill in one run's checklists."""
    if config.checklists:
        return _fill_checklists(config)
    results = compare_runs(config.runs, config.arms)
    for name, doubt in results["doubts"].items():
        tell(f"{name}: {doubt}")
    _print(results["runs"])
    if choices := results.get("chosen_by_others"):
        say("")
        tell("chosen for each collection by the figures of the others, which never saw its answers:")
        for choice in choices:
            value = interval_text(choice["value"])
            tell(f"{choice['figure']}, {choice['collection']}: {choice['run']} {value}", "  ")
    return Outcome(results)


def _print(rows: Sequence[Record]) -> None:
    first = rows[0]
    tell(f"protocol {first['protocol']}; each against {first['name']}, arm {first['arm']}")
    for row in rows[1:]:
        if row["path"] == first["path"]:
            continue
        changed = ", ".join(f"{key} {there} -> {here}" for key, (there, here) in row["settings"].items())
        tell(f"{row['name']}: {changed or 'no setting known to differ'}", "  ")
    cells: list[tuple[str, str, str]] = []
    for place, figure in enumerate(first["figures"]):
        where = f", {figure['collection']}" * bool(figure["collection"])
        cells.append((f"{figure['figure']}{where}", f"{figure['images']} images", ""))
        for row in rows:
            own = row["figures"][place]
            change = interval_text(own["change"], "+.3f") if own["change"] else ""
            cells.append((f"  {row['name']}", interval_text(own["value"]), change))
    say("%s", plain_table(("", "value", "change"), cells, (1, 2)))
    seeds = "; ".join(f"{row['name']} {', '.join(map(str, row['seeds']))}" for row in rows)
    tell(f"means over the seeds that a run has in common with {first['name']}: {seeds}")
    tell("intervals at 95 % by group of images; they hold for these seeds")


def _fill_checklists(config: CompareConfig) -> Outcome:
    """Fill in the checklists and write them into the run folder."""
    if len(config.runs) > 1 or config.arms:
        raise SonoforgeError("--checklists takes one run and no --arms")
    folder = Path(config.runs[0])
    doubt, page, filled = fill_run(folder)
    tell(doubt)
    for one in filled:
        say("%-12s %d items: %s", one.checklist.name, len(one.rows), one.said)
    say("page, to paste into a supplement: %s", page)
    say("%s", NOTICE)
    checklists = [one.to_dict() for one in filled]
    return Outcome({"doubt": doubt, "run": str(folder), "page": str(page), "checklists": checklists})
