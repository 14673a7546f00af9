"""Work in threads: every answer in its order, and no answer lost to an error unsaid."""

from __future__ import annotations

import threading

import pytest

from sonoforge.training.progress import in_threads


def test_answers_come_in_the_order_of_the_items_whoever_ends_first() -> None:
    last = threading.Event()

    def square(number: int) -> int:
        if number == 0:
            assert last.wait(60)  # the first item ends after the last one has begun
        if number == 3:
            last.set()
        return number**2

    assert in_threads(square, range(4), workers=2) == [0, 1, 4, 9]
    assert in_threads(square, []) == []


def test_an_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda number: 1 // number, [1, 0, 2])
