"""Checklists: complete by the published numbers, filled with the figures of the run, open where it knows nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import report_factory
from axe import WIDTHS, faults_at_any_width
from pages import Page, check_page, plain
from program import refused, succeed
from sonoforge.runtime.atomic import write_json
from sonoforge.training import run_folder
from sonoforge.training.reports.checklists import (
    ANSWERED,
    AUTHORS,
    CHECKLISTS,
    OPEN,
    PAGE,
    PARTLY,
    Item,
    answer,
    fill,
    read_run,
)
from sonoforge.training.reports.words import Said

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Sub-items of TRIPOD+AI, Collins et al. 2024; every other item from 1 to 27 stands alone.
PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}

TRIPOD_AI, CLAIM, DATASHEET = CHECKLISTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of invented predictions, with class names that are markup."""
    path = tmp_path_factory.mktemp("runs") / "00000-run"
    made = report_factory.make_run(path, ("<b>|n", "benign", "malignant"), (10, 14, 12), folds=3)
    write_json(made.folder / "audit.json", made.audited)
    run_folder.write_results(made.folder, made.results)
    succeed("compare", made.folder, "--checklists", "--quiet")
    return made.folder


def test_every_published_item_is_there_once() -> None:
    expected = [f"{n}{part}" for n in range(1, 28) for part in PARTS.get(n, ("",))]
    assert [item.number for item in TRIPOD_AI.items] == expected
    assert [item.number for item in CLAIM.items if item.number] == [str(n) for n in range(1, 43)]
    sections = ("Motivation", "Composition", "Collection", "Preparation", "Uses", "Distribution", "Maintenance")
    assert tuple(dict.fromkeys(item.section for item in DATASHEET.items)) == sections


def test_a_run_answers_every_topic_and_no_answer_is_idle(folder: Path) -> None:
    asked = {topic for checklist in CHECKLISTS for item in checklist.items for topic in item.topics}
    assert set(answer(read_run(folder))) == asked


def test_an_item_without_answer_is_left_to_the_authors() -> None:
    items = [
        Item("s", "1", "known", ("a",)),
        Item("s", "2", "half", ("a", "b"), "the rest"),
        Item("s", "3", "not recorded", ("a", "missing")),
        Item("s", "4", "unknown", (), "all of it"),
    ]
    rows = fill(items, {"a": Said("a", "A.", "x; y"), "b": Said("b", "B.", "y; z")})
    assert [row.status for row in rows] == [ANSWERED, PARTLY, PARTLY, OPEN]
    assert [row.text for row in rows] == ["A.", "A. B.", "A.", ""]
    assert [row.left for row in rows] == ["", "the rest", "this run does not record it", "all of it"]
    assert [row.where for row in rows] == ["x; y", "x; y; z", "x; y", ""]


def test_the_figures_are_those_of_the_run(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    page = Page((folder / PAGE).read_text())
    check_page(page)
    rows = {row[0]: row for row in page.table("TRIPOD+AI")}
    for name, figures in results["arms"].items():
        own = figures["accuracy"]
        said = f"{name}: accuracy {100 * own['value']:.1f} % [{100 * own['low']:.1f}, {100 * own['high']:.1f}]"
        assert said in rows["23aResults"][2]
    counts = ", ".join(f"{n} {c}" for n, c in zip(results["classes"], results["class_counts"], strict=True))
    assert counts in rows["21Results"][2]
    (row,) = results["comparisons"]
    assert f"p = {row['sign_flip_test']['p_value']:.3f}." in rows["25Discussion"][2]
    assert rows["18aOpen science"][2] == f"{AUTHORS}: sources, and the role of funders."


def test_the_page_holds_every_row(folder: Path) -> None:
    page = Page((folder / PAGE).read_text())
    for checklist in CHECKLISTS:
        assert len(page.table(checklist.name + ", after")[1:]) == len(checklist.items)
    assert "<b>|n" in page.text


def test_json_counts_what_is_open(folder: Path) -> None:
    found = succeed("compare", folder, "--checklists", "--quiet").json
    for checklist in found["checklists"]:
        statuses = [item["status"] for item in checklist["items"]]
        assert checklist["counts"] == {status: statuses.count(status) for status in (ANSWERED, PARTLY, OPEN)}
        assert all(item["answer"] or item["left"] for item in checklist["items"])
    assert [len(one["items"]) for one in found["checklists"]] == [52, 45, 28]


def test_what_a_comparison_alone_does_not_record_stays_open(folder: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "environment.json", "predictions.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    results = json.loads((folder / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({k: v for k, v in results.items() if k != "final_arm"}))
    found = succeed("compare", tmp_path, "--checklists", "--quiet").json["checklists"]
    items = {(one["name"], item["number"]): item for one in found for item in one["items"]}
    assert items["CLAIM", "18"]["status"] == OPEN
    assert items["TRIPOD+AI", "22"]["status"] == OPEN
    assert "This run trains no final model." in items["CLAIM", "26"]["answer"]
    assert items["CLAIM", "9"]["left"] == "this run does not record it"


def test_other_papers_systems_are_not_described_as_ours(folder: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "environment.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    results = json.loads((folder / "results.json").read_text())
    results |= {"arms": {"mrmr-svm": results["arms"]["real"]}, "comparisons": []}
    (tmp_path / "results.json").write_text(json.dumps(results))
    answers = (folder / "predictions.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    own = [line.replace(",real,", ",mrmr-svm,") for line in answers if ",gan," not in line]
    (tmp_path / "predictions.csv").write_text("".join(own), encoding="utf-8")
    found = succeed("compare", tmp_path, "--checklists", "--quiet").json["checklists"]
    items = {(one["name"], item["number"]): item for one in found for item in one["items"]}
    assert "a support vector machine" in items["CLAIM", "22"]["answer"]
    assert "MobileNetV2 (deep learning" not in items["CLAIM", "22"]["answer"]
    assert items["CLAIM", "24"]["status"] == items["CLAIM", "27"]["status"] == OPEN


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "give a finished run" in refused("compare", tmp_path, "--checklists")
    (tmp_path / "config.yaml").write_text("data: x\n")
    assert "unfinished" in refused("compare", tmp_path, "--checklists")
    (tmp_path / "results.json").write_text("{}")
    assert "another kind of run" in refused("compare", tmp_path, "--checklists")
    assert "RUNS is missing" in plain(refused("compare", "--checklists"))


@pytest.mark.slow
def test_the_page_is_readable_and_axe_finds_nothing_at_any_width(folder: Path, browser: Browser) -> None:
    assert faults_at_any_width(browser, folder / PAGE) == {}
    with browser.new_context(offline=True) as context:
        tab = context.new_page()
        tab.goto((folder / PAGE).as_uri())
        for width in WIDTHS[1:]:
            tab.set_viewport_size({"width": width, "height": 900})
            smallest = tab.evaluate(
                """() => Math.min(...[...document.querySelectorAll("td, th, small, p, a")]
                  .filter((one) => one.offsetWidth).map((one) => parseFloat(getComputedStyle(one).fontSize)))"""
            )
            assert smallest >= 12
            lines = tab.evaluate(
                """() => [...document.querySelectorAll("td.said")].map((one) => one.getBoundingClientRect().width
                  / parseFloat(getComputedStyle(one).fontSize))"""
            )
            assert min(lines) > 16 and max(lines) < 70  # em: neither a column of single words nor an endless line
