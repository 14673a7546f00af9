"""Labelled images from elsewhere, in one folder for each label or in a table, and the meaning of the labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sonoforge.runtime.csv_tables import Names, named_files, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.data.datasets import Dataset, Item, read_dataset
from sonoforge.training.data.layouts import natural_order
from sonoforge.training.data.unpacking import unpacked


def read_external(text: str, store: Path) -> Dataset:
    """Read a collection given as ``NAME:PATH``; a zip is unpacked into ``store``.

    A table (``.csv``) has the columns ``file`` (relative to it) and ``label``, and ``patient`` and ``device`` if known.

    Raises:
        SonoforgeError: Another form, or no labelled images there.
    """
    name, colon, path = text.partition(":")
    if not name or not colon or not path or "/" in name:
        raise SonoforgeError(f"--external: {text!r} is not NAME:PATH, as in Rio:scans/")
    dataset = _read_table(Path(path)) if path.lower().endswith(".csv") else read_dataset(unpacked(Path(path), store))
    return Dataset(name, dataset.root, dataset.classes, dataset.items)


def _read_table(path: Path) -> Dataset:
    remedy = "give comma-separated text with file and label, and patient and device if known"
    rows = read_table(path, ("file", "label"), remedy).rows
    spelled = {row["label"].casefold(): row["label"] for row in reversed(rows)}  # the first spelling
    if not rows or "" in spelled:
        line = next((row.line for row in rows if not row["label"]), 1)
        raise SonoforgeError(f"{path}: line {line} has no label; give one for each file")
    labels = sorted(spelled.values(), key=natural_order)
    patients = one_spelling((row.get("patient", "") for row in rows), str(path))
    files = Names(named_files(path.parent, rows), path.parent.resolve().name)
    items = []
    for row in rows:
        name = files.find(row["file"])
        if not (path.parent / name).is_file():
            raise SonoforgeError(
                f"{path}: line {row.line} names {name!r}, not found beside the table; correct the line"
            )
        label = labels.index(spelled[row["label"].casefold()])
        items.append(Item(name, label, patients[row.get("patient", "")] or None, device=row.get("device", "")))
    twice = [path for path, count in Counter(item.path for item in items).items() if count > 1]
    if twice:
        raise SonoforgeError(f"{path}: names {min(twice)} twice; remove a line")
    return Dataset(path.stem, path.parent, tuple(labels), tuple(items))


Meanings = Mapping[str, tuple[str, ...]]
"""The bundle's classes that each label covers, such as ``{"lesion": ("benign", "malignant")}``."""


def read_meanings(given: Sequence[str], labels: Sequence[str], classes: Sequence[str]) -> Meanings:
    """Return the meaning of each label, in the order of the classes.

    Args:
        given: Entries ``LABEL=CLASS`` or ``LABEL=CLASS+CLASS``; labels named as a class, in any case, need none.
        labels: Those of the collection.
        classes: Those of the bundle.

    Raises:
        SonoforgeError: A malformed entry, an unknown class, a class of two labels, or a label without a meaning.
    """
    stated = dict(_entry(text, classes) for text in given)
    named = {name.casefold(): (name,) for name in classes}
    meanings: dict[str, tuple[str, ...]] = {}
    for label in labels:
        meaning = stated.get(label, named.get(label.casefold()))
        if meaning is None:
            raise SonoforgeError(
                f"--classes: the label {label!r} is none of the bundle's classes {', '.join(classes)}; give --classes "
                f"'{label}={classes[-1]}', or several as {'+'.join(classes[-2:])}"
            )
        for other, own in meanings.items():
            shared = sorted(set(own) & set(meaning))
            if shared:
                raise SonoforgeError(
                    f"--classes: {label!r} and {other!r} both mean {', '.join(shared)}; a class may have one label"
                )
        meanings[label] = meaning
    return dict(sorted(meanings.items(), key=lambda item: classes.index(item[1][0])))


def _entry(text: str, classes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    label, _, meaning = (part.strip() for part in text.partition("="))
    names = tuple(name.strip() for name in meaning.split("+"))
    if not label or not meaning:
        raise SonoforgeError(f"--classes: {text!r} is not LABEL=CLASS or LABEL=CLASS+CLASS")
    for name in names:
        if name not in classes:
            raise SonoforgeError(f"--classes: {name!r} is none of {', '.join(classes)}{did_you_mean(name, classes)}")
    return label, names


def name_meaning(label: str, meaning: Sequence[str]) -> str:
    """Say what a label means: ``lesion = benign or malignant``, or the name alone if it is the class."""
    return label if [label.casefold()] == [name.casefold() for name in meaning] else f"{label} = {' or '.join(meaning)}"
