"""Read YOLO: a text file beside each picture, or in ``labels`` for pictures in ``images``; classes in ``data.yaml``.

The format: https://docs.ultralytics.com/datasets/segment/ (boxes, outlines and rotated boxes), as labelling programs
and Roboflow export it.  A line is ``CLASS X Y WIDTH HEIGHT``, with the middle of a box, or ``CLASS X Y X Y X Y ...``,
an outline, in shares of the picture's width and height.  An empty file means no objects; a picture without a file was
not labelled, and is left out.
"""

import logging
import re
from pathlib import Path, PurePosixPath

from sonoforge.runtime.cli.options import read_config_file
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.data.collections.importing import ImportSettings, PlannedPicture, Reader
from sonoforge.training.data.collections.objects import Annotated, Outline, box, plan_objects, polygon
from sonoforge.training.data.datasets import find_files
from sonoforge.training.data.layouts import split_of

log = logging.getLogger(__name__)

_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
_MOST_BYTES = 10_000_000  # of a file of labels


def find_tables(folder: Path) -> list[Path]:
    """Return the one file that lists the classes."""
    found = [path for path in sorted(folder.glob("*.y*ml")) if "names" in read_config_file(path, names=True)]
    found = found or [folder / name for name in _LISTS if (folder / name).is_file()]
    if len(found) != 1:
        what = f"both {found[0].name} and {found[1].name} name" if found else f"no data.yaml or {_LISTS[0]} names"
        raise SonoforgeError(f"{folder}: {what} the classes in order; exactly one file should")
    return found


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the labelled pictures."""
    names = _class_names(find_tables(folder)[0])
    pictures, unlabelled = list[Annotated](), 0
    for path in (file.as_posix() for file in find_files(folder)[0]):
        beside = PurePosixPath(path).with_suffix(".txt").as_posix()
        places = [re.sub(r"(^|.*/)images/", r"\1labels/", beside, count=1), beside]
        labels = next((place for place in places if (folder / place).is_file()), None)
        if labels is None:
            unlabelled += 1
            continue
        part = next((part for part in PurePosixPath(path).parts[:-1] if split_of(part)), "")
        pictures.append(Annotated(path, _read(folder / labels, names), part, relative=True))
    if unlabelled:
        log.warning("%s: %d pictures without a label file are left out", folder, unlabelled)
    return plan_objects(folder, pictures, settings)


def _class_names(path: Path) -> dict[int, str]:
    listed = path.suffix in (".txt", ".names")
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines() if listed else ()
    values = {"names": [*lines]} if listed else read_config_file(path, names=True)
    given = values["names"]
    if "kpt_shape" in values:
        raise SonoforgeError(f"{path}: key points (kpt_shape) are not supported; export boxes or outlines")
    pairs = enumerate(given) if isinstance(given, list) else given.items() if isinstance(given, dict) else ()
    with refusing(f"{path}: names is not a list of NUMBER: NAME"):
        names = {int(number): name.strip() for number, name in pairs}
    if not names or not all(names.values()):
        raise SonoforgeError(f"{path}: names lists no classes, or one without a name; give each number a name")
    return names


def _read(path: Path, names: dict[int, str]) -> tuple[tuple[str, Outline], ...]:
    if path.stat().st_size > _MOST_BYTES:
        raise SonoforgeError(f"{path}: has more than {_MOST_BYTES // 10**6} MB, too much for one line per object")
    objects = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        cells, where = line.split(), f"{path}: line {number}"
        if not cells:
            continue
        try:
            name = names[int(cells[0])]
            values = [float(cell) for cell in cells[1:]]
        except (ValueError, KeyError) as error:
            known = f"0 to {len(names) - 1}"
            raise SonoforgeError(f"{where}: {line[:60]!r} is not a class from {known} and numbers") from error
        if len(values) == 4:
            x, y, width, height = values
            points = box(x - width / 2, y - height / 2, width, height, where)
        else:
            points = polygon(values, where)
        if (abs(points) > 2).any():
            raise SonoforgeError(f"{where}: {line[:60]!r} is in pixels; give shares of the picture, from 0 to 1")
        objects.append((name, Outline((points,))))
    return tuple(objects)


READER = Reader(
    holds="YOLO labels",
    takes=("mode", "multilabel", "masks", "margin"),
    plan=plan,
    find_tables=find_tables,
    signs=("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt"),
)
