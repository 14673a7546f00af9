"""Reading labelled folders: BUSI as published, plain class folders, groups.csv, and what is wrong with them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scans import draw_scan, save, write_set
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import BUSI_FOLDER, read_dataset
from sonoforge.training.data.layouts import natural_order

PIXELS = draw_scan(0, 32)


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    root = tmp_path / "download" / BUSI_FOLDER
    for name, numbers in (("benign", (1, 2, 10)), ("malignant", (1, 3)), ("normal", (2,))):
        for number in numbers:
            save(root / name / f"{name} ({number}).png", PIXELS)
            save(root / name / f"{name} ({number})_mask.png", PIXELS)
    save(root / "benign" / "benign (2)_mask_1.png", PIXELS)
    save(root / "benign" / "benign (2)_mask_2.png", PIXELS)
    return root


def one_line_error(path: Path) -> str:
    with pytest.raises(SonoforgeError) as caught:
        read_dataset(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    return message


def test_busi_is_read_from_its_folder_and_from_the_one_above(busi: Path) -> None:
    for path in (busi, busi.parent):
        dataset = read_dataset(path)
        assert dataset.name == "BUSI"
        assert dataset.classes == ("normal", "benign", "malignant")
        assert [item.path for item in dataset.items] == [
            "normal/normal (2).png",
            "benign/benign (1).png",
            "benign/benign (2).png",
            "benign/benign (10).png",
            "malignant/malignant (1).png",
            "malignant/malignant (3).png",
        ]
        assert dataset.labels.tolist() == [0, 1, 1, 1, 2, 2]
        assert dataset.labels.dtype == np.int64


def test_masks_of_busi_are_no_images_and_another_folder_name_changes_no_class(busi: Path) -> None:
    item = read_dataset(busi).items[2]
    assert item.masks == tuple(f"benign/benign (2)_mask{tail}.png" for tail in ("", "_1", "_2"))
    (busi / "benign" / "benign (10).png").unlink()  # leaves its mask
    dataset = read_dataset(busi.rename(busi.parent / "phantom-300"))
    assert (dataset.name, dataset.classes, len(dataset.items)) == ("phantom-300", ("normal", "benign", "malignant"), 5)


def test_real_busi_has_its_published_counts(shared: Path) -> None:
    dataset = read_dataset(shared / "data" / "BUSI")
    assert np.bincount(dataset.labels).tolist() == [133, 437, 210]
    masks = [len(item.masks) for item in dataset.items]
    assert sum(masks) == 798
    assert min(masks) == 1
    assert sum(count > 1 for count in masks) == 17
    three = [item.path for item in dataset.items if len(item.masks) == 3]
    assert three == ["benign/benign (195).png"]
    numbers = [int(re.findall(r"\d+", item.path)[0]) for item in dataset.items]
    assert numbers == [*range(1, 134), *range(1, 438), *range(1, 211)]


def test_any_class_folders_are_read_at_any_depth(tmp_path: Path) -> None:
    root = tmp_path / "cells"
    save(root / "b" / "patient2" / "x.png", PIXELS)
    save(root / "b" / "y.jpg", PIXELS)
    save(root / "A" / "z.PNG", PIXELS)
    save(root / "A" / "face_mask.png", PIXELS)  # no image "face": an image of its own
    save(root / ".hidden" / "h.png", PIXELS)
    (root / "A" / "notes.txt").write_text("not an image")
    dataset = read_dataset(root)
    assert dataset.name == "cells"
    assert dataset.classes == ("A", "b")
    assert [item.path for item in dataset.items] == ["A/face_mask.png", "A/z.PNG", "b/patient2/x.png", "b/y.jpg"]


def test_natural_order_counts_numbers() -> None:
    names = ["benign (10)", "Benign (2)", "benign (1)", "a²", "007", "7"]
    assert sorted(names, key=natural_order) == ["007", "7", "a²", "benign (1)", "Benign (2)", "benign (10)"]


def test_groups_csv_groups_images(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", {"a": 2, "b": 1})
    (root / "groups.csv").write_text(
        "group,file\np1,a/scan (1).png\n,a\\scan (2).png\np1,./b/scan (1).png\n", "utf-8-sig"
    )
    assert [item.group for item in read_dataset(root).items] == ["p1", None, "p1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,group\na/scan (1).png,p1\n", r"has no line for a/scan \(2\).png, b/"),
        ("file,group\na/scan (9).png,p1\n", r"a/scan \(9\).png not found"),
        ("name,patient\na/scan (1).png,p1\n", "no heading 'file', 'group'.*'name', 'patient'"),
        ("", "no heading .*nothing"),
        ("file,group\na/scan (1).png,p1\na/scan (1).png,p2\n", "line 3 puts .* in group 'p2', an earlier line in 'p1'"),
        ("file,group\n,p1\n", "line 2 names no file"),
    ],
)
def test_a_wrong_groups_csv_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    root = write_set(tmp_path / "set", {"a": 2, "b": 1})
    (root / "groups.csv").write_text(text)
    message = one_line_error(root)
    assert "groups.csv" in message
    assert re.search(expected, message)


def test_wrong_paths_are_one_line_with_a_remedy(tmp_path: Path, busi: Path) -> None:
    file = tmp_path / "set.tar"
    file.write_bytes(b"PK")
    empty = tmp_path / "empty"
    empty.mkdir()
    loose = tmp_path / "loose"
    save(loose / "x.png", PIXELS)
    single = write_set(tmp_path / "single", {"a": 1})
    hollow = write_set(tmp_path / "hollow", {"a": 1})
    (hollow / "b").mkdir()
    assert "no such folder" in one_line_error(tmp_path / "missing")
    assert "unpack it" in one_line_error(file)
    assert "neither images nor class folders" in one_line_error(empty)
    assert "1 images but no class folders" in one_line_error(loose)
    assert "single class folder 'a'" in one_line_error(single)
    assert f"{hollow / 'b'}: has no images" in one_line_error(hollow)
    renamed = busi.rename(busi.parent / "mine")
    assert f"did you mean {renamed}?" in one_line_error(renamed.parent)


def test_a_folder_that_cannot_be_read_is_one_line(busi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    assert "Permission denied" in one_line_error(busi)


def test_a_folder_of_masks_is_no_class(tmp_path: Path) -> None:
    root = write_set(tmp_path / "eyes", {"healthy": 3})
    for number in (1, 2):
        (root / "lesions").mkdir(exist_ok=True)
        Image.fromarray(PIXELS > 90).save(root / "lesions" / f"eye_{number}_OD.png")
    message = one_line_error(root)
    assert "lesions: its 2 images have two levels" in message
    assert "NAME_mask.png" in message


def test_a_table_of_excel_on_a_mac_names_the_images_of_a_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [unicodedata.normalize("NFD", f"bösartig/Müller {number}.png") for number in (1, 2)] + ["gut/a.png"]
    for name in names:
        save(tmp_path / "set" / name, PIXELS)
    text = "File; Group\r\nbösartig\\Müller 1.png;1\r\nC:\\set\\bösartig\\Müller 2.png;1.0\r\n;;\r\na.png;nan\r\n"
    (tmp_path / "set" / "Groups.csv").write_bytes(b"sep=;\r\n" + text.encode())
    (tmp_path / "set" / "metadata.csv").write_bytes("FILE\tSplit\tDevice\r\na.png\tTEST\tGE\r\n".encode("utf-16"))
    items = read_dataset(tmp_path / "set").items
    assert [(item.path, item.group, item.split, item.device) for item in items] == [
        (names[0], "1", "", ""),
        (names[1], "1", "", ""),
        ("gut/a.png", None, "test", "GE"),
    ]
    assert "'1' and '1.0'" in caplog.text and "'nan'" in caplog.text
