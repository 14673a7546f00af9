"""An evaluation's page prints the figures it is given and loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from evaluation_results import answered, change, good
from pages import Page, check_page, plain
from sonoforge.training.reports.evaluation import ABOUT, PICTURES, write_evaluation
from sonoforge.training.statistics.wording import figure, times

HOSTILE = "<script>alert(1)</script>&\"'$\\frac{{ 7 * 1111111 }}"


def drawn() -> Figure:
    small = Figure(figsize=(1, 1))
    small.add_subplot().plot([0, 1])
    return small


def written(folder: Path, results: dict[str, Any]) -> Page:
    return Page(write_evaluation(folder, answered(results), {}).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation(folder, answered(good()), {name: drawn() for name in PICTURES})
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_page_shows_every_figure_and_every_setting(whole: Page) -> None:
    results = answered(good())
    table = {cells[0]: cells[1:] for cells in whole.table("All metrics") if len(cells) > 1}
    assert len(table) == 1 + len(results["metrics"])
    for metric in results["metrics"]:
        cells = table[metric["title"] + metric["space"]]
        for cell, name in zip(cells[1:4], ("value", "matched", "floor"), strict=True):
            assert cell.startswith(figure(metric[name]))
        for name in ("matched_low", "matched_high", "floor_low", "floor_high"):
            assert figure(metric[name]) in " ".join(cells)
        assert cells[4] == times(metric["ratio"])
    copies = {cells[0]: cells[1:] for cells in whole.table("Copy test")}
    assert copies["threshold"][0] == figure(12.37)
    assert copies["p value"][0] == "= 0.480"
    assert copies["generated images that match"] == ["2.0 %", "95 % interval 1.0 % to 3.9 %"]
    planted = {cells[0]: cells[1:] for cells in whole.table("Copies of the training images")}
    assert planted["crop 10 %"] == ["20", "19", "76.4 % to 99.1 %", "holds"]
    kinds = [cells for kind, cells in planted.items() if kind != "all kinds" and cells[0].isdigit()]
    counts = [[int(cells[at]) for cells in kinds] for at in (0, 1)]
    assert planted["all kinds"][:2] == [str(sum(own)) for own in counts]
    assert planted["half"][1:] == ["11", "34.2 % to 74.2 %", "cannot say"]
    settings = dict(whole.table("Every setting"))
    assert settings == {"size": "128", "features": "bundle 1a2b", "repeats": "100", "kernel": '{"degree": 3}'}
    for text in ("5f13a1e7c0ffee00", "Not comparable", "synthetic", "no weights were named", "31.4 %, 15.9 %"):
        assert text in whole.text
    assert "seed7.png" in whole.text
    for verdict in results["verdicts"].values():
        assert all(plain(verdict[part]) in whole.text for part in ("headline", "value", "text", "figure"))


def test_page_is_whole_accessible_and_loads_nothing(whole: Page) -> None:
    check_page(whole)
    sheets = {image["alt"] for image in whole.attributes("img")}
    charts = {chart["aria-label"] for chart in whole.attributes("svg")}
    assert sheets == {PICTURES["samples"]["alt"], PICTURES["nearest"]["alt"]}
    assert sheets | charts == {own["alt"] for own in PICTURES.values()}


def test_every_picture_is_also_a_file_that_says_what_it_shows(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*.png")} == set(PICTURES)
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert image.info["Description"] == ABOUT


def test_page_stays_small(folder: Path) -> None:
    assert (folder / "report.html").stat().st_size < 150_000


def test_page_escapes_names_from_files(tmp_path: Path) -> None:
    results = good()
    for part in ("real", "fake"):
        results[part] |= {"source": HOSTILE, "class": HOSTILE}
    results["metrics"][0] |= {"title": HOSTILE, "space": HOSTILE, "note": HOSTILE}
    results["copies"] |= {"flagged": [HOSTILE, "\udcff.png"]}
    results |= {"warnings": [HOSTILE], "not_measured": [{"name": HOSTILE, "why": HOSTILE}]}
    results |= {"protocol": {HOSTILE: HOSTILE}, "protocol_id": HOSTILE, "pca": {**results["pca"], "protocol": HOSTILE}}
    found = written(tmp_path, results)
    check_page(found)
    assert "<script" not in found.source
    assert "7777777" not in found.text
    assert found.text.count(HOSTILE) >= 14


def test_page_of_what_is_missing_says_so(tmp_path: Path) -> None:
    results = good() | {"metrics": [], "copies": None, "n": None, "protocol": {}, "not_measured": []}
    results["real"] |= {"class": ""}
    results["fake"] |= {"class": "", "synthetic": False}
    found = written(tmp_path, results)
    assert found.text.count("Not measured") == 3
    assert "Not tested." in found.text
    assert "not marked as synthetic" in found.text
    without_matched = dict.fromkeys(("matched", "matched_low", "matched_high", "ratio"))
    without_floor = dict.fromkeys(("floor", "floor_low", "floor_high", "standard_error"))
    results["metrics"] = [good()["metrics"][0] | without_matched, good()["metrics"][1] | without_floor]
    assert {verdict["answer"] for verdict in answered(results)["verdicts"].values()} == {"unknown"}
    assert written(tmp_path, results).text.count("not compared with real") == 2


def test_bad_news_stands_before_the_answers(whole: Page, tmp_path: Path) -> None:
    results = change(good(), "copies", share=0.1, copies=40, low=0.07, high=0.13, p_value=1e-6)
    results = change(results, "lpips_pairs", matched=2.0, matched_low=1.8, matched_high=2.2)
    results |= {"n": 20, "warnings": ["The feature network was trained on these images."]}
    text = written(tmp_path, results).text
    warned = text[text.index("Read first") : text.index("Is it realistic?")]
    for said in ("trained on these images", "only 33 % as much", "Copies found: 40 of 400", "20 images per set"):
        assert said in warned
    assert "Read first" not in whole.text
