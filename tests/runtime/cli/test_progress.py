"""Progress on stderr: a bar that fits on a terminal, seldom a line elsewhere, and nothing with --quiet."""

from __future__ import annotations

import io
import logging
import os
import re
import sys

import pytest

from sonoforge.runtime.cli import progress


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a clock shows, and a command line that prints messages."""
    logger = logging.getLogger("sonoforge")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler()])
    monkeypatch.setattr(logger, "level", logging.INFO)
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_state_and_what_was_done_before_stand_on_80_columns(
    monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    title, state = "looking for images it has seen", "D 1.234 G 5.678, KID 0.0123, diversity 0.456, and more words"
    with progress.progress_bar(title, 10000, 4000) as advance:
        now[0] += 60.0
        advance(5000, state)
        now[0] += 60.0
        advance(6000, None)
    bars = [part for part in terminal.getvalue().split("\r") if part.strip()]
    assert [len(bar) <= 79 and bar.startswith(title) for bar in bars] == [True, True, True]
    assert "4000/10000  40 %" in bars.pop(0)
    assert "5000/10000  50 %  5 min left" in bars[0] and "6000/10000  60 %  4 min left" in bars[1]
    assert all(state[:4] in bar for bar in bars)


def test_elsewhere_a_line_is_a_message(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress.log, "info", lambda text, *values: told.append(text % values))
    with progress.progress_bar("folds", 100, 10) as advance:
        for step in range(11, 101):
            now[0] += 2.0
            advance(step, "gan" if step == 85 else None)
    assert told[3] == "folds: 70 of 100, about 60 s left"  # 2 s each, 30 are left
    assert [message.split()[1] for message in told] == ["25", "40", "55", "70", "85"]
    assert told[4] == "folds: 85 of 100, about 30 s left; gan"
    told.clear()
    with progress.progress_bar("comparing", 1000) as advance:
        for step, seconds in ((1, 40.0), (500, 60.0)):  # the first took what was prepared before it, too
            now[0] += seconds
            advance(step, None)
    assert told == [
        "comparing: 1 of 1000",
        "comparing: 500 of 1000, about 2 min left",
    ]


@pytest.mark.parametrize("columns", [80, 40, 24])
def test_a_bar_with_time_left_fits_makes_way_and_leaves_nothing_behind(
    columns: int, monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    monkeypatch.setattr(terminal, "fileno", lambda: 2, raising=False)
    monkeypatch.setattr(progress, "_own_stderr", lambda: (terminal, False))
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger("sonoforge"), "handlers", [handler])
    with progress.progress_bar("classifying", 400, silenced=True) as advance:
        for done in range(1, 401):
            now[0] += 1.0
            advance(done, None)
            if done == 200:
                logging.getLogger("sonoforge").error("trouble")
    cells, lines = [" "] * columns, []
    for part in re.split("([\r\n])", terminal.getvalue()):
        if part == "\n":
            lines.append("".join(cells).rstrip())
            cells = [" "] * columns
        elif part != "\r":
            assert len(part) < columns, "it would wrap"
            cells[: len(part)] = part
    assert [*lines, "".join(cells).strip()] == ["trouble", ""]
    bars = [part for part in terminal.getvalue().split("\r") if part.startswith("classifying")]
    assert len(bars) == 400 and ("[" in bars[99]) == (columns > 40)
    if columns > 24:
        assert "100/400  25 %  5 min left" in bars[99] and "399/400  99 %  1 s left" in bars[398]


def test_quiet_silences_it(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logging.getLogger("sonoforge").handlers[0].setLevel(logging.ERROR)
    with progress.progress_bar("classifying", 400) as advance:
        now[0] += 100
        advance(200, None)
    assert terminal.getvalue() == ""
