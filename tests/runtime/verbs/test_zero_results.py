"""Where nothing was answered, nothing leads nowhere: no next step, no empty table, no file that was not written."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime.jobs import classifying


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder of classes whose scans cannot be read."""
    folder = factory.write_scans(tmp_path / "scans", range(3))
    for number, scan in enumerate(sorted(folder.glob("*.png"))):
        place = tmp_path / "broken" / ("benign", "malignant")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / scan.name).write_bytes(scan.read_bytes()[:200])
    return tmp_path / "broken"


def test_a_batch_without_an_answer_has_neither_table_nor_next_step(bundle: Path, broken: Path) -> None:
    done = sonoforge("classify", broken, "--recursive", "--bundle", bundle)
    assert done.code == 2 and done.said.splitlines()[0] == "0 of 3 files answered."
    assert "next:" not in done.err


def test_a_folder_watched_in_vain_leaves_no_page_and_claims_no_reports(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_comes(folder: str, recursive: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(classifying, "whole_files", none_comes)
    page, sr = tmp_path / "a.html", tmp_path / "sr"
    done = sonoforge("classify", "--watch", tmp_path, "--html", page, "--sr", sr, "--bundle", bundle)
    assert done.code == 0 and done.said.startswith("No file was answered.")
    assert not page.exists() and "written" not in done.err and "next:" not in done.err


def test_quality_begins_a_table_only_with_its_first_row(bundle: Path, broken: Path, tmp_path: Path) -> None:
    done = sonoforge("quality", broken, "--recursive", "--bundle", bundle)
    assert done.code == 2 and "sharp." not in done.said and "0 of 3 files measured" in done.said
    scans = factory.write_scans(tmp_path / "good", range(2))
    done = sonoforge("quality", broken, scans, "--recursive", "--bundle", bundle)
    rows = [line.split()[0] for line in done.said.splitlines() if ".png" in line or "sharp." in line]
    assert rows[0] == "file" and len(rows) == 3


def test_bench_explains_no_columns_of_an_empty_table(tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.ort", b"not a model", "ort", "fp32")
    done = sonoforge("bench", folder, "--formats", "ort")
    assert done.code == 1 and "ort: failed" in done.said
    assert "p95 ms" not in done.said and "of the process with the runner" not in done.said


@pytest.mark.parametrize("verb", ["adapt", "validate"])
def test_scans_that_cannot_be_read_are_refused_by_name_and_nothing_is_left(
    verb: str, bundle: Path, broken: Path, tmp_path: Path
) -> None:
    for number in range(12):
        (broken / "benign" / f"more{number}.png").write_bytes(b"none")
    chosen = (bundle,) if verb == "adapt" else ("--bundle", bundle)
    out = tmp_path / "out"
    done = sonoforge(verb, *chosen, "--data", broken, "--out", out)
    assert done.code == 2 and "next:" not in done.err and done.said == ""
    assert "be read" in done.err and ".png" in done.err
    assert not out.exists() or not [*out.rglob("*.json")]
