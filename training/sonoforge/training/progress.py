"""How far a task is, on stderr: a bar with time left where somebody watches, a line every half minute elsewhere."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from sonoforge.runtime.cli.progress import FIRST_SHARE, LINE_SECONDS, quiet, stderr_handlers, time_left

_T = TypeVar("_T")
_R = TypeVar("_R")

log = logging.getLogger(__name__)

# (steps done, a few words on the state, or None to keep them)
Advance = Callable[[int, str | None], None]


def is_interactive() -> bool:
    """Whether bars are drawn: stderr is a terminal, and ``--quiet`` was not given."""
    return sys.stderr.isatty() and not quiet()


def is_shown() -> bool:
    """Whether there is anybody to tell: not with ``--quiet``, nor in a process of a fold."""
    return not quiet()


@contextlib.contextmanager
def progress_bar(title: str, total: int, done: int = 0, *, show: bool) -> Iterator[Advance]:
    """Show a bar, or lines, while inside, and hand out the function that tells how far it is.

    Args:
        title: A word or two.
        total: Steps in all.
        done: Steps that were done before.
        show: False for nothing.
    """
    if not show:
        yield lambda step, state: None
        return
    if not sys.stderr.isatty():
        yield _lines(title, total, done)
        return
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("ETA", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=2)),
    )
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True, expand=True))
        for handler in stderr_handlers():  # log lines must go above the bar, not through it
            stack.callback(handler.setStream, handler.setStream(sys.stderr) or sys.stderr)
        task = bar.add_task(title, total=total, completed=done, state="")

        def advance(step: int, state: str | None) -> None:
            if state is None:
                bar.update(task, completed=step)
            else:
                bar.update(task, completed=step, state=state)

        yield advance


def in_threads(work: Callable[[_T], _R], items: Iterable[_T], title: str = "", workers: int = 0) -> list[_R]:
    """Work on all items, by default in a thread for each core; with a title, `progress_bar` tells how far it is.

    An interrupt does not wait for what is still queued.
    """
    waiting, results = list(items), list[_R]()
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        with progress_bar(title, len(waiting), show=bool(title) and is_shown()) as advance:
            for result in pool.map(work, waiting):
                results.append(result)
                advance(len(results), None)
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _lines(title: str, total: int, done: int) -> Advance:
    begun = told = time.monotonic()

    def advance(step: int, state: str | None) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= LINE_SECONDS and done < step < total:
            known = step - done >= FIRST_SHARE * (total - done)
            left = f", about {time_left((now - begun) / (step - done) * (total - step))}" if known else ""
            log.info("%s: %d of %d%s%s", title, step, total, left, f"; {state}" if state else "")
            told = now

    return advance
