"""Burned-in marks in an answer: named in the line, in JSON, on the picture, and with one plain sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import bundle_factory as factory
import planted_marks as plant
from program import sonoforge
from sonoforge.runtime import Classifier
from sonoforge.runtime.explanations import caption
from sonoforge.runtime.images.burned_in_marks import SENTENCE


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


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


def test_the_line_of_a_marked_scan_says_so(bundle: Path, scans: Path) -> None:
    first, second = " ".join(sonoforge("classify", scans, "--bundle", bundle).said.split()).split("b.png")
    assert "burned-in marks" not in first
    assert "burned-in marks: 2 calipers, text" in second


def test_the_picture_of_a_marked_scan_says_so(bundle: Path, scans: Path) -> None:
    classifier = Classifier(bundle)
    assert not any("Burned in" in line for line in caption(classifier.classify(scans / "a.png")))
    said = caption(classifier.classify(scans / "b.png"))
    assert f"Burned in: 2 calipers, text. {SENTENCE}" in said


def test_marks_that_were_cropped_away_do_not_count(bundle: Path) -> None:
    screen = Image.new("L", (420, 300))
    screen.paste(Image.fromarray(plant.speckle(200, 240)), (100, 60))
    ImageDraw.Draw(screen).text((10, 10), "HOSPITAL  ID 000123", fill=220)
    assert Classifier(bundle).classify(screen).marks.summary == "text"
    assert Classifier(bundle, crop="auto").classify(screen).marks.summary == ""
