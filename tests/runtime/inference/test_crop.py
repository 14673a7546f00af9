"""Cropping to the scan: the same at inference as the bundle says its training did, and loud where it is not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
import planted_marks as plant
from program import sonoforge
from sonoforge.runtime import Classifier, draw_overlay, quality
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer_files import IDENTITY
from sonoforge.runtime.inference import activation_map

BOX = (100, 60, 340, 260)
CROPPING = {**factory.PREPROCESSING, "crop": "auto"}


def write_cropping_bundle(folder: Path) -> Path:
    """Write a bundle whose training cropped."""
    factory.write_bundle(folder, model=factory.model_bytes(preprocessing=CROPPING))
    factory.edit_manifest(folder, lambda manifest: manifest.update(preprocessing=CROPPING))
    return folder


@pytest.fixture(scope="module")
def cropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cropping_bundle(tmp_path_factory.mktemp("cropping") / "b")


@pytest.fixture(scope="module")
def screen() -> Image.Image:
    """A scan in BOX of a black screen with a line of text above it."""
    picture = Image.new("L", (420, 300))
    picture.paste(Image.fromarray(plant.speckle(BOX[3] - BOX[1], BOX[2] - BOX[0], 1)), BOX[:2])
    plant.ImageDraw.Draw(picture).text((10, 10), "HOSPITAL  ID 000123", fill=220)
    return picture


def test_a_screen_gets_the_answer_of_the_scan_in_it(bundle: Path, cropping: Path, screen: Image.Image) -> None:
    found = Classifier(cropping).classify(screen)
    expected = Classifier(bundle).classify(screen.crop(BOX))
    assert found.crop is not None and found.crop.box == BOX
    assert (found.probabilities, found.set, found.trust) == (expected.probabilities, expected.set, expected.trust)
    assert found.quality == expected.quality == quality.measure(screen, open_bundle(cropping))
    assert found.size == screen.size
    entry = found.to_dict()["crop"]
    assert (entry["box"], entry["outline"], entry["kept"]) == (BOX, "rectangle", found.crop.kept)


def test_the_map_lies_where_the_scan_does(bundle: Path, cropping: Path, screen: Image.Image) -> None:
    found = Classifier(cropping).classify(screen)
    laid = found.map_on_scan()
    left, top, right, bottom = BOX
    assert laid.shape == (screen.height, screen.width)
    assert np.array_equal(laid[top:bottom, left:right], activation_map.at_size(found.map, right - left, bottom - top))
    laid[top:bottom, left:right] = 0
    assert not laid.any()
    inside = Classifier(bundle).classify(screen.crop(BOX)).peak
    assert found.peak == (inside.x + left, inside.y + top, inside.value)


def test_the_overlay_is_drawn_on_the_whole_image(cropping: Path, screen: Image.Image) -> None:
    found = Classifier(cropping).classify(screen)
    drawn = np.asarray(draw_overlay(screen, found))[: screen.height, : screen.width]
    plain = np.asarray(screen.convert("RGB"))
    changed = (drawn != plain).any(axis=2)
    left, top, right, bottom = BOX
    assert changed[top:bottom, left:right].any()
    changed[top - 2 : bottom + 2, left - 2 : right + 2] = False  # the contour is two pixels wide
    assert not changed.any()


@pytest.mark.parametrize(("asked", "differs"), [("bundle", False), ("none", False), ("auto", True)])
def test_another_crop_than_in_training_is_said_loudly(
    bundle: Path, screen: Image.Image, tmp_path: Path, asked: str, differs: bool
) -> None:
    screen.save(tmp_path / "a.png")
    done = sonoforge("classify", tmp_path / "a.png", "--bundle", bundle, "--set", f"model.crop={asked}", "--json")
    assert done.code == 0
    assert ("DIFFERS FROM THE TRAINING" in done.err) == differs
    assert done.json["crop"] == {"used": "auto" if differs else "none", "in_training": "none"}
    crop = done.json["results"][0]["crop"]
    assert crop["box"] == list(BOX) if differs else crop is None


def test_the_line_says_what_was_cropped(cropping: Path, screen: Image.Image, tmp_path: Path) -> None:
    screen.save(tmp_path / "a.png")
    done = sonoforge("classify", tmp_path / "a.png", "--bundle", cropping)
    assert "cropped to rectangle of 240 x 200 of 420 x 300 pixels" in done.said
    assert "DIFFERS" not in done.err


def test_the_table_of_answers_holds_what_was_cropped_and_what_is_burned_in(
    cropping: Path, screen: Image.Image, tmp_path: Path
) -> None:
    planted = np.array(screen)
    left, top, *_ = BOX
    planted[top + 60, left + 53 : left + 68] = planted[top + 53 : top + 68, left + 60] = 230
    Image.fromarray(planted).save(tmp_path / "screen.png")
    screen.crop(BOX).save(tmp_path / "whole.png")
    answers, lines = tmp_path / "answers.csv", tmp_path / "answers.jsonl"
    asked = ("classify", tmp_path, "--bundle", cropping, "--csv", answers, "--jsonl", lines)
    done = sonoforge(*asked, "--json")
    with answers.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, line, entry in zip(rows, lines.read_text().splitlines(), done.json["results"], strict=True):
        assert {**entry, **{name: row[name] for name in IDENTITY}} == json.loads(line)
        assert row["crop_box"] == ("|".join(map(str, entry["crop"]["box"])) if entry["crop"] else "")
        assert row["marks"] == entry["marks"]["summary"]
    assert rows[0]["crop_box"] == "|".join(map(str, BOX)) and "caliper" in rows[0]["marks"]
