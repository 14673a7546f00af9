"""Load a user's own code: ``FILE.py``, ``FILE.py:NAME`` or ``package.module:NAME``.

Code runs only if the user names it in this command, or if code of the same SHA-256 was named on this machine before or
is listed in the environment variable ``SONOFORGE_TRUST``.  A folder that says so is no reason: it may be foreign.

What a run records is ``mine.py:NAME#0123456789abcdef``, the first digits of the SHA-256; beside it is a copy of the
file, because the original may be edited or moved; another is in the cache folder, under its hash.  A module of an
installed package is imported by its name instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import logging
import os
import re
import sys
import traceback
import types
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.errors import SonoforgeError, did_you_mean, reason
from sonoforge.training.data.cache import default_folder

log = logging.getLogger(__name__)

COPY = "own_code.py"  # of the file, in a folder that needs it
TRUST = "SONOFORGE_TRUST"  # hashes, comma-separated
_ALLOWED = "own-code"  # in the cache folder: what was allowed on this machine, as SHA-256.py
_DIGITS = 16  # of a SHA-256, in names and in `TRUST`
_FORM = re.compile(
    r"(?:(?P<file>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?|(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*))"
    rf"(?:#(?P<pin>[0-9a-f]{{{_DIGITS}}}))?"
)
_GIVEN: set[str] = set()  # SHA-256 of what was allowed in this process
_RUN: dict[str, tuple[OwnCode, types.ModuleType]] = {}  # what was run in this process, by `OwnCode.recorded`


class OwnCode(NamedTuple):
    """A user's code, read but not yet run."""

    pinned: str  # as named, with the first digits of its SHA-256
    file: Path  # of the code: the original or a copy
    digest: str  # SHA-256 of the file, 64 hex digits
    attribute: str  # the name wanted from it; empty: the whole module
    module: str  # name to import, of an installed package; empty for a file
    source: bytes  # content of the file

    @property
    def recorded(self) -> str:
        """The same without a folder, for records."""
        return Path(self.pinned).name


def is_own(name: str) -> bool:
    """Return whether a name looks like own code rather than a name in our tables."""
    return _FORM.fullmatch(name) is not None


def find(spec: str, folder: Path | None = None) -> OwnCode:
    """Read the file of some code without running any.

    Args:
        spec: As the user names it, or with a hash, which must then be the file's; an edited or missing file is replaced
            by the copy of that hash, if it was allowed on this machine.
        folder: Take the copy kept in this folder instead of the file that ``spec`` names.

    Raises:
        SonoforgeError: There is no such file or module, or its hash is another one.
    """
    parts = _FORM.fullmatch(spec)
    if parts is None:
        raise SonoforgeError(f"{spec}: names no code; give FILE.py, FILE.py:NAME or package.module:NAME")
    module, attribute, pin = parts["module"] or "", parts["name"] or parts["attribute"] or "", parts["pin"] or ""
    file = _file_of(module) if module else Path(parts["file"]) if folder is None else folder / COPY
    kept = [] if module or not pin else [*(default_folder() / _ALLOWED).glob(f"{pin}*.py")]
    found = "gone"
    for path in filter(Path.is_file, (file, *kept)):
        source = path.read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        if digest.startswith(pin):
            pinned = spec if pin else f"{spec}#{digest[:_DIGITS]}"
            return OwnCode(pinned, path, digest, attribute, module, source)
        found = f"edited since, now #{digest[:_DIGITS]}"
    if pin:
        raise SonoforgeError(f"{file}: {found}, but {spec} was used; bring that version back, or start anew")
    others = [path.name for path in file.parent.glob("*.py")]
    raise SonoforgeError(f"{file}: there is no such file{did_you_mean(file.name, others)}")


def give(name: str, *, from_file: bool = False) -> str:
    """Allow code that the user names on this machine from now on; return its name with its hash, empty for no code.

    Raises:
        SonoforgeError: There is no such code, or it is named in a config file, which may be foreign.
    """
    if not is_own(name):
        return ""
    if from_file:
        raise SonoforgeError(f"{name}: a config file, which may be foreign, names code to run; name it in the command")
    own = find(name)
    _GIVEN.add(own.digest)
    try:
        path = default_folder() / _ALLOWED / f"{own.digest}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, own.source)
    except (OSError, SonoforgeError) as error:
        log.warning("%s is not noted as allowed (%s); later commands will ask for %s", name, error, TRUST)
    return own.pinned


def load(spec: str, folder: Path | None = None) -> Any:
    """Run some code and return what it is to define: the named attribute, or the whole module; see `run`."""
    own, module = run(spec, folder)
    if own.attribute and not hasattr(module, own.attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise SonoforgeError(f"{own.file}: defines no {own.attribute}{did_you_mean(own.attribute, public)}")
    return getattr(module, own.attribute) if own.attribute else module


def run(spec: str, folder: Path | None = None) -> tuple[OwnCode, types.ModuleType]:
    """Run some code, once in a process, and return its module.

    Args:
        spec: See `find`.
        folder: Folder that names the code, and keeps a copy of it unless it is in a package.

    Raises:
        SonoforgeError: It is missing, was changed, is not allowed, or fails.
    """
    if Path(spec).name in _RUN:  # without reading a file again, which may be edited by now
        return _RUN[Path(spec).name]
    own = find(spec, folder)
    allowed = {path.stem for path in (default_folder() / _ALLOWED).glob("*.py")} | _GIVEN
    trusted = {word.strip().lower()[:_DIGITS] for word in os.environ.get(TRUST, "").split(",")}
    if own.digest not in allowed and own.digest[:_DIGITS] not in trusted:
        raise SonoforgeError(
            f"{folder or own.file}: needs the code {own.recorded}, which was never allowed on this machine; read "
            f"{own.file}, then allow it by {TRUST}={own.digest[:_DIGITS]}"
        )
    name = own.module or f"sonoforge_own_{own.digest}"
    with blaming(own):
        if not own.module and name not in sys.modules:
            module = sys.modules[name] = types.ModuleType(name)  # known before it runs, as dataclasses need
            module.__file__ = str(own.file)
            try:
                exec(compile(own.source, str(own.file), "exec"), vars(module))  # noqa: S102 - what the user asks for
            except BaseException:
                del sys.modules[name]
                raise
        return _RUN.setdefault(own.recorded, (own, importlib.import_module(name)))


@contextlib.contextmanager
def blaming(own: OwnCode) -> Iterator[None]:
    """Turn what some code raises inside into one line with its place in the file."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(own.file)]
        place = "".join(f":{line}" for line in ([error.lineno] if isinstance(error, SyntaxError) else lines[-1:]))
        raise SonoforgeError(f"{own.file}{place}: {type(error).__name__}: {reason(error)}") from error


def keep(own: OwnCode, folder: Path) -> None:
    """Keep a copy of a file in a folder whose content needs it; nothing of a package."""
    if not own.module:
        write_bytes(folder / COPY, own.source)


def _file_of(module: str) -> Path:
    """Find an installed module's file without importing the packages around it."""
    first, *names = itertools.accumulate(module.split("."), "{}.{}".format)
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.util.find_spec(first)
        for name in names:
            found = PathFinder.find_spec(name, found.submodule_search_locations if found else ())
        if found and found.origin and found.origin.endswith(".py"):
            return Path(found.origin)
    raise SonoforgeError(f"{module}: no such Python module is installed; give FILE.py, or install its package")
