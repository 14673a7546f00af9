"""The page of a built app: give it files, and read what it saves; and Python's answers, to compare them with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import planted_marks as plant
from places import SHARED
from program import sonoforge

if TYPE_CHECKING:
    from playwright.sync_api import Page

READY = 'body[data-state="ready"]'
# The largest difference of a probability between the page and Python that is allowed: 32-bit sums in another order.
MOST_APART = 1e-4


def opened(page: Page, address: str) -> Page:
    """Open the page and wait until it has passed its self-test."""
    page.goto(address + "/")
    page.wait_for_selector(READY, timeout=300_000)
    return page


def give(page: Page, files: Sequence[Path]) -> None:
    """Give the page files, and wait for all answers."""
    before = page.locator(".card").count()
    page.set_input_files("#files", [str(file) for file in files])
    page.wait_for_selector(f".card >> nth={before + len(files) - 1}", state="attached", timeout=300_000)


def saved(page: Page, button: str) -> str:
    """Press a button that saves, and return what it saved."""
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes().decode()


def answered(page: Page, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Give the page files, and return its answers from the JSON that it saves, in the order of the files."""
    give(page, files)
    results: list[dict[str, Any]] = json.loads(saved(page, "#save-json"))["results"]
    return results


ONLY_PYTHON = {"series", "motion_per_frame", "motion_flags"}
"""What the page does not look for."""


class Expected:
    """What ``sonoforge classify`` says of files of one folder."""

    def __init__(self, files: Sequence[Path], target: Path, *settings: object) -> None:
        """Classify the files, named as a page names them: without their folder, which must be the working one."""
        done = sonoforge("classify", *(file.name for file in files), *settings, "--csv", target, "--json", "--quiet")
        answer = json.loads(done.out)
        self.results: list[dict[str, Any]] = answer["results"]
        self.clinic: dict[str, Any] = answer["clinic"]
        self.csv = target.read_bytes().decode()


def compare_json(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> float:
    """Compare answers field by field; return the largest difference of a probability."""
    apart = 0.0
    for own, other in zip(found, expected, strict=True):
        name = other["file"]
        assert set(own) == set(other) - ONLY_PYTHON, name
        if "clip" in other:
            other["clip"].pop("motion")
        for key in set(own) - {"probabilities", "findings", "trust", "quality", "map", "ms"}:
            assert own[key] == other[key], (name, key)
        if not other["ok"]:
            continue
        for key in ("in_distribution", "causes", "reasons"):
            assert own["trust"][key] == other["trust"][key], (name, key)
        for key in ("score", "distance", "neighbour_distance"):
            near = other["trust"][key]
            assert own["trust"][key] == (None if near is None else pytest.approx(near, rel=1e-3, abs=1e-6)), (name, key)
        assert own["quality"].pop("flags") == other["quality"].pop("flags"), name
        # 32-bit sums in numpy, 64-bit ones in JavaScript
        assert own["quality"] == pytest.approx(other["quality"], rel=1e-3), name
        peaks = own["map"].pop("peak"), other["map"].pop("peak")
        assert (peaks[0]["x"], peaks[0]["y"]) == (peaks[1]["x"], peaks[1]["y"]), name
        # Pixels at the edge of the map's brightest tenth may fall on either side of it; in a map that is the same
        # everywhere, all of them: no contrast, or none to measure.
        contrasts = [one.pop("gcnr_of_map_area") or 0.0 for one in (own["map"], other["map"])]
        assert contrasts[0] == pytest.approx(contrasts[1], abs=2e-3), name
        assert own["map"] == pytest.approx(other["map"], abs=1e-4), name
        apart = max([apart, *(abs(own["probabilities"][k] - p) for k, p in other["probabilities"].items())])
        assert list(own["findings"]) == list(other["findings"]), name
        for question, finding in other["findings"].items():
            answer = own["findings"][question]
            assert answer["positive"] is finding["positive"], (name, question)
            apart = max(apart, *(abs(answer[key] - finding[key]) for key in ("probability", "threshold")))
    return apart


def compare_csv(found: str, expected: str) -> None:
    """Compare two CSV files column by column: texts are equal, numbers within the bounds of the JSON."""
    rows, others = (list(csv.DictReader(io.StringIO(text, newline=""))) for text in (found, expected))
    assert found.splitlines()[0] == expected.splitlines()[0]
    assert len(rows) == len(others)
    for own, other in zip(rows, others, strict=True):
        for column, text in other.items():
            if column in ONLY_PYTHON:
                assert own[column] == ""
                continue
            where = (other["file"], column)
            if column == "modified_ns":
                # Chromium knows milliseconds, WebKit seconds.
                assert 0 <= int(text) - int(own[column]) < 1_000_000_000, where
            elif _is_number(text):
                share = column.startswith(("p_", "q_", "yes_from_"))
                bound = {"abs": MOST_APART} if share else {"rel": 1e-3, "abs": 1e-6}
                assert float(own[column]) == pytest.approx(float(text), **bound), where
            else:
                assert own[column] == text, where


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def screen(scan: Image.Image, seed: int) -> Image.Image:
    """Draw an exported screen round a scan: banner, lines of text, a ruler and a grey bar."""
    rng = np.random.default_rng(seed)
    left, top = (int(rng.integers(60, 120)) for _ in range(2))
    picture = Image.new("RGB", (scan.width + left + 80, scan.height + top + 60), [(0, 0, 0), (40, 40, 48)][seed % 2])
    picture.paste(scan.convert("RGB"), (left, top))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, picture.width, 20), fill=(0, 40, 90))
    draw.text((8, 4), "HOSPITAL  ID 000123", fill="white")
    for line in range(5):
        draw.text((4, top + 16 * line), f"MI 1.{line}", fill=(200, 200, 120))
    right = left + scan.width + 8
    draw.line((right, top, right, top + scan.height), fill="white")
    for tick in range(top, top + scan.height, 25):
        draw.line((right, tick, right + 5, tick), fill="white")
    return picture


def pictures(count: int) -> dict[str, Image.Image]:
    """Pictures by name: scans of BUSI and BUS-BRA where they are, else simulated ones; marked ones; screens; others.

    Args:
        count: Of the scans as they are; the others are a third as many.
    """
    rng, found = np.random.default_rng(0), {}
    busi = sorted(path for path in (SHARED / "data" / "BUSI").rglob("*.png") if "_mask" not in path.name)
    bra = sorted((SHARED / "data" / "BUS-BRA").rglob("*.jpg"))
    mias = sorted((SHARED / "data" / "MIAS").rglob("*.png"))
    for i in range(count):
        folder = bra if i % 5 == 4 and bra else busi
        if folder:
            scan = Image.open(folder[i * len(folder) // count])
        else:
            scan = Image.fromarray(plant.speckle(*rng.integers(200, 400, 2), seed=i))
        scan = scan.convert("RGB" if scan.mode in ("RGB", "RGBA", "P") else "L")
        found[f"scan-{i}"] = scan
        if i % 9 == 0:
            found[f"screen-{i}"] = screen(scan, i)
        if i % 9 == 3:
            marked = scan.convert("L")
            box = (marked.width // 4, marked.height // 3, marked.width * 3 // 4, marked.height * 2 // 3)
            plant.calipers(marked, box, rng)
            plant.text(marked, "RT UOQ", rng)
            plant.body_mark(marked, rng)
            found[f"marked-{i}"] = marked
        if i % 9 == 6:
            found[f"repeat-{i}"] = scan if i % 2 else scan.resize((scan.width * 4 // 5, scan.height * 4 // 5))
    for i in range(max(1, count // 9)):
        if mias:
            with Image.open(mias[7 * i]) as mammogram:
                found[f"mammogram-{i}"] = mammogram.convert("L")
        size = rng.integers(60, 700, 2)
        level = np.linspace(255, 0, size[0])[:, None, None] * rng.uniform(0.2, 1, (*size, 3))
        found[f"noise-{i}"] = Image.fromarray(level.astype(np.uint8))
    return found


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write `pictures` as PNG files and return them."""
    files = []
    for name, picture in pictures(count).items():
        files.append(folder / f"{name}.png")
        picture.save(files[-1])
    return files
