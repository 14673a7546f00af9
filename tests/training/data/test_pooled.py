"""Several collections as one data set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scans import draw_scan, save
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import Dataset, read_dataset
from sonoforge.training.data.labelled_images import read_masks
from sonoforge.training.data.load import read_collections
from sonoforge.training.data.splits import make_plan


def collection(root: Path, classes: dict[str, int], seed: int = 0, device: str = "") -> Path:
    """Write a folder of noise images, two to a patient, with masks."""
    rng = np.random.default_rng(seed)
    groups, devices = [], []
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            path = f"{name}/scan{number}.png"
            Image.fromarray(rng.integers(0, 256, (48, 64), np.uint8)).save(root / path)
            mask = np.zeros((48, 64), np.uint8)
            mask[8:24, 8 : 16 + number] = 255
            Image.fromarray(mask).save(root / name / f"scan{number}_mask.png")
            groups.append((path, f"{name}{number // 2}"))
            devices.append((path, device))
    _write(root / "groups.csv", ("file", "group"), groups)
    if device:
        _write(root / "metadata.csv", ("file", "device"), devices)
    return root


def _write(path: Path, columns: tuple[str, ...], rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = collection(tmp_path / "first", {"normal": 4, "benign": 6, "malignant": 6}, device="Probe A")
    return first, collection(tmp_path / "second", {"Benign": 8, "Malignant": 4}, seed=1)


def by_class(dataset: Dataset) -> dict[str, int]:
    return {name: int((dataset.labels == label).sum()) for label, name in enumerate(dataset.classes)}


def test_classes_of_one_name_are_one_and_files_keep_their_collection(two: tuple[Path, Path]) -> None:
    dataset = read_collections(two)
    assert dataset.name == "first+second"
    assert dataset.classes == ("normal", "benign", "malignant")
    assert by_class(dataset) == {"normal": 4, "benign": 14, "malignant": 10}
    item = next(item for item in dataset.items if item.path == "second/Benign/scan3.png")
    assert (item.group, item.device, item.masks) == ("second:benign1".replace("b", "B"), "", (item.masks[0],))
    assert dataset.file(item.masks[0]) == two[1] / "Benign" / "scan3_mask.png"
    assert dataset.sources.count("first") == 16 and set(dataset.devices) == {"Probe A", ""}


def test_what_is_known_of_a_collection_is_kept_under_its_name(two: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "collections.json"
    entries = [{"folder": "first", "name": "Rio", "about": "one hospital; CC BY 4.0"}, {"folder": "second"}]
    path.write_text(json.dumps({"collections": entries}))
    assert read_collections([path]).about == {"Rio": "one hospital; CC BY 4.0"}


def test_pixels_and_masks_are_those_of_each_collection_alone(two: tuple[Path, Path], tmp_path: Path) -> None:
    pooled = open_cache(read_collections(two), 32, tmp_path / "cache")
    masks = read_masks(pooled, np.arange(len(pooled.images)), tmp_path / "cache")
    for folder in two:
        alone = open_cache(read_dataset(folder), 32, tmp_path / "cache")
        own = read_masks(alone, np.arange(len(alone.images)), tmp_path / "cache")
        for row, item in enumerate(alone.dataset.items):
            place = [other.path for other in pooled.dataset.items].index(f"{folder.name}/{item.path}")
            assert np.array_equal(pooled.images[place], alone.images[row])
            assert np.array_equal(masks[place], own[row])


def test_images_without_a_lesion_need_masks_only_where_their_collection_gives_them(tmp_path: Path) -> None:
    first = collection(tmp_path / "first", {"normal": 2, "benign": 2})
    second = collection(tmp_path / "second", {"normal": 2, "benign": 2}, seed=1)
    for mask in (second / "normal").glob("*_mask.png"):
        mask.unlink()
    pooled = open_cache(read_collections([first, second]), 32, tmp_path / "cache")
    chosen = np.flatnonzero([item.path.startswith("second/normal") for item in pooled.dataset.items])
    assert not read_masks(pooled, chosen, tmp_path / "cache").any()
    (first / "normal" / "scan0_mask.png").unlink()
    pooled = open_cache(read_collections([first, second]), 32, tmp_path / "cache")
    with pytest.raises(SonoforgeError, match=r"first/normal/scan0.png: has no scan0_mask.png"):
        read_masks(pooled, np.arange(len(pooled.images)), tmp_path / "cache")


def test_a_file_of_collections_renames_and_leaves_out_classes(two: tuple[Path, Path], tmp_path: Path) -> None:
    entries = [
        {"folder": "first", "classes": {"normal": None, "benign": "no cancer", "malignant": "cancer"}},
        {"folder": "second", "name": "Rio", "classes": {"Benign": "no cancer", "Malignant": "Cancer"}},
    ]
    path = tmp_path / "collections.json"
    path.write_text(json.dumps({"collections": entries}))
    dataset = read_collections([path])
    assert dataset.classes == ("cancer", "no cancer") and dataset.root == tmp_path
    assert by_class(dataset) == {"cancer": 10, "no cancer": 14}
    assert {item.path.split("/")[0] for item in dataset.items} == {"first", "Rio"}


def test_groups_beside_the_file_join_patients_of_two_collections(two: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("file,group\nfirst/benign/scan0.png,P1\nsecond/Benign/scan0.png,P1\n")
    dataset = read_collections(two)
    assert sum(item.group == "P1" for item in dataset.items) == 2
    (tmp_path / "groups.csv").write_text("file,group\nthird/benign/scan0.png,P1\n")
    with pytest.raises(SonoforgeError, match=r"groups.csv: third/benign/scan0.png not found"):
        read_collections(two)


def test_a_scan_in_two_collections_is_in_one_fold(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two
    for number in range(4):
        with Image.open(first / "benign" / f"scan{number}.png") as image:
            image.save(second / "Benign" / f"scan{number}.png")
    cache = open_cache(read_collections(two), 32, tmp_path / "cache")
    plan = make_plan(cache, "sealed", 2)
    fold = dict(zip(plan.files, plan.fold_of, strict=True))
    for number in range(4):
        assert fold[f"first/benign/scan{number}.png"] == fold[f"second/Benign/scan{number}.png"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"folder": "first", "colour": 1}, "collection 1: unknown setting 'colour'"),
        ({"name": "first"}, "collection 1: .*folder: PATH"),
        ({"folder": "first", "classes": {"cyst": "benign"}}, "cyst.*benign, malignant, normal"),
        ({"folder": "first", "name": "second"}, "named 'second'"),
        ({"folder": "first", "classes": ["benign"]}, "classes: .*NAME: NEW NAME"),
        ({"folder": "first", "about": 2023}, "about: 2023 is not a text"),
        (
            {"folder": "first", "classes": {"normal": "a", "benign": "b", "malignant": "c"}},
            "b, c, a .*benign, malignant.; map them",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    two: tuple[Path, Path], tmp_path: Path, entry: dict[str, object], message: str
) -> None:
    path = tmp_path / "collections.json"
    path.write_text(json.dumps({"collections": [entry, {"folder": "second"}]}))
    with pytest.raises(SonoforgeError, match=message):
        read_collections([path])
    path.write_text("{}")
    with pytest.raises(SonoforgeError, match="'collections' is not a list"):
        read_collections([path])


def test_names_in_yaml_are_taken_as_written(tmp_path: Path) -> None:
    """YAML 1.1 would read most of them as something else than text."""
    first = ("no", "yes", "on", "012", "1.0", "2024-01-01", "1:30", "null")
    for number, name in enumerate((*first, "0", "1")):
        scan = draw_scan(number, 48)
        save(tmp_path / ("a" if name in first else "b") / name / f"{number}.png", scan)
    renamed = {"no": "off", "yes": "y", "on": "n", "012": "1e3", "1.0": "1.10", "2024-01-01": "2024-02-30", "1:30": "~"}
    lines = [f"{old}: {new}" for old, new in renamed.items()]
    path = tmp_path / "collections.yaml"
    path.write_text(f"collections:\n  - {{folder: a, classes: {{{', '.join(lines)}, null: null}}}}\n")
    assert set(read_collections([path]).classes) == {*renamed.values()} - {"~"}
    path.write_text("collections:\n  - {folder: a, classes: {no: 0, yes: 1, on: 1}}\n  - {folder: b, name: 2024}\n")
    pooled = read_collections([path])
    counts = by_class(pooled)
    assert counts["0"] == 2 and counts["1.0"] == 4 and "1" not in counts and "2024" in pooled.collections


def test_classes_that_collections_spell_differently_are_one_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("a/0", "a/1", "b/0.0", "b/1.0")):
        save(tmp_path / name / f"{number}.png", draw_scan(number, 48))
    pooled = read_collections([tmp_path / "a", tmp_path / "b"])
    assert pooled.classes == ("0", "1") and by_class(pooled) == {"0": 2, "1": 2}
    assert "a+b: classes that differ only in spelling count as one: '0' and '0.0'" in caplog.text
