"""Assign the images of a folder to classes, by its sub-folders or by a table that names them.

Sub-folders are classes, or parts of a split (``train``, ``val``, ``test``) that each hold class folders or such a
table, or classes that hold parts of a split.  If a table and the folders disagree, the folder is refused.
"""

import logging
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError, name_some
from sonoforge.runtime.images.file_kinds import KINDS_IN_WORDS, is_image_file
from sonoforge.runtime.images.folders import is_mask_folder, is_outline
from sonoforge.runtime.images.inputs import FILM
from sonoforge.training.data.folder_layout import (
    BUSI_CLASSES,
    Sorted,
    check_layout,
    check_pictures,
    given_split,
    image_folder,
    natural_order,
    sort_files,
    spell_classes,
    split_of,
    subfolders,
)
from sonoforge.training.data.label_tables import (
    OF_CLASSES,
    Labelled,
    LabelTable,
    find_label_tables,
    open_label_table,
    read_labels,
)
from sonoforge.training.data.readers import import_command, refuse_other_layouts

log = logging.getLogger(__name__)

_BUSI_IMAGE = re.compile(r"(normal|benign|malignant) \(\d+\)\.png")


class Laid(NamedTuple):
    """The images of a folder by class."""

    classes: dict[str, list[str]]  # images of each class, in order
    how: str  # how it was read, in words
    files: Sorted
    split: Mapping[str, str]  # part of the given split by its folder, all at one depth; empty without a split
    facts: Mapping[str, Mapping[str, str]] = {}  # group, device and split of each image, by a table


def lay_out(
    root: Path,
    found: Sequence[PurePath],
    skipped: Counter[str],
    fewest_classes: int,
    asked: tuple[Path, str] | None = None,
) -> Laid:
    """Assign each image of a folder to a class.

    Args:
        root: The folder.
        found: Its images and masks, relative to it.
        skipped: Counts skipped files by kind.
        fewest_classes: How many classes there have to be.
        asked: A table to use, or a folder of tables, and its column (empty: the column of classes).

    Raises:
        SonoforgeError: The folder is unreadable or ambiguous.
    """
    refuse_other_layouts(root, {file.stem for file in found})
    folders = _in_order(root)
    split = given_split(folder.name for folder in _unlike_masks(root, folders, found))
    parts = [folder for folder in folders if folder.name in split] or [root]
    by_part = _class_folders(root, parts, found)
    images = {file.as_posix() for file in found}
    path, column = asked or (root, "")
    if path.is_file():
        tables = [open_label_table(path, root, images)]
    else:
        tables = find_label_tables(root, root, images, column) or [
            table for part in parts if split for table in find_label_tables(part, root, images, column)
        ]
    if column and not tables:
        raise SonoforgeError(f"{root}: no table of images has a column {column!r}; check its name")
    answered = {table.path: _read(table) for table in tables if not column}
    folders_of_a_part = min(map(len, by_part))
    if asked or (
        tables
        and (
            folders_of_a_part < max(fewest_classes, 1)
            or (folders_of_a_part < 2 and any(answered.values()))
            or any(table.decides for table in tables)
        )
    ):
        laid = _by_tables(root, [(table, answered.get(table.path)) for table in tables], column, found, skipped)
        if len(laid.classes) < fewest_classes:
            raise SonoforgeError(
                f"{root}: read {laid.how}: a single class instead of {fewest_classes} or more; ask another column of "
                "the table, as TABLE:COLUMN"
            )
    else:
        laid = _by_folders(root, parts, by_part, found, skipped, fewest_classes)
        _check_agreement(answered, laid)
    return laid._replace(split=split or laid.split)


def _in_order(folder: Path) -> list[Path]:
    return sorted(subfolders(folder), key=lambda inner: natural_order(inner.name))


def _unlike_masks(root: Path, folders: Sequence[Path], found: Sequence[PurePath]) -> list[Path]:
    """Return the folders without those that are named like masks and hold outlines, by a sample of five."""
    kept = []
    for folder in folders:
        own = [root / file for file in found if file.is_relative_to(folder.relative_to(root))]
        if not (is_mask_folder(folder.name) and own and all(map(is_outline, own[:: max(1, len(own) // 5)]))):
            kept.append(folder)
    return kept


def _class_folders(root: Path, parts: Sequence[Path], found: Sequence[PurePath]) -> list[list[Path]]:
    """Return the folders of each part that may be classes; see `folder_layout.image_folder`."""
    by_part = []
    for part in parts:
        folders = _in_order(part)
        kept = _unlike_masks(root, folders, found)
        above = image_folder(kept, [folder for folder in folders if folder not in kept])
        by_part.append(_in_order(above) if above else kept)
    return by_part


def _by_folders(
    root: Path,
    parts: Sequence[Path],
    by_part: Sequence[Sequence[Path]],
    found: Sequence[PurePath],
    skipped: Counter[str],
    fewest_classes: int,
) -> Laid:
    """Assign classes by the folders of the images."""
    every = [folder for own in by_part for folder in own]
    busi = parts == [root] and all(folder.name in BUSI_CLASSES for folder in every)
    busi = busi and any(_BUSI_IMAGE.fullmatch(file.name) for folder in every for file in folder.iterdir())
    if busi:
        every.sort(key=lambda folder: BUSI_CLASSES.index(folder.name))
    classes = spell_classes(every)
    _check_classes(root, tuple(classes), fewest_classes)
    for part, folders in zip(parts, by_part, strict=True):
        if not folders:
            raise SonoforgeError(
                f"{part}: has no class folders, as {' and '.join(p.name for p in parts if p != part)} beside it does; "
                f"add them, or give --data {shlex.quote(str(next(p for p in parts if p != part)))} alone"
            )
        check_layout(folders[0].parent, folders)
    loose = [root, *(part for part in parts if part != root)]
    inside = [file for file in found if root / file.parent not in loose]
    skipped["image outside of the class folders"] += len(found) - len(inside)
    files = sort_files(inside, lambda file: is_outline(root / file), natural_order)
    laid: dict[str, list[str]] = {}
    for class_name, folders in classes.items():
        places = tuple(f"{folder.relative_to(root).as_posix()}/" for folder in folders)
        laid[class_name] = images = [image for image in files.images if image.startswith(places)]
        if not images:
            raise SonoforgeError(
                f"{folders[0]}: has no images ({KINDS_IN_WORDS}); "
                + (
                    f"{import_command('frames', root)} turns volumes and films into images"
                    if skipped["volume"] or skipped[FILM]
                    else "add images or remove the folder"
                )
            )
        check_pictures(folders[0], [root / image for image in images])
        spellings = dict.fromkeys(folder.name for folder in folders)
        if len(spellings) > 1:
            log.warning("%s: %s are read as one class, %s", root, " and ".join(map(repr, spellings)), class_name)
    holder = every[0].parent.relative_to(root).as_posix()
    where = " and ".join(part.name for part in parts) if parts != [root] else "it" if holder == "." else holder
    why = "because it is laid out as BUSI" if busi else f"because each folder in {where} holds images"
    split = _split_inside(root, every, found, laid) if parts == [root] else {}
    return Laid(laid, f"as class folders {name_some(laid)}, {why}", files, split)


def _split_inside(
    root: Path, folders: Sequence[Path], found: Sequence[PurePath], laid: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return the part of a split for each folder inside the class folders; nothing if any is not a part."""
    inner = [one for folder in folders for one in _unlike_masks(root, _in_order(folder), found)]
    parts = given_split(folder.name for folder in inner)
    if not parts:
        return {}
    split = {folder.relative_to(root).as_posix(): parts[folder.name] for folder in inner}
    places = tuple(f"{place}/" for place in split)
    beside = next((image for own in laid.values() for image in own if not image.startswith(places)), "")
    if beside:
        raise SonoforgeError(
            f"{root / beside}: is in no part of the split; move it into one of the folders "
            f"{', '.join(dict.fromkeys(parts))} of its class"
        )
    return split


def _by_tables(
    root: Path,
    tables: Sequence[tuple[LabelTable, Labelled | None]],
    question: str,
    found: Sequence[PurePath],
    skipped: Counter[str],
) -> Laid:
    """Assign classes by a table, or by one for each part of a split, each with its answers if already read."""
    paths = [table.path for table, _ in tables]
    named = given_split(path.name.partition(".")[0] for path in paths)
    if len(paths) > 1 and len({path.parent for path in paths}) < len(paths) and not named:
        ask = f"{paths[0]}:{question}" if question else str(paths[0])
        raise SonoforgeError(
            f"{root}: the tables {name_some([path.name for path in paths])} each name images; give the one with the "
            f"classes, as --data {shlex.quote(ask)}"
        )
    labels: dict[str, str] = {}
    facts: dict[str, dict[str, str]] = {}
    questions: list[str] = []
    for table, answered in tables:
        read = answered or read_labels(table, question)
        part = split_of(table.path.name.partition(".")[0])
        labels |= read.labels
        facts |= {image: ({"split": part} if part else {}) | own for image, own in read.facts.items()}
        questions.append(read.question)
        skipped["image without a label"] += read.unlabelled
    files = sort_files(found, lambda file: is_outline(root / file), natural_order)
    spelled = {name.casefold(): name for name in reversed(labels.values())}
    classes = {name: list[str]() for name in sorted(spelled.values(), key=natural_order)}
    for image in files.images:
        if image in labels:
            classes[spelled[labels[image].casefold()]].append(image)
        else:
            skipped["image that no row gives a label"] += image not in facts
    names = name_some([path.relative_to(root).as_posix() for path in paths])
    shown = " and ".join(dict.fromkeys(questions))
    column = "columns" if "," in shown else "column"
    classes = {name: own for name, own in classes.items() if own}
    return Laid(classes, f"as the classes {name_some(classes)} of the {column} {shown} of {names}", files, {}, facts)


def _read(table: LabelTable) -> Labelled | None:
    """Return the classes of a table; None if it does not say which of its columns has them."""
    try:
        return read_labels(table)
    except SonoforgeError:
        return None


def _check_agreement(tables: Mapping[Path, Labelled | None], laid: Laid) -> None:
    """Refuse class folders that disagree with a table beside them."""
    own = {image: name.casefold() for name, images in laid.classes.items() for image in images}
    for path, answered in tables.items():
        if answered is None:
            continue
        labels = answered.labels
        plain = {label.casefold() for label in labels.values()}
        if answered.question not in OF_CLASSES and not plain <= set(own.values()):
            continue  # another kind of fact, such as a histology
        differs = next((i for i, label in labels.items() if i in own and label.casefold() != own[i]), None)
        if differs:
            raise SonoforgeError(
                f"{path}: says that {differs} is {labels[differs]!r}, but it is in another folder; give --data "
                f"{shlex.quote(str(path))} to use the table, or move it away to use the folders"
            )


def _check_classes(root: Path, classes: Sequence[str], fewest: int) -> None:
    if len(classes) >= fewest:
        return
    if not classes:
        loose = sum(is_image_file(f) for f in root.iterdir())
        found = f"{loose} images but no class folders" if loose else "neither images nor class folders"
        raise SonoforgeError(
            f"{root}: has {found}; move each image into the folder of its class, or list them in labels.csv (columns "
            "file,label)"
        )
    inner = root / classes[0]
    nested = len(subfolders(inner)) if inner.is_dir() else 0
    hint = f"did you mean {inner}?" if nested >= 2 else "add the folder of a second class"
    raise SonoforgeError(f"{root}: has a single class folder {classes[0]!r} instead of two or more; {hint}")
