"""A progress bar with time left on stderr, where somebody watches; nothing elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# (steps done, a few words on the state, or None to keep them)
Advance = Callable[[int, str | None], None]


def is_interactive() -> bool:
    """Whether stderr is a terminal and ``--quiet`` was not given."""
    return sys.stderr.isatty() and not quiet()


def quiet() -> bool:
    """Whether the log shows errors only (``--quiet``)."""
    return all(handler.level > logging.INFO for handler in _stderr_handlers())


def _stderr_handlers() -> list[logging.StreamHandler]:  # type: ignore[type-arg]
    handlers = logging.getLogger("sonoforge").handlers
    return [handler for handler in handlers if type(handler) is logging.StreamHandler]


@contextlib.contextmanager
def progress_bar(title: str, total: int, done: int = 0, *, show: bool) -> Iterator[Advance]:
    """Show a bar while inside, and hand out the function that moves it."""
    if not show:
        yield lambda step, state: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        for handler in _stderr_handlers():  # log lines must go above the bar, not through it
            stack.callback(handler.setStream, handler.setStream(sys.stderr) or sys.stderr)
        task = bar.add_task(title, total=total, completed=done, state="")

        def advance(step: int, state: str | None) -> None:
            if state is None:
                bar.update(task, completed=step)
            else:
                bar.update(task, completed=step, state=state)

        yield advance
