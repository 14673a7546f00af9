"""Print messages as plain lines: a verb's answer on stdout, all else on stderr, nothing that could steer a terminal.

The answer, which is what a verb was asked for, is printed under ``--quiet`` too, but not with ``--json``.

Progress, remarks and warnings are messages of a module's own logger, and go to stderr.  Answers are log messages too,
so that the ``log.txt`` of a run folder holds them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from sonoforge.runtime.errors import SonoforgeError, reason

_logger = logging.getLogger("sonoforge.answer")

say = _logger.info
_SPACES = "\n\t\u00a0\u202f"  # with those between a figure and its unit

SCREEN = 80
"""Characters of a line of text."""


class OutputError(SonoforgeError):
    """Nothing more can be printed to stdout; caused by a `BrokenPipeError` if its reader (head, less) has left."""


def put(text: str) -> None:
    """Write to stdout at once; raise `OutputError` the first time that this fails, then drop all text."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        drop_unwritable(sys.stdout)
        why = f"standard output cannot be written ({reason(error.strerror)}), so answers are missing there"
        raise OutputError(f"{why}; direct it to a file, a pipe or a terminal with room") from error


def drop_unwritable(stream: TextIO) -> None:
    """Send what a stream cannot write, and all that follows, nowhere; else it would fail again when Python ends."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class AnswerHandler(logging.Handler):
    """Writes answers to stdout, and nothing else.

    Attributes:
        goes_on: Whether to go on when that fails, as the verb also answers elsewhere.
        lost: Why it failed, if so.
    """

    goes_on = False
    lost: OutputError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message and flush it."""
        try:
            put(self.format(record) + "\n")
        except OutputError as error:
            self.lost = error
            if not self.goes_on:
                raise


def tell(text: str, indent: str = "", printer: Callable[..., None] = say) -> None:
    """Print a paragraph in lines that fit the screen."""
    from textwrap import wrap  # noqa: PLC0415 - --help does not wait for it

    lines = wrap(text, SCREEN, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if lines:
        printer("%s", "\n".join(lines))


def tell_table(rows: Sequence[Sequence[str]], *, wide: bool = False) -> None:
    """Print a table, its head first and figures flush right; one beyond a screen as sentences, unless ``wide``."""
    head, *others = rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if not wide and sum(widths) + 2 * len(widths) - 2 > SCREEN:
        for name, *cells in others:
            tell(f"{name}: {'; '.join(f'{title} {cell}' for title, cell in zip(head[1:], cells, strict=True))}")
        return
    for name, *cells in rows:
        say("%s", "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))


def prints_text() -> bool:
    """Whether answers are printed as text: not with ``--json``, and not without a command line."""
    return any(isinstance(handler, AnswerHandler) for handler in logging.getLogger("sonoforge").handlers)


def is_answer(record: logging.LogRecord) -> bool:
    """Whether a log message is part of the answer."""
    return record.name == _logger.name


def printable(text: str) -> str:
    """Escape what could steer a terminal: names in files are other people's."""
    return "".join(c if c.isprintable() or c in _SPACES else c.encode("unicode_escape").decode() for c in text)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def configure_logging(quiet: bool, answers: bool = True) -> AnswerHandler:
    """Send the ``sonoforge`` loggers' messages to stderr and the answers among them to stdout, as plain lines.

    If ``quiet``, only answers and errors are shown; ``answers``, whose handler is returned, not with ``--json``.
    """
    logger = logging.getLogger("sonoforge")
    logger.handlers[:] = []
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR if quiet else logging.INFO)
    handler.addFilter(lambda record: not is_answer(record))
    printed = AnswerHandler()
    printed.addFilter(is_answer)
    for own in (handler, printed) if answers else (handler,):
        own.setFormatter(_Printable("%(message)s"))
        logger.addHandler(own)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return printed
