"""Burned-in marks, the scan's area and repeats: the page finds in each picture what Python finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import planted_marks as plant
from page import screen, write_pictures
from page_scripts import run_script
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.images.burned_in_marks import find_marks
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.repeats import Repeats, take_fingerprint
from sonoforge.runtime.images.scan_area import find_scan_area
from sonoforge.runtime.images.scan_checks import name_kind
from sonoforge.runtime.inference import activation_map

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


def with_mark(picture: Image.Image) -> Image.Image:
    """Draw one coloured cross."""
    plant.coloured_mark(plant.ImageDraw.Draw(picture), (200, 150), 7, 2, (0, 255, 255), "+")
    return picture


def test_marks_area_and_repeats_are_those_of_python(tmp_path: Path) -> None:
    files = write_pictures(tmp_path, 8)
    rng = np.random.default_rng(3)
    large = screen(Image.fromarray(plant.speckle(700, 1000, 5)), 1)
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
    for number, (name, ink) in enumerate(plant.COLOURS.items()):
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
    for number, shape in enumerate(plant.ICONS):
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
