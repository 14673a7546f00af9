"""Marks, areas, repeats, decisions and trust: the page finds what Python finds, and definitions in numpy."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import bundle_factory as factory
import planted_marks as plant
from page import screen, write_pictures
from page_scripts import run_script
from sonoforge.runtime.bundle.classification import Site, TailLimits, read_trust
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.images.burned_in_marks import find_marks
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.repeats import Repeats, detail_of, take_fingerprint
from sonoforge.runtime.images.scan_area import find_scan_area
from sonoforge.runtime.images.scan_checks import name_kind
from sonoforge.runtime.images.sketches import ALIKE, Sketches, amplitudes
from sonoforge.runtime.inference import activation_map
from sonoforge.runtime.inference.decision import decide, read_clinic
from sonoforge.runtime.inference.trust import (
    Evidence,
    NeighbourReference,
    TrustReference,
    assess,
    mahalanobis_distances,
    neighbour_distances,
)

# ---- burned-in marks, the scan's area and repeats: the page finds in each picture what Python finds.

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

# As in look_at_files.mjs: what the contrast of a map's area depends on besides the picture.
MAP = np.array([(31 * i % 49) / 49 - 0.2 for i in range(49)], np.float32).reshape(7, 7)


def look_at(files: list[Path], folder: Path) -> list[dict[str, object]]:
    """Return what the page's scripts find in each file."""
    found: list[dict[str, object]] = run_script("look_at_files.mjs", [str(file) for file in files], folder)
    return found


def compare(files: list[Path], folder: Path) -> set[str]:
    """Compare each file's findings; return the kinds of marks and outlines there were."""
    seen, repeats, recipe = set(), Repeats(), Preprocessing()
    for found in look_at(files, folder):
        name = str(found["file"])
        picture = read_image(name)
        area = find_scan_area(picture)
        marks = find_marks(picture)
        levels = np.asarray(Image.fromarray(recipe.resize(picture)).convert("L"))
        own = take_fingerprint(grey_levels(picture), recipe.resize(picture.crop(area.box)))
        expected = {
            "file": name,
            "crop": {"box": [*area.box], "outline": area.outline, "kept": area.kept, "reason": area.reason},
            "marks": marks.summary,
            "marksInside": find_marks(picture, area.box).summary,
            "kind": name_kind(levels, overlay=marks.overlay),
            "digest": own.digest.hex(),
            **repeats.find(name, own),
        }
        assert {key: found[key] for key in expected} == expected
        # A grey level of the 32 x 32 view that Pillow rounds the other way moves the detail by less.
        assert np.abs(np.array(found["detail"]) - own.detail).max() < 0.01, name
        contrast = scan_metrics.gcnr(levels, activation_map.brightest_area(MAP, *levels.shape))
        assert found["gcnr"] == pytest.approx(contrast, abs=1e-6), name
        seen |= {
            *marks.counts,
            area.outline,
            str(found["kind"]),
            *(key for key in ("copy_of", "seems_copy_of") if expected[key]),
        }
    return seen


def test_training_images_are_recognised_as_by_python(tmp_path: Path) -> None:
    scans = [Image.fromarray(plant.speckle(240, 300, seed)) for seed in range(12)]
    details = [detail_of(np.asarray(one.resize((256, 256)))) for one in (*scans, *map(ImageOps.mirror, scans[:6]))]
    known = Sketches.of(np.stack([amplitudes(detail) for detail in details[:4]]))
    question = {"usual": known.usual.tolist(), "signs": known.signs.ravel().tolist()}
    question["details"] = [detail.tolist() for detail in details]
    expected = [known.likeness(detail) >= ALIKE for detail in details]
    assert run_script("recognise.mjs", question, tmp_path) == [None, *expected]
    assert expected == [True] * 4 + [False] * 8 + [True] * 4 + [False] * 2


def with_mark(picture: Image.Image) -> Image.Image:
    """Draw one coloured cross."""
    plant.coloured_mark(plant.ImageDraw.Draw(picture), (200, 150), 7, 2, (0, 255, 255), "+")
    return picture


def test_marks_area_and_repeats_are_those_of_python(tmp_path: Path) -> None:
    files = write_pictures(tmp_path, 8)
    rng = np.random.default_rng(3)
    large = screen(Image.fromarray(plant.speckle(500, 700, 5)), 1)
    fan = np.zeros((300, 420), np.uint8)
    rows, columns = np.mgrid[:300, :420]
    within = (np.hypot(rows + 40, columns - 210) < 330) & (np.abs(columns - 210) < 0.6 * (rows + 60))
    fan[within] = plant.speckle(300, 420, 6)[within]
    extra = {
        "large": large,
        "fan": Image.fromarray(fan),
        "grain": Image.fromarray(rng.integers(0, 256, (150, 200), np.uint8)),
    }
    extra |= {"flat": Image.new("L", (64, 48), 90), "thread": Image.fromarray(plant.speckle(16, 320, 7))}
    dotted = Image.fromarray(plant.speckle(300, 400, 8))
    plant.dotted(plant.ImageDraw.Draw(dotted), (40, 200), (330, 90), 250)
    extra |= {"dotted": dotted, "dotted again": dotted}
    for number, (name, ink) in enumerate([*plant.COLOURS.items()][::2]):
        marked = Image.fromarray(plant.speckle(300, 400, number)).convert("RGB")
        draw = plant.ImageDraw.Draw(marked)
        for shape, x in zip(plant.SHAPES, range(50, 400, 70), strict=True):
            plant.coloured_mark(draw, (x, 100 + 9 * number), 6, 1, ink, shape)
        plant.dotted(draw, (60, 250), (330, 200), ink)
        draw.text((40, 20), f"LEFT 3:00 {name}", ink)
        draw.line((350, 180, 380, 250, 340, 240), ink, 1)
        extra[f"marks in {name}"] = plant.as_jpeg(marked, 90)
    tinted = np.outer(np.arange(300) // 2, np.ones(400))[..., None] * (1.0, 0.8, 0.5)
    plain = Image.fromarray(plant.speckle(300, 400, 9))
    extra |= {
        "tinted": Image.fromarray(tinted.astype(np.uint8)),
        "marks on a tint": with_mark(
            Image.fromarray((np.asarray(plain.convert("RGB")) * (1, 0.75, 0.4)).astype(np.uint8))
        ),
        "flow": plant.flow(plain, rng),
        "two": plant.side_by_side(plain, Image.fromarray(plant.speckle(300, 380, 10)), 6),
        "two that touch": plant.side_by_side(plain, Image.fromarray(plant.speckle(300, 420, 11)), 0),
    }
    for number, shape in enumerate(plant.ICONS[::2]):
        extra[f"icon {shape}"] = Image.fromarray(plant.speckle(300, 400, number))
        plant.icon(extra[f"icon {shape}"], shape, 22 + 2 * number, rng)
    for name, picture in extra.items():
        picture.save(tmp_path / f"{name}.png")
    seen = compare([*files, *(tmp_path / f"{name}.png" for name in extra)], tmp_path)
    assert seen == {
        "body mark",
        "caliper",
        "dotted line",
        "drawing",
        "text",
        "B-mode",
        "colour overlay",
        "two scans",
        "rectangle",
        "sector",
        "unknown",
        "copy_of",
        "seems_copy_of",
    }


# ---- the page's decision and trust: by definitions of their own in numpy, and as Python decides.

CLINICS = (("", 0.95), ("screening", 0.8), ("normal=.2,benign=.7,malignant=.1", 0.98))


def test_the_page_decides_by_bayes_theorem_and_as_python_does(tmp_path: Path) -> None:
    manifest = open_bundle().manifest
    rng = np.random.default_rng(0)
    said = np.concatenate([rng.dirichlet((0.5, 0.5, 0.5), 60), np.full((1, 3), 1 / 3), [[0.0, 0.0, 1.0]]])
    clinics = [read_clinic(*told, manifest) for told in CLINICS]
    cases = [(row, clinic) for clinic in clinics for row in said]
    asked = [[row.tolist(), manifest.raw, clinic._asdict()] for row, clinic in cases]
    answers: list[dict[str, Any]] = run_script("decide.mjs", asked, tmp_path)
    reference = np.array([manifest.reference[name] for name in manifest.classes])
    sets, positives = set(), set()
    for (row, clinic), found in zip(cases, answers, strict=True):
        own = decide(dict(zip(manifest.classes, row.tolist(), strict=True)), manifest, clinic)
        assert (found["label"], tuple(found["set"])) == (own.label, own.set)
        assert {name: one["positive"] for name, one in found["findings"].items()} == {
            name: finding.positive for name, finding in own.findings.items()
        }
        for name, finding in own.findings.items():
            assert found["findings"][name]["threshold"] == pytest.approx(finding.threshold, abs=1e-12)
        # Bayes' theorem: a class's density of this scan, up to one factor, times the class's share here.
        normal, benign, malignant = row / reference * [clinic.prevalence[name] for name in manifest.classes]
        whole = normal + benign + malignant
        expected = dict(zip(manifest.classes, (normal / whole, benign / whole, malignant / whole), strict=True))
        assert found["probabilities"] == pytest.approx(expected, abs=1e-12)
        assert found["findings"]["lesion"]["probability"] == pytest.approx(1 - normal / whole, abs=1e-12)
        if benign + malignant > 0:
            share = malignant / (benign + malignant)
            assert found["findings"]["malignant"]["probability"] == pytest.approx(share, abs=1e-12)
        sets.add(len(found["set"]))
        positives.add(tuple(one["positive"] for one in found["findings"].values()))
    assert {1, 2} <= sets
    assert len(positives) >= 3


def test_without_questions_there_are_no_findings_and_of_equal_classes_the_first_is_named(tmp_path: Path) -> None:
    manifest = {
        "classes": ["a", "b"],
        "decision": {"reference": {"a": 0.25, "b": 0.75}, "questions": []},
        "conformal": {"thresholds": {"a": 0.3, "b": 0.6}},
    }
    clinic = {"prevalence": {"a": 0.5, "b": 0.5}, "sensitivity": 0.95}
    (found,) = run_script("decide.mjs", [[[0.25, 0.75], manifest, clinic]], tmp_path)
    assert found == {"probabilities": {"a": 0.5, "b": 0.5}, "label": "a", "set": ["a"], "findings": {}}


@pytest.mark.parametrize("white", [0.0, 0.125])  # the latter is 12 % in Python, which rounds half to even
def test_at_a_site_the_page_trusts_scans_as_far_out_as_the_site_s(tmp_path: Path, white: float) -> None:
    """On one axis: limits of the training are 10 and .5, so those of the site at a reach of 1.2 are 12 and .6."""
    folder = factory.write_bundle(tmp_path / "b")
    raw = open_bundle(folder).manifest.raw
    raw["trust"] |= {"median": 5.0, "threshold": 10.0}
    raw["trust"]["checks"] |= {"foreign": 30.0, "neighbours": {"median": 0.2, "threshold": 0.5}, "upright": [0.0] * 8}
    raw["trust"]["checks"] |= {"white": 0.1}
    raw["site"] = {"reach": 1.2}
    quality = {"sharpness": 1e3, "contrast": 100.0, "saturated": white}
    gaussian = TrustReference(*(np.array(a, np.float32) for a in ([0, 0, 0], [[1], [0], [0]], [1])))
    near = NeighbourReference(*(np.array(a, np.float32) for a in ([0, 0, 0], np.eye(3), [[1, 0, 0], [1, 0, 0]])))
    arrays = {**_named("trust", vars(gaussian)), **_named("neighbour", vars(near))}
    reference = {name: {"data": a.ravel().tolist(), "shape": a.shape} for name, a in arrays.items()}
    embeddings = np.random.default_rng(1).normal(size=(400, 3)) * [3, 2, 2] + [9, 0, 0]
    asked = {
        "manifest": raw,
        "quality": quality,
        "reference": reference,
        "embeddings": embeddings.tolist(),
        "pixels": [128] * (28 * 28 * 3),
    }
    answers: list[dict[str, Any]] = run_script("assess.mjs", asked, tmp_path)
    site = Site(dict.fromkeys(factory.CLASSES, 1 / 3), {}, 10, (), (), 1.2)
    limits = replace(
        open_bundle(folder).manifest, trust=TailLimits(5.0, 10.0), checks=read_trust(raw["trust"])[1], site=site
    )
    seen = Counter[tuple[bool, bool]]()
    distances = mahalanobis_distances(embeddings.astype(np.float32), gaussian)
    neighbours = neighbour_distances(embeddings.astype(np.float32), near)
    for d, k, found in zip(distances.tolist(), neighbours.tolist(), answers, strict=True):
        evidence = Evidence(d, k, upright=0.0, dark=0.0, quality=quality, grain=None, colour=0.0)
        own = assess(evidence, limits)
        assert (found["causes"], found["reasons"]) == ([cause.value for cause in own.causes], list(own.reasons))
        assert found["score"] == pytest.approx(own.score, rel=1e-6)
        assert found["in_distribution"] is own.in_distribution is (max(d / 10, k / 0.5) <= 1.2)
        seen[max(d / 10, k / 0.5) <= 1, own.in_distribution] += 1
    assert min(seen[True, True], seen[False, True], seen[False, False]) > 20


def _named(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": array for name, array in arrays.items()}
