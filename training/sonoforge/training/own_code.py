"""Load a user's own code: ``FILE.py``, ``FILE.py:NAME`` or ``package.module:NAME``.

Code runs only if the user names it in this command, or if code of the same SHA-256 was named on this machine before or
is listed in the environment variable ``SONOFORGE_TRUST``.  A folder that says so is no reason: it may be foreign.

What a run records is ``mine.py:NAME#0123456789abcdef``, the first digits of the SHA-256; beside it is a copy of the
file, because the original may be edited or moved.  A module of an installed package is imported by its name instead.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import re
import sys
import traceback
import types
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_bytes, write_text
from sonoforge.runtime.errors import SonoforgeError, did_you_mean, reason
from sonoforge.training.data.cache import default_folder

log = logging.getLogger(__name__)

COPY = "own_code.py"  # of the file, in a folder that needs it
TRUST = "SONOFORGE_TRUST"  # hashes, comma-separated
_ALLOWED = "own-code"  # in the cache folder: a file for each SHA-256 that was allowed here, with its name
_DIGITS = 16  # of a SHA-256, in names and in `TRUST`
_FORM = re.compile(
    r"(?:(?P<file>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?|(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*))"
    rf"(?:#(?P<pin>[0-9a-f]{{{_DIGITS}}}))?"
)


class OwnCode(NamedTuple):
    """A user's code, read but not yet run."""

    spec: str  # as named, without a hash
    file: Path  # of the code: the original or a copy
    digest: str  # SHA-256 of the file, 64 hex digits
    attribute: str  # the name wanted from it; empty: the whole module
    module: str  # name to import, of an installed package; empty for a file
    source: bytes  # content of the file

    @property
    def recorded(self) -> str:
        """The name for records: no folder, but the beginning of the hash."""
        name = self.module or Path(self.spec.removesuffix(f":{self.attribute}")).name
        return f"{name}{':' * bool(self.attribute)}{self.attribute}#{self.digest[:_DIGITS]}"


def is_own(name: str) -> bool:
    """Return whether a name has the form of own code, and not that of a name in one of our tables."""
    return _FORM.fullmatch(name) is not None


def find(spec: str, folder: Path | None = None) -> OwnCode:
    """Read the file of some code without running it; the parents of a module in a package are imported.

    Args:
        spec: As the user names it, or `OwnCode.recorded`, whose hash must then be the file's.
        folder: Take the copy kept in this folder instead of the file that ``spec`` names.

    Raises:
        SonoforgeError: There is no such file or module, or its hash is another one.
    """
    parts = _FORM.fullmatch(spec)
    if parts is None:
        raise SonoforgeError(f"{spec}: names no code; give FILE.py, FILE.py:NAME or package.module:NAME")
    module, attribute = parts["module"] or "", parts["name"] or parts["attribute"] or ""
    try:
        file = _file_of(module) if module else Path(parts["file"]) if folder is None else folder / COPY
        source = file.read_bytes()
    except OSError as error:
        raise SonoforgeError(f"{spec}: {error.filename} cannot be read ({error.strerror})") from None
    digest = hashlib.sha256(source).hexdigest()
    if parts["pin"] and parts["pin"] != digest[:_DIGITS]:
        raise SonoforgeError(
            f"{file}: has changed: {spec} was used, this is #{digest[:_DIGITS]}; bring that version back, or start anew"
        )
    return OwnCode(spec.partition("#")[0] if parts["pin"] else spec, file, digest, attribute, module, source)


def load(spec: str, folder: Path | None = None, *, given: bool = False) -> Any:
    """Run some code and return what it is to define: the named attribute, or the whole module.

    Args:
        spec: See `find`.
        folder: Folder that names the code, and keeps a copy of it unless it is in a package.
        given: Whether the user named it in this command, which allows it on this machine from now on.

    Raises:
        SonoforgeError: It is missing, was changed, is not allowed, fails, or lacks the attribute.
    """
    parts = _FORM.fullmatch(spec)
    if not given and parts and parts["module"]:
        _check_allowed(parts["pin"] or "", spec, folder, spec)  # before the parents of a foreign name are imported
    own = find(spec, folder)
    if given:
        _allow(own)
    else:
        _check_allowed(own.digest, own.recorded, folder, str(own.file))
    module = _module(own)
    if own.attribute and not hasattr(module, own.attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise SonoforgeError(f"{own.file}: defines no {own.attribute}{did_you_mean(own.attribute, public)}")
    return getattr(module, own.attribute) if own.attribute else module


def keep(own: OwnCode, folder: Path) -> None:
    """Keep a copy of a file in a folder whose content needs it; nothing of a package."""
    if not own.module:
        write_bytes(folder / COPY, own.source)


def _file_of(module: str) -> Path:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise SonoforgeError(f"{module}: no such Python module is installed; give FILE.py, or install its package")
    return Path(found.origin)


def _module(own: OwnCode) -> types.ModuleType:
    """Run code once in this process, under a private name unless it is in a package."""
    name = own.module or f"sonoforge_own_{own.digest}"
    if name in sys.modules:
        return sys.modules[name]
    try:
        if own.module:
            return importlib.import_module(own.module)
        module = sys.modules[name] = types.ModuleType(name)  # known before it runs, as dataclasses need
        module.__file__ = str(own.file)
        exec(compile(own.source, str(own.file), "exec"), vars(module))  # noqa: S102 - this is what the user asks for
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(own.file)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [0])[-1]
        raise SonoforgeError(f"{own.file}:{line}: {type(error).__name__}: {reason(error)}") from error
    return module


def _allow(own: OwnCode) -> None:
    path = default_folder() / _ALLOWED / own.digest
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, own.recorded + "\n")
    except (OSError, SonoforgeError) as error:
        log.warning("%s is not noted as allowed (%s); later commands will ask for %s", own.spec, error, TRUST)


def _check_allowed(digest: str, name: str, folder: Path | None, where: str) -> None:
    kept = default_folder() / _ALLOWED
    words = [*(path.name for path in kept.glob("*")), *os.environ.get(TRUST, "").split(",")]
    if len(digest) < _DIGITS or digest[:_DIGITS] not in {word.strip().lower()[:_DIGITS] for word in words}:
        raise SonoforgeError(
            f"{folder or where}: needs the code {name}, which was never allowed on this machine; read {where}, then "
            f"allow it by {TRUST}={digest[:_DIGITS]}"
        )
