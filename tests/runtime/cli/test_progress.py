"""Progress on stderr: a bar that fits on a terminal, seldom a line elsewhere, and nothing with --quiet."""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import subprocess
import sys

import pytest

from sonoforge.runtime.cli import progress
from sonoforge.runtime.cli.progress import time_left

PROGRAM = """
import logging, sys, time
from sonoforge.runtime.cli import progress
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.answer import configure_logging
from sonoforge.runtime.images.inputs import silent_libraries
now = [0.0]
progress.time.monotonic = lambda: now[0]
configure_logging(quiet="--quiet" in sys.argv)
with progress.progress_bar("classifying", 400, silenced=True) as advance:
    for done in range(1, 401):
        now[0] += 1.0
        with silent_libraries():
            advance(done, None)
        if done == 200:
            say("half")
            logging.getLogger("sonoforge").error("trouble")
"""


def run(*flags: str, columns: int = 0) -> tuple[str, str]:
    """Run the program with stderr on a terminal of so many columns, or on a pipe for 0; return stdout and stderr."""
    command = [sys.executable, "-c", PROGRAM, *flags]
    if not columns:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout, done.stderr
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not data:
                break
            seen += data
        out = process.stdout.read() if process.stdout else ""
    os.close(ours)
    assert process.returncode == 0
    return out, seen.decode()


def shown(text: str, columns: int) -> list[str]:
    """Return the lines that a terminal shows in the end."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        cells = [" "] * columns
        for part in line.split("\r"):
            assert len(part) < columns, "it would wrap"
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


@pytest.mark.skipif(os.name != "posix", reason="opens a terminal")
@pytest.mark.parametrize("columns", [80, 40, 24])
def test_a_bar_with_time_left_fits_and_leaves_nothing_behind(columns: int) -> None:
    out, err = run(columns=columns)
    assert out == "half\n"
    assert shown(err, columns) == ["trouble", ""]
    bars = [part for part in err.split("\r") if part.startswith("classifying")]
    assert len(bars) == 400
    assert ("[" in bars[99]) == (columns > 40)
    if columns > 24:
        assert "100/400  25 %  5 min left" in bars[99]
        assert "399/400  99 %  1 s left" in bars[398]


def test_elsewhere_a_line_every_half_minute() -> None:
    out, err = run()
    assert out == "half\n"
    lines = [line for line in err.splitlines() if line != "trouble"]
    done = [int(re.fullmatch(r"classifying: (\d+) of 400, about .+ left", line)[1]) for line in lines]  # type: ignore[index]
    assert done == list(range(30, 400, 30))


@pytest.mark.parametrize("columns", [0, 80])
def test_quiet_silences_it_and_not_the_answer(columns: int) -> None:
    out, err = run("--quiet", columns=columns)
    assert (out, err.replace("\r\n", "\n")) == ("half\n", "trouble\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s left"), (89, "89 s left"), (90, "2 min left"), (5399, "90 min left"), (7200, "2.0 h left")],
)
def test_time_left_in_one_unit(seconds: float, words: str) -> None:
    assert time_left(seconds) == words


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
