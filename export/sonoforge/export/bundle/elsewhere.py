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

_FREE = ("test_curves", "teachers")  # the first changes no network; the second is said in the card


def with_evidence(record: ModelRecord, folders: Sequence[Path]) -> ModelRecord:
    """Return the record with what these runs measured.

    Args:
        record: Of the bundle's model.
        folders: Runs of ``crossval`` with the protocols ``leave-one-collection-out`` and ``sealed``, and of ``validate
            --robustness`` with a bundle whose network was trained without the collection.

    Returns:
        The record with these tables in the place of those of the same kind that it had.

    Raises:
        SonoforgeError: A run of another kind, or of networks that were trained otherwise than the bundle's; only the
            number of their teachers may differ, which the card says.
    """
    elsewhere = ElsewhereRecord()
    teachers: dict[str, int] = {}
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise SonoforgeError(f"{folder}: found no {RESULTS}, expected a finished run")
        results = read_results(folder)
        settings = results.get("classifier")
        if results.get("protocol") == LEAVE_ONE_OUT:
            kind = "left_out"
            elsewhere["left_out"] = _by_collection(folder, results, record)
        elif results.get("protocol") == "sealed":
            kind = "sealed"
            elsewhere["sealed"] = _by_collection(folder, results, record)
        elif "collections" in results:
            disturbed = {own["name"]: own["robustness"] for own in results["collections"] if own["robustness"]}
            if not disturbed:
                raise SonoforgeError(f"{folder}: found no disturbed images, expected a run of validate --robustness")
            kind, trained = "disturbed", results["training"]
            settings = trained["settings"]
            _check_same(folder, {name: trained[name] for name in ("arm", "weights")}, settings, record)
            elsewhere["disturbed"] = {**elsewhere.get("disturbed", {}), **disturbed}
        else:
            raise SonoforgeError(
                f"{folder}: found neither sealed folds, nor collections that were left out, nor disturbed images, "
                f"expected a run of crossval --protocol {LEAVE_ONE_OUT} or sealed, or of validate --robustness"
            )
        _note_teachers(teachers, kind, folder, int((settings or {}).get("teachers", 0)))
    own = int((record.training.get("settings") or {}).get("teachers", 0))
    other = {kind: number for kind, number in teachers.items() if number != own}
    before = {kind: number for kind, number in record.elsewhere.get("teachers", {}).items() if kind not in teachers}
    merged = ElsewhereRecord(**{**record.elsewhere, **elsewhere, "teachers": {**before, **other}})
    if not merged["teachers"]:
        del merged["teachers"]
    return replace(record, elsewhere=merged)


def _note_teachers(teachers: dict[str, int], kind: str, folder: Path, number: int) -> None:
    """Keep how many teachers the networks behind one table had.

    Raises:
        SonoforgeError: Another run of this table had another number.
    """
    if teachers.setdefault(kind, number) != number:
        raise SonoforgeError(
            f"{folder}: teachers: found {number}, expected {teachers[kind]} as in the runs before it; give runs of one "
            "recipe"
        )


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
