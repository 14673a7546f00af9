"""Show a long command's progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere.

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
_FIRST_SECONDS, _BAR_SECONDS, _LINE_SECONDS = 1.0, 0.1, 30.0
# What must pass of the whole, or in seconds, before the time left is told: the first of many tells little, as what was
# prepared before it took its time, too.
_FIRST_SHARE, _LONG_SECONDS = 0.01, 45.0
_NARROWEST_BAR, _WIDEST_BAR, _STATE = 10, 40, 24  # characters; of the state, those that the bar leaves it

Advance = Callable[[float, str | None], None]
"""Takes how many are done, fractions included, and a few words on the state, or None to keep them."""

log = logging.getLogger(__name__)


def stderr_handlers() -> list[logging.StreamHandler[TextIO]]:
    """Return the handlers that show ``sonoforge``'s messages on stderr."""
    return [handler for handler in logging.getLogger("sonoforge").handlers if type(handler) is logging.StreamHandler]


def quiet() -> bool:
    """Whether only errors are shown: with ``--quiet``, or without a command line."""
    return all(handler.level > logging.INFO for handler in stderr_handlers())


@contextlib.contextmanager
def progress_bar(
    title: str, total: int, done: float = 0, *, show: bool = True, silenced: bool = False
) -> Iterator[Advance]:
    """Yield a function that reports how many of ``total`` are done; ``done`` were done before.

    The bar makes way for every message and answer printed meanwhile. ``silenced`` means that stderr is closed to
    messages at times, see `inputs.silent_libraries`; if not, lines are messages, so ``log.txt`` has them too.
    """
    if quiet() or total < 2 or not show:
        yield lambda done, state: None
        return
    stream, opened = _own_stderr()
    meter = _Meter(title, (done, total), stream, silenced)
    handlers = logging.getLogger("sonoforge").handlers[:] if stream.isatty() else []
    for handler in handlers:
        handler.addFilter(meter.make_way)
    meter.advance(done, None)  # a first step may take long
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
    """Return stderr, as a separate descriptor that silenced decoders leave open, and whether to close it."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace"), True
    except (OSError, io.UnsupportedOperation):  # a stream in memory, or none
        return sys.stderr, False


class _Meter:
    def __init__(self, title: str, span: tuple[float, int], stream: TextIO, silenced: bool) -> None:
        self._title, (self._start, self._total), self._stream = title, span, stream
        self._is_terminal, self._silenced = stream.isatty(), silenced
        self._begun = time.monotonic()
        self._next = self._begun + (_FIRST_SECONDS * silenced if self._is_terminal else _LINE_SECONDS)
        self._drawn = 0  # characters on the line
        self._state = ""

    def advance(self, done: float, state: str | None) -> None:
        """Show the progress if it is time."""
        self._state = self._state if state is None else state
        now, known, all_of_it = time.monotonic(), done - self._start, self._total - self._start
        if now < self._next or not (self._is_terminal or done < self._total):
            return
        estimated = known > 0 and (known >= _FIRST_SHARE * all_of_it or now - self._begun > _LONG_SECONDS)
        left = time_left((now - self._begun) / known * (self._total - done)) if estimated else ""
        if self._is_terminal:
            self._draw(done, left)
            self._next = now + _BAR_SECONDS
            return
        rest = f"{', about ' * bool(left)}{left}{'; ' * bool(state)}{state or ''}"
        line = f"{self._title}: {int(done)} of {self._total}{rest}"
        if self._silenced:
            self._write(line + "\n")
        else:
            log.info("%s", line)
        self._next = now + _LINE_SECONDS

    def make_way(self, record: logging.LogRecord) -> bool:
        """Remove the bar before a message is printed; serves as a filter of its handler."""
        del record
        self.clear()
        return True

    def clear(self) -> None:
        """Remove the bar."""
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _draw(self, done: float, left: str) -> None:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            columns = 80
        facts = f" {int(done)}/{self._total}  {int(100 * done / self._total)} %  {left}"
        beside = len(self._title) + len(facts) + min(len(self._state) + 2, _STATE) * bool(self._state)
        room = min(columns - 1 - beside - 3, _WIDEST_BAR)
        filled = int(max(room, 0) * done / self._total)
        bar = f" [{'#' * filled}{'-' * (room - filled)}]" if room >= _NARROWEST_BAR else ""
        line = f"{self._title}{bar}{facts}  {self._state}".rstrip()[: columns - 1]
        self._write("\r" + line.ljust(self._drawn))
        self._drawn = len(line)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone ends no work
            self._stream.write(text)
            self._stream.flush()
