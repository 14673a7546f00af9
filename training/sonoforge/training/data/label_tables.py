"""Read classes from a table instead of folders: CSV, JSON lines and JSON.

A row has a file and its class, and optionally its patient, scanner and part of a split.  Formats are CSV (see
`runtime.csv_tables`) and, with the same columns, one JSON object a line or a JSON list of them (Hugging Face's
``imagefolder``); ``{"labels": [[FILE, LABEL], ...]}`` (StyleGAN); ``{FILE: LABEL, ...}``; and Label Studio's exports,
whose uploaded files are found by name.  Columns of 0 and 1 are classes if each row has one 1 (Roboflow).  Each further
column is a separate question: ``TABLE:COLUMN`` asks it, ``FOLDER:COLUMN`` asks all tables there.
"""

import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from sonoforge.runtime.csv_tables import Names, Row, class_key, labels_in, one_spelling, path_in, read_table, read_text
from sonoforge.runtime.errors import SonoforgeError, did_you_mean, refusing

log = logging.getLogger(__name__)

_TABLE = re.compile(r".+\.(?:csv|csv\.gz|jsonl|json)", re.IGNORECASE)
_COLUMN = re.compile(r"(?P<path>.+):(?P<column>[^/\\:]+)")
# Accepted headings, in lower case with underscores; the first one present counts.
_COLUMNS = {
    "file": ("file", "file_name", "filename", "image", "image_name", "image_path", "path", "image_id", "id"),
    "group": ("group", "patient", "patient_id", "patientid", "subject", "subject_id"),
    "device": ("device", "scanner"),
    "split": ("split", "subset", "partition"),
}
OF_CLASSES = ("label", "labels", "class", "class_name", "class name", "category", "target")
"""Headings that can only mean classes."""
_LABELS = (*OF_CLASSES, "diagnosis", "pathology", "dx", "choice")  # the last is Label Studio's
_NO_LABELS = frozenset(("groups.csv", "distinct.csv", "import.json", "manifest.json"))  # unless asked for
_YES_OR_NO = {"0": False, "false": False, "1": True, "true": True}  # by `class_key`
# Where Label Studio or a store has a file: https://labelstud.io/guide/tasks
_UPLOADED = re.compile(r"(?:[a-z0-9+.-]+://|/data/(?:upload/|local-files/\?d=)).*", re.IGNORECASE)
_UPLOAD_MARK = re.compile(r"[0-9a-f]{8}-(?=.)")  # before the name of each upload
# Tables whose format defines the classes, whatever the folders beside them are called; the heading of their files.
_DECIDING = {"dataset.json": "file", "metadata.jsonl": "file_name", "metadata.csv": "file_name"}
_MOST_SHOWN = 12  # columns named in an error
_LONGEST = 100  # characters of a label or a heading


class LabelTable(NamedTuple):
    """A table that lists images of a folder."""

    path: Path
    rows: tuple[tuple[str, Row], ...]  # each row with its image's path below the data set's root
    keys: Mapping[str, str]  # heading for each meaning in `_COLUMNS`
    questions: tuple[str, ...]  # the other headings: columns that may hold classes
    lost: str = ""  # error message if a row names no image

    @property
    def decides(self) -> bool:
        """Whether its format defines the classes."""
        return _DECIDING.get(self.path.name.lower()) == self.keys.get("file") and bool(self.questions)


class Labelled(NamedTuple):
    """A table's answers to one question."""

    question: str  # the column, or columns of one class each
    labels: dict[str, str]  # class of each image as it is spelled; images without one are left out
    facts: dict[str, dict[str, str]]  # group, device and split of each image, if the table has them
    unlabelled: int  # images whose rows have none


def asked_table(path: Path) -> tuple[Path, str] | None:
    """Split ``TABLE``, ``TABLE:COLUMN`` or ``FOLDER:COLUMN`` into path and column (may be empty); None if neither."""
    if path.exists():
        return (path, "") if path.is_file() and _TABLE.fullmatch(str(path)) else None
    found = _COLUMN.fullmatch(str(path))
    if found and (_TABLE.fullmatch(found["path"]) or Path(found["path"]).is_dir()):
        return Path(found["path"]), found["column"]
    return (path, "") if _TABLE.fullmatch(str(path)) else None


def find_label_tables(folders: Iterable[Path], images: Collection[str], asked: str) -> list[LabelTable]:
    """Return the tables that list any of the images and have the column (empty: any) in the first folder, else others.

    Without any, return one that `read_labels` refuses, and says why: it is damaged, or lists other files or columns.
    """
    root, *parts = dict.fromkeys(folders)
    opened, key = list[LabelTable](), " ".join(asked.split()).lower()
    for path in (path for folder in (root, *parts) for path in sorted(folder.iterdir())):
        if (path.name.lower() not in _NO_LABELS or asked) and _TABLE.fullmatch(path.name) and path.is_file():
            try:
                opened.append(open_label_table(path, root, images))
            except SonoforgeError as error:
                opened.append(LabelTable(path, (), {}, (), str(error)))
    fit = [table for table in opened if (key in table.questions if asked else table.questions)]
    found = [table for table in fit if table.rows]
    others = fit or [table for table in opened if asked or table.path.name.lower() in _DECIDING]
    return [table for table in found if table.path.parent == root] or found or others[:1]


def open_label_table(path: Path, root: Path, images: Collection[str]) -> LabelTable:
    """Read a table of a data set's images, with paths relative to its own folder; suffixes may be missing."""
    columns, rows = _read(path)
    plain = {_underscored(column): column for column in reversed(columns)}
    first = {kind: next((plain[name] for name in names if name in plain), "") for kind, names in _COLUMNS.items()}
    keys = {kind: key for kind, key in first.items() if key}
    if "file" not in keys:
        raise SonoforgeError(
            f"{path}: none of its columns ({_shown(columns)}) names the image files; call that column file or file_name"
        )
    folder = path.parent.relative_to(root).as_posix()
    below = "" if folder == "." else f"{folder}/"
    known = {image.removeprefix(below) for image in images if image.startswith(below)}
    names = Names(known, path.parent.resolve().name, suffixless=True)
    named, lost, uploads = [], "", 0
    for row in rows:
        cell = row[keys["file"]]
        name = names.find(cell)
        if name not in known and _UPLOADED.fullmatch(path_in(cell)):
            parts = unquote(path_in(cell).partition("?d=")[2] or path_in(cell).partition("?")[0]).split("/")
            inner = ["/".join(parts[start:]) for start in range(len(parts))]
            tried = map(names.find, (*inner, _UPLOAD_MARK.sub("", parts[-1])))
            name = next((own for own in tried if own in known), name)
            uploads += name in known
        if name in known:
            named.append((f"{below}{name}", row))
        elif not lost:
            lost = (
                f"{path}: line {row.line} names {cell!r:.200}, which is not beside the table{names.near(cell)}; "
                "correct or remove the line"
            )
    if uploads:
        log.warning("%s: %d files, as uploaded elsewhere, are taken to be those of the same name here", path, uploads)
    asked = [name for name in columns if 0 < len(name) <= _LONGEST and name[:7] != "unnamed"]
    questions = tuple(name for name in asked if name not in keys.values())
    return LabelTable(path, tuple(named), keys, questions, lost)


def _underscored(heading: str) -> str:
    return re.sub(r"[ -]", "_", heading)


def _shown(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _MOST_SHOWN} more" if len(columns) > _MOST_SHOWN else ""
    return (", ".join(column[:_LONGEST] for column in columns[:_MOST_SHOWN]) or "nothing") + more


# ---- which column, and what it says


def read_labels(table: LabelTable, asked: str = "") -> Labelled:
    """Return the class of each image in a table, by the column asked for.

    Without one, use the column with a heading for classes, or the only one, or all of them if each holds a class's 0 or
    1.
    """
    if table.lost:
        raise SonoforgeError(table.lost)
    ones = [] if asked else _yes_in(table)
    several = table.questions if ones and all(number == 1 for _, number in ones) else ()
    question = _shown(several) if several else _question(table, asked)
    labels: dict[str, str] = {}
    facts: dict[str, dict[str, str]] = {}
    own = {kind: key for kind, key in table.keys.items() if kind != "file"}
    patients = one_spelling((row[own["group"]] for _, row in table.rows), str(table.path)) if "group" in own else {}
    cells = [
        next((o for o in several if _YES_OR_NO[class_key(row[o])]), row.get(question, "")) for _, row in table.rows
    ]
    for (name, row), label in zip(table.rows, labels_in(cells, str(table.path)), strict=True):
        if len(label) > _LONGEST or label.startswith(("[{", '{"')):  # Label Studio's shapes, in a column called label
            raise SonoforgeError(f"{table.path}: line {row.line}: {label!r:.60} is not a label; name another column")
        if label and class_key(labels.setdefault(name, label)) != class_key(label):
            raise SonoforgeError(
                f"{table.path}: line {row.line} says that {name} is {label!r}, an earlier line {labels[name]!r}; keep "
                "one, or ask another column"
            )
        said = {kind: patients[row[key]] if kind == "group" else row[key] for kind, key in own.items()}
        before = facts.setdefault(name, said)
        if differ := [kind for kind, fact in said.items() if fact and before[kind] and before[kind] != fact]:
            raise SonoforgeError(
                f"{table.path}: line {row.line} gives {name} another {differ[0]} than an earlier line; keep one"
            )
        facts[name] = {kind: before[kind] or fact for kind, fact in said.items()}
    if not labels:
        raise SonoforgeError(f"{table.path}: its column {question} has no labels")
    return Labelled(question, labels, facts, len(facts) - len(labels))


def _known(table: LabelTable) -> list[str]:
    """Return the columns with a heading for classes."""
    return [question for question in table.questions if _underscored(question) in _LABELS]


def _yes_in(table: LabelTable) -> list[tuple[int, int]]:
    """Return line and number of 1s of each row if all questions hold only 0 and 1; else nothing."""
    if len(table.questions) < 2 or _known(table):
        return []
    answers = [[_YES_OR_NO.get(class_key(row[question])) for question in table.questions] for _, row in table.rows]
    if any(None in own for own in answers):
        return []
    return [(row.line, sum(map(bool, own))) for (_, row), own in zip(table.rows, answers, strict=True)]


def _question(table: LabelTable, asked: str) -> str:
    if asked:
        key = " ".join(asked.split()).lower()
        if key not in table.questions:
            raise SonoforgeError(
                f"{table.path}: has no column {asked!r}, only {_shown(table.questions)}"
                f"{did_you_mean(key, table.questions)}"
            )
        return key
    found = _known(table) or table.questions
    if len(found) == 1:
        return found[0]
    if not found:
        raise SonoforgeError(f"{table.path}: has only {_shown(tuple(table.keys.values()))}; add a column label")
    why = next(
        (f", as line {line} has a 1 in {ones or 'none'} of them" for line, ones in _yes_in(table) if ones != 1), ""
    )
    raise SonoforgeError(
        f"{table.path}: its columns {_shown(found)} are separate questions{why}; ask one, as --data "
        f"'{table.path}:{found[0]}'"
    )


# ---- the files


def _read(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Return the headings, in lower case, and the rows of a table in any format."""
    if ".csv" in path.suffixes or ".CSV" in path.suffixes:
        table = read_table(path)
        return tuple(dict.fromkeys(key for row in table.rows[:1] for key in row)), table.rows
    with refusing(f"{path}: cannot be read as JSON", "save it again"):
        text = read_text(path, "save it again")
        if path.suffix.lower() == ".jsonl":  # as one list, so that an error names the line
            text = "[" + ",\n".join(filter(str.strip, text.split("\n"))) + "]"
        values = json.loads(text)
        json.dumps(values, ensure_ascii=False).encode()  # half a character cannot be written later
        return _as_rows(path, values)


def _as_rows(path: Path, values: Any) -> tuple[tuple[str, ...], list[Row]]:
    """Turn JSON values into rows; columns whose cells are lists or objects are dropped."""
    if isinstance(values, list) and all(isinstance(v, dict) and {"data", "annotations"} <= v.keys() for v in values):
        values = [  # Label Studio's: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks
            task["data"] | {own["from_name"]: ", ".join(own["value"].get("choices", ())) for own in done["result"]}
            for task in values
            for done in task["annotations"] or [{"result": ()}]
            if not done.get("was_cancelled")
        ]
    if isinstance(values, dict) and "labels" in values:
        values = values["labels"]
    if isinstance(values, dict):
        values = list(values.items())
    if not isinstance(values, list) or not values:
        raise SonoforgeError(f"{path}: is not a list of files with their labels")
    if all(isinstance(value, list | tuple) and len(value) == 2 for value in values):
        values = [{"file": file, "label": label} for file, label in values]
    rows, kept = [], dict[str, bool]()
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise SonoforgeError(f"{path}: entry {number}: {value!r:.60} is not a file with its label")
        cells = {" ".join(str(key).split()).lower(): cell for key, cell in value.items()}
        kept |= {key: kept.get(key, True) and not isinstance(cell, list | dict) for key, cell in cells.items()}
        row = Row({key: "" if cell is None else str(cell).strip() for key, cell in cells.items()})
        row.line = number
        rows.append(row)
    columns = tuple(column for column, plain in kept.items() if plain)
    for row in rows:
        for column in columns:
            row.setdefault(column, "")
    return columns, rows
