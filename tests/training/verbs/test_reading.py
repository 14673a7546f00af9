"""``evaluate --reading-sheet`` and ``evaluate --answers`` as a user meets them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from evaluations import FAKES, Sets
from pages import Page, check_page
from program import refused, sonoforge, succeed
from readings import small_sheet, write_answers, write_folder
from sonoforge.training.reader_study.sheet import KEY, Entry, read_key
from sonoforge.training.reports.reading import PAGE


@pytest.fixture(scope="module")
def folder(sets: Sets) -> Path:
    """A sheet of phantoms and blurred phantoms."""
    return Path(succeed("evaluate", sets.real, sets.blurred, "--reading-sheet", 6, "--quiet").json["run"])


def test_the_sheets_folder_is_complete_and_says_what_is_for_whom(folder: Path, sets: Sets) -> None:
    files = {"config.yaml", "environment.json", "log.txt", "results.json", PAGE, KEY}
    assert {path.name for path in folder.iterdir()} == files
    key, seal = read_key(folder / KEY)
    assert [entry.kind for entry in key.entries].count("generated") == 6 == len(key.entries) / 2
    assert {entry.source for entry in key.entries if entry.kind == "real"} == {str(sets.real)}
    assert key.side == 64
    log = (folder / "log.txt").read_text()
    assert f"for the readers: {folder / PAGE}" in log and f"all have answered: {folder / KEY}" in log and seal in log
    assert json.loads((folder / "results.json").read_text())["commitment"] == seal
    names = [entry.file for entry in key.entries]
    assert not [name for name in names if name in (folder / PAGE).read_text()]


def test_what_does_not_go_together_is_refused(sets: Sets) -> None:
    line = refused("evaluate", sets.real, sets.blurred, "--reading-sheet", 6, "--metrics", "kid")
    assert "--metrics: cannot be combined with --reading-sheet" in line
    assert f"fewer than {FAKES + 1}; ask for at most --reading-sheet" in refused(
        "evaluate", sets.real, sets.blurred, "--reading-sheet", FAKES + 1
    )
    assert "--set reading.classes: requires --reading-sheet" in refused(
        "evaluate", sets.real, sets.blurred, "--set", "reading.classes=benign,malignant"
    )
    assert "must be two or more different classes" in refused(
        "evaluate", sets.real, sets.blurred, "--reading-sheet", 6, "--set", "reading.classes=benign"
    )
    assert "an unnamed class, not one of benign, normal; add it, or give --class" in refused(
        "evaluate", sets.real, sets.blurred, "--reading-sheet", 6, "--set", "reading.classes=benign,normal"
    )
    assert "REAL must be a folder" in refused("evaluate", "sheet", "--answers", "a.json")
    assert "no other option" in refused("evaluate", "sheet", "--answers", "a.json", "--seed", 1)


def test_answers_are_read_back_with_every_figure(folder: Path, tmp_path: Path) -> None:
    key, seal = read_key(folder / KEY)

    def sees(entry: Entry) -> dict[str, Any]:
        mark = {"x": 0.25, "y": 0.5} if entry.kind == "generated" else None
        return {"kind": entry.kind, "confidence": 5, "seconds": 2, "mark": mark}

    write_answers(tmp_path / "sees.json", seal, key.entries, sees)
    write_answers(tmp_path / "<b>blind.json", seal, key.entries, lambda entry: {"kind": "real", "seconds": 1})
    done = sonoforge("evaluate", folder, "--answers", tmp_path, "--out", tmp_path / "runs", "--quiet")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "…" not in said
    assert re.search(r"2\. sees 100 % .* 1\.000 ", said), said
    assert "told apart: yes. 1 of 2 readers did better than chance" in said
    (run,) = (tmp_path / "runs").iterdir()
    found = json.loads((run / "results.json").read_text())
    blind, seer = found["readers"]
    assert (seer["accuracy"]["value"], seer["p_value"], seer["auc"]["value"]) == (1, pytest.approx(2 / 2**12), 1)
    assert (blind["sensitivity"]["value"], blind["specificity"]["value"], blind["p_value"]) == (0, 1, 1)
    assert found["together"]["accuracy"]["value"] == 0.75
    assert found["sheet"]["commitment"] == seal
    with (run / "answers.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 24
    assert {(row["answer"], row["x"], row["seconds"]) for row in rows if row["reader"] == "sees"} == {
        ("real", "", "2.0"),
        ("generated", "0.25", "2.0"),
    }
    page = Page((run / "report.html").read_text())
    check_page(page)
    assert page.table("Accuracy, sensitivity")[1][0] == "1. <b>blind"
    assert "Generated images that most readers recognised" in page.text
    assert page.source.count('class="dot"') == 0  # recognised by one of two: not by most
    assert "Real images taken for generated None." in page.text


def test_every_class_of_a_set_has_its_share_and_its_question(sets: Sets, tmp_path: Path) -> None:
    sheet = small_sheet(3, ("benign", "malignant"))
    seal = write_folder(tmp_path / "sheet", sheet)
    page = (tmp_path / "sheet" / PAGE).read_text()
    assert '<input type="radio" name="class" value="malignant">' in page
    answers = write_answers(
        tmp_path / "a.json", seal, sheet.key.entries, lambda entry: {"kind": "real", "class": entry.class_name}
    )
    found = succeed("evaluate", tmp_path / "sheet", "--answers", answers, "--quiet").json
    assert found["readers"][0]["classes"]["generated"]["value"] == 1
    assert "Which class it shows" in Page(Path(found["report"]).read_text()).text
