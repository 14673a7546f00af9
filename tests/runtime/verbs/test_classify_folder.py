"""What ``sonoforge classify`` does with a folder that holds more than scans, with a full disk, and with a pipe."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import bundle_factory as factory
from program import Finished, refused, sonoforge
from sonoforge.runtime.images.inputs import skipped_in_words
from sonoforge.runtime.images.synthetic import png_bytes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(factory.scan(i)).save(folder / f"{i}.png")
    return folder


def names(done: Finished) -> list[str]:
    return [Path(result["file"]).name for result in done.json["results"]]


def test_what_is_no_scan_is_skipped_and_counted_by_kind(bundle: Path, scans: Path) -> None:
    for name in ("a.txt", "README.MD", "clip.mpg", "report.pdf", "x.csv", "page.html", "odd.xyz", "0.sonoforge.json"):
        (scans / name).write_text("x", encoding="utf-8")
    (scans / ".DS_Store").write_text("hidden", encoding="utf-8")
    shutil.copy(scans / "0.png", scans / "0_mask.png")
    done = sonoforge("classify", scans, "--bundle", bundle, "--json")
    assert names(done) == ["0.png", "1.png", "2.png"]
    once = ("answer", "document", "mask", "other", "table", "video", "web page")
    expected = {**dict.fromkeys(once, 1), "text": 2}
    assert done.json["summary"]["skipped"] == expected
    counted = "1 answer, 1 document, 1 mask, 1 other, 1 table, 1 video, 1 web page"
    assert f"9 files skipped: 2 text, {counted}\n" in done.err
    assert "skipped" not in sonoforge("classify", scans, "--bundle", bundle, "--quiet").err
    assert "skipped" not in sonoforge("classify", scans / "0.png", "--bundle", bundle).err


def test_numbers_of_skipped_files_in_words() -> None:
    assert skipped_in_words({}) == ""
    assert skipped_in_words({"text": 2, "video": 1}) == "3 files skipped: 2 text, 1 video"
    assert skipped_in_words({"picture of sonoforge": 2, "web page": 2}) == (
        "4 files skipped: 2 pictures of sonoforge, 2 web pages"
    )


def test_own_pictures_in_the_folder_are_no_scans(bundle: Path, scans: Path) -> None:
    command = ("classify", scans, "--bundle", bundle, "--overlay", scans, "--csv", scans / "a.csv")
    assert sonoforge(*command).code == 0
    origin = {"class": "benign", "seed": 0, "step": 1}
    (scans / "made.png").write_bytes(png_bytes(np.zeros((64, 64, 1), np.uint8), origin))
    simulated = PngImagePlugin.PngInfo()
    simulated.add_text("Description", "Simulated ultrasound image")  # as `data import phantom` marks its scans
    Image.fromarray(factory.scan(7)).save(scans / "simulated.png", pnginfo=simulated)
    done = sonoforge("classify", scans, "--bundle", bundle, "--json")
    assert names(done) == ["0.png", "1.png", "2.png", "simulated.png"]
    skipped = {"generated image": 1, "picture of sonoforge": 3, "table": 1}
    assert done.json["summary"]["skipped"] == skipped
    named = sonoforge("classify", scans / "made.png", scans / "*-overlay.png", "--bundle", bundle, "--json")
    assert len(named.json["results"]) == 4  # whoever names a picture wants an answer for it


def test_a_folder_of_generated_images_says_how_to_read_them(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "made.png").write_bytes(png_bytes(np.zeros((64, 64, 1), np.uint8), {"class": "benign", "seed": 0}))
    done = sonoforge("classify", tmp_path, "--bundle", bundle)
    assert done.code == 2
    assert "holds no image files; --recursive also searches its subfolders; name generated images one by" in done.err


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_one_image_from_standard_input(bundle: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_file = sonoforge("classify", scans / "0.png", "--bundle", bundle, "--json").json["results"][0]
    pipe(monkeypatch, (scans / "0.png").read_bytes())
    pictures = scans.parent / "seen"
    done = sonoforge("classify", "-", scans / "1.png", "--bundle", bundle, "--json", "--overlay", pictures)
    first, second = done.json["results"]
    assert (first["file"], second["file"]) == ("-", str(scans / "1.png"))
    assert first["probabilities"] == from_file["probabilities"]
    with Image.open(first["overlay"]) as picture:
        assert "sonoforge:overlay" in picture.text  # type: ignore[attr-defined]
    pipe(monkeypatch, (scans / "0.png").read_bytes())
    hidden = sonoforge("classify", "-", "--bundle", bundle, "--json", "--anonymous").json["results"][0]
    assert hidden["file"] == hashlib.sha256((scans / "0.png").read_bytes()).hexdigest()[:16]


def test_a_clip_from_standard_input(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    import dicom_files

    path = tmp_path / "clip.dcm"
    frames = np.concatenate([dicom_files.scan(seed=seed) for seed in range(3)])
    dicom_files.data_set(frames).save_as(path, enforce_file_format=True)
    from_file = sonoforge("classify", path, "--bundle", bundle, "--json").json["results"][0]
    pipe(monkeypatch, path.read_bytes())
    piped = sonoforge("classify", "-", "--bundle", bundle, "--json").json["results"][0]
    own = {"file": "", "series": "", "ms": 0}
    assert {**piped, **own} == {**from_file, **own}
    assert piped["clip"]["frames"] == 3


def test_standard_input_that_cannot_be_used(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"junk")
    done = sonoforge("classify", "-", "--bundle", bundle)
    assert done.code == 2 and "-     error (not_an_image): -: not an image" in done.err
    pipe(monkeypatch, b"")
    assert "standard input is empty" in refused("classify", "-", "--bundle", bundle)
    monkeypatch.setattr("sonoforge.runtime.images.inputs.MAX_FILE_BYTES", 1000)
    pipe(monkeypatch, bytes(1001))
    assert "more than 0 MB on standard input" in refused("classify", "-", "--bundle", bundle)
    for flag in (("--resume", "--csv", tmp_path / "a.csv"), ("--sr", tmp_path)):
        assert "needs a file's name" in refused("classify", "-", *flag, "--bundle", bundle)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_an_unwritable_overlay_folder_is_told_before_the_first_scan(bundle: Path, scans: Path) -> None:
    for folder in ("/proc/self", "/proc/self/new", scans / "0.png"):
        assert str(folder) in refused("classify", scans, "--bundle", bundle, "--overlay", folder)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_overlay_that_cannot_be_written_loses_no_answer(
    bundle: Path, scans: Path, tmp_path: Path, workers: int
) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)
    Image.fromarray(noise).save(scans / "1.png")
    table = tmp_path / "a.csv"
    command = ("classify", scans, "--bundle", bundle, "--overlay", tmp_path / "seen", "--csv", table)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (150_000, hard)
    )  # as a disk that fills up: the large picture does not fit
    try:
        done = sonoforge(*command, "--set", f"model.workers={workers}", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 2
    assert [(result["ok"], "overlay" in result) for result in done.json["results"]] == [
        (True, True),
        (True, False),
        (True, True),
    ]
    (message,) = done.json["results"][1]["unwritten"]
    assert "1-overlay.png: cannot be written (File too large)" in message
    assert message in done.err
    assert done.json["summary"]["unwritten"] == 1
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["0-overlay.png", "2-overlay.png"]
    with table.open(encoding="utf-8", newline="") as file:
        assert [row["ok"] for row in csv.DictReader(file)] == ["true"] * 3


def test_anonymous_answers_resume_each_file_once(bundle: Path, scans: Path, tmp_path: Path) -> None:
    shutil.copy(scans / "0.png", scans / "copy of 0.png")
    (scans / "Jane Doe.png").write_bytes(b"junk")
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    command = ("classify", scans, "--bundle", bundle, "--anonymous", "--jsonl", lines, "--csv", table)
    assert sonoforge(*command).code == 2
    whole, rows = lines.read_text(), table.read_text()
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(scans.iterdir())]
    assert hashes[0] == hashes[4]
    hashes[4] += "-2"
    assert [json.loads(line)["file"] for line in whole.splitlines()] == hashes
    assert "Jane" not in whole + rows
    for kept in (0, 1, 3):  # killed after so many answers
        lines.write_text("".join(line + "\n" for line in whole.splitlines()[:kept]))
        table.write_text("".join(line + "\n" for line in rows.splitlines()[: kept + 1]))
        done = sonoforge(*command, "--resume")
        assert f"{kept} files are answered already, {5 - kept} are left" in done.err
        assert [json.loads(line)["file"] for line in lines.read_text().splitlines()] == hashes
        with table.open(encoding="utf-8", newline="") as file:
            assert [row["file"] for row in csv.DictReader(file)] == hashes
    (scans / "0.png").rename(scans / "renamed.png")  # the same contents under another name
    Image.fromarray(factory.scan(9)).save(scans / "new.png")
    done = sonoforge(*command, "--resume")
    assert "5 files are answered already, 1 are left" in done.err
