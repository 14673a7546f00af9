"""Compare finished runs on the same images, as ``sonoforge compare`` does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.reports.conclusions import protocol_name
from sonoforge.training.statistics.between_runs import chosen_by_others, compare_run, in_order_of
from sonoforge.training.statistics.predictions import ANSWERS, Predictions
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, Record

_UNKNOWN = "-"  # a setting that only one of the two verbs has


class _Run(NamedTuple):
    """The answers of one arm of a run."""

    name: str
    path: Path
    parts: list[Predictions]  # one a seed
    classes: tuple[str, ...]
    settings: Mapping[str, object]  # empty where the path is a table alone
    doubt: str  # on whose word the answers stand, see `read_answers`


def compare_runs(paths: Sequence[str | Path], arms: Sequence[str] = ()) -> Record:
    """Compare each run with the first, paired by image and seed.

    Args:
        paths: Run folders of ``crossval`` or ``run``, or their ``predictions.csv``, each as PATH or NAME:PATH.
        arms: Arms to read of each run; none for the first alone.

    Returns:
        What ``sonoforge compare --json`` prints, see ``sonoforge settings compare``.

    Raises:
        SonoforgeError: There is one run with one arm, a run has no answers, or runs are of other images or protocols.
    """
    runs = [run for path in paths for run in _read(str(path), arms, several=len(paths) > 1)]
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
    results: Record = {"doubts": {run.name: run.doubt for run in runs}, "classes": list(first.classes), "runs": rows}
    if rows[0]["protocol"] == LEAVE_ONE_OUT:
        results["chosen_by_others"] = chosen_by_others({row["name"]: row["figures"] for row in rows})
    return results


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
    settings = run_folder.read_config(path) if path.is_dir() else {}
    if run_folder.is_finished(path):  # what the budget of a classifier filled in
        results = run_folder.read_results(path)
        settings, doubt = settings | results.get("classifier", {}), ". ".join([doubt, *results.get("doubts", ())])
    name = name or (path.name if path.is_dir() else path.stem)
    found = []
    for arm in arms or known[:1]:
        if arm not in known:
            raise SonoforgeError(f"{table}: has no arm {arm}, only {', '.join(known)}")
        own = [part for part in parts if part.arm == arm]
        called = name if len(arms) < 2 else f"{name} {arm}" if several else arm
        found.append(_Run(called, path, own, classes, settings, doubt))
    return found


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
        "protocol": protocol_name(run.parts[0].protocol, run.doubt),
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
