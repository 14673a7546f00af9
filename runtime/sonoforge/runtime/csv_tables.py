"""Read CSV tables as people save them: `read_table` reads every table in the project.

It accepts commas, semicolons, tabs and vertical bars; Excel's line ``sep=;``; UTF-8 and UTF-16, with or without a byte
order mark; Windows-1252, with a warning; gzip (``.csv.gz``); spaces around cells, headings in any case, and blank rows.
Tables are written with `defused` cells, which spreadsheets do not run as formulas.
"""

import contextlib
import csv
import functools
import gzip
import io
import logging
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean, name_some, reason, refusing

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024 * 1024
"""Size limit of a table, unpacked."""
_REMEDY = "save it as UTF-8 comma-separated text"
_DELIMITERS = ",;\t|"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so (OWASP, "CSV Injection")
_OTHER_FILES = {
    b"PK\x03\x04": "a workbook or archive",
    b"\xd0\xcf\x11\xe0": "a workbook of old Excel",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
}
_NOTHING = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "none", "null"))  # as R, pandas, Excel and JSON write it
_UNKNOWN = _NOTHING | {"unknown", "?", "-"}  # patients
_WHOLE = re.compile(r"[+-]?\d{1,15}(?:[.,]0*|[.,]?0*e[+-]?00?)?")
# Classes that are more often one than two.
_ALIKE = {**dict.fromkeys(("1", "yes", "y", "t"), "true"), **dict.fromkeys(("0", "no", "n", "f"), "false")}
_SHORTENED = re.compile(r"\d[.,]\d+e\+\d+", re.IGNORECASE)  # a long number as Excel shortens it


class Row(dict[str, str]):
    """The cells of one row by lower-case heading, without surrounding spaces; ``line`` counts from 1."""

    line: int


class Table(NamedTuple):
    """The headings as spelled in the file, and the rows that are not blank."""

    columns: tuple[str, ...]
    rows: list[Row]


def defused(text: str) -> str:
    """Return text that is safe in a spreadsheet's cell: a formula gets an apostrophe before it.

    A formula that begins with apostrophes gets one more, so that `undefused` restores the text.
    """
    return "'" + text if text.lstrip("'").startswith(_FORMULA) else text


def undefused(cell: str) -> str:
    """Undo `defused`; return other cells unchanged."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Return rows of cells as comma-separated text with line ends ``\n``."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def read_table(path: Path, needed: Sequence[str] = (), remedy: str = _REMEDY, whole: bool = False) -> Table:
    """Read a table; see the top of this module.

    It must have the ``needed`` headings, in lower case, and may have others; ``remedy`` ends every error message. If
    ``whole``, every row must have a cell for each heading; otherwise missing cells are empty.
    """
    return parse_table(read_text(path, remedy), path, needed, remedy, whole)


def parse_table(text: str, path: Path, needed: Sequence[str], remedy: str, whole: bool = False) -> Table:
    """Read a table from the text of a file, see `read_table`."""
    stated = re.match(r'"?sep=(.)"?[;,\t ]*(\r\n|\r|\n)', text, re.IGNORECASE)
    delimiter = stated[1] if stated else _delimiter(text, needed)
    text = re.sub(f'" +(?=[\r\n{re.escape(delimiter)}])', '"', text[stated.end() :] if stated else text)
    stream = io.StringIO(text, newline="")
    try:
        reader = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=True)
    except (TypeError, ValueError) as error:
        raise SonoforgeError(f"{path}: {delimiter!r} cannot separate cells; use one of , ; |; {remedy}") from error
    head: list[str] | None = None
    keys: list[str] = []
    rows: list[Row] = []
    try:
        for cells in reader:
            own = [undefused(cell.strip()) for cell in cells]
            while own and not own[-1]:  # Excel ends rows with the empty cells of columns that were cleared
                if head is not None and len(own) <= len(head):
                    break
                own.pop()
            if not any(own):
                continue
            if head is None:
                head = own
                _check_headings(path, head, needed, remedy)
                keys = [_key(heading) for heading in head]
                continue
            line = reader.line_num + bool(stated)
            if len(own) > len(head) or (whole and len(own) < len(head)):
                raise SonoforgeError(f"{path}: line {line}: has {len(own)} cells for {len(head)} headings; {remedy}")
            row = Row(zip(keys, [*own, *[""] * (len(head) - len(own))], strict=True))
            row.line = line
            rows.append(row)
    except csv.Error as error:
        line = reader.line_num + bool(stated)
        raise SonoforgeError(f"{path}: line {line}: cannot be read ({reason(error)}); {remedy}") from error
    if head is None:
        _check_headings(path, (), needed, remedy)
    return Table(tuple(head or ()), rows)


def read_text(path: Path, remedy: str) -> str:
    """Return the text of a file, without a byte order mark."""
    with refusing(f"{path}: cannot be read", remedy, kinds=(OSError, EOFError, ValueError, zlib.error)):
        if path.exists() and not path.is_file():
            raise SonoforgeError(f"{path}: is a {'folder' if path.is_dir() else 'device'}, not a file; {remedy}")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SonoforgeError(f"{path}: more than {MOST_BYTES >> 20} MB is too large for a table; {remedy}")
    for begin, kind in _OTHER_FILES.items():
        if data.startswith(begin):
            raise SonoforgeError(f"{path}: is {kind}, not text; {remedy}")
    encoding = "utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in data[:64]:  # UTF-16 without a mark: half of the bytes of Latin letters are zero
        encoding = "utf-16-le" if data[1:64:2].count(0) > data[0:64:2].count(0) else "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        with refusing(f"{path}: cannot be read as UTF-8 or UTF-16", remedy):
            text = data.decode("cp1252")
        log.warning("%s: is not UTF-8; read as Windows-1252, as Excel saves it: check accented letters", path)
    if "\0" in text:
        raise SonoforgeError(f"{path}: has zero bytes, so it is not text; {remedy}")
    return text.removeprefix("\ufeff")


def _delimiter(text: str, needed: Sequence[str]) -> str:
    """Return the delimiter that gives the first row the needed headings, else its most frequent one."""
    first = next((line for line in re.split(r"[\r\n]+", text[:100_000]) if line.strip(_DELIMITERS + " \"'")), "")
    for delimiter in _DELIMITERS if needed else "":
        if set(needed) <= {_key(cell.strip(' "')) for cell in first.split(delimiter)}:
            return delimiter
    return max(_DELIMITERS, key=first.count)


def _key(heading: str) -> str:
    return unicodedata.normalize("NFC", " ".join(heading.split())).lower()


def _check_headings(path: Path, columns: Sequence[str], needed: Sequence[str], remedy: str) -> None:
    keys = [_key(column) for column in columns]
    missing = [name for name in dict.fromkeys(needed) if name not in keys]
    if missing:
        near = did_you_mean(missing[0], [key for key in keys if key not in needed])
        found = ", ".join(f"'{column[:40]}'" for column in columns[:12]) or "nothing"
        raise SonoforgeError(
            f"{path}: has no heading {', '.join(map(repr, missing))}{near}; its first row holds {found}; {remedy}"
        )
    twice = [key for key in keys if key and keys.count(key) > 1]
    if twice:
        raise SonoforgeError(f"{path}: has two columns called {twice[0]!r}; remove one")


def number(cell: str) -> float:
    """Return the number in a cell, with a decimal point or a decimal comma, which Excel writes beside semicolons.

    Raises:
        ValueError: The cell is not a number.
    """
    return float(cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell)


def column_file(folder: Path, name: str) -> Path | None:
    """Find ``NAME.csv`` in a folder, in any case, or return None; warn about a table saved in another format."""
    files = sorted(file for file in folder.iterdir() if file.name.lower().startswith(f"{name}."))
    found = [file for file in files if file.name.lower() == f"{name}.csv"]
    if len(found) > 1:
        raise SonoforgeError(f"{found[0]}: {found[1].name} lies beside it; remove one of them")
    for file in files:
        if file not in found and file.suffix.lower() in (".xlsx", ".xls", ".ods", ".tsv", ".txt", ".numbers"):
            log.warning("%s: cannot be read; save it as %s.csv", file, name)
    return found[0] if found else None


# ---- names of files


def path_in(cell: str) -> str:
    """Return a cell's path with forward slashes and composed letters, for comparison."""
    return unicodedata.normalize("NFC", cell.strip().replace("\\", "/").removeprefix("./"))


class Names:
    """Finds the file that a cell means, in any Unicode form, with any separators or without folders."""

    def __init__(self, known: Iterable[str], folder: str = "", suffixless: bool = False) -> None:
        """Take the files' relative paths, the name of their folder, and whether cells may lack a suffix."""
        self._exact = {path_in(name): name for name in known}
        self._folder = path_in(folder)
        self._bare: dict[str, list[str]] = {}
        for path, name in self._exact.items():
            whole = PurePosixPath(path)
            for key in {whole.name, *((whole.with_suffix("").as_posix(), whole.stem) if suffixless else ())}:
                self._bare.setdefault(key, []).append(name)

    def find(self, cell: str) -> str:
        """Return the relative path that a cell means, or the cell's own text if no file or several files match."""
        path = path_in(cell)
        if path in self._exact:
            return self._exact[path]
        parts = PurePosixPath(path).parts
        if path.startswith("/") or path[1:2] == ":" or (parts and parts[0] == self._folder):
            for start in range(1, len(parts)):
                inner = "/".join(parts[start:])
                if parts[start - 1] == self._folder and inner in self._exact:
                    return self._exact[inner]
        bare = self._bare.get(path, [])
        return bare[0] if len(bare) == 1 else path

    def near(self, cell: str) -> str:
        """Return `` (did you mean X?)`` for an unknown name, or an empty string."""
        path = path_in(cell)
        same = [name for known, name in self._exact.items() if known.casefold() == path.casefold()]
        return f" (did you mean {same[0]}?)" if same else did_you_mean(path, list(self._exact)[:5000])


def named_files(folder: Path, rows: Iterable[Row]) -> list[str]:
    """Return the files, relative to a folder, in the folders listed in the column ``file``."""
    wanted = {path_in(row["file"]).rpartition("/")[0] for row in rows}
    wanted |= {inner.removeprefix(f"{folder.resolve().name}/") for inner in wanted}
    found = []
    for inner in sorted({*wanted, *(unicodedata.normalize("NFD", inner) for inner in wanted)}):
        with contextlib.suppress(OSError, ValueError):
            found += [(PurePosixPath(inner) / file.name).as_posix() for file in (folder / inner).iterdir()]
    return found


# ---- names of classes and patients


@functools.lru_cache(10_000)
def class_key(name: str) -> str:
    """Return what all spellings of a class share: ``0``, ``0.0`` and ``00``; any case, Unicode form and spaces."""
    key = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())
    return str(int(re.split("[.,e]", key)[0])) if _WHOLE.fullmatch(key) else key


def class_names(names: Iterable[str], where: str) -> dict[str, str]:
    """Return one spelling for each name of a class, the first; warn where any were joined, or seem to be one."""
    found = one_spelling(names, where, "classes")
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(found.values()):
        key = re.sub(r"[\W_]+(?=[^\W\d])|(?<!\d)[\W_]+(?=\d)", "", class_key(name))  # 1.5 is not 15
        alike.setdefault(_ALIKE.get(key, key), []).append(name)
    for several in alike.values():
        if len(several) > 1:
            words = "%s: %s look like one class, but count as %d; spell them alike if they are one"
            log.warning(words, where, " and ".join(map(repr, several)), len(several))
    return found


def check_inner(folder: Path, inner: Iterable[PurePath], classes: Iterable[str]) -> None:
    """Refuse a class folder that holds another class's; ``inner`` are its folders with images, relative to it."""
    others = {class_key(name) for name in classes} - {class_key(folder.name)}
    for path in inner:
        if others & set(map(class_key, path.parts)):
            what = f"is the folder of a class inside that of another, {folder.name!r}; move it out, or rename it"
            raise SonoforgeError(f"{folder / path}: {what}")


def labels_in(cells: Iterable[str], where: str) -> list[str]:
    """Return the labels in cells, empty where one says ``NA``, ``nan``, ``None`` or the like; warn of those."""
    labels = [" ".join(cell.split()) for cell in cells]
    if said := [cell for cell in labels if cell and class_key(cell) in _NOTHING]:
        words = "%s: %s counts as no label (rows: %d); give it another name if it is a class"
        log.warning(words, where, " or ".join(map(repr, [*dict.fromkeys(said)][:3])), len(said))
    return ["" if class_key(cell) in _NOTHING else cell for cell in labels]


def one_spelling(cells: Iterable[str], where: str, kind: str = "patients") -> dict[str, str]:
    """Return one name for each patient's cells: ``1``, ``1.0`` and ``01`` are one, and so are ``P7`` and ``p7 ``.

    Warn about merged spellings, and about cells for an unknown patient, who gets an empty name. Merging two patients
    costs an image of the training part; splitting one breaks the sealed folds. Another ``kind`` has no unknown name.
    """
    spellings: dict[str, dict[str, None]] = {}
    for cell in cells:
        key = class_key(cell)
        if kind == "patients":
            key = "" if key in _UNKNOWN else re.sub(r"(?<![\d.])0+(?=\d)", "", key)
        spellings.setdefault(key, {})[cell] = None
    several = [own for key, own in spellings.items() if key and len(own) > 1]
    if several:
        shown = name_some((" and ".join(map(repr, list(own)[:3])) for own in several), "; ")
        log.warning("%s: %s that differ only in spelling count as one: %s; rename them if not", where, kind, shown)
    unknown = [cell for cell in spellings.get("", ()) if cell]
    if unknown:
        log.warning("%s: %s count as unknown patients, each image on its own", where, ", ".join(map(repr, unknown[:3])))
    short = next((cell for own in spellings.values() for cell in own if _SHORTENED.fullmatch(cell)), None)
    if short is not None:
        words = "%s: %r may be a long number that a spreadsheet shortened, merging %s; save the column as text"
        log.warning(words, where, short, kind)
    return {cell: next(iter(own)) if key else "" for key, own in spellings.items() for cell in own}
