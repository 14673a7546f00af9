"""Open a data set: a folder, zip or table of images, several of them as one, or the built-in phantom set.

A collection is a folder that `datasets.read_dataset` reads.  Several are given one by one, or in a file,
``collections.yaml`` (or ``.json``), with one entry for each::

    collections:
      - folder: BUSI/                  # or a zip; relative to this file
      - folder: BUS-BRA/
        name: Rio                      # default: the folder's name
        classes: {Cyst: benign, other: null}
        about: "Who made it, and under which licence; for the card of a network trained on it."

``classes`` renames a collection's own classes; null leaves a class out, and unlisted ones keep their names.  An image
is called ``NAME/`` and its path in its collection, its group ``NAME:`` and its group there: patients of two collections
are different people unless their images repeat each other.

``groups.csv`` and ``distinct.csv`` beside ``collections.yaml`` (without one, in the nearest folder that holds all
collections) use these names, and take precedence over the collections' own.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from sonoforge.runtime.cli.options import read_config_file
from sonoforge.runtime.csv_tables import class_key, class_names
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.folders import is_black_and_white
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.training.data import data_option, datasets, layouts, patients, unpacking
from sonoforge.training.data.cache import ImageCache, default_folder, open_cache

log = logging.getLogger(__name__)

_LIST_SUFFIXES = (".yaml", ".yml", ".json")  # of a file that lists collections
_SNIFFED = 1 << 20  # bytes of a JSON file that show whether it lists collections
_KEYS = ("folder", "name", "classes", "about")


class ImageSource(NamedTuple):
    """Where images come from; small enough to pass to another process."""

    # A folder, zip or table, or several; files that list folders; or `phantom` alone.
    data: tuple[str, ...]
    images: int  # number of phantom images
    seed: int
    cache: Path  # folder of decoded images, see `cache`
    preprocessing: Preprocessing = IMAGENET  # how they are cropped and resized
    fewest_classes: int = 2  # 1 where no labels are needed
    groups_from: str = ""  # pattern that gives the patients, see `patients`; empty: those of groups.csv alone


def load_images(source: ImageSource) -> ImageCache:
    """Open a data set's decoded images."""
    if source.data != data_option.PHANTOM:
        dataset = read_collections([*map(Path, source.data)], source.fewest_classes, source.cache)
        return _open(source, patients.grouped(dataset, source.groups_from) if source.groups_from else dataset)
    # The simulator needs SciPy, which a folder of images does not.
    from sonoforge.training.phantom.dataset import generate_phantom_set, write_phantom_set  # noqa: PLC0415

    # Another version of the simulator draws another first picture, so it never finds an old set.
    first = next(iter(generate_phantom_set(source.images, source.seed)))
    digest = hashlib.sha256(first.pixels.tobytes()).hexdigest()[:8]
    root = source.cache / f"phantom-{source.images}-{source.seed}-{digest}"
    if not (root / "groups.csv").is_file():
        try:
            write_phantom_set(root, source.images, source.seed)
        except SonoforgeError:
            if not (root / "groups.csv").is_file():  # else another process was faster
                raise
    return _open(source, datasets.read_dataset(root))


def _open(source: ImageSource, dataset: datasets.Dataset) -> ImageCache:
    cache = open_cache(dataset, source.preprocessing.size, source.cache, source.preprocessing.crop)
    flat = [i for i, picture in enumerate(cache.pictures) if is_black_and_white(picture)]
    if flat:
        count, first = f"{len(flat)} of {len(cache.pictures)}", cache.dataset.items[flat[0]].path
        log.warning(
            "%s: %s images are black and white, like masks, such as %s; remove masks", dataset.name, count, first
        )
    return cache


def find_simulated(dataset: datasets.Dataset) -> set[int]:
    """Return the indices of images that say `write_phantom_set` made them; others may be simulated too."""
    from sonoforge.training.phantom.dataset import MARKER  # noqa: PLC0415 - see above

    found = set()
    for index, item in enumerate(dataset.items):
        if item.path.lower().endswith(".png"):
            try:
                with Image.open(dataset.file(item.path)) as image:
                    if image.info.get("Description") == MARKER:
                        found.add(index)
            except OSError:
                continue  # removed since it was decoded
    return found


# ---- several collections


class Collection(NamedTuple):
    """One entry of ``collections.yaml``."""

    folder: Path
    name: str = ""  # empty: the data set's own
    classes: Mapping[str, str | None] = {}  # new name of a class, None to leave it out
    about: str = ""  # where it is from, and its licence


def read_collections(paths: Sequence[Path], fewest_classes: int = 2, store: Path | None = None) -> datasets.Dataset:
    """Read one data set, or several as one, from folders or zips of images, or files that list them.

    Zips are unpacked into ``store`` (default: the folder of decoded images).
    """
    store = store or default_folder()
    if len(paths) == 1 and not _lists_collections(paths[0]):
        return datasets.read_dataset(unpacking.unpacked(paths[0], store), fewest_classes)
    collections: list[Collection] = []
    for path in paths:
        collections += _read_list(path) if _lists_collections(path) else [Collection(path)]
    collections = [own._replace(folder=unpacking.unpacked(own.folder, store)) for own in collections]
    root = paths[0].parent
    if len(paths) > 1:
        folders = [collection.folder.resolve() for collection in collections]
        try:
            root = Path(os.path.commonpath(folders))
        except ValueError:  # on several drives
            root = folders[0].parent
    return _pool([_mapped(collection, fewest_classes) for collection in collections], root)


def _lists_collections(path: Path) -> bool:
    """Whether it is a file of collections; JSON may also be a table of labels."""
    if path.suffix.lower() not in _LIST_SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower() != ".json" or path.stem.lower() == "collections":
        return True
    with path.open("rb") as stream:
        return b'"collections"' in stream.read(_SNIFFED)


def _read_list(path: Path) -> list[Collection]:
    entries = read_config_file(path).get("collections")
    if not isinstance(entries, list) or not entries:
        raise SonoforgeError(f"{path}: 'collections' is not a list with '- folder: PATH' for each collection")
    found = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: collection {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("folder"), str):
            raise SonoforgeError(f"{where}: {entry!r:.80} has no folder: PATH")
        for key in entry:
            if key not in _KEYS:
                raise SonoforgeError(f"{where}: unknown setting {key!r}{did_you_mean(str(key), _KEYS)}")
        name, classes, about = entry.get("name", ""), entry.get("classes", {}), entry.get("about", "")
        if not isinstance(name, str) or "/" in name:
            raise SonoforgeError(f"{where}: name: {name!r} must be text without a slash")
        if not isinstance(classes, dict) or not all(isinstance(new, str | None) for new in classes.values()):
            raise SonoforgeError(f"{where}: classes: {classes!r:.80} is not NAME: NEW NAME, or NAME: null")
        if not isinstance(about, str):
            raise SonoforgeError(f"{where}: about: {about!r:.80} is not a text")
        renamed = {"null" if old is None else str(old): new for old, new in classes.items()}
        found.append(Collection(path.parent / entry["folder"], name, renamed, about))
    return found


def _mapped(collection: Collection, fewest_classes: int) -> datasets.Dataset:
    """Read one collection, rename it and its classes, and drop images of classes left out."""
    dataset = datasets.read_dataset(collection.folder, fewest_classes)
    for name in collection.classes:
        if name not in dataset.classes:
            raise SonoforgeError(
                f"{dataset.root}: has no class {name!r} to be mapped, only {', '.join(dataset.classes)}"
                f"{did_you_mean(name, dataset.classes)}"
            )
    renamed = [collection.classes.get(name, name) for name in dataset.classes]
    kept = tuple(dict.fromkeys(name for name in renamed if name is not None))
    items = [replace(item, label=kept.index(new)) for item in dataset.items if (new := renamed[item.label]) is not None]
    name = collection.name or dataset.name
    about = {name: collection.about} if collection.about else {}
    return replace(dataset, name=name, classes=kept, items=tuple(items), about=about)


def _pool(sets: Sequence[datasets.Dataset], root: Path) -> datasets.Dataset:
    """Put the images of several collections together, class by class in the order of the collections."""
    names = [dataset.name for dataset in sets]
    for name in names:
        if names.count(name) > 1:
            raise SonoforgeError(
                f"{sets[names.index(name)].root}: two collections are named {name!r}; give each a name of its own in a "
                "collections.yaml"
            )
    classes = _all_classes(sets)
    items = [
        replace(
            item,
            path=f"{dataset.name}/{item.path}",
            label=label,
            group=None if item.group is None else f"{dataset.name}:{item.group}",
            masks=tuple(f"{dataset.name}/{mask}" for mask in item.masks),
        )
        for label, class_name in enumerate(classes)
        for dataset in sets
        for item in dataset.items
        if class_key(dataset.classes[item.label]) == class_key(class_name)
    ]
    groups = datasets.read_groups(root, {item.path for item in items})
    items = [replace(item, group=groups[item.path]) if item.path in groups else item for item in items]
    folders = {dataset.name: dataset.root for dataset in sets}
    about = {name: text for dataset in sets for name, text in dataset.about.items()}
    return datasets.Dataset("+".join(names), root, classes, tuple(items), folders, about)


def _all_classes(sets: Sequence[datasets.Dataset]) -> tuple[str, ...]:
    """Return the classes of all sets, in clinical order if they are BUSI's, otherwise by name."""
    keys = [{class_key(name) for name in dataset.classes} for dataset in sets]
    for dataset, own in zip(sets, keys, strict=True):
        others = set().union(*(other for other in keys if other is not own))
        if len(sets) > 1 and not own & others:
            raise SonoforgeError(
                f"{dataset.root}: its classes {', '.join(dataset.classes)} are none of the other collections' "
                f"({', '.join(sorted(others))}); map them in a collections.yaml"
            )
    names = class_names((name for dataset in sets for name in dataset.classes), "+".join(own.name for own in sets))
    if set().union(*keys) <= set(layouts.BUSI_CLASSES):
        return tuple(name for name in layouts.BUSI_CLASSES if name in set().union(*keys))
    return tuple(sorted({*names.values()}, key=layouts.natural_order))
