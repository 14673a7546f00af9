"""YOLO: a text file beside each picture, or in ``labels`` for those in ``images``; the classes in ``data.yaml``.

The format: https://docs.ultralytics.com/datasets/segment/ (its boxes, outlines and turned boxes), as labelling
programs and Roboflow export it.  A line is ``CLASS X Y WIDTH HEIGHT``, the middle of a box, or ``CLASS X Y X Y X Y
...``, an outline, in shares of the picture's width and height.  An empty file says that there is nothing; a picture
without a file was not labelled, and is left out.
"""

import logging
import re
from pathlib import Path, PurePosixPath

from sonoforge.runtime.cli.options import read_config_file
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.training.data.collections.import_settings import ImportSettings
from sonoforge.training.data.collections.importing import Collection, PlannedPicture
from sonoforge.training.data.collections.objects import Annotated, Outline, box, plan_objects, polygon
from sonoforge.training.data.datasets import find_files
from sonoforge.training.data.folder_layout import split_of

log = logging.getLogger(__name__)

_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
_MOST_BYTES = 10_000_000  # of a file of labels


def find_tables(folder: Path) -> list[Path]:
    """Return the file that names the classes.

    Raises:
        SonoforgeError: There is none, or several do.
    """
    found = [path for path in sorted(folder.glob("*.y*ml")) if "names" in read_config_file(path)]
    found = found or [folder / name for name in _LISTS if (folder / name).is_file()]
    if len(found) != 1:
        what = f"both {found[0].name} and {found[1].name}" if found else f"neither data.yaml nor {_LISTS[0]}"
        raise SonoforgeError(f"{folder}: found {what}, expected one file that names the classes in their order")
    return found


def plan(folder: Path, settings: ImportSettings) -> list[PlannedPicture]:
    """List the labelled pictures; see `objects.plan_objects`.

    Raises:
        SonoforgeError: The classes are not named, or a line of labels has another form.
    """
    names = _names(find_tables(folder)[0])
    pictures, unlabelled = list[Annotated](), 0
    for path in (file.as_posix() for file in find_files(folder)[0]):
        labels = next((file for file in _labels_of(path) if (folder / file).is_file()), None)
        if labels is None:
            unlabelled += 1
            continue
        part = next((part for part in PurePosixPath(path).parts[:-1] if split_of(part)), "")
        pictures.append(Annotated(path, _read(folder / labels, names), part, relative=True))
    if unlabelled:
        log.warning("%s: %d pictures without a file of labels are left out", folder, unlabelled)
    return plan_objects(folder, pictures, settings)


def _names(path: Path) -> dict[int, str]:
    if path.suffix in (".txt", ".names"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return dict(enumerate(line.strip() for line in lines if line.strip()))
    values = read_config_file(path)
    given = values["names"]
    if "kpt_shape" in values:
        raise SonoforgeError(f"{path}: found key points (kpt_shape), expected boxes or outlines; export those")
    pairs = enumerate(given) if isinstance(given, list) else given.items() if isinstance(given, dict) else ()
    try:
        names = {int(number): str(name) for number, name in pairs}
    except ValueError as error:
        raise SonoforgeError(f"{path}: names: {reason(error)}, expected NUMBER: NAME") from error
    if not names:
        raise SonoforgeError(f"{path}: found no classes under names, expected a list of them")
    return names


def _labels_of(path: str) -> list[str]:
    """Return where the labels of a picture may be: its last folder ``images`` called ``labels``, or beside it."""
    stem = PurePosixPath(path).with_suffix(".txt").as_posix()
    return [re.sub(r"(^|.*/)images/", r"\1labels/", stem, count=1), stem]


def _read(path: Path, names: dict[int, str]) -> tuple[tuple[str, Outline], ...]:
    if path.stat().st_size > _MOST_BYTES:
        raise SonoforgeError(f"{path}: found more than {_MOST_BYTES // 10**6} MB, expected a line for each object")
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
            raise SonoforgeError(f"{where}: found {line[:60]!r}, expected a class from {known} and numbers") from error
        if len(values) == 4:
            x, y, width, height = values
            points = box(x - width / 2, y - height / 2, width, height, where)
        else:
            points = polygon(values, where)
        if (abs(points) > 2).any():
            raise SonoforgeError(
                f"{where}: found {line[:60]!r}, expected shares of the picture from 0 to 1, not pixels"
            )
        objects.append((name, Outline((points,))))
    return tuple(objects)


COLLECTION = Collection("yolo", "YOLO labels", ("mode", "multilabel", "masks", "margin"), find_tables, plan)
"""``data import yolo``."""
