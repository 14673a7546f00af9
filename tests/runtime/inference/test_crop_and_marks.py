"""Cropping to the scan as in training, loud where not; burned-in marks, named wherever the answer stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import bundle_factory as factory
import planted_marks as plant
from program import rows_of, sonoforge, succeed
from sonoforge.runtime import Classifier, quality
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.explanations import caption
from sonoforge.runtime.images.burned_in_marks import SENTENCE
from sonoforge.runtime.inference import activation_map

BOX = (100, 60, 340, 260)


@pytest.fixture(scope="module")
def cropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose training cropped."""
    how = {**factory.PREPROCESSING, "crop": "auto"}
    folder = factory.write_bundle(
        tmp_path_factory.mktemp("cropping") / "b", model=factory.model_bytes(preprocessing=how)
    )
    factory.edit_manifest(folder, lambda manifest: manifest.update(preprocessing=how))
    return folder


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


def test_the_table_of_answers_holds_what_was_cropped_and_what_is_burned_in(
    cropping: Path, screen: Image.Image, tmp_path: Path
) -> None:
    planted = np.array(screen)
    left, top, *_ = BOX
    planted[top + 60, left + 53 : left + 68] = planted[top + 53 : top + 68, left + 60] = 230
    Image.fromarray(planted).save(tmp_path / "screen.png")
    screen.crop(BOX).save(tmp_path / "whole.png")
    answers = tmp_path / "answers.csv"
    asked = ("classify", tmp_path, "--bundle", cropping, "--csv", answers)
    done = sonoforge(*asked, "--json")
    rows = rows_of(answers)
    for row, entry in zip(rows, done.json["results"], strict=True):
        assert row["crop_box"] == ("|".join(map(str, entry["crop"]["box"])) if entry["crop"] else "")
        assert row["marks"] == entry["marks"]["summary"]
    assert rows[0]["crop_box"] == "|".join(map(str, BOX)) and "caliper" in rows[0]["marks"]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """One scan as it is, and the same with two calipers and a label."""
    plain = Image.fromarray(plant.speckle(300, 400))
    marked = plain.copy()
    for at in ((100, 100), (300, 120)):
        plant.cross(ImageDraw.Draw(marked), at, 6, 1, 240)
    ImageDraw.Draw(marked).text((40, 220), "RT AXILLA", fill=235)
    folder = tmp_path / "scans"
    folder.mkdir()
    plain.save(folder / "a.png")
    marked.save(folder / "b.png")
    return folder


def test_marks_are_named_and_explained(bundle: Path, scans: Path) -> None:
    done = sonoforge("classify", scans, "--bundle", bundle, "--json")
    plain, marked = done.json["results"]
    assert plain["marks"] == {"summary": "", "counts": {}, "note": ""}
    assert marked["marks"] == {"summary": "2 calipers, text", "counts": {"caliper": 2, "text": 1}, "note": SENTENCE}
    assert done.json["summary"]["marked"] == 1
    assert f"1 of 2 scans carry burned-in marks. {SENTENCE}" in " ".join(done.err.split())
    lines = sonoforge("classify", scans, "--bundle", bundle)
    first, second = " ".join(lines.said.split()).split("b.png")
    assert "burned-in marks" not in first and "burned-in marks: 2 calipers, text" in second
    classifier = Classifier(bundle)
    assert not any("Burned in" in line for line in caption(classifier.classify(scans / "a.png")))
    assert f"Burned in: 2 calipers, text. {SENTENCE}" in caption(classifier.classify(scans / "b.png"))


def test_marks_that_were_cropped_away_do_not_count(bundle: Path, screen: Image.Image) -> None:
    assert Classifier(bundle).classify(screen).marks.summary == "text"
    assert Classifier(bundle, crop="auto").classify(screen).marks.summary == ""


def test_a_bundle_of_other_images_looks_for_no_marks_and_tells_exact_copies_alone(tmp_path: Path) -> None:
    coarse = Image.fromarray(np.random.default_rng(0).uniform(40, 120, (12, 16)).astype(np.float32))
    scan = np.asarray(coarse.resize((400, 300), Image.Resampling.BICUBIC)).astype(np.uint8)
    scan[100, 140:155] = scan[93:108, 147] = 255  # a caliper
    brighter = np.clip(scan.astype(int) + 3, 0, 255).astype(np.uint8)  # seems to be the same picture
    for name, levels in (("a", scan), ("b", scan), ("c", brighter)):
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    found = {}
    for kind in ("breast ultrasound", "other"):
        folder = factory.write_bundle(tmp_path / kind)
        factory.edit_manifest(folder, lambda m, kind=kind: m["trust"]["checks"].update(kind=kind, foreign=1e6))
        found[kind] = succeed("classify", tmp_path / "*.png", "--bundle", folder).json["results"]
    ours, other = found["breast ultrasound"], found["other"]
    assert [bool(one["marks"]["counts"]) for one in ours] == [True] * 3
    assert [bool(one["marks"]["counts"]) for one in other] == [False] * 3
    assert ours[2]["seems_copy_of"] and not other[2]["seems_copy_of"]
    assert ours[1]["copy_of"] == other[1]["copy_of"] == str(tmp_path / "a.png")
    assert [one["probabilities"] for one in ours] == [one["probabilities"] for one in other]
