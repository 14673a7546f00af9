"""Assign a folder's images to classes, by its sub-folders or a table, and tell masks from images.

Sub-folders are classes, or parts of a split (``train``, ``val``, ``test``) that each hold class folders or such a
table, or classes that hold parts of a split.  Ambiguous folders, such as collections that each hold the same classes or
a table that disagrees with the folders, are refused with a command that resolves the ambiguity.
"""

import logging
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from sonoforge.runtime.csv_tables import check_inner, class_key, class_names
from sonoforge.runtime.errors import SonoforgeError, name_some
from sonoforge.runtime.images.file_kinds import KINDS_IN_WORDS, is_image_file
from sonoforge.runtime.images.folders import folded, is_mask_folder, is_outline, is_system_folder, mask_of
from sonoforge.runtime.images.inputs import FILM
from sonoforge.training.data import label_tables
from sonoforge.training.data.readers import import_command, refuse_other_layouts

log = logging.getLogger(__name__)

TRAINED, VALIDATED, TESTED = "train", "val", "test"
_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), TRAINED),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATED),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "hold-out"), TESTED),
}
_IMAGE_FOLDERS = frozenset(
    ("image", "images", "img", "imgs", "scan", "scans", "original", "originals", "raw", "us", "bmode")
)
BUSI_CLASSES = ("normal", "benign", "malignant")
"""From healthy to worst, so that tables and confusion matrices read in clinical order."""
_KNOWN_CLASSES = frozenset(
    (*BUSI_CLASSES, "healthy", "cancer", "tumor", "tumour", "lesion", "negative", "positive", "abnormal")
)
_BUSI_IMAGE = re.compile(r"(normal|benign|malignant) \(\d+\)\.png")
_NUMBERED = re.compile(r" \(\d+\)$")  # end of names numbered by a program, such as BUSI's
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
_SAMPLED = 5  # pictures of a folder that are opened to decide whether all are masks


class Sorted(NamedTuple):
    """Files of a folder, sorted into images and masks."""

    images: list[str]
    masks: dict[str, list[str]]  # by image, of those that have any
    orphans: list[str]  # masks without their image


class Laid(NamedTuple):
    """The images of a folder by class."""

    classes: dict[str, list[str]]  # images of each class, in order
    how: str  # how it was read, in words
    files: Sorted
    split: Mapping[str, str]  # part of the given split by its folder, all at one depth; empty without a split
    facts: Mapping[str, Mapping[str, str]] = {}  # group, device and split of each image, by a table


def natural_order(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sort key that puts ``benign (2)`` before ``benign (10)``; equal keys fall back to the plain name."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts), name


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder in natural order, without system folders."""
    folders = [f for f in root.iterdir() if f.is_dir() and not is_system_folder(f.name)]
    return sorted(folders, key=lambda folder: natural_order(folder.name))


def split_of(name: str) -> str:
    """Return the part of a split that a name means, `TRAINED`, `VALIDATED` or `TESTED`, or an empty text."""
    return _SPLITS.get(name.strip().casefold(), "")


def given_split(names: Iterable[str]) -> dict[str, str]:
    """Return the part of a split for each name if there are several and all are parts; otherwise nothing."""
    parts = {name: split_of(name) for name in names}
    return parts if len(parts) > 1 and all(parts.values()) else {}


# ---- the classes


def lay_out(
    root: Path,
    found: Sequence[PurePath],
    skipped: Counter[str],
    fewest_classes: int,
    asked: tuple[Path, str] | None = None,
) -> Laid:
    """Assign each of a folder's ``found`` images, including masks, to a class.

    ``skipped`` counts what is left out by kind. ``asked`` is a table to use, or a folder of tables, and its column
    (empty: the column of classes).
    """
    refuse_other_layouts(root, {file.stem for file in found})
    folders = subfolders(root)
    split = given_split(folder.name for folder in _unlike_masks(root, folders, found))
    parts = [folder for folder in folders if folder.name in split] or [root]
    by_part = [_class_folders(root, part, found) for part in parts]
    images = {file.as_posix() for file in found}
    path, column = asked or (root, "")
    if path.is_file():
        tables = [label_tables.open_label_table(path, root, images)]
    else:
        tables = label_tables.find_label_tables((root, *parts), images, column)
    if column and not tables:
        raise SonoforgeError(f"{root}: no table of images has a column {column!r}; check its name")
    answered = {table.path: _answers(table) for table in tables if not column}
    fewest_folders = min(map(len, by_part))
    if asked or (
        tables
        and (
            fewest_folders < max(fewest_classes, 1)
            or (fewest_folders < 2 and any(answered.values()))
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
        laid = _by_folders(root, dict(zip(parts, by_part, strict=True)), found, skipped, fewest_classes)
        _check_agreement(answered, laid)
        for table in tables:
            if not table.questions:
                log.warning("%s; until then, classes come from the folders alone", table.lost)
    return laid._replace(split=split or laid.split)


def _unlike_masks(root: Path, folders: Sequence[Path], found: Sequence[PurePath]) -> list[Path]:
    """Drop folders that are named like masks and hold outlines, judging by a sample of five."""
    kept = []
    for folder in folders:
        own = [root / file for file in found if file.is_relative_to(folder.relative_to(root))]
        if not (is_mask_folder(folder.name) and own and all(map(is_outline, own[:: max(1, len(own) // _SAMPLED)]))):
            kept.append(folder)
    return kept


def _class_folders(root: Path, part: Path, found: Sequence[PurePath]) -> list[Path]:
    """Return the folders of a part that may be classes: its own, or those in ``images`` beside ``masks/CLASS``."""
    folders = subfolders(part)
    kept = _unlike_masks(root, folders, found)
    if len(kept) != 1 or kept[0].name.casefold() not in _IMAGE_FOLDERS:
        return kept
    if any(map(is_image_file, kept[0].iterdir())):  # one class, whatever else it holds
        return kept
    # Folders of patients and splits look the same.
    names = _names_in(kept[0])
    unlike = not names & _SPLITS.keys() and not any(re.search(r"\d", name) for name in names)
    outlined = len(names) > 1 and unlike and any(names == _names_in(own) for own in folders if own not in kept)
    return subfolders(kept[0]) if len(names & _KNOWN_CLASSES) > 1 or outlined else kept


def _names_in(folder: Path) -> set[str]:
    return {inner.name.strip().casefold() for inner in subfolders(folder)}


def _by_folders(
    root: Path,
    by_part: Mapping[Path, Sequence[Path]],
    found: Sequence[PurePath],
    skipped: Counter[str],
    fewest_classes: int,
) -> Laid:
    """Assign classes by the folders of the images."""
    parts, every = list(by_part), [folder for own in by_part.values() for folder in own]
    busi = parts == [root] and all(folder.name in BUSI_CLASSES for folder in every)
    busi = busi and any(_BUSI_IMAGE.fullmatch(file.name) for folder in every for file in folder.iterdir())
    if busi:
        every.sort(key=lambda folder: BUSI_CLASSES.index(folder.name))
    names, classes = class_names((folder.name for folder in every), str(root)), dict[str, list[Path]]()
    for folder in every:
        classes.setdefault(names[folder.name], []).append(folder)
    _check_classes(root, tuple(classes), fewest_classes)
    for part, folders in by_part.items():
        if not folders:
            others = [p for p in parts if p != part]
            raise SonoforgeError(
                f"{part}: has no class folders, as {' and '.join(p.name for p in others)} beside it does; add them, or "
                f"give --data {shlex.quote(str(others[0]))} alone"
            )
        _check_no_collections(folders[0].parent, folders)
    inside = [file for file in found if root / file.parent not in (root, *parts)]
    skipped["image outside the class folders"] += len(found) - len(inside)
    _check_nested(root, every, inside)
    files = sort_files(inside, lambda file: is_outline(root / file))
    laid: dict[str, list[str]] = {}
    for name, folders in classes.items():
        places = tuple(f"{folder.relative_to(root).as_posix()}/" for folder in folders)
        laid[name] = images = [image for image in files.images if image.startswith(places)]
        if not images:
            films = skipped["volume"] or skipped[FILM]
            remedy = f"{import_command('frames', root)} turns volumes and videos into images"
            raise SonoforgeError(
                f"{folders[0]}: has no images ({KINDS_IN_WORDS}); "
                f"{remedy if films else 'add images or remove the folder'}"
            )
        sample = images[:: max(1, len(images) // _SAMPLED)]
        if all(is_outline(root / image, few=False) for image in sample):
            raise SonoforgeError(
                f"{folders[0]}: its {len(images)} images have two levels, so this is a folder of masks, not a class; "
                "put each mask beside its image as NAME_mask.png, or move the folder away"
            )
    holder = every[0].parent.relative_to(root).as_posix()
    where = " and ".join(part.name for part in parts) if parts != [root] else "it" if holder == "." else holder
    why = "because it is laid out as BUSI" if busi else f"because each folder in {where} holds images"
    split = _split_inside(root, every, found, laid) if parts == [root] else {}
    return Laid(laid, f"as class folders {name_some(laid)}, {why}", files, split)


def _check_no_collections(root: Path, folders: Sequence[Path]) -> None:
    """Refuse folders that are collections, not classes: all hold the same known classes."""
    inner = []
    for folder in folders:
        own = subfolders(folder)
        if given_split(one.name for one in own):
            own = [below for one in own for below in subfolders(one)]
        inner.append({one.name.casefold() for one in own})
    common = _KNOWN_CLASSES.intersection(*inner)
    if len(folders) > 1 and len(common) > 1:
        names = [folder.name for folder in folders]
        raise SonoforgeError(
            f"{root}: has the classes {', '.join(sorted(common))} below each of {name_some(names)}; give the "
            f"collections as {' '.join(f'--data {shlex.quote(str(root / name))}' for name in names)}"
        )


def _check_nested(root: Path, folders: Sequence[Path], inside: Sequence[PurePath]) -> None:
    """Refuse a folder of one class inside another's; warn of one that may be a class, such as ``lesion/benign``."""
    parents, keys = dict.fromkeys(root / file.parent for file in inside), {class_key(folder.name) for folder in folders}
    for folder in folders:
        inner = [parent.relative_to(folder) for parent in parents if parent.is_relative_to(folder)]
        check_inner(folder, inner, (*keys, *(BUSI_CLASSES if class_key(folder.name) in BUSI_CLASSES else ())))
        for path in inner:
            if _KNOWN_CLASSES & {*map(class_key, path.parts)} - {class_key(folder.name)}:
                words = "%s: its images count as %s; give --data %s if they are a class of their own"
                log.warning(words, folder / path, folder.name, folder)


def _check_classes(root: Path, classes: Sequence[str], fewest: int) -> None:
    if len(classes) >= fewest:
        return
    if not classes:
        loose = sum(is_image_file(f) for f in root.iterdir())
        found = f"{loose} images but no class folders" if loose else "neither images nor class folders"
        remedy = "move each image into the folder of its class, or list them in labels.csv (columns file,label)"
        archives = sorted(f for f in root.iterdir() if f.name.lower().endswith(_ARCHIVES) and f.is_file())
        if archives and not loose:
            found += f", but the archive {archives[0].name}"
            zipped = archives[0].suffix.lower() == ".zip"
            remedy = f"give --data {shlex.quote(str(archives[0]))}" if zipped else "unpack it, and give its folder"
        raise SonoforgeError(f"{root}: has {found}; {remedy}")
    inner = root / classes[0]
    nested = inner.is_dir() and len(subfolders(inner)) > 1
    hint = f"did you mean {inner}?" if nested else "add the folder of a second class"
    raise SonoforgeError(f"{root}: has a single class folder {classes[0]!r} instead of two or more; {hint}")


def _split_inside(
    root: Path, folders: Sequence[Path], found: Sequence[PurePath], laid: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return the part of a split for each folder inside the class folders; nothing if any is not a part."""
    inner = [one for folder in folders for one in _unlike_masks(root, subfolders(folder), found)]
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
    tables: Sequence[tuple[label_tables.LabelTable, label_tables.Labelled | None]],
    question: str,
    found: Sequence[PurePath],
    skipped: Counter[str],
) -> Laid:
    """Assign classes by a table, or by one table for each part of a split, with its answers if already read."""
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
    questions: dict[str, None] = {}
    for table, answered in tables:
        read = answered or label_tables.read_labels(table, question)
        part = split_of(table.path.name.partition(".")[0])
        if twice := next((image for image in read.facts if image in facts), ""):
            raise SonoforgeError(f"{table.path}: lists {twice}, as another table of {root} does; keep one of them")
        labels |= read.labels
        facts |= {image: ({"split": part} if part else {}) | own for image, own in read.facts.items()}
        questions[read.question] = None
        skipped["image without a label"] += read.unlabelled
    files = sort_files(found, lambda file: is_outline(root / file))
    spelled = class_names(labels.values(), str(paths[0]) if len(paths) == 1 else str(root))
    classes = {name: list[str]() for name in sorted({*spelled.values()}, key=natural_order)}
    for image in files.images:
        if image in labels:
            classes[spelled[labels[image]]].append(image)
        else:
            skipped["image without a label in any row"] += image not in facts
    names = name_some([path.relative_to(root).as_posix() for path in paths])
    shown = " and ".join(questions)
    column = "columns" if "," in shown else "column"
    classes = {name: own for name, own in classes.items() if own}
    return Laid(classes, f"as the classes {name_some(classes)} of the {column} {shown} of {names}", files, {}, facts)


def _answers(table: label_tables.LabelTable) -> label_tables.Labelled | None:
    """Return a table's classes; None if it does not show which column has them."""
    try:
        return label_tables.read_labels(table)
    except SonoforgeError:
        return None


def _check_agreement(tables: Mapping[Path, label_tables.Labelled | None], laid: Laid) -> None:
    """Refuse class folders that disagree with a table beside them."""
    own = {image: class_key(name) for name, images in laid.classes.items() for image in images}
    for path, answered in tables.items():
        labels = answered.labels if answered else {}
        plain = {class_key(label) for label in labels.values()}
        if answered and answered.question not in label_tables.OF_CLASSES and not plain <= set(own.values()):
            continue  # another kind of fact, such as a histology
        differs = next((i for i, label in labels.items() if i in own and class_key(label) != own[i]), None)
        if differs:
            raise SonoforgeError(
                f"{path}: says that {differs} is {labels[differs]!r}, but it is in another folder; give --data "
                f"{shlex.quote(str(path))} to use the table, or move it away to use the folders"
            )


# ---- images and masks


def sort_files(files: Iterable[PurePath], outline: Callable[[PurePath], bool]) -> Sorted:
    """Separate images from their masks.

    A mask is named after its image (``NAME_mask``, ``NAME_mask_1``, ``NAME_mask_STRUCTURE``; also ``NAME-mask``,
    ``NAME_segmentation`` and the like if the picture has two levels), or has the same name in a folder of masks.
    ``outline`` says whether a picture has the few levels of a mask, see `folders.is_outline`.
    """
    ordered = sorted(files, key=lambda file: natural_order(file.as_posix()))
    by_stem: dict[PurePath, list[PurePath]] = defaultdict(list)
    for file in ordered:
        by_stem[folded(file.parent / file.stem)].append(file)
    images: list[str] = []
    masks: dict[str, list[str]] = defaultdict(list)
    orphans: list[str] = []
    for file in ordered:
        claims, plain = _claimed(file)
        owners = dict[PurePath, None]()
        for key in claims:
            own = [owner for owner in by_stem.get(folded(key), ()) if owner != file]
            # Those spelled exactly like the mask, if there are any.
            owners.update(dict.fromkeys([owner for owner in own if owner.stem == key.name] or own))
        if not claims or not ((plain and (owners or _NUMBERED.search(claims[0].name))) or outline(file)):
            images.append(file.as_posix())
        elif not owners:
            orphans.append(file.as_posix())
        else:
            owner, *others = owners
            if others:
                raise SonoforgeError(
                    f"{file}: is the mask of both {owner} and {others[0].name}; rename or remove one of them"
                )
            masks[owner.as_posix()].append(file.as_posix())
    return Sorted(images, masks, orphans)


def _claimed(file: PurePath) -> tuple[list[PurePath], bool]:
    """Return the images that a file could be a mask of, by name or folder, and whether its name proves it."""
    named = mask_of(file.stem)
    claims, plain = ([file.parent / named[0]], named[2]) if named else ([], False)
    parts = file.parent.parts
    place = next((i for i in reversed(range(len(parts))) if is_mask_folder(parts[i])), None)
    if place is not None:
        above, below = PurePath(*parts[:place]), PurePath(*parts[place + 1 :])
        stems, own = [file.stem, *([named[0]] if named else [])], mask_of(parts[place])
        inner = ["", *sorted(_IMAGE_FOLDERS), *([own[0]] if own else [])]
        claims += [above / name / below / stem for name in inner for stem in stems]
    return claims, plain
