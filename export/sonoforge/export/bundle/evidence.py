"""Collect evidence from other runs for a bundle's card: sealed folds, left-out collections, `evaluate`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.classifier.model_folder import ModelRecord, Origin
from sonoforge.training.gan.checkpoint import Description
from sonoforge.training.run_folder import RESULTS, read_results
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, Record
from sonoforge.training.statistics.tables import evaluate

_SHOWN = ("kid", "fid", "precision", "recall", "density", "coverage", "spectrum", "spectrum_fine")
_FREE = ("test_curves", "teachers")  # may differ: the first changes no network, the card states the second


def with_evidence(record: ModelRecord, folders: Sequence[Path], origins: Sequence[Origin]) -> ModelRecord:
    """Return the record with tables from these runs, replacing its tables of the same kind.

    The runs are of ``crossval`` with the protocols ``leave-one-collection-out`` and ``sealed``.  Runs of another kind,
    or of networks trained differently from the bundle's, are refused; only the number of teachers may differ.  Figures
    are those of the answers that a run keeps, whatever its summary says; ``origins`` are of the training images.
    """
    elsewhere: Record = {}
    teachers: dict[str, int] = {}
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise SonoforgeError(f"{folder}: has no {RESULTS}; give a finished run")
        kind, number, table = _by_collection(folder, record, origins)
        elsewhere[kind], teachers[kind] = table, number
    other = {kind: number for kind, number in teachers.items() if number != record.training["settings"]["teachers"]}
    before = {kind: number for kind, number in record.elsewhere.get("teachers", {}).items() if kind not in teachers}
    merged = {**record.elsewhere, **elsewhere, "teachers": {**before, **other}}
    if not merged["teachers"]:
        del merged["teachers"]
    return replace(record, elsewhere=merged)


def _by_collection(folder: Path, record: ModelRecord, origins: Sequence[Origin]) -> tuple[str, int, Record]:
    """Return the kind of a run, its number of teachers, and its table."""
    # Imported here, because an export without evidence needs none of cross-validation's packages.
    from sonoforge.export.bundle.recomputed import check_answers  # noqa: PLC0415
    from sonoforge.training.crossval.fold_task import fold_path, read_fold  # noqa: PLC0415

    parts, classes = check_answers(folder, record, origins, _FREE)
    arm = record.training["arm"]
    kind = {LEAVE_ONE_OUT: "left_out", "sealed": "sealed"}.get(parts[0].protocol) if parts else ""
    if not kind:
        raise SonoforgeError(
            f"{folder}: has no sealed folds or left-out collections of the bundle's arm, {arm}; give a run of crossval "
            f"--protocol {LEAVE_ONE_OUT} or sealed"
        )
    figures = evaluate(parts, classes)["arms"][arm]
    own = [row for row in figures.get("by_source", []) if row["kind"] == "collection"]
    made = read_fold(fold_path(folder, arm, parts[0].seed, 0)).made_from
    table = {"by": folder.resolve().name, "seed": parts[0].seed, "collections": own}
    return kind, made.settings["classifier"]["teachers"], table


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
        "by": run.resolve().name,
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
