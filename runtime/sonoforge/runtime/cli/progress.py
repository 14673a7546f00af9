"""How far a long command is, on stderr: a bar with the time left on a terminal, a line now and then elsewhere.

The answer never goes through here.  ``--quiet`` silences it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

# What is done sooner needs no bar; a bar that changes more often cannot be read; a log is not to be filled.
_FIRST_SECONDS, _BAR_SECONDS, LINE_SECONDS = 1.0, 0.1, 30.0
# Of the whole that must be done before the time left is told: the first of many tells little, as what was prepared
# before it took its time, too.
FIRST_SHARE = 0.01
_NARROWEST_BAR = 10  # characters

Advance = Callable[[int], None]


def stderr_handlers() -> list[logging.StreamHandler[TextIO]]:
    """Return the handlers that show ``sonoforge``'s messages on stderr."""
    return [handler for handler in logging.getLogger("sonoforge").handlers if type(handler) is logging.StreamHandler]


def quiet() -> bool:
    """Whether errors alone are shown: ``--quiet``, or where no command line was started."""
    return all(handler.level > logging.INFO for handler in stderr_handlers())


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Hand out the function that tells how many of ``total`` are done.

    The bar makes way for every message and answer that is printed meanwhile.
    """
    if quiet() or total < 2:
        yield lambda done: None
        return
    stream, opened = _own_stderr()
    meter = _Meter(title, total, stream)
    handlers = logging.getLogger("sonoforge").handlers[:]
    for handler in handlers:
        handler.addFilter(meter.make_way)
    try:
        yield meter.advance
    finally:
        for handler in handlers:
            handler.removeFilter(meter.make_way)
        meter.clear()
        if opened:
            stream.close()


def time_left(seconds: float) -> str:
    """Return a duration in words of one unit, such as ``3 min left``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def _own_stderr() -> tuple[TextIO, bool]:
    """Return stderr, by a descriptor of its own that silenced decoders leave open; and whether to close it."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace"), True
    except (OSError, io.UnsupportedOperation):  # a stream in memory, or none
        return sys.stderr, False


class _Meter:
    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        self._title, self._total, self._stream = title, total, stream
        self._is_terminal = stream.isatty()
        self._begun = time.monotonic()
        self._next = self._begun + (_FIRST_SECONDS if self._is_terminal else LINE_SECONDS)
        self._drawn = 0  # characters on the line

    def advance(self, done: int) -> None:
        """Show the progress, if it is time."""
        now = time.monotonic()
        if now < self._next or not (self._is_terminal or done < self._total):
            return
        told = done and done >= FIRST_SHARE * self._total
        left = time_left((now - self._begun) / done * (self._total - done)) if told else ""
        if self._is_terminal:
            self._draw(done, left)
            self._next = now + _BAR_SECONDS
        else:
            self._stream.write(f"{self._title}: {done} of {self._total}{', about ' * bool(left)}{left}\n")
            self._stream.flush()
            self._next = now + LINE_SECONDS

    def make_way(self, record: logging.LogRecord) -> bool:
        """Take the bar away before a message is printed; a filter of its handler."""
        del record
        self.clear()
        return True

    def clear(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _draw(self, done: int, left: str) -> None:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            columns = 80
        facts = f" {done}/{self._total}  {100 * done // self._total} %  {left}"
        room = min(columns - 1 - len(self._title) - len(facts) - 3, 40)
        filled = max(room, 0) * done // self._total
        bar = f" [{'#' * filled}{'-' * (room - filled)}]" if room >= _NARROWEST_BAR else ""
        line = f"{self._title}{bar}{facts}"[: columns - 1]
        self._write("\r" + line.ljust(self._drawn))
        self._drawn = len(line)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone ends no work
            self._stream.write(text)
            self._stream.flush()
