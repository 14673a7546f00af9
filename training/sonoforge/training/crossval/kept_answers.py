"""Whether a table of answers is what its run keeps beside it: the split plan's images, and what each fold answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.crossval.evidence import check_reads, origin_checks, read_folds, read_plans, split_checks
from sonoforge.training.crossval.fold_task import FoldResult, fold_path, read_fold
from sonoforge.training.data.split_plan import FILE, SplitPlan
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions

AS_GIVEN = "unverified: as given"
"""What figures of a table are called that no run folder vouches for."""


def read_answers(table: Path) -> tuple[list[Predictions], tuple[str, ...], str]:
    """Read a table of answers; a run's own is compared with what the run keeps, see `check_kept`.

    Returns:
        The arms, the classes, and `AS_GIVEN` where no run folder is beside the table; else nothing.

    Raises:
        SonoforgeError: It is no such table, or not what its run keeps.
    """
    parts, classes = read_predictions(table)
    for protocol in dict.fromkeys(part.protocol for part in parts):
        # `leakage` keeps the run of each protocol in a folder of its own.
        folder = table.parent if (table.parent / FILE).is_file() else table.parent / protocol
        if table.name != ANSWERS or not (folder / FILE).is_file():
            return parts, classes, AS_GIVEN
        check_kept(folder, [part for part in parts if part.protocol == protocol], read_folds(folder))
    return parts, classes, ""


def check_kept(folder: Path, parts: Sequence[Predictions], folds: Mapping[Path, FoldResult]) -> None:
    """Compare a run's answers with its split plans and its folds, and what trainings read with what was tested.

    ``folds`` are those of `evidence.read_folds`.

    Raises:
        SonoforgeError: They differ, a fold is missing, or a training read what its protocol keeps from it.
    """
    plans = read_plans(folder)
    for part in parts:
        what = f"{folder / ANSWERS}: arm {part.arm}, seed {part.seed}"
        if part.seed not in plans:
            raise SonoforgeError(f"{what}: found no split plan of this seed in {folder}, expected one")
        plan = plans[part.seed]
        _check_plan(what, part, plan)
        for fold in range(plan.folds):
            path = fold_path(folder, part.arm, part.seed, fold)
            kept, own = folds.get(path) or read_fold(path), part.folds == fold
            files = [file for file, chosen in zip(part.files, own, strict=True) if chosen]
            answers = dict(zip(kept.files, kept.probabilities, strict=True))
            if sorted(answers) != sorted(files):
                raise SonoforgeError(f"{what}: found other images in fold {fold} than {path} keeps, expected the same")
            if not np.array_equal(part.probabilities[own], np.array([answers[file] for file in files])):
                raise SonoforgeError(
                    f"{what}: found other probabilities than {path} keeps, expected the same; take the table as the "
                    "run wrote it"
                )
    reads = check_reads(folds, plans)
    images = next(iter(plans.values())).images
    for check in (*origin_checks(folds, plans, reads, images), *split_checks(plans, reads, 0)):
        if not check.passed:
            raise SonoforgeError(f"{folder}: {check.what}: found {check.found}, expected none")


def _check_plan(what: str, part: Predictions, plan: SplitPlan) -> None:
    place = {file: index for index, file in enumerate(plan.files)}
    tested = {plan.files[index] for index in plan.tested}
    if set(part.files) != tested:
        other = sorted(set(part.files) ^ tested)[0]
        where = "the plan alone" if other in tested else "the table alone"
        raise SonoforgeError(f"{what}: found {other} in {where}, expected the images that the plan tests")
    order = [place[file] for file in part.files]
    columns = {
        "folds": (part.folds, plan.fold_of),
        "groups": (part.groups, plan.groups),
        "labels": (part.labels, plan.labels),
    }
    for name, (found, planned) in columns.items():
        if not np.array_equal(found, np.array(planned)[order]):
            raise SonoforgeError(f"{what}: found other {name} than the split plan's, expected the same")
    if part.protocol != plan.protocol:
        raise SonoforgeError(f"{what}: found protocol {part.protocol}, expected {plan.protocol} as in the split plan")
