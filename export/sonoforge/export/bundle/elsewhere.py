"""Evidence from other runs of the same recipe, for a bundle's card: collections left out, and disturbed scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import CollectionsRecord, ElsewhereRecord, ModelRecord
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.run_folder import RESULTS, read_results

_FREE = ("test_curves",)  # settings that change no network


def with_evidence(record: ModelRecord, folders: Sequence[Path]) -> ModelRecord:
    """Return the record with what these runs measured.

    Args:
        record: Of the bundle's model.
        folders: Runs of ``crossval`` with the protocols ``leave-one-collection-out`` and ``sealed``, and of ``validate
            --robustness`` with a bundle whose network was trained without the collection.

    Raises:
        SonoforgeError: A run of another kind, or of networks that were trained otherwise than the bundle's.
    """
    elsewhere = ElsewhereRecord()
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise SonoforgeError(f"{folder}: found no {RESULTS}, expected a finished run")
        results = read_results(folder)
        if results.get("protocol") == LEAVE_ONE_OUT:
            elsewhere["left_out"] = _by_collection(folder, results, record)
        elif results.get("protocol") == "sealed":
            elsewhere["sealed"] = _by_collection(folder, results, record)
        elif "collections" in results:
            disturbed = {own["name"]: own["robustness"] for own in results["collections"] if own["robustness"]}
            if not disturbed:
                raise SonoforgeError(f"{folder}: found no disturbed images, expected a run of validate --robustness")
            trained = results["training"]
            _check_same(folder, {name: trained[name] for name in ("arm", "weights")}, trained["settings"], record)
            elsewhere["disturbed"] = {**elsewhere.get("disturbed", {}), **disturbed}
        else:
            raise SonoforgeError(
                f"{folder}: found neither sealed folds, nor collections that were left out, nor disturbed images, "
                f"expected a run of crossval --protocol {LEAVE_ONE_OUT} or sealed, or of validate --robustness"
            )
    return replace(record, elsewhere=elsewhere)


def _by_collection(folder: Path, results: Mapping[str, Any], record: ModelRecord) -> CollectionsRecord:
    arm = record.training["arm"]
    if arm not in results["arms"]:
        raise SonoforgeError(f"{folder}: found arms {', '.join(results['arms'])}, expected {arm}, the bundle's")
    _check_same(folder, {"weights": results["weights"]}, results["classifier"], record)
    figures = results["arms"][arm]
    own = [row for row in figures.get("by_source", []) if row["kind"] == "collection"]
    return CollectionsRecord(seed=figures["seeds"]["seeds"][0], collections=own)


def _check_same(folder: Path, others: Mapping[str, Any], settings: Any, record: ModelRecord) -> None:
    """Refuse networks that were trained in another way: their figures would say nothing of the bundle's."""
    was: Mapping[str, Any] = record.training.get("settings") or {}
    pairs = {name: (value, record.training[name]) for name, value in others.items()}  # type: ignore[literal-required]
    pairs |= {
        name: ((settings or {}).get(name), was.get(name))
        for name in dict.fromkeys((*was, *(settings or {})))
        if name not in _FREE
    }
    for name, (found, expected) in pairs.items():
        if found != expected:
            raise SonoforgeError(
                f"{folder}: {name}: found {found!r}, expected {expected!r} as in the bundle's training; give a run of "
                "the same recipe"
            )
