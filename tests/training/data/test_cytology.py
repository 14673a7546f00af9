"""Herlev and Zenodo 7890874, on files that are written here as published, and on the real cells where they are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from program import sonoforge
from sonoforge.training.data.collections.herlev import CLASS_OF, EDGE, middle_square, without_padding

OVERLAPPING = (
    ("149315229-149315291", "149315229-149315310"),
    ("148848523-148848538", "148848523-148848559"),
    ("149056410-149056423", "149056410-149056444"),
    ("153654325-153654351", "153654325-153654360"),
)
"""Slide images of Herlev that show one cell, by `copies.second_search`, and by eye."""


def cell(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Something with detail everywhere, as fine as a microscope's."""
    coarse = np.random.default_rng(seed).integers(30, 225, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, pixels: NDArray[np.uint8], **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]


# Herlev.


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (100, 100), (92, 100)])
@pytest.mark.parametrize("quality", [75, 92])
def test_padding_is_cropped_and_nothing_else(height: int, width: int, quality: int, tmp_path: Path) -> None:
    """A cut-out that was padded to a square, scaled, and saved as JPEG, as the copies that circulate are."""
    side = max(height, width)
    padded = np.full((side, side, 3), (150, 90, 180), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = cell(height, width)
    scaled = Image.fromarray(padded).resize((128, 128), Image.Resampling.LANCZOS)
    scaled.save(tmp_path / "cell.jpg", quality=quality)
    cropped = without_padding(np.asarray(Image.open(tmp_path / "cell.jpg").convert("RGB")))
    if height == width:
        assert cropped.shape[:2] == (128, 128)
    else:
        wanted = np.array([height, width]) * 128 / side
        assert np.all(cropped.shape[:2] <= wanted + 1), "no line of padding stays"
        assert np.all(cropped.shape[:2] >= wanted - 2 * (EDGE + 1)), "but a few beside it may go, too"
    square = middle_square(cropped)
    assert square.shape[0] == square.shape[1] == min(cropped.shape[:2])


def published(folder: Path) -> None:
    for number, grade in enumerate(CLASS_OF):
        for slide, image in ((1, 6), (1, 7), (2, 8)):
            name = f"149143{slide}{number}0-1491437{image}0-001"
            save(folder / grade / f"{name}.BMP", cell(40, 70 + slide, number))
            save(folder / grade / f"{name}-d.bmp", cell(40, 70 + slide, number))


def test_the_published_folders_become_four_classes_or_seven(tmp_path: Path) -> None:
    published(tmp_path / "smear2005")
    for classes, names in (("4", set(CLASS_OF.values())), ("7", set(CLASS_OF))):
        out = tmp_path / classes
        done = sonoforge("data", "import", "herlev", tmp_path / "smear2005", out, "--classes", classes)
        assert done.code == 0, done.err
        assert {path.name for path in out.iterdir() if path.is_dir()} == names
        with (out / "groups.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 21, "and no segmentation"
        assert {(row["group"], row["slide_image"], row["grade"]) for row in rows} == {
            (f"149143{slide}{number}0", f"149143{slide}{number}0-1491437{image}0", grade)
            for number, grade in enumerate(CLASS_OF)
            for slide, image in ((1, 6), (1, 7), (2, 8))
        }
        for row in rows:
            assert Image.open(out / row["file"]).size == (40, 40)


def test_other_folders_and_options_are_one_line(tmp_path: Path) -> None:
    save(tmp_path / "set" / "cats" / "1-2-3.png", cell(8, 8))
    done = sonoforge("data", "import", "herlev", tmp_path / "set", tmp_path / "out")
    assert done.code == 2 and "found no cells such as carcinoma_in_situ" in done.err
    published(tmp_path / "smear2005")
    done = sonoforge("data", "import", "herlev", tmp_path / "smear2005", tmp_path / "out", "--mode", "roi")
    assert done.code == 2 and "found --mode, which it does not take; it takes --longest, --classes" in done.err
    (tmp_path / "smear2005" / "severe_dysplastic" / "149143150-149143760-001.BMP").write_bytes(b"BM no picture")
    done = sonoforge("data", "import", "herlev", tmp_path / "smear2005", tmp_path / "out")
    assert done.code == 0 and "1 of 21 pictures are left out" in done.err


def _flat_lines(pixels: NDArray[np.uint8]) -> list[float]:
    """What a shortcut would look at: shares of flat lines at opposite sides, measured apart from the reader."""
    found = []
    for lines in (pixels, pixels[::-1], pixels.transpose(1, 0, 2), pixels[:, ::-1].transpose(1, 0, 2)):
        flat = lines.astype(float).std(axis=1).mean(axis=1) < 4
        found.append(float(len(flat) if flat.all() else np.argmin(flat)) / len(flat))
    return [found[0] + found[1], found[2] + found[3]]


@pytest.mark.slow  # a forest of 100 trees, ten times
def test_padding_tells_something_of_the_class_and_what_is_left_nothing(shared: Path, tmp_path: Path) -> None:
    """Mean accuracy of four classes of a forest that sees nothing but flat lines at the sides, by group."""
    done = sonoforge("data", "import", "herlev", shared / "data" / "Herlev", tmp_path / "herlev")
    assert done.code == 0, done.err
    with (tmp_path / "herlev" / "groups.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 917 and len({row["slide_image"] for row in rows}) == 538
    group_of = {row["slide_image"]: row["group"] for row in rows}
    assert all(group_of[one] == group_of[other] for one, other in OVERLAPPING)
    labels = np.array([row["file"].split("/")[0] for row in rows])
    groups = np.array([row["group"] for row in rows])
    given, imported = [], []
    for row in rows:
        path = Path(row["file"])
        name = path.stem.replace(f"{row['grade']}-", f"{row['grade']}_")
        given.append(_flat_lines(np.asarray(Image.open(shared / "data" / "Herlev" / path.parent / f"{name}.jpg"))))
        imported.append(_flat_lines(np.asarray(Image.open(tmp_path / "herlev" / path))))
    model = RandomForestClassifier(100, min_samples_leaf=5, class_weight="balanced", random_state=0)
    before, after = (
        balanced_accuracy_score(
            labels, cross_val_predict(model, np.array(own), labels, groups=groups, cv=StratifiedGroupKFold(5))
        )
        for own in (given, imported)
    )
    padded, left = (float(np.mean(np.sum(own, axis=1) > 0.02)) for own in (given, imported))
    print(
        f"flat sides: {padded:.2f} of the cells, accuracy {before:.3f}; imported: {left:.2f}, {after:.3f}; chance 0.250"
    )
    assert padded > 0.9 and before > 0.28
    assert left < 0.08 and after < 0.27


# Zenodo 7890874.


def test_each_modality_of_the_collection_has_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "7890874"
    for modality, classes in (("Cytology images", ("Cancer", "Fibroadenoma")), ("Histology", ("G1", "G 2"))):
        for number, name in enumerate(classes):
            save(root / "data" / modality / name / f"{number}.jpg", cell(30, 40, number))
            save(root / "data" / modality / name / f"{number}b.png", cell(50, 40, number))
    expected = {"cytology": {"cancer", "fibroadenoma"}, "histology": {"g1", "g_2"}}
    for modality, names in expected.items():
        out = tmp_path / modality
        words = ("--modality", modality, "--longest", "64")
        done = sonoforge("data", "import", "zenodo-7890874", root, out, *words)
        assert done.code == 0, done.err
        assert {path.name for path in out.iterdir() if path.is_dir()} == names
        assert len(list(out.glob("*/*.png"))) == 4
    done = sonoforge("data", "import", "zenodo-7890874", root, tmp_path / "x", "--modality", "immunohistochemistry")
    assert done.code == 2 and "found immunohistochemistry in folders none" in done.err


def test_folders_of_classes_alone_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "set" / name / "1.png", cell(30, 40))
    done = sonoforge("data", "import", "zenodo-7890874", tmp_path / "set", tmp_path / "out")
    assert done.code == 0, done.err
    save(tmp_path / "set" / "loose.png", cell(30, 40))
    done = sonoforge("data", "import", "zenodo-7890874", tmp_path / "set", tmp_path / "other")
    assert done.code == 2 and "loose.png: lies in no folder of a class" in done.err
