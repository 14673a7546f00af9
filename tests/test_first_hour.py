"""The first hour of three people, with real commands and in a real browser: what each of them came for is there.

Run with ``-s`` to see how long each of them took; machines differ, so no time is asserted.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from browser import needs_archive
from page import READY, give
from places import CHECKOUT
from small_run import CLASSIFIER, GENERATOR
from sonoforge.training.phantom.dataset import generate_phantom_set

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

LAPTOP = {"width": 1280, "height": 800}


@pytest.fixture(autouse=True)
def _timed(request: pytest.FixtureRequest) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"\n{request.node.name}: {time.perf_counter() - started:.0f} s")


def typed(command: str, folder: Path) -> list[str]:
    """Type a command in a folder, as somebody who has no environment variables of ours; return what it printed."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SONOFORGE_", "OMP_", "VIRTUAL_"))
    }
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def sonoforge(command: str, folder: Path) -> list[str]:
    return typed(f"{shlex.quote(sys.executable)} -m sonoforge.runtime.cli.main {command}", folder)


def test_a_newcomer_sees_a_report_that_they_understand(tmp_path: Path, browser: Browser) -> None:
    """README's first command in a fresh clone; then what it names next, as it is printed."""
    if shutil.which("git") is None or not (CHECKOUT / ".git").exists():
        pytest.skip("needs git and a checkout of it")
    typed(f"git clone -q {CHECKOUT} sonoforge", tmp_path)
    clone = tmp_path / "sonoforge"
    (command,) = re.findall(
        "^python3 -m venv .*/sonoforge run$", (clone / "README.md").read_text("utf-8"), re.MULTILINE
    )
    printed = typed(f"export XDG_CACHE_HOME={tmp_path}/cache; {command}", clone)
    (report,) = clone.glob("runs/*/report.html")
    with browser.new_context(viewport=LAPTOP, offline=True) as context:
        tab = context.new_page()
        tab.goto(report.as_uri())
        for seen in ("h1", ".use", "p.answer", ".pair img >> nth=1", ".facts > div >> nth=3"):
            assert tab.locator(seen).first.is_visible(), seen
        answer = tab.locator("p.answer").inner_text()
        box = tab.locator("p.answer").bounding_box()
        assert box is not None and box["y"] + box["height"] < LAPTOP["height"]
    assert re.match("Yes|No|Not shown", answer)
    following = printed[next(i for i, line in enumerate(printed) if line.startswith("next:")) :]
    assert report.relative_to(clone).as_posix() in following[0]
    for line in following[1:]:
        if line.strip().startswith("sonoforge "):
            typed(f".venv/bin/{line.strip()}", clone)


def test_a_researcher_takes_a_table_for_the_paper_from_a_folder(tmp_path: Path, browser: Browser) -> None:
    """Images of two kinds without ours in their names; the table is what predictions.csv says."""
    for number, image in enumerate(generate_phantom_set(60, 5)):
        kind = tmp_path / "cells" / ("round", "round", "spiky")[image.label]
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.pixels).save(kind / f"{image.group}_{number}.png")
    patients = "--groups-from '{patient}_*'"
    sonoforge(f"data audit --data cells {patients} --html audit.html", tmp_path)
    small = ["--folds", "3", "--set", "classifier.epochs=1", *CLASSIFIER, *GENERATOR]
    sonoforge(f"run --data cells {patients} {shlex.join(small)}", tmp_path)
    (report,) = tmp_path.glob("runs/*/report.html")
    with browser.new_context(viewport=LAPTOP, offline=True) as context:
        tab = context.new_page()
        tab.goto(report.as_uri())
        tab.locator('a[href="report/results-of-all-arms.tex"]').first.click()  # on the first screen
        tab.wait_for_url("**/report/results-of-all-arms.tex")  # opened from files, the page shows it
        table = tab.locator("body").inner_text()
    with (report.parent / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for arm, title in (("real", "real images"), ("gan", "real + generated images")):
        own = [row for row in rows if row["arm"] == arm]
        answers = [max(("round", "spiky"), key=lambda name, row=row: float(row[f"p_{name}"])) for row in own]
        right = 100 * sum(row["label"] == answer for row, answer in zip(own, answers, strict=True)) / len(own)
        (line,) = [line for line in table.splitlines() if line.startswith(title)]
        assert re.findall(r"(\d+\.\d) ?\\%", line)[0] == f"{right:.1f}", line
    assert table.count("{") == table.count("}") and r"\toprule" in table


@pytest.fixture
def ten_scans(tmp_path: Path) -> list[Path]:
    """Eight scans, a photograph of noise, and a file that is no picture."""
    files = []
    for image in generate_phantom_set(8, 3):
        files.append(tmp_path / f"scan {len(files) + 1}.png")
        Image.fromarray(image.pixels).save(files[-1])
    Image.effect_noise((300, 300), 90).convert("RGB").save(tmp_path / "photograph.jpg")
    (tmp_path / "letter.png").write_bytes(b"Dear colleague")
    return [*files, tmp_path / "photograph.jpg", tmp_path / "letter.png"]


def test_a_clinician_asks_the_page_of_the_laptop(ten_scans: list[Path], tmp_path: Path, browser: Browser) -> None:
    needs_archive()
    command = [sys.executable, "-u", "-m", "sonoforge.runtime.cli.main", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            address = next(line.split()[1] for line in server.stdout if line.startswith("serving"))
            with browser.new_context(viewport=LAPTOP) as context:
                tab = context.new_page()
                tab.goto(address)
                tab.wait_for_selector(READY, timeout=300_000)
                give(tab, ten_scans)
                named = tab.locator(".card .file").all_text_contents()
                failed = tab.locator(".card.failed .file").all_text_contents()
        finally:
            server.terminate()
    assert sorted(named) == sorted(file.name for file in ten_scans) and failed == ["letter.png"]
