"""Collect evidence from other runs for a bundle's card: sealed folds, left-out collections, `evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.classifier.model_folder import ModelRecord
from sonoforge.training.data.split_plan import FILE as SPLITS
from sonoforge.training.gan.checkpoint import Description
from sonoforge.training.run_folder import RESULTS, read_results
from sonoforge.training.statistics.predictions import ANSWERS, read_predictions
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, Record
from sonoforge.training.statistics.tables import evaluate

_SHOWN = ("kid", "fid", "precision", "recall", "density", "coverage", "spectrum", "spectrum_fine")
_FREE = ("test_curves", "teachers")  # may differ: the first changes no network, the card states the second


def with_evidence(record: ModelRecord, folders: Sequence[Path]) -> ModelRecord:
    """Return the record with tables from these runs, replacing its tables of the same kind.

    The runs are of ``crossval`` with the protocols ``leave-one-collection-out`` and ``sealed``.  Runs of another kind,
    or of networks trained differently from the bundle's, are refused; only the number of teachers may differ.
    """
    elsewhere: Record = {}
    teachers: dict[str, int] = {}
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise SonoforgeError(f"{folder}: has no {RESULTS}; give a finished run")
        results = read_results(folder)
        kind = {LEAVE_ONE_OUT: "left_out", "sealed": "sealed"}.get(str(results.get("protocol")))
        if kind is None:
            raise SonoforgeError(
                f"{folder}: has no sealed folds or left-out collections; give a run of crossval --protocol "
                f"{LEAVE_ONE_OUT} or sealed"
            )
        elsewhere[kind] = _by_collection(folder, results, record)
        teachers[kind] = results["classifier"]["teachers"]
    other = {kind: number for kind, number in teachers.items() if number != record.training["settings"]["teachers"]}
    before = {kind: number for kind, number in record.elsewhere.get("teachers", {}).items() if kind not in teachers}
    merged = {**record.elsewhere, **elsewhere, "teachers": {**before, **other}}
    if not merged["teachers"]:
        del merged["teachers"]
    return replace(record, elsewhere=merged)


def _by_collection(folder: Path, results: Mapping[str, Any], record: ModelRecord) -> Record:
    arm = record.training["arm"]
    if arm not in results["arms"]:
        raise SonoforgeError(f"{folder}: has the arms {', '.join(results['arms'])}, not the bundle's, {arm}")
    was, settings = record.training["settings"], results["classifier"]
    pairs: dict[str, tuple[Any, Any]] = {"weights": (results["weights"], record.training["weights"])}
    pairs |= {name: (settings.get(name), was.get(name)) for name in {**was, **settings} if name not in _FREE}
    for name, (found, expected) in pairs.items():  # figures of others would not describe the bundle's network
        if found != expected:
            raise SonoforgeError(
                f"{folder}: {name} is {found!r}, but {expected!r} in the bundle's training; give a run of the same "
                "recipe"
            )
    figures = _recomputed(folder, results, arm)
    own = [row for row in figures.get("by_source", []) if row["kind"] == "collection"]
    return {"seed": figures["seeds"]["seeds"][0], "collections": own}


def _recomputed(folder: Path, results: Mapping[str, Any], arm: str) -> Mapping[str, Any]:
    """Return an arm's figures from the run's kept answers, not from its summary, which must cover the same folds."""
    # Imported here, because an export without evidence needs none of cross-validation's packages.
    from sonoforge.training.crossval.evidence import check_kept, read_folds  # noqa: PLC0415
    from sonoforge.training.crossval.fold_task import fold_path  # noqa: PLC0415

    parts, classes = read_predictions(folder / ANSWERS)
    if not (folder / SPLITS).is_file():
        raise SonoforgeError(f"{folder}: has no split plan; give the whole folder of a run of crossval")
    folds = read_folds(folder)
    check_kept(folder, parts, folds)
    parts = [part for part in parts if part.arm == arm]
    for part in parts:
        if part.protocol != results["protocol"]:
            raise SonoforgeError(
                f"{folder}: the protocol is {results['protocol']} in {RESULTS}, but {part.protocol} in {ANSWERS}"
            )
        for fold in np.unique(part.folds).tolist():
            file = fold_path(folder, arm, part.seed, fold)
            if folds[file].made_from.settings["classifier"] != results["classifier"]:
                raise SonoforgeError(f"{file}: was not trained with the settings in {RESULTS}")
    figures: Mapping[str, Any] = evaluate(parts, classes)["arms"][arm]
    return figures


def read_measured(run: Path, about: Description) -> dict[str, Any]:
    """Return the figures of a run of ``sonoforge evaluate`` on these weights, for the card of a checkpoint."""
    with refusing(f"--evidence: {run} holds no results.json of a finished evaluation"):
        results = read_results(run)
    if not {"fake", "protocol_id"} <= set(results):
        raise SonoforgeError(f"--evidence: {run} is not a run of evaluate; give one of this generator")
    found = results["fake"].get("generator_sha256", "")
    if found != about.files["average.safetensors"]:
        raise SonoforgeError(
            f"--evidence: {run} evaluated other weights ({found[:16] or 'images from files'}), not "
            f"{about.files['average.safetensors'][:16]}; evaluate this checkpoint"
        )
    copies = results["copies"]
    return {
        "images": results["fake"]["images"],
        "real": f"{results['real']['source']}, {results['protocol']['resize of real images']}",
        "per_set": results["n"],
        "real_images": results["real"]["images"],
        "protocol_id": results["protocol_id"],
        "metrics": [
            {key: row[key] for key in ("title", "space", "matched", "floor", "ratio")}
            for row in results["metrics"]
            if row["name"] in _SHOWN and None not in (row["matched"], row["floor"], row["ratio"])
        ],
        "copies": copies
        and {
            **{key: copies[key] for key in ("images", "copies", "false_alarm")},
            "recall": {row["kind"]: row["recall"] for row in copies["recall"]},
        },
        "warnings": results["warnings"],
    }
