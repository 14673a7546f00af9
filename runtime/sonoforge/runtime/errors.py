"""Define the errors shown to users.

Each message is one line: which file, what is wrong, what to do about it. Code that cannot read a file, a setting or a
name, or cannot write a file, raises `SonoforgeError` or one of its kinds; only docstrings of the public interface say
so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return `` (did you mean X?)`` for a mistyped name, or an empty string."""
    import difflib  # noqa: PLC0415 - for a mistake only

    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
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
