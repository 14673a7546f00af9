"""``sonoforge compare RUN RUN ...``: show what a change in settings, or an arm, gained or lost on the same images.

JSON (``--json``): ``classes`` and ``runs``, a list of ``{"name", "path", "arm", "protocol", "seeds", "settings",
"figures"}``; ``settings`` maps each setting that differs from the first run's to ``[there, here]``, ``figures`` is a
list of `ComparedFigure`.  With ``--checklists``: ``run``, ``page`` (a file in it), and ``checklists``: a list of
``{"name", "source", "counts", "items"}``, each item ``{"section", "number", "asks", "status", "answer", "left",
"where"}``.  If each collection was left out in turn, there is also ``chosen_by_others``, a list of `OthersChoice`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training import run_folder
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.reports.checklists import fill_checklists, read_run, write_checklists
from sonoforge.training.reports.terminal import plain_table
from sonoforge.training.settings.crossval import CompareConfig
from sonoforge.training.statistics.between_runs import chosen_by_others, compare_run, in_order_of
from sonoforge.training.statistics.predictions import ANSWERS, Predictions
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, Record, change_text, interval_text

_UNKNOWN = "-"  # a setting that only one of the two verbs has


@dataclass(frozen=True)
class _Run:
    """The answers of one arm of a run."""

    name: str
    path: Path
    parts: list[Predictions]  # one a seed
    classes: tuple[str, ...]
    settings: Mapping[str, object]  # empty where the path is a table alone
    doubt: str  # `evidence.AS_GIVEN`, or nothing


def main(config: CompareConfig) -> Outcome:
    """Read the runs' answers, and compare each run with the first; or fill in one run's checklists."""
    if config.checklists:
        return _fill_checklists(config)
    runs = [run for text in config.runs for run in _read(text, config.arms, several=len(config.runs) > 1)]
    if len(runs) < 2:
        raise SonoforgeError("one run with one arm is not enough to compare; give more with --arms")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise SonoforgeError(f"several runs have the same name ({', '.join(names)}); give them as NAME:PATH")
    first = runs[0]
    rows = []
    for run in runs:
        try:
            rows.append(_compare(first, run))
        except SonoforgeError as error:
            raise SonoforgeError(f"{run.path} against {first.path}: {error}") from error
    _log(rows)
    results: dict[str, object] = {"classes": list(first.classes), "runs": rows}
    if rows[0]["protocol"] == LEAVE_ONE_OUT:
        choices = chosen_by_others({row["name"]: row["figures"] for row in rows})
        results["chosen_by_others"] = choices
        _log_choices(choices)
    return Outcome(results)


def _read(text: str, arms: Sequence[str], *, several: bool) -> list[_Run]:
    """Read some arms of ``PATH`` or ``NAME:PATH``, by default the first; ``several`` says if there are other runs."""
    name, path = "", Path(text)
    if not path.exists() and ":" in text:
        name, _, rest = text.partition(":")
        path = Path(rest)
    table = path / ANSWERS if path.is_dir() else path
    if not table.is_file():
        raise SonoforgeError(f"{table}: no such file; give a finished run of crossval or run, or its {ANSWERS}")
    parts, classes, doubt = read_answers(table)
    known = list(dict.fromkeys(part.arm for part in parts))
    settings = _settings(path) if path.is_dir() else {}
    name = name or (path.name if path.is_dir() else path.stem)
    found = []
    for arm in arms or known[:1]:
        if arm not in known:
            raise SonoforgeError(f"{table}: has no arm {arm}, only {', '.join(known)}")
        own = [part for part in parts if part.arm == arm]
        called = name if len(arms) < 2 else f"{name} {arm}" if several else arm
        found.append(_Run(called, path, own, classes, settings, doubt))
    return found


def _settings(folder: Path) -> Mapping[str, object]:
    """Return a run's settings as given, and for the classifier also what its budget filled in."""
    given = run_folder.read_config(folder)
    finished = run_folder.is_finished(folder)
    return given | (run_folder.read_results(folder).get("classifier", {}) if finished else {})


def _compare(first: _Run, run: _Run) -> Record:
    if run.classes != first.classes:
        raise SonoforgeError(f"classes must be {', '.join(first.classes)}, not {', '.join(run.classes)}")
    protocols = {part.protocol for part in (*first.parts, *run.parts)}
    if len(protocols) > 1:
        raise SonoforgeError(f"protocols differ ({' and '.join(sorted(protocols))}); see crossval --protocol leakage")
    after = in_order_of(first.parts, run.parts)
    seeds = [part.seed for part in after]
    before = [part for part in first.parts if part.seed in seeds]
    return {
        "name": run.name,
        "path": str(run.path),
        "arm": run.parts[0].arm,
        "doubt": run.doubt,
        "protocol": run.parts[0].protocol,
        "seeds": seeds,
        "settings": _differing(first.settings, run.settings),
        "figures": compare_run(before, None if run is first else after, run.classes),
    }


def _differing(first: Mapping[str, object], other: Mapping[str, object]) -> dict[str, list[object]]:
    """Return the settings that differ, except those that change no answer, as ``[there, here]``."""
    if not first or not other:
        return {}
    keys = [key for key in dict.fromkeys((*first, *other)) if key not in run_folder.NOT_COMPARED]
    return {
        key: [first.get(key, _UNKNOWN), other.get(key, _UNKNOWN)]
        for key in keys
        if first.get(key, _UNKNOWN) != other.get(key, _UNKNOWN)
    }


def _log(rows: Sequence[Record]) -> None:
    first = rows[0]
    tell(f"protocol {first['protocol']}; each against {first['name']}, arm {first['arm']}")
    for row in rows:
        if row["doubt"]:
            tell(f"{row['name']}: {row['doubt']}", "  ")
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
            change = change_text(own["change"]) if own["change"] else ""
            cells.append((f"  {row['name']}", interval_text(own["value"]), change))
    say("%s", plain_table(("", "value", "change"), cells, (1, 2)))
    seeds = "; ".join(f"{row['name']} {', '.join(map(str, row['seeds']))}" for row in rows)
    tell(f"means over the seeds that a run has in common with {first['name']}: {seeds}")
    tell("intervals at 95 % by group of images; they hold for these seeds")


def _log_choices(choices: Sequence[Record]) -> None:
    say("")
    tell("chosen for each collection by the figures of the others, which never saw its answers:")
    for choice in choices:
        value = interval_text(choice["value"])
        tell(f"{choice['figure']}, {choice['collection']}: {choice['run']} {value}", "  ")


def _fill_checklists(config: CompareConfig) -> Outcome:
    """Fill in the checklists and write them into the run folder."""
    if len(config.runs) > 1 or config.arms:
        raise SonoforgeError("--checklists takes one run and no --arms")
    folder = Path(config.runs[0])
    run = read_run(folder)
    filled = fill_checklists(run)
    page = write_checklists(folder, run, filled)
    for one in filled:
        say("%-12s %d items: %s", one.checklist.name, len(one.rows), one.said)
    say("page, to paste into a supplement: %s", page)
    say("%s", NOTICE)
    checklists = [
        {
            "name": one.checklist.name,
            "source": one.checklist.source,
            "counts": one.counts,
            "items": [
                {
                    **{key: getattr(row.item, key) for key in ("section", "number", "asks")},
                    **{"status": row.status, "answer": row.text, "left": row.left, "where": row.where},
                }
                for row in one.rows
            ],
        }
        for one in filled
    ]
    return Outcome({"run": str(folder), "page": str(page), "checklists": checklists})
