"""Which images of a folder are of which class: by its folders, or by a table that names them.

The folders are classes, or parts of a split (``train``, ``val``, ``test``) that hold folders of classes or such a table
each; or classes that hold parts of a split.  Where both a table and folders could say it and they disagree, the folder
is refused.
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
    """The images of a folder by class, in words and in paths."""

    classes: dict[str, list[str]]  # images of each class, in order
    how: str  # it is read, in words
    files: Sorted
    split: Mapping[str, str]  # part of the given split by its folder, all as deep; empty where none is given
    facts: Mapping[str, Mapping[str, str]] = {}  # what a table says of each image: its group, device and split


def lay_out(
    root: Path,
    found: Sequence[PurePath],
    skipped: Counter[str],
    fewest_classes: int,
    asked: tuple[Path, str] | None = None,
) -> Laid:
    """Tell the class of each image of a folder.

    Args:
        root: The folder.
        found: Its images and masks, relative to it.
        skipped: Counts what is passed over, by kind.
        fewest_classes: How many classes there have to be.
        asked: A table to go by, or a folder of such, and its column, empty for the one that is called so.

    Raises:
        SonoforgeError: It can be read in no way, or in several.
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
        raise SonoforgeError(f"{root}: found no table of images with a column {column!r}, expected one; check its name")
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
                f"{root}: read {laid.how}: a single class, expected {fewest_classes} at least; ask another column "
                "of the table, as TABLE:COLUMN"
            )
    else:
        laid = _by_folders(root, parts, by_part, found, skipped, fewest_classes)
        _check_agreement(answered, laid)
    return laid._replace(split=split or laid.split)


def _in_order(folder: Path) -> list[Path]:
    return sorted(subfolders(folder), key=lambda inner: natural_order(inner.name))


def _unlike_masks(root: Path, folders: Sequence[Path], found: Sequence[PurePath]) -> list[Path]:
    return [f for f in folders if not (is_mask_folder(f.name) and _holds_outlines(root, f, found))]


def _class_folders(root: Path, parts: Sequence[Path], found: Sequence[PurePath]) -> list[list[Path]]:
    """Return the folders of each part that may be classes, see `folder_layout.image_folder`."""
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
    """Tell classes by the folders that images are in."""
    every = [folder for own in by_part for folder in own]
    busi = parts == [root] and _is_busi(root, every)
    if busi:
        every.sort(key=lambda folder: BUSI_CLASSES.index(folder.name))
    classes = spell_classes(every)
    _check_classes(root, tuple(classes), fewest_classes)
    for part, folders in zip(parts, by_part, strict=True):
        if not folders:
            raise SonoforgeError(
                f"{part}: found no class folders, expected those of {' and '.join(p.name for p in parts if p != part)} "
                f"beside it; add them, or give --data {shlex.quote(str(next(p for p in parts if p != part)))} alone"
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
                f"{folders[0]}: found no images, expected at least one ({KINDS_IN_WORDS}); "
                + (
                    f"{import_command('frames', root)} makes them of volumes and films"
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
    """Return which part of a split each folder in those of classes is of; nothing where any is of none."""
    inner = [one for folder in folders for one in _unlike_masks(root, _in_order(folder), found)]
    parts = given_split(folder.name for folder in inner)
    if not parts:
        return {}
    split = {folder.relative_to(root).as_posix(): parts[folder.name] for folder in inner}
    places = tuple(f"{place}/" for place in split)
    beside = next((image for own in laid.values() for image in own if not image.startswith(places)), "")
    if beside:
        raise SonoforgeError(
            f"{root / beside}: lies in no part of the split, expected it in one of the folders "
            f"{', '.join(dict.fromkeys(parts))} of its class; move it there"
        )
    return split


def _by_tables(
    root: Path,
    tables: Sequence[tuple[LabelTable, Labelled | None]],
    question: str,
    found: Sequence[PurePath],
    skipped: Counter[str],
) -> Laid:
    """Tell classes by a table, or by one for each part of a split; each is with its answers, where it was read."""
    paths = [table.path for table, _ in tables]
    named = given_split(path.name.partition(".")[0] for path in paths)
    if len(paths) > 1 and len({path.parent for path in paths}) < len(paths) and not named:
        ask = f"{paths[0]}:{question}" if question else str(paths[0])
        raise SonoforgeError(
            f"{root}: found the tables {name_some([path.name for path in paths])}, which name images each; "
            f"give the one that has the classes, as --data {shlex.quote(ask)}"
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
    """Return the classes that a table gives unasked; None where it does not say which of its columns has them."""
    try:
        return read_labels(table)
    except SonoforgeError:
        return None


def _check_agreement(tables: Mapping[Path, Labelled | None], laid: Laid) -> None:
    """Refuse class folders beside a table, by its path, that says something else."""
    own = {image: name.casefold() for name, images in laid.classes.items() for image in images}
    for path, answered in tables.items():
        if answered is None:
            continue
        labels = answered.labels
        plain = {label.casefold() for label in labels.values()}
        if answered.question not in OF_CLASSES and not plain <= set(own.values()):
            continue  # a fact of another kind, such as a histology
        differs = next((i for i, label in labels.items() if i in own and label.casefold() != own[i]), None)
        if differs:
            raise SonoforgeError(
                f"{path}: says that {differs} is {labels[differs]!r}, which lies in another folder; give --data "
                f"{shlex.quote(str(path))} to go by the table, or move it away to go by the folders"
            )


def _is_busi(root: Path, folders: Sequence[Path]) -> bool:
    named = all(folder.name in BUSI_CLASSES for folder in folders)
    return named and any(_BUSI_IMAGE.fullmatch(f.name) for folder in folders for f in folder.iterdir())


def _holds_outlines(root: Path, folder: Path, files: Sequence[PurePath]) -> bool:
    below = folder.relative_to(root)
    own = [root / file for file in files if file.is_relative_to(below)]
    return bool(own) and all(map(is_outline, own[:: max(1, len(own) // 5)]))


def _check_classes(root: Path, classes: Sequence[str], fewest: int) -> None:
    if len(classes) >= fewest:
        return
    wanted = f"expected one folder for each {'of at least two classes' if fewest > 1 else 'class'}"
    if not classes:
        loose = sum(is_image_file(f) for f in root.iterdir())
        found = f"{loose} images but no class folders" if loose else "neither images nor class folders"
        raise SonoforgeError(
            f"{root}: found {found}, {wanted}; move each image into the folder of its class, or list them in "
            "labels.csv (columns file,label)"
        )
    inner = root / classes[0]
    nested = len(subfolders(inner)) if inner.is_dir() else 0
    hint = f"did you mean {inner}?" if nested >= 2 else "add the folder of a second class"
    raise SonoforgeError(f"{root}: found a single class folder {classes[0]!r}, {wanted}; {hint}")
