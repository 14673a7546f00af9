"""Several collections as one data set: classes mapped by stated rules, files and groups named by their collection.

A collection is a folder that `datasets.read_dataset` reads.  Several are given one by one, or by a file,
``collections.yaml`` (or ``.json``), with one entry for each::

    collections:
      - folder: BUSI/                  # or a zip; relative to this file
      - folder: BUS-BRA/
        name: Rio                      # default: the folder's name
        classes: {Cyst: benign, other: null}

``classes`` renames a collection's own classes; null leaves a class out, and what is not listed keeps its name.  Classes
of one name, whatever its case, are one class.  An image is called ``NAME/`` and its path in its collection, its group
``NAME:`` and the group there: patients of two collections are different persons unless their images repeat each other,
which is looked for across all of them.

``groups.csv`` and ``distinct.csv`` beside ``collections.yaml`` (without one, in the nearest folder that holds all
collections) speak of images by these names, and go before those of the collections.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.cli.options import read_config_file
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.data.cache_settings import default_folder
from sonoforge.training.data.datasets import Dataset, Item, read_dataset, read_groups
from sonoforge.training.data.folder_layout import BUSI_CLASSES, natural_order
from sonoforge.training.data.unpacking import unpacked

FILE_SUFFIXES = (".yaml", ".yml", ".json")
"""Of a file that lists collections."""
_SNIFFED = 1 << 20  # bytes of a JSON file that tell whether it lists collections
_KEYS = ("folder", "name", "classes")


class Collection(NamedTuple):
    """One entry of ``collections.yaml``."""

    folder: Path
    name: str = ""  # empty: the data set's own
    classes: Mapping[str, str | None] = {}  # new name of a class, None to leave it out


def read_collections(paths: Sequence[Path], fewest_classes: int = 2, store: Path | None = None) -> Dataset:
    """Read one data set, or several as one.

    Args:
        paths: Folders or zips of images, and files that list such.
        fewest_classes: How many classes there have to be: 2 for a classifier, 1 for what needs no labels.
        store: Folder that zips are unpacked into (default: that of decoded images).

    Raises:
        SonoforgeError: One of them cannot be read; two have one name; a class to be mapped is not there; or a
            collection has no class in common with the others.
    """
    collections: list[Collection] = []
    for path in paths:
        collections += _listed(path) if _lists_collections(path) else [Collection(path)]
    collections = [own._replace(folder=unpacked(own.folder, store or default_folder())) for own in collections]
    if len(paths) == len(collections) == 1 and not _lists_collections(paths[0]):
        return read_dataset(collections[0].folder, fewest_classes)
    root = paths[0].parent if len(paths) == 1 else _common_folder(collections)
    return _pool([_mapped(collection, fewest_classes) for collection in collections], root)


def _lists_collections(path: Path) -> bool:
    """Whether it is a file of collections; JSON may be a table of labels as well."""
    if path.suffix.lower() not in FILE_SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower() != ".json" or path.stem.lower() == "collections":
        return True
    with path.open("rb") as stream:
        return b'"collections"' in stream.read(_SNIFFED)


def _listed(path: Path) -> list[Collection]:
    """Read ``collections.yaml``."""
    entries = read_config_file(path).get("collections")
    if not isinstance(entries, list) or not entries:
        raise SonoforgeError(f"{path}: found no list under 'collections', expected '- folder: PATH' for each of them")
    return [_entry(f"{path}: collection {number}", path.parent, entry) for number, entry in enumerate(entries, start=1)]


def _entry(where: str, beside: Path, entry: object) -> Collection:
    if not isinstance(entry, dict) or not isinstance(entry.get("folder"), str):
        raise SonoforgeError(f"{where}: found {entry!r:.80}, expected folder: PATH")
    for key in entry:
        if key not in _KEYS:
            raise SonoforgeError(f"{where}: unknown setting {key!r}{did_you_mean(str(key), _KEYS)}")
    name, classes = entry.get("name", ""), entry.get("classes", {})
    if not isinstance(name, str) or "/" in name:
        raise SonoforgeError(f"{where}: name: found {name!r}, expected text without a slash")
    if not isinstance(classes, dict) or not all(isinstance(new, str | None) for new in classes.values()):
        raise SonoforgeError(f"{where}: classes: found {classes!r:.80}, expected NAME: NEW NAME, or NAME: null")
    return Collection(beside / entry["folder"], name, {str(old): new for old, new in classes.items()})


def _common_folder(collections: Sequence[Collection]) -> Path:
    try:
        return Path(os.path.commonpath([collection.folder.resolve() for collection in collections]))
    except ValueError:  # on several drives
        return collections[0].folder.resolve().parent


def _pool(sets: Sequence[Dataset], root: Path) -> Dataset:
    """Put the images of several collections together, class by class in the order of the collections."""
    names = [dataset.name for dataset in sets]
    for name in names:
        if names.count(name) > 1:
            raise SonoforgeError(
                f"{sets[names.index(name)].root}: found two collections named {name!r}, expected different names; give "
                "each its name in a collections.yaml"
            )
    classes = _all_classes(sets)
    items = []
    for label, class_name in enumerate(classes):
        for dataset in sets:
            items += [
                _renamed(item, dataset.name, label)
                for item in dataset.items
                if dataset.classes[item.label].casefold() == class_name.casefold()
            ]
    groups = read_groups(root, {item.path for item in items})
    items = [dataclasses.replace(item, group=groups[item.path]) if item.path in groups else item for item in items]
    folders = {dataset.name: dataset.root for dataset in sets}
    return Dataset("+".join(names), root, classes, tuple(items), folders)


def _mapped(collection: Collection, fewest_classes: int) -> Dataset:
    """Read one collection, with its name and its classes renamed; those left out are gone."""
    dataset = read_dataset(collection.folder, fewest_classes)
    for name in collection.classes:
        if name not in dataset.classes:
            raise SonoforgeError(
                f"{dataset.root}: found classes {', '.join(dataset.classes)}, expected {name!r} among them, which is "
                f"to be mapped{did_you_mean(name, dataset.classes)}"
            )
    renamed = [collection.classes.get(name, name) for name in dataset.classes]
    kept = tuple(dict.fromkeys(name for name in renamed if name is not None))
    items = [
        dataclasses.replace(item, label=kept.index(new))
        for item in dataset.items
        if (new := renamed[item.label]) is not None
    ]
    return dataclasses.replace(dataset, name=collection.name or dataset.name, classes=kept, items=tuple(items))


def _all_classes(sets: Sequence[Dataset]) -> tuple[str, ...]:
    """Return the classes of all sets: in clinical order where they are BUSI's, else in that of their names.

    Raises:
        SonoforgeError: One of the sets has no class in common with another.
    """
    spelling: dict[str, str] = {name: name for name in BUSI_CLASSES}
    for dataset in sets:
        for name in dataset.classes:
            spelling.setdefault(name.casefold(), name)
    folded = [{name.casefold() for name in dataset.classes} for dataset in sets]
    for dataset, own in zip(sets, folded, strict=True):
        others = set().union(*(other for other in folded if other is not own))
        if len(sets) > 1 and not own & others:
            raise SonoforgeError(
                f"{dataset.root}: found classes {', '.join(dataset.classes)}, expected one of the other collections' "
                f"({', '.join(sorted(others))}); map them in a collections.yaml"
            )
    found = set().union(*folded)
    if found <= set(BUSI_CLASSES):
        return tuple(name for name in BUSI_CLASSES if name in found)
    return tuple(sorted((spelling[name] for name in found), key=natural_order))


def _renamed(item: Item, collection: str, label: int) -> Item:
    return dataclasses.replace(
        item,
        path=f"{collection}/{item.path}",
        label=label,
        group=None if item.group is None else f"{collection}:{item.group}",
        masks=tuple(f"{collection}/{mask}" for mask in item.masks),
    )
