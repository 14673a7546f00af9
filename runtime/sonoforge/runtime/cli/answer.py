"""The answer of a verb, what it was asked for: lines on stdout, also under ``--quiet``; with ``--json`` none.

Progress, remarks and warnings are messages of a module's own logger, and go to stderr.  Answers are log messages too,
so that the ``log.txt`` of a run folder holds them.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

_logger = logging.getLogger("sonoforge.answer")

say = _logger.info


class AnswerHandler(logging.StreamHandler[TextIO]):
    """Writes answers to stdout, and to nothing else.

    A reader of a pipe that has left, or a full disk, ends the program (see `main.run`) where `logging` would print a
    traceback and go on.
    """

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.addFilter(is_answer)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message and flush it."""
        self.stream.write(self.format(record) + self.terminator)
        self.flush()


def prints_text() -> bool:
    """Whether answers are printed as text: not with ``--json``, nor where no command line was started."""
    return any(isinstance(handler, AnswerHandler) for handler in logging.getLogger("sonoforge").handlers)


def is_answer(record: logging.LogRecord) -> bool:
    """Whether a log message is part of the answer."""
    return record.name == _logger.name
