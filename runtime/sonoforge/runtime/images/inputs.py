"""Find image files given on a command line or appearing in a folder, and print or hide their names."""

from __future__ import annotations

import contextlib
import glob
import hashlib
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
from sonoforge.runtime.images import file_kinds, folders, limits

log = logging.getLogger(__name__)

FILM = "film"
"""Kind of videos in folders."""
NON_IMAGE = "non-image DICOM object"
"""Kind of reports, presentation states and the like that a study holds beside its scans."""
_GENERATED = "generated image"  # by a network of sonoforge
_UNCOUNTED = ("text", "data", "other")  # words without a plural

# Every picture that sonoforge draws says so in its text: PNG as the keyword Software (PNG specification, section
# 11.3.3.2), GIF in a comment of JSON.  Simulated scans say something else, and are read as scans.
_SOFTWARE = re.compile(rb'Software\x00sonoforge([ a-z]*)|"Software": ?"sonoforge([ a-z]*)')
_OPENING = 4096  # bytes that hold a picture's text, which is written before the pixels

_WIDEST_NAME = 48  # characters of a name in a table
# 64 bits: among a million scans, the chance that two share a name is one in 37 million.
_PSEUDONYM_DIGITS = 16

LOOK_SECONDS = 1.0
"""Seconds between two looks: a file that did not change in between is complete."""
_State = tuple[int, int]  # size and time of the last change

STDIN = "-"
"""The name under which one image is read from standard input."""

Entry = dict[str, Any]
"""One file in a verb's JSON: ``file``, ``ok``, and the answer or the ``error``."""


class Found(NamedTuple):
    """Files to read, in order; the `failure` of each known to fail; other files in folders, counted by kind."""

    files: list[str]
    failures: dict[str, Entry]
    skipped: Counter[str]


def expand(paths: Sequence[str], recursive: bool, generated: bool = True, films: bool = True) -> Found:
    """Turn files, folders and globs into files, each once, in order.

    Existing names are never globs, nor is `STDIN`.  ``generated`` and ``films`` say whether these count as images in
    folders.
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
            if Path(match).is_dir():
                others = Counter[str]()
                found = list(_images_in(match, recursive, {_GENERATED: generated, FILM: films}, others))
                files.update(dict.fromkeys(found))
                skipped.update(others)
                if not found and match == path:  # a folder that a glob happened to match may hold none
                    files[match] = None
                    hint = "" if recursive else "; --recursive also searches its subfolders"
                    hint += "; name generated images one by one or by a glob" if others[_GENERATED] else ""
                    failures[match] = failure(match, "is_directory", f"{match}: this folder holds no image files{hint}")
            else:
                files[match] = None
    return Found(list(files), failures, skipped)


def _matches(pattern: str) -> list[str]:
    """Return what a glob matches, sorted; take existing folders literally, and brackets too if that matches."""
    starts = (pattern[: match.start()] for match in reversed([*re.finditer(r"[/\\]", pattern)]))
    known = next(filter(os.path.lexists, starts), "")
    rest = pattern[len(known) :]
    for reading in (rest, rest.replace("[", "[[]")):
        found = sorted(glob.glob(glob.escape(known) + reading, recursive=True))  # noqa: PTH207 - absolute patterns too
        if found:
            return found
    return []


def read_stdin() -> bytes:
    """Read one image file from standard input.

    Raises:
        SonoforgeError: It is a terminal, is empty, or is larger than an image file may be.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise SonoforgeError("-: standard input is a terminal, not an image; try sonoforge classify - < scan.png")
    data = sys.stdin.buffer.read(limits.MAX_FILE_BYTES + 1)
    if not data:
        raise SonoforgeError("-: standard input is empty, not an image")
    if len(data) > limits.MAX_FILE_BYTES:
        raise SonoforgeError(f"-: more than {limits.MAX_FILE_BYTES / 1e6:.0f} MB on standard input; save it smaller")
    return data


def _images_in(folder: str, recursive: bool, asked: Mapping[str, bool], others: Counter[str]) -> Iterator[str]:
    """Yield a folder's image files, sorted, and count the other files, except hidden ones, by kind in ``others``.

    Leave out masks and pictures that sonoforge drew, and generated images and videos unless ``asked`` for.
    """
    for parent, names in folders.walk(folder, recursive, others):
        stems = {Path(name).stem for name in names if file_kinds.is_image_name(name)}
        for name in names:
            kind = _kind_of(parent, name, stems)
            if kind and not asked.get(kind):
                others[kind] += 1
            else:
                yield str(Path(parent) / name)


def _kind_of(parent: str, name: str, stems: Collection[str]) -> str:
    """Return the kind of a file that is not a scan, see `Found`; empty for a scan.

    ``name`` does not begin with a full stop; ``stems`` are the stems of the images beside it.
    """
    path = Path(parent) / name
    if not file_kinds.is_image_file(path):
        return kind_of_other(name)
    if file_kinds.begins_as_dicom(path):
        return NON_IMAGE if file_kinds.is_non_image(path) else ""
    named = folders.mask_of(path.stem)
    if named and named[2] and named[0] in stems:  # NAME_mask beside an image NAME
        return "mask"
    if (named or folders.is_mask_folder(path.parent.name)) and folders.is_outline(path):
        return "mask"
    drawn = (
        _SOFTWARE.search(file_kinds.first_bytes(path, _OPENING)) if name.lower().endswith((".png", ".gif")) else None
    )
    if drawn is None:
        return ""
    return _GENERATED if (drawn[1] or drawn[2] or b"").startswith(b" gan sample") else "picture of sonoforge"


def kind_of_other(name: str) -> str:
    """Return the kind of a file that is not an image, such as ``video``, by its suffix; ``other`` if unknown."""
    lower = name.lower()
    return next((kind for kind, suffixes in file_kinds.OTHERS.items() if lower.endswith(suffixes)), "other")


def skipped_in_words(skipped: Mapping[str, int]) -> str:
    """Return ``3 files skipped: 2 text, 1 video``, or an empty text for none."""
    total = sum(skipped.values())
    if not total:
        return ""
    ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{count} {_plural(kind, count)}" for kind, count in ordered if count)
    return f"{total} {_plural('file', total)} skipped: {kinds}"


def _plural(kind: str, count: int) -> str:
    if count == 1 or kind in _UNCOUNTED:
        return kind
    return re.sub(r"^.+?(?= of | that | without | outside |$)", r"\g<0>s", kind)


def whole_files(folder: str, recursive: bool) -> Iterator[list[str]]:
    """Yield, at each look, the new and complete image files, sorted, or an empty list.

    A file is complete if its size is above 0 and neither it nor the modification time has changed since the last look.
    A file that changes after it was yielded is yielded again: it is another scan, or copying had paused. The folder
    must exist at first; if it disappears later, wait for it.
    """
    if not Path(folder).is_dir():
        raise SonoforgeError(f"watch: {folder} is not a folder; first make the folder where scans will appear")
    before: dict[str, _State] = {}
    taken: dict[str, _State] = {}
    gone = False
    while True:
        now: dict[str, _State] = {}
        for parent, names in folders.walk(folder, recursive):
            for name in names:
                path = os.path.join(parent, name)  # noqa: PTH118 - thousands of files at every look
                with contextlib.suppress(OSError):  # gone since it was listed
                    about = os.stat(path)  # noqa: PTH116
                    now[path] = (about.st_size, about.st_mtime_ns)
        if gone != (not Path(folder).is_dir()):
            gone = not gone
            log.warning("%s: %s", folder, "cannot be read now; waiting for it" if gone else "is back")
        ready = [path for path, state in now.items() if before.get(path) == state != taken.get(path) and state[0]]
        taken.update((path, now[path]) for path in ready)
        before = now
        yield [path for path in sorted(ready) if _is_scan_or_film(path)]
        time.sleep(LOOK_SECONDS)


def _is_scan_or_film(path: str) -> bool:
    parent, name = os.path.split(path)
    stems = {Path(beside).stem for beside in os.listdir(parent)} if folders.mask_of(Path(name).stem) else set()  # noqa: PTH208
    return not name.startswith(".") and _kind_of(parent, name, stems) in ("", FILM)


@contextlib.contextmanager
def silent_libraries() -> Iterator[None]:
    """Suppress messages of libraries such as libtiff, which bypass Python and would break up the table."""
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
    """Return the entry for a file that cannot be used, with a code of `images.limits.ImageError`."""
    return {"file": path, "ok": False, "error": {"code": code, "message": " ".join(message.split())}}


def column_width(files: Sequence[str]) -> int:
    """Return the width of the column of file names, in characters."""
    return min(_WIDEST_NAME, max((len(printable(file)) for file in files), default=4))


def cell(file: str, width: int) -> str:
    """Return a file's name for a column, cutting off its beginning if it is too long."""
    name = printable(file)
    return name if len(name) <= width else "..." + name[3 - width :]


def printable(text: str) -> str:
    """Replace unprintable characters, so that a hostile file name cannot move the cursor or break the line."""
    return "".join(character if character.isprintable() else "?" for character in text)


# ---- scans are often named after patients


def pseudonyms(files: Sequence[str], contents: Mapping[str, bytes], seen: Counter[str]) -> dict[str, str]:
    """Name each file by the first 16 digits of its contents' SHA-256, the same in every run.

    A hash of the name would let anyone confirm a guess. Files with the same contents are numbered, ``1f0c...-2``; one
    that cannot be read is named by its place, ``unread-3``. ``seen`` counts files by name, and is added to.
    """
    names: dict[str, str] = {}
    for place, file in enumerate(files, start=seen.total() + 1):
        name = f"unread-{place}"
        with contextlib.suppress(OSError, ValueError):
            if file in contents:
                name = hashlib.sha256(contents[file]).hexdigest()[:_PSEUDONYM_DIGITS]
            elif Path(file).is_file():  # a pipe is never opened
                name = sha256_of(Path(file))[:_PSEUDONYM_DIGITS]
        seen[name] += 1
        names[file] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return names


def sha256_of(path: Path) -> str:
    """Hash a file in pieces, as it may be large."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hide(entry: Entry, file: str, name: str) -> Entry:
    """Replace a file's name with a pseudonym in its entry: in ``file`` and in an error's message."""
    hidden = {**entry, "file": name}
    if not entry["ok"]:
        message = entry["error"]["message"]
        for known in (file, " ".join(file.split()), Path(file).name):  # a message is one line, with single spaces
            if known:
                message = re.sub(rf"(?<!\w){re.escape(known)}(?!\w)", name, message)
        hidden["error"] = {**entry["error"], "message": message}
    return hidden
