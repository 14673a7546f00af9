"""Messages as plain lines: the answer on stdout, all else on stderr, nothing that could steer a terminal."""

from __future__ import annotations

import logging

from sonoforge.runtime.cli.answer import AnswerHandler, is_answer

_SPACES = "\n\t\u00a0\u202f"  # with those between a figure and its unit


def printable(text: str) -> str:
    """Escape what could steer a terminal: names in files are other people's."""
    return "".join(c if c.isprintable() or c in _SPACES else c.encode("unicode_escape").decode() for c in text)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def configure_logging(quiet: bool, answers: bool = True) -> None:
    """Send the ``sonoforge`` loggers' messages to stderr and the answers among them to stdout, as plain lines.

    Args:
        quiet: Leave out what is neither an answer nor an error.
        answers: Print answers; not with ``--json``.
    """
    logger = logging.getLogger("sonoforge")
    logger.handlers[:] = []
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR if quiet else logging.INFO)
    handler.addFilter(lambda record: not is_answer(record))
    for own in (handler, AnswerHandler()) if answers else (handler,):
        own.setFormatter(_Printable("%(message)s"))
        logger.addHandler(own)
    logger.setLevel(logging.INFO)
    logger.propagate = False
