"""SIGTERM, with which schedulers, containers and ``timeout`` ask a program to end, is answered as Ctrl-C is."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

# ``timeout`` signals the program and then its whole group, so one wish to end it arrives as two signals.
SAME_WISH_SECONDS = 1.0


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Give SIGTERM to whatever handles Ctrl-C at that moment, while inside.

    Where Ctrl-C is ignored, as in a background job of a shell script, SIGTERM raises KeyboardInterrupt all the same.
    Outside the main thread, where no signal can be handled, nothing changes.
    """
    last = -SAME_WISH_SECONDS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        del number
        now = time.monotonic()
        if now - last < SAME_WISH_SECONDS:
            return
        last = now
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:
            signal.default_int_handler(signal.SIGINT, frame)

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
