"""Define the errors shown to users.

Each message is one line: which file, what is wrong, what to do about it. Code that cannot read a file, a setting or a
name, or cannot write a file, raises `SonoforgeError` or one of its kinds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


class SonoforgeError(Exception):
    """Wrong usage or bad input; the command line prints the message and exits with code 2."""

    exit_code = 2


class GateError(SonoforgeError):
    """The work ran but failed its own gate (parity, leakage); the command line exits with code 1."""

    exit_code = 1


def reason(error: object) -> str:
    """Return another program's error as one short printable line; some quote the bytes of a hostile file."""
    text = " ".join(str(error).split()) or (type(error).__name__ if isinstance(error, Exception) else "")
    return "".join(character if character.isprintable() else "?" for character in text[:160])


DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, EOFError)
"""What reading a missing or damaged file raises."""
Kinds = type[Exception] | tuple[type[Exception], ...]


@contextlib.contextmanager
def refusing(
    what: str, remedy: str = "", kinds: Kinds = DAMAGED, kind: type[SonoforgeError] = SonoforgeError
) -> Iterator[None]:
    """Turn other libraries' errors into ours: what is wrong, their reason in brackets, what to do about it."""
    try:
        yield
    except SonoforgeError:
        raise
    except kinds as error:
        why = reason(getattr(error, "strerror", None) or error)
        raise kind(f"{what} ({why})" + (f"; {remedy}" if remedy else "")) from error


def did_you_mean(word: str, known: Sequence[str], alike: float = 0.5) -> str:
    """Return `` (did you mean X?)`` for a mistyped name, or an empty string if none is ``alike`` enough (0 to 1)."""
    import difflib  # noqa: PLC0415 - for a mistake only

    match = difflib.get_close_matches(word, known, n=1, cutoff=alike)
    return f" (did you mean {match[0]}?)" if match else ""


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not one of those known, and suggest the closest."""
    names = list(known)
    if name not in names:
        raise SonoforgeError(f"{what}: {name!r} is not one of {', '.join(names)}{did_you_mean(name, names)}")


def name_some(names: Iterable[str], mark: str = ", ") -> str:
    """List the first three, separated by a mark, and count the others."""
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return mark.join(listed[:3]) + more


def require(what: str, extra: str, *packages: str) -> None:
    """Refuse to go on without packages of an extra."""
    if why := not_installed(extra, *packages):
        raise SonoforgeError(f"{what}: {why}")


def not_installed(extra: str, *packages: str) -> str:
    """Return which packages, of an extra or by themselves, cannot be imported and the command for them, if any.

    Of those with ``|`` between them one is enough.
    """
    if not (absent := [name for name in packages if not any(map(importlib.util.find_spec, name.split("|")))]):
        return ""
    remedy = install_extra(extra) if extra else pip_install(*absent)
    return f"{', '.join(absent).replace('|', ' or ')} is not installed; run {remedy}"


def install_extra(extra: str, *options: str) -> str:
    """Return the command that installs an extra, or sonoforge itself, from where this sonoforge came from."""
    checkout, origin = Path(__file__).resolve().parents[3], "sonoforge"
    if (checkout / "pyproject.toml").is_file():  # what runs is a checkout, whatever else is installed
        options, origin = (*options, "-e"), str(checkout)
    else:
        from importlib import metadata  # noqa: PLC0415 - slow to import, and for a mistake only
        from urllib.request import url2pathname  # noqa: PLC0415 - the same

        # Absent after an install from an index (PEP 610); of another kind than a file after one from git or the web.
        found = next(iter(metadata.distributions(name="sonoforge")), None)
        record = found.read_text("direct_url.json") if found else ""
        kind, _, place = str(json.loads(record)["url"] if record else "").partition("://")
        if kind == "file" and Path(url2pathname(place)).exists():
            origin = url2pathname(place)
    return pip_install(*options, f"{origin}[{extra}]" if extra else origin)


def pip_install(*arguments: str) -> str:
    """Return the command that installs packages for this very interpreter, ready to be copied to a shell.

    A virtual environment's own ``pip`` is called by its name if a shell would find it.
    """
    import shutil  # noqa: PLC0415 - slow to import, and for a mistake only
    import subprocess  # noqa: PLC0415 - as above

    python, pip = sys.executable, shutil.which("pip")
    if pip and sys.prefix != sys.base_prefix and Path(pip).parent == Path(python).parent:
        program = ["pip", "install"]
    elif importlib.util.find_spec("pip"):
        program = [python, "-m", "pip", "install"]
    else:  # as uv makes environments
        own = ["--python", python]
        program = ["uv", "pip", "install", *own] if shutil.which("uv") else ["pip", *own, "install"]
    return (subprocess.list2cmdline if os.name == "nt" else shlex.join)([*program, *arguments])
