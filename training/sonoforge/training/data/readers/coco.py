"""Read COCO: a JSON file of pictures, categories and annotations, as labelling programs and Roboflow export it.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the format: https://cocodataset.org/#format-data.
An object is outlined by polygons or by runs (RLE, plain or packed), or has only a box.  Supported are
``annotations/instances_PART.json`` with pictures in ``PART/``, ``PART/_annotations.coco.json`` beside its pictures
(Roboflow), and any other ``.json`` of that form whose ``file_name`` identifies one picture of the folder.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sonoforge.runtime.csv_tables import MOST_BYTES, Names
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.data.collections.importing import ImportSettings, PlannedPicture, Reader
from sonoforge.training.data.collections.objects import Annotated, Outline, box, plan_objects, polygon
from sonoforge.training.data.datasets import find_files
from sonoforge.training.data.layouts import split_of

_KEYS = ("images", "annotations", "categories")
_MOST_PIXELS = 50_000_000


def find_tables(folder: Path) -> list[Path]:
    """Return the JSON annotation files by name; only files with the right keys are parsed later."""
    found = []
    for path in sorted(folder.rglob("*.json")):
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            data = path.read_bytes()
            if all(f'"{key}"'.encode() in data for key in _KEYS):
                found.append(path)
    return found


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the pictures in the JSON files."""
    tables = find_tables(folder)
    if not tables:
        raise SonoforgeError(f"{folder}: no JSON file has {', '.join(_KEYS)}, as COCO annotations do")
    found = [path.as_posix() for path in find_files(folder)[0]]
    pictures: dict[str, Annotated] = {}
    for table in tables:
        for picture in _read(table, folder, found):
            if picture.path in pictures:
                raise SonoforgeError(
                    f"{table}: lists {picture.path}, which is also in another JSON file; keep one of them"
                )
            pictures[picture.path] = picture
    return plan_objects(folder, list(pictures.values()), settings)


def _read(table: Path, folder: Path, found: list[str]) -> list[Annotated]:
    with refusing(f"{table}: is not valid COCO", "export it again"):
        values = json.loads(table.read_bytes())
        images = {image["id"]: image for image in values["images"]}
        categories = {category["id"]: str(category["name"]) for category in values["categories"]}
        objects = defaultdict(list)
        for number, annotation in enumerate(values["annotations"], start=1):
            where = f"{table}: annotation {number}"
            if annotation["image_id"] not in images or annotation["category_id"] not in categories:
                raise SonoforgeError(f"{where}: its image or category is not listed; export it again")
            objects[annotation["image_id"]].append((categories[annotation["category_id"]], _outline(annotation, where)))
    # The part of a split that the annotations belong to is in their file's name, or in its folder's.
    words = re.split(r"[^A-Za-z]+", table.stem)
    parents = table.parent.relative_to(folder).parts
    part = next((word for word in (*reversed(words), *reversed(parents)) if split_of(word)), "")
    known, names = set(found), Names(found, folder.resolve().name)
    beside = table.parent.relative_to(folder).as_posix()
    pictures = []
    for key, image in images.items():
        name = str(image.get("file_name", ""))
        tried = [f"{beside}/{name}", f"{part}/{name}", names.find(name)]
        tried += [file for file in found if PurePosixPath(file).name == name and part and part in file]
        path = next((own for own in (one.removeprefix("./") for one in tried) if own in known), None)
        if path is None:
            raise SonoforgeError(f"{table}: names {name!r:.200}, which is not below {folder}; add it or export again")
        with refusing(f"{table}: is not valid COCO", "export it again"):
            size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
        pictures.append(Annotated(path, tuple(objects[key]), part, size))
    return pictures


def _outline(annotation: Mapping[str, Any], where: str) -> Outline:
    given = annotation.get("segmentation")
    if isinstance(given, dict) and given["counts"]:
        height, width = (int(side) for side in given["size"])
        if not 0 < height * width <= _MOST_PIXELS:
            raise SonoforgeError(f"{where}: runs of {width}x{height} pixels exceed the limit of {_MOST_PIXELS}")
        counts = given["counts"]
        runs = unpack_runs(counts) if isinstance(counts, str) else [int(count) for count in counts]
        if any(run < 0 for run in runs) or sum(runs) != height * width:
            raise SonoforgeError(f"{where}: its runs do not fill {width}x{height} pixels; export it again")
        return Outline(runs=tuple(runs), size=(height, width))
    polygons = tuple(polygon(numbers, where) for numbers in (given if isinstance(given, list) else ()))
    if any(map(len, polygons)) or not annotation.get("bbox"):
        return Outline(polygons)
    left, top, across, down = (float(number) for number in annotation["bbox"])
    return Outline((box(left, top, across, down, where),))


def unpack_runs(text: str) -> list[int]:
    """Decode the runs of COCO's packed RLE: base 32 with a continuation bit, from the third on as differences.

    Source: ``rleFrString`` of ``maskApi.c``, https://github.com/cocodataset/cocoapi.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        digit = character - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError("damaged runs")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


READER = Reader(
    holds="COCO annotations",
    takes=("mode", "multilabel", "masks", "margin"),
    plan=plan,
    find_tables=find_tables,
    signs=("_annotations.coco.json", "*/_annotations.coco.json", "instances*.json", "annotations/instances*.json"),
)
