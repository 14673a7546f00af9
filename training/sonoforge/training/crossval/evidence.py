"""Check a run folder against its own files, for the report and for tables printed again.

`check_reads` compares, image by image, what every training read with the test fold that it must not see;
`check_predictions` recounts the confusion matrices from ``predictions.csv``; `check_kept` compares the answers with
what each fold kept.  ``predictions.record.json`` tells the table from an edited one, also where it is kept without its
run.  It proves no figure, because whoever edits a table can write another record: figures are called *as recorded*.
"""

import contextlib
import datetime
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.csv_tables import read_text
from sonoforge.runtime.errors import SonoforgeError, name_some, refusing
from sonoforge.training.crossval.fold_task import GENERATED, INNER, FoldResult, fold_path, read_fold
from sonoforge.training.data.split_plan import FILE, SplitPlan, describe_changes, read_plan
from sonoforge.training.gan.ticks import read_stats
from sonoforge.training.run_folder import package_versions
from sonoforge.training.statistics.classification import accuracy, confusion_matrix, macro_auc
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions
from sonoforge.training.statistics.results import SEALED, Record


class Check(NamedTuple):
    """One comparison made while the report was written."""

    what: str
    found: str
    passed: bool


def read_plans(folder: Path) -> dict[int, SplitPlan]:
    """Read ``splits.json`` and the plans of other seeds, by seed; the report's first plan comes first."""
    paths = [folder / FILE, *sorted(folder.glob("splits-seed*.json"))]
    return {plan.seed: plan for plan in map(read_plan, paths)}


def class_counts(plan: SplitPlan, classes: int) -> NDArray[np.int64]:
    """Count the test images of each fold by class, (folds, classes)."""
    counts = np.zeros((plan.folds, classes), np.int64)
    np.add.at(counts, (np.array(plan.fold_of)[plan.tested], np.array(plan.labels)[plan.tested]), 1)
    return counts


def divided(plan: SplitPlan, keys: Sequence[object]) -> int:
    """Count the keys (groups, content hashes) with images in more than one fold."""
    folds = Counter(key for key, _ in set(zip(keys, plan.fold_of, strict=True)))
    return sum(count > 1 for count in folds.values())


@dataclass
class Reads:
    """What one kind of training (``classifier``, ``inner generator``) read, compared with its test folds."""

    runs: int = 0
    images: int = 0  # reads in all
    # By seed and index: test images that a training run of their fold read, and those with a group member read.
    same_content: set[tuple[int, int]] = field(default_factory=set)
    same_group: set[tuple[int, int]] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)  # hashes of no image of the split, after the fold's file


def read_folds(folder: Path) -> dict[Path, FoldResult]:
    """Read the outer and inner folds of a run folder, by file."""
    paths = [*sorted((folder / "folds").glob("*.json")), *sorted((folder / INNER).glob("*-fold*.json"))]
    return {path: read_fold(path) for path in paths}


def check_reads(folds: Mapping[Path, FoldResult], plans: Mapping[int, SplitPlan]) -> dict[str, Reads]:
    """Compare the content hashes that each fold read with its test fold, by stage; inner folds use the outer one's."""
    found: dict[str, Reads] = {}
    generators: set[tuple[int, int, str, tuple[str, ...]]] = set()
    for path, result in folds.items():
        if result.seed not in plans:
            continue  # `origin_checks` names it
        plan, seed = plans[result.seed], result.seed
        fold = result.fold if result.inner_of is None else result.inner_of
        test = plan.test(fold).tolist()
        groups = dict(zip(plan.hashes, plan.groups, strict=True))
        for name, hashes in result.reads.items():
            stage, _, class_name = name.partition(" ")
            if stage == GENERATED:
                continue
            if class_name:
                # Several arms may be filled by the same generators; each of these counts once.
                if (seed, fold, class_name, tuple(hashes)) in generators:
                    continue
                generators.add((seed, fold, class_name, tuple(hashes)))
            kind = stage if result.inner_of is None else f"inner {stage}"
            reads = found.setdefault(kind, Reads())
            reads.runs += 1
            reads.images += len(hashes)
            contents, seen = set(hashes), {groups[h] for h in hashes if h in groups}
            reads.unknown += [f"{path.name}: {h[:12]}" for h in sorted(contents - groups.keys())]
            reads.same_content |= {(seed, i) for i in test if plan.hashes[i] in contents}
            reads.same_group |= {(seed, i) for i in test if plan.groups[i] in seen}
    return found


def origin_checks(
    folds: Mapping[Path, FoldResult],
    plans: Mapping[int, SplitPlan],
    reads: Mapping[str, Reads],
    images: Mapping[str, str],
) -> list[Check]:
    """List what must hold under every protocol: split, folds and reads match ``images`` (content hash by path)."""
    changes = "; ".join({describe_changes(plan.images, images): None for plan in plans.values()})
    foreign = [
        path.name
        for path, fold in folds.items()
        if fold.inner_of is None and (fold.seed not in plans or fold.made_from.plan != plans[fold.seed].digest)
    ]
    checks = [
        Check("the split is of the images of the data set", changes or "yes", not changes),
        Check("folds made with another split plan", name_some(foreign) or "0", not foreign),
    ]
    for kind, own in reads.items():
        what = f"content hashes that {kind} training runs read and no image of the split has"
        named = f" ({name_some(own.unknown)})" if own.unknown else ""
        checks.append(Check(what, f"{len(own.unknown)}{named}", not own.unknown))
    return checks


def split_checks(plans: Mapping[int, SplitPlan], reads: Mapping[str, Reads], near_duplicates: int) -> list[Check]:
    """List what must hold if no training sees its test images; empty for protocols that promise less."""
    checks = []
    for plan in plans.values():
        if plan.protocol not in SEALED:
            return []
        seed = f" (seed {plan.seed})" if len(plans) > 1 else ""
        kept_whole = (("groups", plan.groups), ("identical images", plan.hashes)) if plan.protocol == "sealed" else ()
        for what, keys in kept_whole:
            count = divided(plan, keys)
            checks.append(Check(f"{what} split between folds{seed}", str(count), count == 0))
    checks.append(Check("test images with a near-duplicate in training", str(near_duplicates), near_duplicates == 0))
    for kind, own in reads.items():
        count = len(own.same_content | own.same_group)
        what = f"test images that {kind} training runs read, or read a group member of"
        checks.append(Check(what, f"{count} ({own.images} reads in {own.runs} training runs)", count == 0))
    return checks


def check_predictions(parts: Sequence[Predictions], arms: Mapping[str, Record], images: int) -> list[Check]:
    """Recount from ``predictions.csv`` and compare with the tables."""
    once = all(len(part.files) == len(set(part.files)) == images for part in parts)
    checks = [Check("each test image predicted once by each arm and seed", "yes" if once else "no", once)]
    for arm, figures in arms.items():
        part, equal = next((part for part in parts if part.arm == arm), None), False
        if part is not None:
            again = [one(part.labels, part.probabilities) for one in (accuracy, macro_auc)]
            stated = np.array([figures[name]["value"] for name in ("accuracy", "macro_auc")], np.float64)  # None is NaN
            matrix = confusion_matrix(part.labels, part.predicted, len(figures["confusion"]))
            equal = np.array_equal(matrix, figures["confusion"]) and np.allclose(again, stated, equal_nan=True)
        what = f"confusion matrix, accuracy and macro-AUC recounted from predictions.csv: {arm}"
        checks.append(Check(what, "equal" if equal else "differs", equal))
    return checks


@dataclass(frozen=True)
class GeneratorRuns:
    """The training runs of one class's generator."""

    name: str
    folder: Path  # of the first training
    curves: list[list[dict[str, float]]]  # rows of `stats.jsonl` of each training
    plans: list[dict[str, float]]  # `plan` of each `results.json` that exists: steps, batch, learning_rate
    images: list[int]  # number of real images of each of these

    def last(self, name: str) -> list[float]:
        """Return a statistic at the last tick of each training that has it."""
        rows = [curve[-1].get(name) for curve in self.curves if curve]
        return [float(v) for v in rows if v is not None and math.isfinite(v)]

    @property
    def collapsed(self) -> int:
        """Number of training runs with a collapse at any tick."""
        return sum(any(row.get("collapsed") for row in curve) for curve in self.curves)

    @property
    def collapsed_at_end(self) -> int:
        """Number of training runs that ended in a collapse."""
        return int(sum(self.last("collapsed")))


def read_generators(folder: Path, classes: Sequence[str]) -> list[GeneratorRuns]:
    """Read the statistics of the generators under ``gan/``, in the order of the classes."""
    found: dict[str, GeneratorRuns] = {}
    for path in sorted((folder / "gan").glob("seed*-*/*/stats.jsonl")):
        runs = found.setdefault(path.parent.name, GeneratorRuns(path.parent.name, path.parent, [], [], []))
        runs.curves.append(read_stats(path.parent))
        with contextlib.suppress(OSError, ValueError, KeyError):
            results = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
            runs.plans.append(results["plan"])
            runs.images.append(int(results["images"]))
    order = {name: i for i, name in enumerate(classes)}
    return sorted(found.values(), key=lambda runs: (order.get(runs.name, len(order)), runs.name))


UNVERIFIED = "UNVERIFIED"
"""Begins what is said of figures that neither a run folder nor a record speaks for; also marks each arm's."""


def read_answers(table: Path) -> tuple[list[Predictions], tuple[str, ...], str]:
    """Read a table of answers under any name; compare it with its record and with the run folder that it lies in.

    Returns:
        The arms, the classes, and on whose word the figures stand: stated by the run folder (`check_kept`), recorded,
        or, first of its words, `UNVERIFIED`.

    Raises:
        SonoforgeError: It is not such a table, or contradicts its record, or the run's plans or folds.
    """
    parts, classes = read_predictions(table)
    recorded, beside = read_record(table), set[str]()
    for protocol in dict.fromkeys(part.protocol for part in parts):
        # `crossval --protocol leakage` keeps the run of each protocol in a folder of its own.
        folder = table.parent if (table.parent / FILE).is_file() else table.parent / protocol
        own = [part for part in parts if part.protocol == protocol]
        plans = read_plans(folder) if (folder / FILE).is_file() else {}
        if plans and len(own) < len(plans) * len({part.arm for part in own}):
            raise SonoforgeError(f"{table}: an arm has no answers of a seed that {folder} has a split plan of")
        for part in own if plans else ():
            _check_plan(f"{table}: arm {part.arm}, seed {part.seed}", part, plans)
        if plans and (folder / "folds").is_dir():
            check_kept(folder, own, read_folds(folder))
        beside.add("folds" if plans and (folder / "folds").is_dir() else FILE if plans else "")
    said = f"{UNVERIFIED}: no record and no folds of a run lie beside this table, which may have been edited"
    if beside == {"folds"}:
        said = "as stated by this run's plan and folds, which agree; not recomputed from its weights"
        if not recorded and any(column for part in parts for column in part.sources):
            said = f"{UNVERIFIED} collections and devices, which only a record has; others {said}"
    elif recorded:
        said = f"as recorded by {recorded}, not recomputed here"
    if beside == {FILE}:
        said += f"; its images, classes, groups and folds, but no probabilities, are those of {FILE}"
    return parts, classes, said


def check_kept(folder: Path, parts: Sequence[Predictions], folds: Mapping[Path, FoldResult]) -> None:
    """Compare a run's answers with its record, plans and `read_folds`, and what training read with what was tested."""
    read_record(folder / ANSWERS)
    plans = read_plans(folder)
    for part in parts:
        what = f"{folder}: arm {part.arm}, seed {part.seed}"
        for fold in range(_check_plan(what, part, plans).folds):
            path = fold_path(folder, part.arm, part.seed, fold)
            kept, own = folds.get(path) or read_fold(path), part.folds == fold
            files = [file for file, chosen in zip(part.files, own, strict=True) if chosen]
            answers = dict(zip(kept.files, kept.probabilities, strict=True))
            if sorted(answers) != sorted(files):
                raise SonoforgeError(f"{what}: the images of fold {fold} are not those of {path}")
            if not np.array_equal(part.probabilities[own], np.array([answers[file] for file in files])):
                raise SonoforgeError(f"{what}: the probabilities are not those of {path}; take the run's own table")
    reads = check_reads(folds, plans)
    images = next(iter(plans.values())).images
    for check in (*origin_checks(folds, plans, reads, images), *split_checks(plans, reads, 0)):
        if not check.passed:
            raise SonoforgeError(f"{folder}: {check.what}: {check.found}")


def _check_plan(what: str, part: Predictions, plans: Mapping[int, SplitPlan]) -> SplitPlan:
    """Compare with the split plan of the same seed, and return it."""
    if part.seed not in plans:
        raise SonoforgeError(f"{what}: its folder has no split plan of this seed")
    plan = plans[part.seed]
    place = {file: index for index, file in enumerate(plan.files)}
    tested = {plan.files[index] for index in plan.tested}
    if set(part.files) != tested:
        other = sorted(set(part.files) ^ tested)[0]
        where = "the plan alone" if other in tested else "the table alone"
        raise SonoforgeError(f"{what}: {other} is in {where}; the table must have the images that the plan tests")
    order = [place[file] for file in part.files]
    columns = {
        "folds": (part.folds, plan.fold_of),
        "groups": (part.groups, plan.groups),
        "labels": (part.labels, plan.labels),
    }
    for name, (found, planned) in columns.items():
        if not np.array_equal(found, np.array(planned)[order]):
            raise SonoforgeError(f"{what}: the {name} are not the split plan's")
    if part.protocol != plan.protocol:
        raise SonoforgeError(f"{what}: the protocol is {part.protocol}, but {plan.protocol} in the split plan")
    return plan


# ---- the record of a table


_EVIDENCE = ("splits*.json", "folds/*.json", "*/splits*.json", "*/folds/*.json")  # the latter two under `LEAKAGE`
_REMEDY = "take the whole run folder, or table and record, as the run wrote them"


def record_path(table: Path) -> Path:
    """Return where the record of ``NAME.csv`` or ``NAME.csv.gz`` lies: ``NAME.record.json``."""
    return table.with_name(table.name.removesuffix(".gz").removesuffix(".csv") + ".record.json")


def write_record(table: Path) -> None:
    """Record a table as it is now, with the plans and folds of its folder, if any."""
    files = sorted(path for pattern in _EVIDENCE for path in table.parent.glob(pattern))
    digests = {path.relative_to(table.parent).as_posix(): _sha256(path) for path in files}
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    about = {**package_versions(["sonoforge"]), "date": date, "sha256": _sha256(table), "files": digests}
    write_json(record_path(table), about)


def read_record(table: Path) -> str:
    """Return who recorded a table, in words; empty without a record.

    Raises:
        SonoforgeError: The record is damaged, or the table, a plan or a fold that lies there is not the recorded one.
    """
    path = record_path(table)
    if not path.is_file():
        return ""
    with refusing(f"{path}: not the record of a table", _REMEDY):
        record = json.loads(path.read_text(encoding="utf-8"))
        for name, expected in {table.name: record["sha256"], **record["files"]}.items():
            file = table.parent / name
            if ".." in file.relative_to(table.parent).parts:
                raise ValueError(f"{name} lies outside its folder")
            if file.is_file() and (found := _sha256(file)) != expected:
                raise SonoforgeError(
                    f"{file}: was edited: its SHA-256 is {found[:12]}..., but {expected[:12]}... in {path}; {_REMEDY}"
                )
        date = datetime.date.fromisoformat(record["date"])  # no other words of a record, which could claim anything
        return f"{'crossval' if record['files'] else 'whoever kept it, without its run,'} on {date}"


def _sha256(file: Path) -> str:
    """Hash a file's text, unpacked and with plain line ends, so that neither gzip nor a checkout on Windows matters."""
    return hashlib.sha256(read_text(file, _REMEDY).replace("\r\n", "\n").encode()).hexdigest()
