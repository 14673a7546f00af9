"""Turn pictures with annotated objects, as COCO and YOLO store them, into pictures of classes with masks."""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import safe_name
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.importing import ImportSettings, Picture, PlannedPicture, short_names
from sonoforge.training.data.layouts import given_split, natural_order

BACKGROUND, IMAGES = "background", "images"
"""Folder of pictures without objects; folder of all pictures if classes are columns."""
MOST_POINTS = 100_000  # of an outline
_LONGEST = 60  # characters of a class's name, which becomes a folder's: at most 240 bytes
_LEAST_SIDE = 64  # pixels; a smaller cut shows an object without its surroundings
_ROBOFLOW = re.compile(r"(?P<source>.+)\.rf\.[0-9a-zA-Z]+")  # augmented copies of one picture

Points = NDArray[np.float64]  # (N, 2) x and y; the pixel in column 0 reaches from 0 to 1


class Outline(NamedTuple):
    """Where an object is: polygons (a box is one) or runs of pixels; nothing of either if only its class is known."""

    polygons: tuple[Points, ...] = ()
    runs: tuple[int, ...] = ()  # COCO's RLE: lengths outside, inside, outside, ..., column by column
    size: tuple[int, int] = (0, 0)  # height and width that `runs` fill


class Annotated(NamedTuple):
    """A picture and its objects."""

    path: str  # of the picture, below the folder
    objects: tuple[tuple[str, Outline], ...]  # class and place of each
    split: str = ""  # part of a split that it is in, as spelled in the set
    size: tuple[int, int] | None = None  # width and height in pixels, where stated
    relative: bool = False  # whether outlines are in shares of width and height


def plan_objects(folder: Path, pictures: Sequence[Annotated], settings: ImportSettings) -> list[PlannedPicture]:
    """List a picture for each file, or for each object."""
    if not any(picture.objects for picture in pictures):
        raise SonoforgeError(f"{folder}: none of its {len(pictures)} pictures has an object; check its labels")
    names, planned = short_names(picture.path for picture in pictures), list[PlannedPicture]()
    parts = given_split(dict.fromkeys(picture.split for picture in pictures if picture.split))
    if settings.multilabel and settings.mode == "roi":
        raise SonoforgeError("--multilabel cannot be combined with --mode roi, where each picture shows one object")
    every = {class_name for picture in pictures for class_name, _ in picture.objects}
    columns = sorted(every, key=natural_order) if settings.multilabel else []
    folders = Counter(map(as_folder, every))
    wrong = next((name for name in sorted(every) if len(name) > _LONGEST or folders[as_folder(name)] > 1), "")
    if wrong:
        raise SonoforgeError(
            f"{folder}: the class {wrong!r:.60} is too long, or another has the same folder; rename it"
        )
    taken = next((name for name in columns if name.casefold() in ("file", "group", "split")), None)
    if taken:
        raise SonoforgeError(f"{folder}: the class {taken!r} has the name of a column of groups.csv; rename it")
    for picture in pictures:
        name = names[picture.path]
        source = _ROBOFLOW.fullmatch(name)
        group, facts = source["source"] if source else name, {"split": parts.get(picture.split, "")}
        classes = list(dict.fromkeys(class_name for class_name, _ in picture.objects))
        if settings.mode == "roi":
            for number, (class_name, _) in enumerate(picture.objects, start=1):
                read = functools.partial(_read, folder, picture, settings, number)
                planned.append(PlannedPicture(f"{as_folder(class_name)}/{name}_{number}.png", group, facts, read))
            continue
        if len(classes) > 1 and not columns:
            raise SonoforgeError(
                f"{folder / picture.path}: has objects of the classes {', '.join(classes)}; --mode roi cuts out each "
                "object, --multilabel makes each class a yes-or-no question"
            )
        read = functools.partial(_read, folder, picture, settings, 0)
        class_name = IMAGES if columns else as_folder(classes[0]) if classes else BACKGROUND
        facts |= {column: str(int(column in classes)) for column in columns}
        planned.append(PlannedPicture(f"{class_name}/{name}.png", group, facts, read))
    return planned


def as_folder(name: str) -> str:
    """Turn a class name into a folder name that is valid on any system."""
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name.encode("utf-8", "replace").decode()).strip(" .")
    return safe_name(plain.lstrip("_") or "class")


def _read(folder: Path, picture: Annotated, settings: ImportSettings, number: int) -> Picture:
    file = folder / picture.path
    pixels = np.asarray(read_image(file))
    height, width = pixels.shape[:2]
    if picture.size and picture.size != (width, height):
        raise SonoforgeError(
            f"{file}: has {width}x{height} pixels, but its labels say {picture.size[0]}x{picture.size[1]}; label the "
            "unchanged picture"
        )
    chosen = [picture.objects[number - 1]] if number else picture.objects
    needed = number or settings.masks
    if needed and not all(outline.runs or any(map(len, outline.polygons)) for _, outline in chosen):
        raise SonoforgeError(f"{file}: an object has neither outline nor box; draw it, or import without --masks")
    masks = [draw(outline, (height, width), picture.relative, file) for _, outline in chosen] if needed else []
    if not number:
        return Picture(pixels, tuple(masks))
    (mask,) = masks
    if not mask.any():
        raise SonoforgeError(f"{file}: object {number} covers no pixel of it; correct its label")
    corner, side = square_around(mask, settings.margin)
    return Picture(_cut(pixels, corner, side), (_cut(mask, corner, side),) if settings.masks else ())


def square_around(mask: NDArray[np.bool_], margin: float) -> tuple[tuple[int, int], int]:
    """Return the top left corner and the side of the square around an object (H, W).

    It is ``margin`` times the object's longer side, inside the picture if it fits, otherwise centred on it.
    """
    spans = [np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] + (0, 1) for axis in (0, 1)]
    side = max(_LEAST_SIDE, round(margin * max(int(end - start) for start, end in spans)))
    top, left = (
        (length - side) // 2 if side > length else min(max(int(start + end - side) // 2, 0), length - side)
        for (start, end), length in zip(spans, mask.shape, strict=True)
    )
    return (top, left), side


def _cut(pixels: NDArray[Any], corner: tuple[int, int], side: int) -> NDArray[Any]:
    """Cut out a square (side, side), with channels if any, and 0 outside the picture."""
    ranges = [range(start, start + side) for start in corner]
    inside = [
        slice(max(own.start, 0), min(own.stop, length)) for own, length in zip(ranges, pixels.shape, strict=False)
    ]
    beyond = [(part.start - own.start, own.stop - part.stop) for own, part in zip(ranges, inside, strict=True)]
    return np.pad(pixels[tuple(inside)], [*beyond, *[(0, 0)] * (pixels.ndim - 2)])


# ---- outlines as pixels


def draw(outline: Outline, shape: tuple[int, int], relative: bool, file: Path) -> NDArray[np.bool_]:
    """Return the pixels of an object, (H, W): of a polygon, those whose centre is inside (even-odd rule)."""
    if outline.runs:
        if outline.size != shape or sum(outline.runs) != math.prod(shape):
            raise SonoforgeError(
                f"{file}: has {shape[1]}x{shape[0]} pixels, but its runs are of {outline.size[1]}x{outline.size[0]}; "
                "export the labels again"
            )
        inside = np.repeat(np.arange(len(outline.runs)) % 2 == 1, outline.runs)
        return inside.reshape(shape[::-1]).T
    mask = np.zeros(shape, bool)
    for points in outline.polygons:
        mask |= _inside(points * (shape[1], shape[0]) if relative else points, shape)
    return mask


def _inside(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon: a pixel is inside if an odd number of edges is to the left of its centre in its row."""
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    ends = np.roll(points, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(points, ends, strict=True):
        low, high = min(y0, y1), max(y0, y1)
        rows = np.arange(max(0, math.ceil(low - 0.5)), min(shape[0], math.ceil(high - 0.5)))
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            np.add.at(crossings, (rows, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)), 1)
    return np.asarray(crossings.cumsum(axis=1)[:, :-1] % 2 == 1)


def polygon(numbers: Iterable[Any], where: str) -> Points:
    """Return the corners of a polygon, given as x, y, x, y, ...; none if there are fewer than three."""
    with refusing(f"{where}: its outline holds more than numbers", "export the labels again"):
        values = np.array([float(number) for number in numbers], np.float64)
    values = values[:0] if len(values) in (2, 4) else values
    if len(values) % 2 or not len(values) <= 2 * MOST_POINTS or not (np.abs(values) < 1e6).all():
        raise SonoforgeError(
            f"{where}: an outline of {len(values)} numbers is not x and y of three corners or more, each below a "
            "million; export the labels again"
        )
    return values.reshape(-1, 2)


def box(left: float, top: float, width: float, height: float, where: str) -> Points:
    """Return the corners of a box."""
    right, bottom = left + width, top + height
    return polygon((left, top, right, top, right, bottom, left, bottom), where)
