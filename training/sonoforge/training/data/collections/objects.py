"""Pictures with annotated objects, as COCO and YOLO have them: as pictures of classes, with masks.

``full``: a picture as it is, of the class of its objects, or of the class ``background`` where it was looked at and has
none; with ``multilabel`` it may have several, and each class is a column of 0 and 1.  ``roi``: a square around each
object, cut from its picture.  A mask is the outline of an object, or its box where no more is known.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Picture, PlannedPicture, short_names
from sonoforge.training.data.collections.mammogram import lesion_square
from sonoforge.training.data.folder_layout import given_split, natural_order

BACKGROUND, IMAGES = "background", "images"
"""Folder of pictures without an object; of all, where their classes are columns."""
MOST_POINTS = 100_000  # of an outline
_ROBOFLOW = re.compile(r"(?P<source>.+)\.rf\.[0-9a-zA-Z]+")  # copies of one picture, changed by its augmentation

Points = NDArray[np.float64]  # (N, 2) x and y; the pixel in column 0 reaches from 0 to 1


class Outline(NamedTuple):
    """Where an object is: polygons, or runs of pixels, or a box alone."""

    polygons: tuple[Points, ...] = ()
    runs: tuple[int, ...] = ()  # COCO's RLE: lengths outside, inside, outside, ..., column by column
    size: tuple[int, int] = (0, 0)  # height and width that `runs` fill


class Annotated(NamedTuple):
    """A picture and its objects."""

    path: str  # of the picture, below the folder
    objects: tuple[tuple[str, Outline], ...]  # class and place of each
    split: str = ""  # name of the part that it is in, as it is spelled
    size: tuple[int, int] | None = None  # width and height in pixels, where they are stated
    relative: bool = False  # whether outlines are in shares of width and height


def plan_objects(folder: Path, pictures: Sequence[Annotated], settings: ImportSettings) -> list[PlannedPicture]:
    """List a picture for each file, or for each object.

    Raises:
        SonoforgeError: No object at all, a picture with objects of several classes is to be of one, or a class has the
            name of another column.
    """
    if not any(picture.objects for picture in pictures):
        raise SonoforgeError(f"{folder}: found no object in {len(pictures)} pictures, expected some; see its labels")
    names, planned = short_names(picture.path for picture in pictures), list[PlannedPicture]()
    parts = given_split(dict.fromkeys(picture.split for picture in pictures if picture.split))
    columns = _columns(folder, pictures, settings) if settings.multilabel else []
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
                f"{folder / picture.path}: found objects of the classes {', '.join(classes)}, expected one class a "
                "picture; --mode roi cuts out each object, --multilabel asks of each class whether a picture has it"
            )
        read = functools.partial(_read, folder, picture, settings, 0)
        class_name = IMAGES if columns else as_folder(classes[0]) if classes else BACKGROUND
        facts |= {column: str(int(column in classes)) for column in columns}
        planned.append(PlannedPicture(f"{class_name}/{name}.png", group, facts, read))
    return planned


def _columns(folder: Path, pictures: Sequence[Annotated], settings: ImportSettings) -> list[str]:
    """Return all classes, in the order of their names."""
    if settings.mode == "roi":
        raise SonoforgeError("--multilabel: found --mode roi, where each picture is of one object; give one of the two")
    classes = sorted({class_name for picture in pictures for class_name, _ in picture.objects}, key=natural_order)
    taken = next((name for name in classes if name.casefold() in ("file", "group", "split")), None)
    if taken:
        raise SonoforgeError(f"{folder}: found the class {taken!r}, as a column of groups.csv is called; rename it")
    return classes


def as_folder(name: str) -> str:
    """Return a class name as one that a folder may have on any system."""
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")
    return plain.lstrip("_") or "class"


def _read(folder: Path, picture: Annotated, settings: ImportSettings, number: int) -> Picture:
    file = folder / picture.path
    pixels = np.asarray(read_image(file))
    height, width = pixels.shape[:2]
    if picture.size and picture.size != (width, height):
        raise SonoforgeError(
            f"{file}: found {width}x{height} pixels, expected {picture.size[0]}x{picture.size[1]} as its labels say; "
            "label the picture as it is"
        )
    chosen = [picture.objects[number - 1]] if number else picture.objects
    needed = number or settings.masks
    masks = [draw(outline, (height, width), picture.relative, file) for _, outline in chosen] if needed else []
    if not number:
        return Picture(pixels, tuple(masks))
    (mask,) = masks
    if not mask.any():
        raise SonoforgeError(f"{file}: object {number} covers no pixel of it; correct its label")
    square = lesion_square(mask, settings.margin)
    channels = [pixels] if pixels.ndim == 2 else [pixels[..., channel] for channel in range(3)]
    cut = [square.cut(channel) for channel in channels]
    return Picture(cut[0] if len(cut) == 1 else np.stack(cut, axis=-1), (square.cut(mask),) if settings.masks else ())


# ---- outlines as pixels


def draw(outline: Outline, shape: tuple[int, int], relative: bool, file: Path) -> NDArray[np.bool_]:
    """Return the pixels of an object, (H, W); those of a polygon are the ones whose centre is inside (even-odd rule).

    Raises:
        SonoforgeError: Runs of another size than the picture's.
    """
    if outline.runs:
        if outline.size != shape or sum(outline.runs) != math.prod(shape):
            raise SonoforgeError(
                f"{file}: found runs of {outline.size[1]}x{outline.size[0]} pixels, expected {shape[1]}x{shape[0]} as "
                "the picture; export the labels again"
            )
        inside = np.repeat(np.arange(len(outline.runs)) % 2 == 1, outline.runs)
        return inside.reshape(shape[::-1]).T
    mask = np.zeros(shape, bool)
    for points in outline.polygons:
        mask |= _inside(points * (shape[1], shape[0]) if relative else points, shape)
    return mask


def _inside(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon: a pixel is inside where an odd number of edges lies to the left of its centre, in its row."""
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    ends = np.roll(points, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(points, ends, strict=True):
        low, high = min(y0, y1), max(y0, y1)
        rows = np.arange(max(0, math.ceil(low - 0.5)), min(shape[0], math.ceil(high - 0.5)))
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            np.add.at(crossings, (rows, np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)), 1)
    inside: NDArray[np.bool_] = crossings.cumsum(axis=1)[:, :-1] % 2 == 1
    return inside


def polygon(numbers: Iterable[Any], where: str) -> Points:
    """Return the corners of a polygon, given as x, y, x, y, ...

    Raises:
        SonoforgeError: They are no numbers, too few, or too many.
    """
    try:
        values = np.array([float(number) for number in numbers], np.float64)
    except (TypeError, ValueError) as error:
        raise SonoforgeError(f"{where}: found an outline that is not of numbers; export the labels again") from error
    if len(values) % 2 or not 6 <= len(values) <= 2 * MOST_POINTS or not (np.abs(values) < 1e6).all():
        raise SonoforgeError(
            f"{where}: found an outline of {len(values)} numbers, expected x and y of three corners or more, each "
            "below a million; export the labels again"
        )
    return values.reshape(-1, 2)


def box(left: float, top: float, width: float, height: float, where: str) -> Points:
    """Return the corners of a box."""
    right, bottom = left + width, top + height
    return polygon((left, top, right, top, right, bottom, left, bottom), where)
