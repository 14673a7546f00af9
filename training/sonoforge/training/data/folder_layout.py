"""How a folder of images is laid out: which sub-folders are classes or splits, and which files are masks.

Ambiguous folders, such as collections that each hold the same classes, are refused with the command that settles it.
"""

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError, name_some
from sonoforge.runtime.images.file_kinds import is_image_file
from sonoforge.runtime.images.folders import folded, is_mask_folder, is_outline, is_system_folder, mask_of

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
_NUMBER = re.compile(r"\d")
_NUMBERED = re.compile(r" \(\d+\)$")  # end of names numbered by a program, such as BUSI's
_SAMPLED = 5  # pictures of a folder that are opened to decide whether all are masks


class Sorted(NamedTuple):
    """Files of a folder, sorted into images and masks."""

    images: list[str]
    masks: dict[str, list[str]]  # by image, of those that have any
    orphans: list[str]  # masks without their image


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder, without system folders."""
    return [f for f in root.iterdir() if f.is_dir() and not is_system_folder(f.name)]


def image_folder(folders: Sequence[Path], masks: Sequence[Path]) -> Path | None:
    """Return the only folder, such as ``images`` in ``images/CLASS`` beside ``masks/CLASS``, whose folders are classes.

    Folders of patients and splits look the same.  So their names must be known classes, or equal those of the folders
    in one of ``masks`` and neither contain a number nor name a split.
    """
    if len(folders) != 1 or folders[0].name.casefold() not in _IMAGE_FOLDERS:
        return None
    if any(map(is_image_file, folders[0].iterdir())):  # one class, whatever else it holds
        return None
    names = _inside(folders[0])
    unlike = not names & _SPLITS.keys() and not any(map(_NUMBER.search, names))
    outlined = unlike and any(names == _inside(folder) for folder in masks)
    return folders[0] if len(names & _KNOWN_CLASSES) > 1 or (len(names) > 1 and outlined) else None


def _inside(folder: Path) -> set[str]:
    return {inner.name.strip().casefold() for inner in subfolders(folder)}


def natural_order(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sort key that puts ``benign (2)`` before ``benign (10)``; equal keys fall back to the plain name."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts), name


def split_of(name: str) -> str:
    """Return the part of a split that a name stands for, `TRAINED`, `VALIDATED` or `TESTED`; else empty."""
    return _SPLITS.get(name.strip().casefold(), "")


def given_split(names: Iterable[str]) -> dict[str, str]:
    """Return the part of a split for each name if there are several and all name parts; else nothing."""
    parts = {name: split_of(name) for name in names}
    return parts if len(parts) > 1 and all(parts.values()) else {}


def _below_split(folder: Path) -> list[Path]:
    """Return the folders in a folder; if these are the parts of a split, the folders in them."""
    inner = subfolders(folder)
    return [below for part in inner for below in subfolders(part)] if given_split(f.name for f in inner) else inner


def spell_classes(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the folders of each class; names that differ only in case or spaces are one, spelled as the first."""
    classes: dict[PurePath, list[Path]] = defaultdict(list)
    for folder in folders:
        classes[folded(PurePath(" ".join(folder.name.replace("_", " ").split())))].append(folder)
    return {own[0].name.strip() if len(own) > 1 else own[0].name: own for own in classes.values()}


def check_layout(root: Path, folders: Sequence[Path]) -> None:
    """Refuse folders that are collections, not classes.

    Raises:
        SonoforgeError: All hold the same folders, which are known classes.
    """
    names = [folder.name for folder in folders]
    inner = {folder.name: {f.name.casefold() for f in _below_split(folder)} for folder in folders}
    common = set.intersection(*inner.values()) if inner else set()
    common = {name for name in common if name not in _IMAGE_FOLDERS and not is_mask_folder(name)}
    each = " ".join(f"--data {shlex.quote(str(root / name))}" for name in names)
    if len(names) > 1 and len(common) > 1 and len(common & _KNOWN_CLASSES) > 1:
        raise SonoforgeError(
            f"{root}: has the classes {', '.join(sorted(common))} below each of {name_some(names)}; give the "
            f"collections as {each}"
        )


def check_pictures(folder: Path, images: Sequence[Path]) -> None:
    """Refuse a class whose pictures are masks.

    Raises:
        SonoforgeError: All of the sampled pictures are black and white.
    """
    step = max(1, len(images) // _SAMPLED)
    if images and all(is_outline(image, few=False) for image in images[::step]):
        raise SonoforgeError(
            f"{folder}: its {len(images)} images are of two levels, so this is a folder of masks, not a class; put "
            "each mask beside its image as NAME_mask.png, or move the folder away"
        )


def sort_files(
    files: Iterable[PurePath], outline: Callable[[PurePath], bool], order: Callable[[str], object]
) -> Sorted:
    """Separate images from their masks.

    A mask is named after its image (``NAME_mask``, ``NAME_mask_1``, ``NAME_mask_STRUCTURE``; also ``NAME-mask``,
    ``NAME_segmentation`` and the like if the picture has two levels), or has the same name in a folder of masks.

    Args:
        files: Relative paths of images and masks.
        outline: Whether a picture has the few levels of a mask, see `folders.is_outline`.
        order: Sort key of paths.

    Raises:
        SonoforgeError: A mask of two images.
    """
    ordered = sorted(files, key=lambda file: order(file.as_posix()))  # type: ignore[arg-type,return-value]
    by_stem: dict[PurePath, list[PurePath]] = defaultdict(list)
    for file in ordered:
        by_stem[folded(file.parent / file.stem)].append(file)
    beside = _masks_beside(ordered, by_stem, outline)
    images: list[str] = []
    masks: dict[str, list[str]] = defaultdict(list)
    orphans: list[str] = []
    for file in ordered:
        claims, plain = _claimed(file)
        owners = _owners(file, claims, by_stem)
        if not owners and file.parent in beside:
            claims = [*claims, *(other / file.stem for other in beside[file.parent])]
            owners = _owners(file, claims, by_stem)
        if not claims or not ((plain and (owners or _NUMBERED.search(claims[0].name))) or outline(file)):
            images.append(file.as_posix())
        elif not owners:
            orphans.append(file.as_posix())
        elif len(owners) > 1:
            raise SonoforgeError(
                f"{file}: is the mask of both {owners[0]} and {owners[1].name}; rename or remove one of them"
            )
        else:
            masks[owners[0].as_posix()].append(file.as_posix())
    return Sorted(images, masks, orphans)


def _owners(file: PurePath, claims: Sequence[PurePath], by_stem: Mapping[PurePath, list[PurePath]]) -> list[PurePath]:
    """Return the images with these paths and any suffix; those spelled exactly like the mask if there are any."""
    owners = dict[PurePath, None]()
    for key in claims:
        found = [owner for owner in by_stem.get(folded(key), ()) if owner != file]
        owners.update(dict.fromkeys([owner for owner in found if owner.stem == key.name] or found))
    return list(owners)


def _claimed(file: PurePath) -> tuple[list[PurePath], bool]:
    """Return the images whose mask a file would be by its name or folder, and whether the name alone is conclusive."""
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


def _masks_beside(
    files: Sequence[PurePath], by_stem: Mapping[PurePath, list[PurePath]], outline: Callable[[PurePath], bool]
) -> dict[PurePath, list[PurePath]]:
    """Find folders of any name whose pictures have two levels and the names of those in a neighbouring folder.

    Returns:
        The neighbouring folders of each such folder.
    """
    inside: dict[PurePath, list[PurePath]] = defaultdict(list)
    for file in files:
        inside[file.parent].append(file)
    repeated = Counter(file.stem for file in files)
    masks = {
        folder
        for folder, own in inside.items()
        if len(inside) > 1 and all(repeated[file.stem] > 1 for file in own) and all(map(outline, own[:_SAMPLED]))
    }
    return {
        folder: [other for other in inside if other not in masks and folder.parent in (other, other.parent)]
        for folder in masks
    }
