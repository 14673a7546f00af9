"""Propose which images show one patient, by names, folders or DICOM headers, and group them by a pattern.

A pattern such as ``{patient}_*`` is matched against the end of an image's path without its suffix.  ``*`` stands for
one piece of a name, without a space, full stop, hyphen or underscore; ``{patient}`` for what all of a patient's images
share. ``{patient}/*`` takes an image's folder.
"""

import contextlib
import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.file_kinds import begins_as_dicom
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.statistics.results import Record

PATIENT, DICOM = "{patient}", "dicom"
_PARTS = re.compile(r"(\{patient\}|\*)")
_PIECE = r"[^\s._\-/]+"
_VIEWED = r"(?P<key>.+?)(?P<before>[ ._-]*(?<![A-Za-z])(?P<word>[A-Za-z]{1,8})[ ._-]*)"
_COUNTED_VIEW = re.compile(_VIEWED + r"\(?\d+\)?")  # `-L-2`, `_frame_003`
_COUNTER = re.compile(r"(?P<key>.+?)(?P<before>[ ._-]+)\(?\d+\)?")  # `_003`, ` (3)`
_VIEW = re.compile(r"(?P<key>.*\d)(?P<before>[ ._-]+)(?P<word>[A-Za-z]{1,8})")  # `-left`
_FEWEST, _MOST_VIEWS = 4, 8


def patients_by(pattern: str, dataset: Dataset) -> list[str | None]:
    """Return the patient of each image, or None if the pattern does not fit.

    ``dicom`` in place of a pattern uses a hash of the patient's or the study's number in each header.
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
    """Give images without a group the one that a pattern finds."""
    found = patients_by(pattern, dataset)
    items = [dataclasses.replace(item, group=item.group or own) for item, own in zip(dataset.items, found, strict=True)]
    return dataclasses.replace(dataset, items=tuple(items))


def dicom_patient(file: Path) -> str | None:
    """Return a hash of a DICOM file's patient, or of its study if there is none; None for other files."""
    if not begins_as_dicom(file):
        return None
    with contextlib.suppress(Exception):  # hostile bytes fail in any way, and are refused when decoded
        import pydicom  # noqa: PLC0415 - slow to import

        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"])
        number = str(header.get("PatientID") or "").strip() or str(header.get("StudyInstanceUID") or "").strip()
        if number:
            return hashlib.sha256(number.encode()).hexdigest()[:12]
    return None


def propose(dataset: Dataset) -> Record | None:
    """Propose patients if none are given; None if neither headers, folders nor names suggest any."""
    if any(item.group for item in dataset.items):
        return None
    found = [key for item in dataset.items if (key := dicom_patient(dataset.file(item.path)))]
    pattern = DICOM if len(set(found)) < len(found) else _by_folder(dataset) or _by_name(dataset)
    if pattern is None:
        return None
    counts = Counter(patient for patient in patients_by(pattern, dataset) if patient)
    return {
        "groups_from": pattern,
        "patients": len(counts),
        "images": sum(counts.values()),
        "largest": max(counts.values()),
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
    """Propose the part of each name before the counter or the view at its end."""
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


def without_patients(images: int, groups: int, proposal: Record | None) -> str:
    """Warn that patients are unknown; a proposal says how to give them."""
    said = (
        f"patients are unknown, so each of the {groups} groups of {images} images counts as one: images of a patient "
        "may be on both sides of a fold, which makes figures optimistic and intervals too narrow"
    )
    if not proposal:
        return f"{said}; add groups.csv to list them"
    kind = "DICOM headers" if proposal["groups_from"] == DICOM else "names"
    return (
        f"{said}; {kind} suggest {proposal['patients']} patients with up to {proposal['largest']} images: "
        f"--groups-from '{proposal['groups_from']}'"
    )
