"""The scan's area: drawn screens with a known box, real scans that must stay whole, and bare pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from places import SHARED
from sonoforge.runtime.images.scan_area import find_scan_area

BOX = (150, 100, 650, 500)


def speckle(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).rayleigh(50, (height, width)).clip(0, 255).astype(np.uint8)


def screen(background: tuple[int, int, int]) -> Image.Image:
    """A scan in BOX with banner, text, ruler, grey bar and a small picture round it."""
    picture = Image.new("RGB", (800, 600), background)
    picture.paste(Image.fromarray(speckle(400, 500)), BOX[:2])
    draw = ImageDraw.Draw(picture)
    ink = tuple(255 - level for level in background)
    draw.rectangle((0, 0, 800, 20), fill=(20, 60, 120))
    for line in range(12):
        draw.text((20, 110 + 13 * line), "Gain 54 dB", fill=ink)
    draw.line((657, 100, 657, 500), fill=ink)
    for tick in range(100, 500, 20):
        draw.line((657, tick, 664, tick), fill=ink)
    for level in range(160):
        draw.line((128, 100 + level, 138, 100 + level), fill=(level, level, level))
    picture.paste(Image.fromarray(speckle(60, 90)), (690, 520))
    return picture


def assert_near(found: tuple[int, ...], true: tuple[int, ...], pixels: int) -> None:
    assert max(abs(a - b) for a, b in zip(found, true, strict=True)) <= pixels, found


@pytest.mark.parametrize("background", [(0, 0, 0), (40, 40, 48), (255, 255, 255)])
def test_menus_are_left_out(background: tuple[int, int, int]) -> None:
    area = find_scan_area(screen(background))
    assert_near(area.box, BOX, 1)
    assert area.outline == "rectangle"
    assert area.kept == pytest.approx(500 * 400 / (800 * 600), abs=0.01)


def test_jpeg_cuts_nothing_and_adds_a_ruler_at_most() -> None:
    buffer = io.BytesIO()
    screen((0, 0, 0)).save(buffer, "JPEG", quality=80)
    left, top, right, bottom = find_scan_area(Image.open(buffer)).box
    assert left <= BOX[0] and top <= BOX[1] and right >= BOX[2] and bottom >= BOX[3]
    assert 500 * 400 / ((right - left) * (bottom - top)) >= 0.9


def test_the_box_follows_the_scan_when_the_screen_is_mirrored() -> None:
    found = find_scan_area(screen((0, 0, 0)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)).box
    assert_near(found, (800 - BOX[2], BOX[1], 800 - BOX[0], BOX[3]), 1)


def test_a_large_screen_is_analysed_smaller_but_answered_in_its_own_pixels() -> None:
    large = screen((0, 0, 0)).resize((2400, 1800), Image.Resampling.NEAREST)
    assert_near(find_scan_area(large).box, tuple(3 * edge for edge in BOX), 9)


def test_a_sector_is_told_from_a_rectangle() -> None:
    rows, columns = np.mgrid[:500, :700]
    radius, angle = np.hypot(columns - 350, rows + 120), np.arctan2(columns - 350, rows + 120)
    inside = (radius > 150) & (radius < 600) & (abs(angle) < 0.55)
    area = find_scan_area(np.where(inside, speckle(500, 700), 0).astype(np.uint8))
    assert area.outline == "sector"
    left, top, right, bottom = area.box
    assert inside[top:bottom, left:right].sum() >= 0.97 * inside.sum()


def test_a_picture_that_is_all_scan_stays_whole() -> None:
    area = find_scan_area(speckle(300, 400))
    assert (area.box, area.outline, area.kept) == ((0, 0, 400, 300), "rectangle", 1.0)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (400, 300)])
def test_a_flat_picture_has_no_scan_and_is_kept(size: tuple[int, int]) -> None:
    area = find_scan_area(Image.new("L", size, 30))
    assert (area.box, area.outline) == ((0, 0, *size), "unknown")


def test_colour_and_grey_of_one_picture_agree() -> None:
    grey = screen((0, 0, 0)).convert("L")
    assert find_scan_area(grey) == find_scan_area(np.asarray(grey.convert("RGB")))


@pytest.mark.skipif(not (SHARED / "data" / "BUSI").is_dir(), reason="needs BUSI beside the checkout")
@pytest.mark.parametrize("name", ["benign (1)", "benign (200)", "malignant (1)", "malignant (21)", "malignant (120)"])
def test_real_lesions_stay_in_the_box(name: str) -> None:
    folder = SHARED / "data" / "BUSI" / "Dataset_BUSI_with_GT" / name.split(maxsplit=1)[0]
    mask = np.asarray(Image.open(folder / f"{name}_mask.png").convert("L")) > 0
    left, top, right, bottom = find_scan_area(Image.open(folder / f"{name}.png")).box
    assert mask[top:bottom, left:right].sum() == mask.sum()


def test_a_smooth_dark_lesion_at_the_edge_is_not_cut() -> None:
    rows, columns = np.mgrid[:400, :500]
    scan = speckle(400, 500) // 2 + 40
    cyst = np.hypot(rows - 200, columns / 0.8) < 130
    levels = np.where(cyst, 12 + np.hypot(rows - 200, columns) / 8, scan).astype(np.uint8)
    left, top, right, bottom = find_scan_area(levels).box
    assert cyst[top:bottom, left:right].sum() == cyst.sum()


@pytest.mark.parametrize("background", [0, 60, 255])
def test_the_dark_depth_of_a_scan_is_told_from_another_background(background: int) -> None:
    screen = np.full((600, 800), background, np.uint8)
    gain = np.clip(np.linspace(1, -0.33, 400), 0, None)[:, None]  # the last quarter has no echoes
    screen[100:500, 150:650] = 25 + 0.9 * gain * speckle(400, 500)
    assert_near(find_scan_area(screen).box, BOX, 2)


def test_a_smooth_bright_shape_with_some_grain_is_no_scan() -> None:
    """A mammogram: the breast is smooth towards its skin, and black lies round it."""
    rows, columns = np.mgrid[:512, :512]
    depth = 1 - np.hypot((rows - 256) / 230, columns / 300)
    grain = np.random.default_rng(0).normal(0, 12, (512, 512)) * (depth > 0.35)
    levels = (np.clip(depth, 0, 1) * 230 + grain).clip(0, 255).astype(np.uint8)
    area = find_scan_area(levels)
    assert (area.outline, area.box) == ("unknown", (0, 0, 512, 512))


@pytest.mark.skipif(not (SHARED / "data" / "MIAS").is_dir(), reason="needs MIAS beside the checkout")
def test_most_mammograms_are_left_whole() -> None:
    films = sorted((SHARED / "data" / "MIAS").glob("*.png"))[::20]
    assert np.mean([find_scan_area(Image.open(film)).kept == 1 for film in films]) >= 0.8
