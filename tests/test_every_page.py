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

SMALL = " --set metrics.features=pixels --quiet"
SEARCHED = " --set gan.metric_features=pixels --quiet"
COMMANDS = {
    "data-audit": "data audit --data scans --html page.html",
    "quality": "quality scans --recursive --html page.html",
    "validate": "validate --external Rio:scans",
    "gan-compare": "gan compare --data scans --class malignant --recipes dcgan,lsgan --size 32 --set gan.width=8 "
    "--set gan.steps=10"
    " --set metrics.repeats=5" + SMALL,
    "evaluate": "evaluate scans other --features pixels --size 32 --set metrics.repeats=5",
    "segment": "segment --data scans --recipes spade:small-data --folds 3 --set unet.image_size=32 --set "
    "unet.steps=2 --set unet.width=8 --set gan.kimg=.032"
    " --set gan.width=4 --set metrics.repeats=5" + SMALL,
    "tune": "gan search --data scans --class benign --recipes dcgan --trials 3 --kimg .05 --size 32 --over batch=4,8"
    " --over width=4,8" + SEARCHED,
    "search": "gan search --what cells --data scans --class benign --set gan.conditioning=none --stages generator "
    "--set search.population=2 --set search.children=1"
    " --kimg .05 --set gan.width=2" + SEARCHED,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few simulated scans."""
    folder = tmp_path_factory.mktemp("pages")
    succeed("data", "import", "phantom", folder / "scans", "--images", "80")
    succeed("data", "import", "phantom", folder / "other", "--images", "30", "--seed", "1")
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
    answer = succeed("evaluate", made["run"], "--answers", "ann.json", "--answers", "bo.json").json
    assert faults_at_any_width(browser, Path(answer["report"]).resolve()) == {}
