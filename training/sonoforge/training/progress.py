"""Show the progress of a training run's tasks, work in threads that reports to it, and end it at Ctrl-C."""

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import TypeVar

from sonoforge.runtime.cli.progress import Advance, progress_bar

log = logging.getLogger(__name__)

UNFINISHED = "stopped before its end"
_LOOK_SECONDS = 5.0

_T = TypeVar("_T")
_R = TypeVar("_R")


@contextmanager
def following(how_far: Callable[[], float], advance: Advance) -> Iterator[None]:
    """Report every few seconds what share of the whole is done, for work that ends in a few large pieces."""
    ended = Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            advance(how_far(), None)

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def in_threads(work: Callable[[_T], _R], items: Iterable[_T], title: str = "", workers: int = 0) -> list[_R]:
    """Process all items, by default with a thread for each core; with a title, `progress_bar` shows the progress.

    An interrupt does not wait for queued items.
    """
    return list(as_done(work, items, title, workers))


def as_done(work: Callable[[_T], _R], items: Iterable[_T], title: str = "", workers: int = 0) -> Iterator[_R]:
    """Yield the results of `in_threads` in order, one by one, so that they need not all be in memory."""
    waiting = list(items)
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        with progress_bar(title, len(waiting), show=bool(title)) as advance:
            for done, result in enumerate(pool.map(work, waiting), 1):
                yield result
                advance(done, None)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def finishing_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Only note the first Ctrl-C while inside, and yield a function that reports it; the second one stops.

    The command line treats SIGTERM the same way, see `cli.main`.
    """
    noted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        del number, frame
        noted = True
        signal.signal(signal.SIGINT, before)
        log.warning("interrupted: closing the tick and saving; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
