"""How far a task of training is: `progress_bar`, and work in threads that tells it."""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sonoforge.runtime.cli.progress import progress_bar, quiet

_T = TypeVar("_T")
_R = TypeVar("_R")


def is_interactive() -> bool:
    """Whether bars are drawn: stderr is a terminal, and ``--quiet`` was not given."""
    return sys.stderr.isatty() and not quiet()


def in_threads(work: Callable[[_T], _R], items: Iterable[_T], title: str = "", workers: int = 0) -> list[_R]:
    """Work on all items, by default in a thread for each core; with a title, `progress_bar` tells how far it is.

    An interrupt does not wait for what is still queued.
    """
    waiting, results = list(items), list[_R]()
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        with progress_bar(title, len(waiting), show=bool(title)) as advance:
            for result in pool.map(work, waiting):
                results.append(result)
                advance(len(results), None)
    finally:
        pool.shutdown(cancel_futures=True)
    return results
