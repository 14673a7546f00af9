"""Propose which images are of one patient, by names, folders or DICOM headers, and group them by a pattern.

A pattern such as ``{patient}_*`` is matched against the end of an image's path without its suffix.  ``*`` stands for
one piece of a name, without a space, full stop, hyphen or underscore; ``{patient}`` for what all images of a patient
share.  ``{patient}/*`` takes the folder of an image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.file_kinds import begins_as_dicom
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset

PATIENT, DICOM = "{patient}", "dicom"
_PARTS = re.compile(r"(\{patient\}|\*)")
_PIECE = r"[^\s._\-/]+"
_VIEWED = r"(?P<key>.+?)(?P<before>[ ._-]*(?<![A-Za-z])(?P<word>[A-Za-z]{1,8})[ ._-]*)"
_COUNTED_VIEW = re.compile(_VIEWED + r"\(?\d+\)?")  # `-L-2`, `_frame_003`
_COUNTER = re.compile(r"(?P<key>.+?)(?P<before>[ ._-]+)\(?\d+\)?")  # `_003`, ` (3)`
_VIEW = re.compile(r"(?P<key>.*\d)(?P<before>[ ._-]+)(?P<word>[A-Za-z]{1,8})")  # `-left`
_FEWEST, _MOST_VIEWS = 4, 8
_SIDE, _FOLDS, _REPEATS = 32, 5, 3  # of `measure_optimism`


class Optimism(TypedDict):
    """Accuracy of the nearest other image, in folds that split patients and in folds of whole patients."""

    parted: float
    whole: float


class Proposal(TypedDict):
    """Suggested patients: the pattern, their number, and the effect of ignoring them."""

    groups_from: str
    patients: int
    images: int  # with a patient
    largest: int  # number of images of one patient
    optimism: Optimism | None  # None: too few patients to measure


def patients_by(pattern: str, dataset: Dataset) -> list[str | None]:
    """Return the patient of each image, or None where the pattern does not fit.

    Args:
        pattern: See the top of this module; or ``dicom``: by a hash of the patient's or the study's number in each
            header.
        dataset: The images.

    Raises:
        SonoforgeError: No such pattern, or it fits no image.
    """
    if pattern == DICOM:
        found = [dicom_patient(dataset.file(item.path)) for item in dataset.items]
    else:
        if pattern.count(PATIENT) != 1:
            raise SonoforgeError(f"--groups-from: {pattern!r} is not a pattern such as '{PATIENT}_*', or {DICOM}")
        kinds, depth = {PATIENT: r"(?P<patient>[^/]+)", "*": _PIECE}, pattern.count("/") + 1
        folders = [
            "[^/]+" if folder == "*" else "".join(kinds.get(part, re.escape(part)) for part in _PARTS.split(folder))
            for folder in pattern.split("/")
        ]
        fits = re.compile("/".join(folders))
        names = ["/".join(PurePosixPath(item.path).with_suffix("").parts[-depth:]) for item in dataset.items]
        found = [match["patient"] if (match := fits.fullmatch(name)) else None for name in names]
    if not any(found):
        raise SonoforgeError(
            f"--groups-from: {pattern!r} fits none of the images, such as {dataset.items[0].path}; see "
            "sonoforge data audit"
        )
    return found


def grouped(dataset: Dataset, pattern: str) -> Dataset:
    """Give the images without a group the one by a pattern."""
    found = patients_by(pattern, dataset)
    items = [dataclasses.replace(item, group=item.group or own) for item, own in zip(dataset.items, found, strict=True)]
    return dataclasses.replace(dataset, items=tuple(items))


def dicom_patient(file: Path) -> str | None:
    """Return a hash of a DICOM file's patient, or of its study if it names none; None for other files."""
    if not begins_as_dicom(file):
        return None
    with contextlib.suppress(Exception):  # hostile bytes fail in any way, and are refused when decoded
        import pydicom  # noqa: PLC0415 - an extra

        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"])
        number = str(header.get("PatientID") or "").strip() or str(header.get("StudyInstanceUID") or "").strip()
        if number:
            return hashlib.sha256(number.encode()).hexdigest()[:12]
    return None


def propose(cache: ImageCache) -> Proposal | None:
    """Propose patients where none are given; None if neither headers, folders nor names suggest any."""
    dataset = cache.dataset
    if any(item.group for item in dataset.items):
        return None
    headers = [dicom_patient(dataset.file(item.path)) for item in dataset.items]
    found = [key for key in headers if key]
    if found and len(set(found)) < len(found):
        pattern = DICOM
    else:
        by_name = _by_folder(dataset) or _by_name(dataset)
        if by_name is None:
            return None
        pattern = by_name
    patients = patients_by(pattern, dataset)
    counts = Counter(patient for patient in patients if patient)
    return {
        "groups_from": pattern,
        "patients": len(counts),
        "images": sum(counts.values()),
        "largest": max(counts.values()),
        "optimism": measure_optimism(cache, patients),
    }


def _suggests(dataset: Dataset, keys: Sequence[str | None]) -> bool:
    """Whether keys look like patients: most images have one, shared by some but not by most."""
    counts = Counter(key for key in keys if key)
    images, classes = sum(counts.values()), {name.casefold() for name in dataset.classes}
    named = {key.casefold().strip(" ._-(") for key in counts}
    return (
        images >= 0.9 * len(keys)
        and len(counts) >= _FEWEST
        and len(counts) <= 0.9 * images
        and max(counts.values()) <= images / 2
        and not named <= classes
    )


def _by_folder(dataset: Dataset) -> str | None:
    """Propose the outermost folder inside the class folders that looks like a patient's."""
    paths = [item.path.split("/")[2 if dataset.collections else 1 :] for item in dataset.items]
    for depth in range(max(map(len, paths)) - 1, 0, -1):
        if _suggests(dataset, [parts[-1 - depth] if len(parts) > depth else None for parts in paths]):
            return PATIENT + "/*" * depth
    return None


def _by_name(dataset: Dataset) -> str | None:
    """Propose what precedes the counter or the view at the end of the names."""
    stems = [PurePosixPath(item.path).stem for item in dataset.items]
    for form in (_COUNTED_VIEW, _COUNTER, _VIEW):
        matches = [form.fullmatch(stem) for stem in stems]
        fits = [match for match in matches if match]
        if len(fits) < 0.9 * len(stems):
            continue
        words = {match["word"] for match in fits} if form is not _COUNTER else {""}
        shapes = {match["before"] for match in fits}
        if len(shapes) > 1:
            shapes = {re.sub(r"[A-Za-z]+", "*", before) for before in shapes}
        if len(words) > _MOST_VIEWS or len(shapes) > 1:
            continue
        bracket = "(*)" if all(match.group().endswith(")") for match in fits) else "*"
        if _suggests(dataset, [match["key"] if match else None for match in matches]):
            return PATIENT + shapes.pop() + bracket
    return None


def measure_optimism(cache: ImageCache, patients: Sequence[str | None]) -> Optimism | None:
    """Measure how optimistic folds that split patients are, with the simplest classifier: the most similar image.

    It predicts each image from the other folds twice: with folds of single images, and of whole patients.
    """
    names = [patient or f"image {i}" for i, patient in enumerate(patients)]
    groups, labels = np.unique(names, return_inverse=True)[1], cache.dataset.labels
    per_class = [len(np.unique(groups[labels == label])) for label in np.unique(labels)]
    if len(per_class) < 2 or min(per_class) < 2:
        return None
    folds = min(_FOLDS, *per_class)
    alike = _alikeness(cache)
    parted = [_share_right(alike, labels, np.arange(len(labels)), folds, seed) for seed in range(_REPEATS)]
    whole = [_share_right(alike, labels, groups, folds, seed) for seed in range(_REPEATS)]
    return {"parted": round(float(np.mean(parted)), 3), "whole": round(float(np.mean(whole)), 3)}


def _alikeness(cache: ImageCache) -> NDArray[np.float32]:
    """Return the (N, N) correlations of the images, each at `_SIDE` pixels."""
    step = max(1, cache.size // _SIDE)
    small = np.stack([image[::step, ::step].mean(axis=2).ravel() for image in cache.images]).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-6
    found: NDArray[np.float32] = small @ small.T
    return found


def _share_right(
    alike: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int
) -> float:
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415 - exporting needs no scikit-learn

    right = np.zeros(len(labels), bool)
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups):
        right[test] = labels[train][alike[np.ix_(test, train)].argmax(axis=1)] == labels[test]
    return float(right.mean())


def in_words(proposal: Proposal) -> str:
    """Describe a proposal, its effect on the figures, and how to use it."""
    kind = "DICOM headers" if proposal["groups_from"] == DICOM else "names"
    said = (
        f"{kind} suggest {proposal['patients']} patients with up to {proposal['largest']} images: "
        f"--groups-from '{proposal['groups_from']}'"
    )
    optimism = proposal["optimism"]
    if optimism is None:
        return said
    gain = 100 * (optimism["parted"] - optimism["whole"])
    return (
        f"{said} (the most similar image predicts {optimism['parted']:.0%} of the classes if folds split patients, "
        f"{optimism['whole']:.0%} in folds of whole patients: {gain:+.0f} points)"
    )


def without_patients(images: int, groups: int, proposal: Proposal | None) -> str:
    """Warn that patients are unknown."""
    said = (
        f"patients are unknown, so each of the {groups} groups of {images} images counts as one: images of a patient "
        "may be on both sides of a fold, which makes figures optimistic and intervals too narrow"
    )
    return f"{said}; {in_words(proposal)}" if proposal else f"{said}; add groups.csv to name them"
