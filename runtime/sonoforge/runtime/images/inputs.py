"""Find the image files that a command line names or that appear in a folder, and print their names."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.opening import begins_as_dicom, first_bytes, is_non_image
from sonoforge.runtime.images.folders import is_mask_folder, is_outline, mask_of, walk
from sonoforge.runtime.images.limits import MAX_FILE_BYTES, ImageError
from sonoforge.runtime.images.suffixes import FILM_SUFFIXES, is_image_file, is_image_name

log = logging.getLogger(__name__)

FILM = "film"
"""Kind of films in folders."""
# Kind -> the suffixes of its files.
_KINDS = {
    "answer": (".sonoforge.json",),
    "text": (".txt", ".md", ".rtf", ".log"),
    "picture of another kind": (".jxl", ".svg", ".psd", ".raw", ".dng"),
    FILM: FILM_SUFFIXES,
    "video": (".mpg", ".mpeg", ".flv", ".3gp"),
    "document": (".pdf", ".doc", ".docx", ".odt", ".ppt", ".pptx", ".odp"),
    "table": (".csv", ".tsv", ".jsonl", ".xls", ".xlsx", ".ods"),
    "web page": (".html", ".htm"),
    "volume": (".nii", ".nii.gz", ".mhd", ".mha", ".nrrd"),
    "archive": (".zip", ".tar", ".gz", ".7z", ".rar"),
    "data": (".json", ".xml", ".yaml", ".yml", ".npy", ".npz", ".mat"),
}
_UNCOUNTED = ("text", "data", "other")  # words without a plural

_GENERATED = "generated image"  # of a network of sonoforge
NON_IMAGE = "non-image DICOM object"
"""Kind of reports, presentation states and the like, in a study beside its scans."""

# Every picture that sonoforge draws says so in its text: PNG as the keyword Software (PNG specification, section
# 11.3.3.2), GIF in a comment of JSON.  Simulated scans say something else, and are read as scans.
_SOFTWARE = re.compile(rb'Software\x00sonoforge([ a-z]*)|"Software": ?"sonoforge([ a-z]*)')
_GENERATES = " gan sample"
_OPENING = 4096  # bytes that hold a picture's text, which is written before the pixels

WIDEST_NAME = 48
"""Characters of a name in a table."""

LOOK_SECONDS = 1.0
"""Between two looks: a file that did not change from one to the next is taken for whole."""
_State = tuple[int, int]  # size and time of the last change

STDIN = "-"
"""The name under which one image is read from standard input."""

Entry = dict[str, Any]
"""What the JSON of a verb says of one file: ``file``, ``ok``, and the answer or the ``error``."""


class Found(NamedTuple):
    """Files to read, in order; the `failure` of each that is known to fail; what folders hold besides, by kind."""

    files: list[str]
    failures: dict[str, Entry]
    skipped: Counter[str]


def expand(paths: Sequence[str], recursive: bool, generated: bool = True, films: bool = True) -> Found:
    """Turn files, folders and globs into files, each once, in order.

    Args:
        paths: As given on the command line; a name that exists is never taken as a glob, nor is `STDIN`; nor, in a
            glob, is a folder that exists.
        recursive: Look into the subfolders of folders.
        generated: Whether a folder's generated images count as images.
        films: Whether a folder's films count as images.
    """
    files: dict[str, None] = {}
    failures = {}
    skipped = Counter[str]()
    for path in paths:
        if path == STDIN:
            files[path] = None
            continue
        if not os.path.lexists(path) and glob.has_magic(path):
            matches = _matches(path)
            if not matches:
                files[path] = None
                failures[path] = failure(path, "not_found", f"{path}: no file matches this pattern")
        else:
            matches = [path]
        for match in matches:
            if Path(match).name.upper() == "DICOMDIR" and Path(match).is_file():
                _add_listed(match, files, failures)
                continue
            if not Path(match).is_dir():
                files[match] = None
                continue
            others = Counter[str]()
            found = list(_images_in(match, recursive, {_GENERATED: generated, FILM: films}, others))
            files.update(dict.fromkeys(found))
            skipped.update(others)
            if not found and match == path:  # a folder that a glob happened to match may hold none
                files[match] = None
                hint = "" if recursive else "; --recursive also searches its subfolders"
                hint += "; name generated images one by one or by a glob" if others[_GENERATED] else ""
                failures[match] = failure(match, "is_directory", f"{match}: this folder holds no image files{hint}")
    return Found(list(files), failures, skipped)


def _matches(pattern: str) -> list[str]:
    """Return what a glob matches, sorted; names that exist stand for themselves, and so do brackets where they can."""
    starts = (pattern[: match.start()] for match in reversed([*re.finditer(r"[/\\]", pattern)]))
    known = next(filter(os.path.lexists, starts), "")
    rest = pattern[len(known) :]
    for reading in (rest, rest.replace("[", "[[]")):
        found = sorted(glob.glob(glob.escape(known) + reading, recursive=True))  # noqa: PTH207 - absolute patterns too
        if found:
            return found
    return []


def read_stdin() -> bytes:
    """Return what standard input holds, of a file's greatest size at most.

    Raises:
        SonoforgeError: It is a terminal, empty, or holds more.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise SonoforgeError(
            "-: found a terminal, expected an image on standard input; sonoforge classify - < scan.png"
        )
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if not data:
        raise SonoforgeError("-: found nothing on standard input, expected an image")
    if len(data) > MAX_FILE_BYTES:
        raise SonoforgeError(f"-: found more than {MAX_FILE_BYTES / 1e6:.0f} MB on standard input; save it smaller")
    return data


def _add_listed(directory: str, files: dict[str, None], failures: dict[str, Entry]) -> None:
    """Add the image files that a DICOMDIR names, or its own failure."""
    from sonoforge.runtime.images.dicom.header import listed_images  # noqa: PLC0415 - for a DICOMDIR only

    try:
        found = listed_images(directory)
        if not found:
            raise ImageError("not_an_image", f"{directory}: names no image files")
        files.update(dict.fromkeys(found))
    except ImageError as error:
        files[directory] = None
        failures[directory] = failure(directory, error.code, str(error))


def _images_in(folder: str, recursive: bool, asked: Mapping[str, bool], others: Counter[str]) -> Iterator[str]:
    """Yield a folder's image files, sorted, and count what is left out, but for hidden files, by kind in ``others``.

    Left out are masks beside their image and pictures that sonoforge drew; generated images and films where they are
    not ``asked`` for.
    """
    for parent, names in walk(folder, recursive, others):
        stems = {Path(name).stem for name in names if is_image_name(name)}
        for name in names:
            kind = _kind_of(parent, name, stems)
            if kind and not asked.get(kind):
                others[kind] += 1
            else:
                yield str(Path(parent) / name)


def _kind_of(parent: str, name: str, stems: Collection[str]) -> str:
    """Return the kind of a folder's file that is no scan, see `Found`; empty for a scan.

    ``name`` does not begin with a full stop; ``stems`` are those of the images beside it.
    """
    if not is_image_file(Path(parent) / name):
        return kind_of_other(name)
    path = str(Path(parent) / name)
    if begins_as_dicom(path):
        return NON_IMAGE if is_non_image(path) else ""
    return "mask" if _is_mask(Path(path), stems) else _made_by_sonoforge(path)


def _is_mask(path: Path, stems: Collection[str]) -> bool:
    """Whether it is ``NAME_mask`` beside an image ``NAME``, or is called as a mask, or its folder is, and looks so."""
    named = mask_of(path.stem)
    if named and named[2] and named[0] in stems:
        return True
    return bool(named or is_mask_folder(path.parent.name)) and is_outline(path)


def kind_of_other(name: str) -> str:
    """Return the kind of a file that is no image, such as ``video``, by its suffix; ``other`` for an unknown one."""
    lower = name.lower()
    return next((kind for kind, suffixes in _KINDS.items() if lower.endswith(suffixes)), "other")


def _made_by_sonoforge(path: str) -> str:
    """Return ``generated image``, or ``picture of sonoforge`` for an overlay or a chart; empty for all other files."""
    if not path.lower().endswith((".png", ".gif")):
        return ""
    found = _SOFTWARE.search(first_bytes(path, _OPENING))
    if found is None:
        return ""
    program = (found[1] or found[2] or b"").decode()
    return _GENERATED if program.startswith(_GENERATES) else "picture of sonoforge"


def skipped_in_words(skipped: Mapping[str, int]) -> str:
    """Return ``3 files skipped: 2 text, 1 video``; empty where nothing was."""
    total = sum(skipped.values())
    if not total:
        return ""
    ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{count} {_plural(kind, count)}" for kind, count in ordered if count)
    return f"{total} {_plural('file', total)} skipped: {kinds}"


def _plural(kind: str, count: int) -> str:
    if count == 1 or kind in _UNCOUNTED:
        return kind
    return re.sub(r"^.+?(?= of | that |$)", r"\g<0>s", kind)


def whole_files(folder: str, recursive: bool) -> Iterator[list[str]]:
    """Yield the image files that are new and whole, sorted, at each look; an empty list where there are none.

    Whole is what has the same size, above 0, and the same time of change as a look before.  A file that changes after
    it was yielded is yielded again: it is another scan, or its copying paused.  The folder must
    be there at first; one that goes away later is waited for.
    """
    if not Path(folder).is_dir():
        raise SonoforgeError(f"watch: found no folder {folder}, expected the one where the scans appear; make it first")
    before: dict[str, _State] = {}
    taken: dict[str, _State] = {}
    gone = False
    while True:
        now = _states(folder, recursive)
        if gone != (not Path(folder).is_dir()):
            gone = not gone
            log.warning("%s: %s", folder, "cannot be read now; waiting for it" if gone else "is back")
        ready = [path for path, state in now.items() if before.get(path) == state != taken.get(path) and state[0]]
        taken.update((path, now[path]) for path in ready)
        before = now
        yield [path for path in sorted(ready) if _other(path) in ("", FILM)]
        time.sleep(LOOK_SECONDS)


def _states(folder: str, recursive: bool) -> dict[str, _State]:
    found = {}
    for parent, names in walk(folder, recursive):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - thousands of files at every look
            try:
                about = os.stat(path)  # noqa: PTH116
            except OSError:  # gone since it was listed
                continue
            found[path] = (about.st_size, about.st_mtime_ns)
    return found


def _other(path: str) -> str:
    """Return the kind of a file that is no scan; empty for a scan."""
    parent, name = os.path.split(path)
    stems = {Path(beside).stem for beside in os.listdir(parent)} if mask_of(Path(name).stem) else set()  # noqa: PTH208
    return _kind_of(parent, name, stems) if not name.startswith(".") else "hidden"


@contextlib.contextmanager
def silent_libraries() -> Iterator[None]:
    """Suppress messages of libraries, such as libtiff's, that bypass Python and would break up the table."""
    try:
        saved = os.dup(2)
    except OSError:  # started without a stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def failure(path: str, code: str, message: str) -> Entry:
    """Return the result of a file that cannot be used, with a code of `images.limits.ImageError`."""
    return {"file": path, "ok": False, "error": {"code": code, "message": " ".join(message.split())}}


def column_width(files: Sequence[str]) -> int:
    """Return the width of the column of file names, in characters."""
    return min(WIDEST_NAME, max((len(printable(file)) for file in files), default=4))


def cell(file: str, width: int) -> str:
    """Return a file's name for that column, shortened at its beginning if it is too long."""
    name = printable(file)
    return name if len(name) <= width else "..." + name[3 - width :]


def printable(text: str) -> str:
    """Keep a hostile file name from moving the cursor or breaking the line."""
    return "".join(character if character.isprintable() else "?" for character in text)
