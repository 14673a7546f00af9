"""Preprocessing against Pillow and plain numpy, and the scan's area: drawn screens with a known box."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from places import SHARED
from sonoforge.runtime.bundle.classification import read_preprocessing
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.runtime.images.scan_area import find_scan_area

# ---- preprocessing against Pillow and plain numpy.

RNG = np.random.default_rng(5)


def test_imagenet_constants() -> None:
    # as published with torchvision's pretrained weights
    assert IMAGENET.to_dict() == {
        "size": 224,
        "resample": "bilinear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "crop": "none",
    }


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (100, 90), (224, 224)])
def test_grey_equals_the_same_picture_as_rgb(shape: tuple[int, int]) -> None:
    grey = Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))
    pixels = IMAGENET.resize(grey)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, IMAGENET.resize(grey.convert("RGB")))


def triangle(values: np.ndarray, size: int) -> np.ndarray:
    """Resize the last axis by the antialiased triangle filter, rounded to 8 bits: slow and obvious."""
    scale = values.shape[-1] / size
    places = np.arange(values.shape[-1]) + 0.5
    rows = []
    for index in range(size):
        weights = np.clip(1 - np.abs(places - (index + 0.5) * scale) / max(scale, 1), 0, None)
        rows.append(values @ (weights / weights.sum()))
    return np.floor(np.stack(rows, -1) + 0.5)


@pytest.mark.parametrize("shape", [(300, 500), (700, 300), (100, 90)])
def test_rows_are_resized_before_columns_whatever_the_shape(shape: tuple[int, int]) -> None:
    grey = RNG.integers(0, 256, shape, dtype=np.uint8)
    found = IMAGENET.resize(Image.fromarray(grey))[..., 0].astype(int)
    rows_first = triangle(triangle(grey.astype(float), 224).T, 224).T
    columns_first = triangle(triangle(grey.T.astype(float), 224).T, 224)
    assert np.abs(found - rows_first).max() <= 1
    assert (found != rows_first).mean() < 0.01  # Pillow's weights have few bits
    assert (columns_first != rows_first).mean() > 0.02  # so the test tells them apart


def test_normalise_equals_the_formula() -> None:
    pixels = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    found = IMAGENET.normalise(pixels)
    assert found.dtype == np.float32
    assert found.shape == (2, 3, 32, 32)
    assert np.array_equal(found, expected.astype(np.float32))
    assert np.array_equal(IMAGENET.normalise(pixels[1]), found[1])


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="mode RGBA"):
        IMAGENET.resize(Image.new("RGBA", (30, 30)))
    with pytest.raises(ValueError, match="float64"):
        IMAGENET.normalise(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not uint8"):
        IMAGENET.normalise(np.zeros((3, 4, 4), np.uint8))


def test_settings_come_back_from_their_plain_form() -> None:
    settings = Preprocessing(96, "bicubic", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert read_preprocessing("preprocessing", settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("size", value) for value in (0, 224.0, True, 10**9)),
        *(("resample", value) for value in ("nearest", ["bilinear"])),
        *(("mean", value) for value in ([0.1, 0.2], [0.1, 0.2, float("nan")], "abc")),
        *(("std", value) for value in ([1, 1, 0], [1, True, 1])),
        ("gamma", 2.2),
    ],
)
def test_unknown_and_missing_settings_are_refused(name: str, value: object) -> None:
    values = IMAGENET.to_dict()
    with pytest.raises(SonoforgeError, match=r"^preprocessing"):
        read_preprocessing("preprocessing", {**values, name: value})
    if values.pop(name, None):
        with pytest.raises(SonoforgeError, match=f"{name} is missing"):
            read_preprocessing("preprocessing", values)


# ---- the scan's area: drawn screens with a known box, real scans that must stay whole, and bare pictures.

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
