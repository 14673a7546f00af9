"""Labelled images from elsewhere: a folder with one folder for each label, or a table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import Dataset, Item, natural_order, path_in, read_dataset, read_table


def read_external(text: str) -> Dataset:
    """Read a collection given as ``NAME:PATH``.

    A table (``.csv``) has the columns ``file`` (relative to it) and ``label``, and ``patient`` and ``device`` where
    they are known.

    Raises:
        SonoforgeError: Another form, or no labelled images there.
    """
    name, colon, path = text.partition(":")
    if not name or not colon or not path or "/" in name:
        raise SonoforgeError(f"--external: found {text!r}, expected NAME:PATH, as in Rio:scans/")
    dataset = _read_table(Path(path)) if path.lower().endswith(".csv") else read_dataset(Path(path))
    return Dataset(name, dataset.root, dataset.classes, dataset.items)


def _read_table(path: Path) -> Dataset:
    rows, columns = read_table(path, "expected comma-separated text with the columns file and label")
    if not {"file", "label"} <= set(columns):
        found = ", ".join(map(str, columns)) or "nothing"
        raise SonoforgeError(f"{path}: found columns {found}, expected file and label, and patient and device if known")
    labels = sorted({_cell(row.get("label")) for row in rows}, key=natural_order)
    if not rows or "" in labels:
        line = next((line for line, row in enumerate(rows, start=2) if not _cell(row.get("label"))), 1)
        raise SonoforgeError(f"{path}: line {line} has no label, expected one for each file")
    items = []
    for line, row in enumerate(rows, start=2):
        name = path_in(row["file"])
        if not (path.parent / name).is_file():
            raise SonoforgeError(f"{path}: line {line} names {name!r}, not found beside the table; correct the line")
        patient = _cell(row.get("patient")) or None
        items.append(Item(name, labels.index(_cell(row["label"])), patient, device=_cell(row.get("device"))))
    twice = [path for path, count in Counter(item.path for item in items).items() if count > 1]
    if twice:
        raise SonoforgeError(f"{path}: names {min(twice)} twice, expected every file once; remove a line")
    return Dataset(path.stem, path.parent, tuple(labels), tuple(items))


def _cell(cell: str | None) -> str:
    return (cell or "").strip()
