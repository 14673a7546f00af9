"""Burned-in marks in an answer: named in the line, in JSON, on the picture, and with one plain sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import bundle_factory as factory
import planted_marks as plant
from program import sonoforge, succeed
from sonoforge.runtime import Classifier
from sonoforge.runtime.explanations import caption
from sonoforge.runtime.images.burned_in_marks import SENTENCE


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


def test_marks_that_were_cropped_away_do_not_count(bundle: Path) -> None:
    screen = Image.new("L", (420, 300))
    screen.paste(Image.fromarray(plant.speckle(200, 240)), (100, 60))
    ImageDraw.Draw(screen).text((10, 10), "HOSPITAL  ID 000123", fill=220)
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
