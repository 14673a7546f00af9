"""What is read in folders, by the runtime and by training alike; with --anonymous no file name is printed."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dicom_files
from bundle_factory import scan
from image_files import HEIC
from program import sonoforge
from sonoforge.runtime.images.file_kinds import FILM_SUFFIXES, IMAGE_SUFFIXES, READ
from sonoforge.runtime.images.folders import is_outline
from sonoforge.runtime.images.inputs import expand
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset

# ---- one list of what is read: every suffix in it is found in folders, by the runtime and by training alike, and read.

FORMATS = {"JPEG 2000": "JPEG2000", "PNM": "PPM"}


def write(path: Path, seed: int) -> None:
    """Write a scan under a name, in the format that its suffix stands for."""
    if path.suffix in READ["HEIC"]:
        path.write_bytes(HEIC)
        return
    kind = next((kind for kind, suffixes in READ.items() if path.suffix.lower() in suffixes), "DICOM")
    pixels = scan(seed, 90, 120)
    if kind == "DICOM":
        dicom_files.save(dicom_files.data_set(pixels[None]), path)
        return
    image = Image.fromarray(pixels)
    image = image.convert("1") if path.suffix == ".pbm" else image.convert("RGB") if path.suffix == ".ppm" else image
    image.save(path, FORMATS.get(kind, kind.upper()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pi_heif", reason="needs the extra heic")
    root = tmp_path_factory.mktemp("data") / "set"
    for seed, name in enumerate(
        [*(f"scan{suffix}" for suffix in sorted(IMAGE_SUFFIXES)), "SCAN.JFIF", "IM000001", "1.2"]
    ):
        own = root / ("benign" if seed % 2 else "malignant")
        own.mkdir(parents=True, exist_ok=True)
        write(own / f"{seed:02}{name}" if name[0] in "sS" else own / name, seed)
    (root / "benign" / "photo.JXL").write_bytes(b"\xff\x0a")
    (root / "benign" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return root


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()} - {"photo.JXL", "DICOMDIR"}


def test_the_docs_list_every_suffix() -> None:
    text = (Path(__file__).parents[3] / "runtime/docs/files.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\.\w+)`", text)) == {*IMAGE_SUFFIXES, *FILM_SUFFIXES}


def test_training_and_runtime_find_the_same_files(folder: Path) -> None:
    found = expand([str(folder)], recursive=True)
    assert {Path(file).name for file in found.files} == names(folder)
    assert found.skipped == {"picture of another kind": 1, "other": 1}
    assert {Path(item.path).name for item in read_dataset(folder).items} == names(folder)


def test_all_of_them_are_read(folder: Path, tmp_path: Path) -> None:
    cache = open_cache(read_dataset(folder), 32, tmp_path)
    assert cache.unreadable == {} and len(cache.hashes) == len(names(folder))
    done = sonoforge("classify", folder, "--recursive", "--json")
    assert done.code == 0, done.err
    assert done.json["summary"]["ok"] == len(names(folder))


def test_a_set_of_12_bits_in_16_is_trained_on_as_if_it_had_8_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(6):
        own = tmp_path / "set" / ("benign" if index % 2 else "malignant")
        own.mkdir(parents=True, exist_ok=True)
        Image.fromarray(16 * scan(index, 90, 120).astype(np.uint16)).save(own / f"{index}.png")
    cache = open_cache(read_dataset(tmp_path / "set"), 32, tmp_path / "cache")
    assert sum(cache.remarks.values()) == 6 and "6 of 6 images" in caplog.text and "12 bits in 16" in caplog.text
    assert cache.images.max() > 200
    again = open_cache(read_dataset(tmp_path / "set"), 32, tmp_path / "cache")
    assert again.remarks == cache.remarks


# ---- --anonymous: no file name in anything printed or written.

NAME = "Zebedee"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / f"{NAME} study"
    folder.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 80)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{NAME}-{seed}.png")
    (folder / f"{NAME}-damaged.png").write_bytes((folder / f"{NAME}-0.png").read_bytes()[:500])
    return folder


def test_no_name_is_printed_or_written(study: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    out.mkdir()
    gone = study / f"{NAME}-gone.png"
    command = ("classify", study, gone, "--anonymous", "--json", "--csv", out / "a.csv", "--overlay", out / "pictures")
    with caplog.at_level(logging.DEBUG):
        done = sonoforge(*command)
    assert done.code == 2
    results = done.json["results"]
    assert [result["ok"] for result in results] == [True, True, False, False]
    assert results[2]["error"]["code"] == "truncated" and results[3]["error"]["code"] == "not_found"
    assert results[3]["file"] == "unread-4" and results[3]["error"]["message"].startswith("unread-4: no such file")
    assert NAME not in done.out + done.err + caplog.text
    assert (out / "a.csv").stat().st_size > 300
    assert len(list((out / "pictures").iterdir())) == 2
    for path in out.rglob("*"):
        assert NAME not in path.name and (path.is_dir() or NAME.encode() not in path.read_bytes())
    plain = sonoforge("classify", study, "--json").json["results"]
    assert [result["probabilities"] for result in results[:2]] == [
        result["probabilities"] for result in plain if result["ok"]
    ]
    (study / f"{NAME}-0.png").rename(tmp_path / "other.png")
    (again,) = sonoforge("classify", tmp_path / "other.png", "--anonymous", "--json").json["results"]
    assert again["file"] == results[0]["file"]  # named by contents


@pytest.mark.parametrize(
    ("levels", "few", "outline"),
    [((0, 100, 200), True, True), ((0, 100, 200), False, False), (range(256), True, False), ((0, 255), False, True)],
)
def test_a_picture_of_few_levels_is_an_outline(tmp_path: Path, levels: Sequence[int], few: bool, outline: bool) -> None:
    drawn = np.random.default_rng(0).choice(np.array(levels, np.uint8), (64, 64))
    Image.fromarray(drawn).save(tmp_path / "a_mask.png")
    assert is_outline(tmp_path / "a_mask.png", few) == outline
