"""``classify`` and ``quality`` name the earlier file of a batch that shows the same picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from program import sonoforge
from scans import draw_scan


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    folder = tmp_path / "batch"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(draw_scan(seed, 256)).save(folder / f"{seed}.png")
    scan = Image.open(folder / "1.png")
    scan.save(folder / "3-same.tif")
    scan.resize((128, 128)).save(folder / "4-half.jpg", quality=50)
    (folder / "5-bad.png").write_bytes(b"junk")
    return folder


@pytest.mark.parametrize("verb", ["classify", "quality"])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_repeat_is_named_in_every_form_of_the_answer(verb: str, workers: int, bundle: Path, batch: Path) -> None:
    table, page = batch.parent / "a.csv", batch.parent / "a.html"
    more = ("--set", f"model.workers={workers}") if verb == "classify" else ()
    arguments = (verb, batch, "--bundle", bundle, "--csv", table, "--html", page, *more)
    done = sonoforge(*arguments, "--json")
    assert done.code == 2  # of the bad file
    first = str(batch / "1.png")
    expected = {"3-same.tif": (first, None), "4-half.jpg": (None, first)}
    for entry in done.json["results"]:
        if entry["ok"]:
            found = entry["copy_of"], entry["seems_copy_of"]
            assert found == expected.get(Path(entry["file"]).name, (None, None))
    with table.open(newline="", encoding="utf-8") as file:
        rows = {Path(row["file"]).name: (row["copy_of"], row["seems_copy_of"]) for row in csv.DictReader(file)}
    assert rows["3-same.tif"] == (first, "") and rows["4-half.jpg"] == ("", first)
    assert rows["1.png"] == rows["5-bad.png"] == ("", "")
    table.unlink()
    printed = sonoforge(*arguments).out
    shown = {
        first: page.read_text(encoding="utf-8"),
        first if verb == "quality" else "1.png": " ".join(printed.split()),
    }
    for name, text in shown.items():
        assert f"he same picture as {name}" in text and f"eems to be the same picture as {name}" in text
    if verb == "classify":
        assert done.json["summary"]["repeated"] == 2


def test_frames_of_a_sweep_stand_together_on_the_page_and_in_the_table(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweeps"
    folder.mkdir()
    whole = [Image.fromarray(draw_scan(seed, 400)) for seed in range(3)]
    for number, (seed, move) in enumerate([(0, 0), (0, 4), (1, 0), (2, 0), (2, 5), (2, 10)]):
        whole[seed].crop((move, move, move + 320, move + 320)).save(folder / f"{number}.png")
    table, page = tmp_path / "a.csv", tmp_path / "a.html"
    done = sonoforge("classify", folder, "--bundle", bundle, "--csv", table, "--html", page, "--json")
    series = [str(folder / f"{number}.png") for number in (0, 0, 2, 3, 3, 3)]
    assert [entry["series"] for entry in done.json["results"]] == series
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["series"] for row in csv.DictReader(file)] == series
    sections = page.read_text(encoding="utf-8").split('<section class="series">')[1:]
    shown = [{name for name in "012345" if f"{name}.png</p>" in part.split("</section>")[0]} for part in sections]
    assert sorted(map(sorted, shown)) == [["0", "1"], ["3", "4", "5"]]
    hidden = sonoforge("classify", folder, "--bundle", bundle, "--anonymous", "--json").json["results"]
    assert [entry["series"] for entry in hidden] == [hidden[int(Path(name).stem)]["file"] for name in series]


def test_pseudonyms_and_json_lines_name_the_repeat_too(bundle: Path, batch: Path) -> None:
    lines = batch.parent / "a.jsonl"
    done = sonoforge("classify", batch, "--bundle", bundle, "--jsonl", lines, "--anonymous", "--json")
    entries = done.json["results"]
    assert entries[3]["copy_of"] == entries[4]["seems_copy_of"] == entries[1]["file"]
    assert "1.png" not in done.out + done.err
    assert [json.loads(line).get("copy_of") for line in lines.read_text().splitlines()][3] == entries[1]["file"]
