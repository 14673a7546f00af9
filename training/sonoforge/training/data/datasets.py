"""Read labelled images from folders: the class, the group and the masks of each image.

Classes are folders, or given by a table (`label_tables`).  A file ``NAME_mask.png``, ``NAME_mask_1.png``, ... is a mask
of the image ``NAME.*`` beside it; so is a picture of two levels called ``NAME-mask``, ``NAME_segmentation`` or similar,
or ``NAME`` in a folder ``masks`` (see `layouts`).  If several structures are outlined, each has its own masks, with its
name in lower case: ``NAME_mask_myocardium.png``, ``NAME_mask_left-ventricle.png``.

``groups.csv`` beside the class folders (columns ``file`` and ``group``) lists which images belong together, usually
because they show one patient; the sealed protocol never splits a group.  Two more columns may be in ``groups.csv`` or
``metadata.csv``: ``device``, the scanner of each image, and ``split``, the published split, ``train`` or ``test``.  For
several such folders as one set see `load`.
"""

import functools
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.cli.answer import tell
from sonoforge.runtime.csv_tables import Names, column_file, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError, name_some
from sonoforge.runtime.images.file_kinds import READ, is_image_file, is_image_name, is_non_image
from sonoforge.runtime.images.folders import is_system_folder, mask_of, walk
from sonoforge.runtime.images.inputs import NON_IMAGE, kind_of_other, skipped_in_words
from sonoforge.training.data.label_tables import asked_table
from sonoforge.training.data.layouts import TESTED, TRAINED, VALIDATED, Sorted, lay_out, natural_order, split_of

log = logging.getLogger(__name__)

TABLES = frozenset(("groups.csv", "metadata.csv", "distinct.csv", "collections.yaml"))
"""Files that are read beside the class folders."""
BUSI_FOLDER = "Dataset_BUSI_with_GT"
BUSI_FINGERPRINT = "eb25725139a35ed57cf448fd1caafbdcc928c404633ac6a818f3f8f97d44e20b"
"""Fingerprint (`cache.ImageCache.fingerprint`) of BUSI's 780 images as the owner distributes them."""
UNNAMED = "mask"
"""The name of a structure when masks do not say."""


@dataclass(frozen=True)
class Item:
    """One labelled image."""

    path: str  # relative to the data set's root, with forward slashes
    label: int  # index into the data set's `classes`
    group: str | None = None  # shared with related images (a patient), or None if unknown
    masks: tuple[str, ...] = ()  # relative paths of its masks, in order
    device: str = ""  # the scanner that made it, if known
    split: str = ""  # its part of the published split, `train` or `test`, if there is one


@dataclass(frozen=True)
class Dataset:
    """A set of labelled images on disk; nothing is decoded yet."""

    name: str  # name of the folder; `BUSI` for the folder that BUSI is published in
    root: Path  # the folder with the class folders, or with the tables of a set of several collections
    classes: tuple[str, ...]  # class names; an item's label is an index into them
    items: tuple[Item, ...]  # sorted by class, then by the numbers in the file name
    # Folder of each collection, if the set consists of several; the items' paths begin with the collection's name.
    collections: Mapping[str, Path] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)  # what a collection's maker says of its origin and licence

    def file(self, path: str) -> Path:
        """Return the file of an image or a mask; ``path`` as in `Item`."""
        name, _, inside = path.partition("/")
        return self.collections[name] / inside if self.collections else self.root / path

    def source(self, item: Item) -> str:
        """Return the name of an item's collection; empty if there is only one."""
        return item.path.partition("/")[0] if self.collections else ""

    @functools.cached_property
    def sources(self) -> tuple[str, ...]:
        """(N,) name of the collection of each item; empty if there is only one."""
        return tuple(map(self.source, self.items)) if self.collections else ()

    @functools.cached_property
    def devices(self) -> tuple[str, ...]:
        """(N,) scanner of each item, an empty name if unknown; empty if all are."""
        known = tuple(item.device for item in self.items)
        return known if any(known) else ()

    @functools.cached_property
    def structures(self) -> tuple[str, ...]:
        """The K structures that have masks, sorted by name."""
        return tuple(sorted({structure_of(mask) for item in self.items for mask in item.masks}, key=natural_order))

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) label of each item."""
        return np.array([item.label for item in self.items], dtype=np.int64)


def structure_of(mask: str) -> str:
    """Return a mask's structure from its file name."""
    named = mask_of(PurePath(mask).stem)
    return (named[1] if named else "") or UNNAMED


def is_busi(fingerprint: str) -> bool:
    """Whether this is the fingerprint of BUSI's images with their classes, whatever the folder is called."""
    return fingerprint == BUSI_FINGERPRINT


def read_dataset(path: Path | str, fewest_classes: int = 2, also: tuple[str, ...] = ()) -> Dataset:
    """Find the labelled images of a folder with one folder for each class; for BUSI, the folder above works too.

    It can also be a table and a column, see `label_tables.asked_table`. There must be ``fewest_classes``: 2 for a
    classifier, 1 where no labels are needed. Files with the suffixes ``also`` count as images.
    """
    asked = asked_table(Path(path))
    folder = asked[0] if asked else Path(path)
    root = folder.parent if asked and not folder.is_dir() else folder
    if not root.exists():
        raise SonoforgeError(f"{root}: no such folder; see `sonoforge data list` for where to get known data sets")
    if not root.is_dir():
        hint = "; unpack it first" if root.suffix in (".gz", ".tar", ".rar") else ""
        raise SonoforgeError(f"{root}: is a file, not a folder with one folder for each class{hint}")
    if not folder.exists():
        raise SonoforgeError(f"{folder}: no such table of files and labels; check the path")
    try:
        return _read(root / BUSI_FOLDER if (root / BUSI_FOLDER).is_dir() else root, fewest_classes, asked, also)
    except OSError as error:
        raise SonoforgeError(
            f"{error.filename or root}: cannot be read ({error.strerror or error}); check its permissions"
        ) from error


def _read(root: Path, fewest_classes: int, asked: tuple[Path, str] | None, also: tuple[str, ...]) -> Dataset:
    found, skipped = find_files(root, also=also)
    laid = lay_out(root, found, skipped, fewest_classes, asked)
    tell_layout(root, laid.how, laid.files, skipped)
    items = [
        Item(image, label, masks=tuple(laid.files.masks.get(image, ())))
        for label, own in enumerate(laid.classes.values())
        for image in own
    ]
    items = _with_parts(root, _with_facts(root, items, laid.facts), laid.split)
    folder = root.resolve().name
    return Dataset("BUSI" if folder == BUSI_FOLDER else folder, root, tuple(laid.classes), tuple(items))


def _with_facts(root: Path, items: Sequence[Item], said: Mapping[str, Mapping[str, str]]) -> list[Item]:
    """Add what groups.csv, metadata.csv and, as ``said``, the table of classes state about each image."""
    known = {item.path for item in items}
    groups = read_groups(root, known, {mask for item in items for mask in item.masks})
    unlisted = [item.path for item in items if item.path not in groups] if groups else ()
    if unlisted:
        raise SonoforgeError(
            f"{root / 'groups.csv'}: has no line for {name_some(unlisted)}; add a line for each image, with an empty "
            "group if unknown"
        )
    facts, found = read_facts(root, known), []
    for item in items:
        named = {name: cell for name, cell in facts.get(item.path, {}).items() if cell and name in ("device", "split")}
        own = {"device": "", "split": "", **said.get(item.path, {}), **named}
        group = groups.get(item.path) or own.get("group") or None
        found.append(replace(item, group=group, device=own["device"], split=own["split"].lower()))
    return found


def _with_parts(root: Path, items: Sequence[Item], splits: Mapping[str, str]) -> list[Item]:
    """Add each image's part of the published split, by its folder if no table states it."""
    depth = 1 + next(iter(splits), "").count("/")
    parts = [item.split or splits.get("/".join(item.path.split("/", depth)[:depth]), "") for item in items]
    parts = [split_of(part) or part for part in parts]
    counts = Counter(filter(None, parts))
    other = TRAINED if TESTED in counts else TESTED  # nothing is selected on a validation part
    if splits or VALIDATED in counts:
        shown = ", ".join(f"{count} {part}" for part, count in sorted(counts.items(), key=lambda c: -c[1]))
        counted = f" ({VALIDATED} counts as {other})" if VALIDATED in counts else ""
        tell(
            f"{root}: the split is given: {shown}{counted}; --protocol official tests on it, other protocols deal anew",
            printer=log.info,
        )
    parts = [other if part == VALIDATED else part for part in parts]
    return [replace(item, split=part) for item, part in zip(items, parts, strict=True)]


def find_files(root: Path, recursive: bool = True, also: tuple[str, ...] = ()) -> tuple[list[PurePath], Counter[str]]:
    """Return the relative paths of a folder's image files, and how many other files it holds, by kind.

    Files with the suffixes ``also``, in lower case, count as images.
    """
    found, skipped = list[PurePath](), Counter[str]()
    for parent, names in walk(root, recursive, skipped):
        for name in names:
            path = Path(parent, name).relative_to(root)
            if is_image(path, root):
                if name.lower().endswith(READ["DICOM"]) and is_non_image(root / path):
                    skipped[NON_IMAGE] += 1
                else:
                    found.append(path)
            elif also and name.lower().endswith(also):
                found.append(path)
            elif path.name.lower() not in TABLES:
                skipped[kind_of_other(name)] += 1
    return found, skipped


def tell_layout(root: Path, how: str, files: Sorted, skipped: Counter[str]) -> None:
    """Say how a folder was read, and count skipped files by kind."""
    masks = sum(map(len, files.masks.values()))
    count = f"{len(files.images)} images, {masks} masks"
    tell(f"{root}: read {how}: {count}", printer=log.info)
    skipped["mask without an image"] += len(files.orphans)
    if words := skipped_in_words(+skipped):
        first = f", such as {files.orphans[0]}" if files.orphans else ""
        tell(f"{root}: {words}{first}", printer=log.info)


def is_image(path: PurePath, root: Path | None = None) -> bool:
    """Whether a relative path is an image that is neither hidden nor in a hidden or system folder.

    Files without a suffix, which scanners write, are opened if their ``root`` is given.
    """
    if any(map(is_system_folder, path.parts)):
        return False
    return is_image_name(path.name) if root is None else is_image_file(root / path)


def read_groups(root: Path, known: Collection[str], tolerated: Collection[str] = ()) -> dict[str, str | None]:
    """Read ``groups.csv`` below ``root``: the group of each known path, or None if unknown.

    Without a file there are no groups. It may also list the ``tolerated`` files.
    """
    path = column_file(root, "groups")
    if path is None:
        return {}
    rows = read_table(path, ("file", "group")).rows
    names = one_spelling((row["group"] for row in rows), str(path))
    files, groups, absent = Names([*known, *tolerated], root.resolve().name), dict[str, str | None](), list[str]()
    for row in rows:
        name, group = files.find(row["file"]), names[row["group"]] or None
        if not name:
            raise SonoforgeError(f"{path}: line {row.line} names no file; fill it in or remove the line")
        if groups.setdefault(name, group) != group:
            raise SonoforgeError(
                f"{path}: line {row.line} puts {name} in group {group!r}, an earlier line in {groups[name]!r}; keep one"
            )
        if name not in known and name not in tolerated and not (root / name).is_file():
            absent.append(name)
    if absent:
        raise SonoforgeError(
            f"{path}: {name_some(absent)} not found below {root}{files.near(absent[0])}; correct or remove the lines, "
            "whose paths are relative to that folder"
        )
    return groups


def read_facts(root: Path, known: Collection[str]) -> dict[str, dict[str, str]]:
    """Read the columns of ``groups.csv`` and ``metadata.csv`` for each path; if both have one, the first counts."""
    facts: dict[str, dict[str, str]] = {}
    said, files = {"file"}, Names(known, root.resolve().name)
    for path in filter(None, (column_file(root, name) for name in ("groups", "metadata"))):
        columns, rows = read_table(path)
        headings = {column.lower() for column in columns}
        own = headings - said
        for row in rows if "file" in headings else ():
            before = facts.setdefault(files.find(row["file"]), {})
            for name in own & {"device", "split"}:
                if before.get(name, row[name]).lower() != row[name].lower():
                    raise SonoforgeError(f"{path}: line {row.line} gives another {name} than an earlier line; keep one")
            before.update({name: row[name] for name in own})
            said |= own
    return facts
