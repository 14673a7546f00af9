"""Every page that a command writes: in a browser nothing is cut off at any width, and axe-core finds nothing."""

from __future__ import annotations

import random
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from axe import faults_at_any_width
from program import succeed
from readings import write_answers
from sonoforge.training.reader_study.sheet import KEY, KINDS, read_key

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

SMALL = " --metric-features pixels --quiet"
COMMANDS = {
    "data-audit": "data audit --data scans --html page.html",
    "classify": "classify scans/benign --html page.html",
    "quality": "quality scans --recursive --html page.html",
    "validate": "validate --external Rio:scans --robustness 2",
    "gan-compare": "gan compare --data scans --class malignant --recipes dcgan,lsgan --size 32 --width 8 --steps 10"
    " --repeats 5" + SMALL,
    "evaluate": "evaluate scans other --features pixels --size 32 --repeats 5",
    "segment": "segment --data scans --recipes spade:small-data --folds 3 --size 32 --steps 2 --width 8 --gan-kimg .032"
    " --gan-width 4 --repeats 5" + SMALL,
    "tune": "tune --data scans --class benign --recipes dcgan --trials 3 --kimg .05 --size 32 --search batch=4,8"
    " --search width=4,8" + SMALL,
    "search": "search --data scans --class benign --conditioning none --stages generator --population 2 --children 1"
    " --kimg .05 --width 2" + SMALL,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few simulated scans."""
    folder = tmp_path_factory.mktemp("pages")
    succeed("data", "phantom", folder / "scans", "--images", 80)
    succeed("data", "phantom", folder / "other", "--images", 30, "--seed", 1)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_is_readable_at_any_width(
    name: str, folder: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    answer = succeed(*shlex.split(COMMANDS[name])).json
    assert faults_at_any_width(browser, Path(answer.get("report", "page.html")).resolve()) == {}


def test_the_page_of_a_reader_study_is_readable_at_any_width(
    folder: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    made = succeed("evaluate", "scans", "other", "--size", 32, "--reading-sheet", 6).json
    key, seal = read_key(Path(made["run"]) / KEY)
    guesses = iter(random.Random(0).choices(KINDS, k=2 * len(key.entries)))
    for name in ("ann", "bo"):
        write_answers(Path(f"{name}.json"), seal, key.entries, lambda _: {"kind": next(guesses), "seconds": 3})
    answer = succeed("reading", made["run"], "ann.json", "bo.json").json
    assert faults_at_any_width(browser, Path(answer["report"]).resolve()) == {}
