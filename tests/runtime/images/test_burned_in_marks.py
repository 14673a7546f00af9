"""Burned-in marks, colours and pairs of scans: drawn ones are found where they are, and nothing else is."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import planted_marks as plant
from places import SHARED
from sonoforge.runtime.images.burned_in_marks import find_coloured_ink, find_marks
from sonoforge.runtime.images.calipers import find_crosses
from sonoforge.runtime.images.scan_checks import meets_in_a_seam

BUSI = SHARED / "data" / "BUSI" / "Dataset_BUSI_with_GT"


def scan(seed: int = 0) -> Image.Image:
    return Image.fromarray(plant.speckle(400, 500, seed))


def centres(image: Image.Image) -> list[tuple[int, int]]:
    found = find_marks(image).marks
    return sorted(((m.box[0] + m.box[2]) // 2, (m.box[1] + m.box[3]) // 2) for m in found if m.kind == "caliper")


def near(found: tuple[int, int], true: tuple[int, int]) -> bool:
    return max(abs(found[0] - true[0]), abs(found[1] - true[1])) <= 2


@pytest.mark.parametrize(
    "picture",
    [
        *(plant.speckle(400, 500, seed, compressed) for seed in range(3) for compressed in (True, False)),
        *(np.random.default_rng(seed).integers(0, 256, (300, 400)).astype(np.uint8) for seed in range(2)),  # no blur
        np.tile(np.linspace(10, 240, 500).astype(np.uint8), (400, 1)),  # a bright right edge beside a dark left one
        *(np.full(shape, level, np.uint8) for shape in ((1, 1), (300, 2), (3, 300)) for level in (0, 255)),
    ],
)
def test_texture_noise_and_flat_pictures_have_no_marks(picture: np.ndarray) -> None:
    assert find_marks(picture).marks == ()


@pytest.mark.parametrize("shape", ["+", "x"])
@pytest.mark.parametrize(("arm", "width"), [(4, 1), (6, 1), (8, 3)])
def test_crosses_are_found_at_their_places(shape: str, arm: int, width: int) -> None:
    picture, places = scan(), [(120, 200), (300, 210)]
    for at in places:
        plant.cross(ImageDraw.Draw(picture), at, arm, width, 240, shape)
    found = centres(plant.as_jpeg(picture, 90))
    assert len(found) == 2 and all(map(near, found, places)), found


@pytest.mark.parametrize("shape", ["+", "x"])
def test_a_screen_full_of_crosses_is_found_whole(shape: str) -> None:
    picture = Image.new("L", (707, 600), 90)
    places = [(x, y) for y in range(15, 590, 37) for x in (4, *range(60, 660, 41), 702)]
    for at in places:
        plant.cross(ImageDraw.Draw(picture), at, 4, 1, 200, shape)
    found = find_crosses(np.asarray(picture))
    assert sorted((one.x, one.y) for one in found) == sorted(places)
    assert {(one.shape, one.ink, one.contrast) for one in found} == {(shape, 200, 110)}


def test_most_measurements_are_found_and_few_crosses_invented() -> None:
    hit = drawn = invented = 0
    for seed in range(12):
        rng, picture = np.random.default_rng(seed), scan(seed)
        places = plant.calipers(picture, (150, 120, 320, 260), rng)
        found = centres(picture)
        hit += sum(any(near(one, at) for one in found) for at in places)
        invented += sum(not any(near(one, at) for at in places) for one in found)
        drawn += len(places)
    assert hit >= 0.9 * drawn and invented <= 1


def test_text_is_found_as_text_and_its_letters_are_no_calipers() -> None:
    picture = scan()
    box = plant.text(picture, "RT AXILLA", np.random.default_rng(1))
    marks = find_marks(picture)
    assert marks.summary == "text"
    left, top, right, bottom = marks.marks[0].box
    assert left >= box[0] - 3 and top >= box[1] - 3 and right <= box[2] + 3 and bottom <= box[3] + 3


def test_a_body_mark_is_found() -> None:
    picture = scan()
    box = plant.body_mark(picture, np.random.default_rng(0))
    found = find_marks(picture).marks
    assert [mark.kind for mark in found] == ["body mark"]
    assert max(abs(a - b) for a, b in zip(found[0].box, box, strict=True)) <= 6


@pytest.mark.parametrize("shape", plant.ICONS)
def test_an_icon_as_small_as_a_line_of_text_is_a_body_mark(shape: str) -> None:
    found = []
    for seed in range(10):
        picture = scan(seed)
        plant.icon(picture, shape, 20 + seed, np.random.default_rng(seed))
        found.append(find_marks(picture).summary)
    assert found.count("1 body mark") >= 9, found


@pytest.mark.parametrize("words", ["QO", "OO", "LT", "rt3", "GE", "10:00", "L LOQ", "I", "H", "MAMA DIR"])
@pytest.mark.parametrize("size", [10, 14, 18, 26, 34])
def test_short_words_of_round_and_of_straight_letters_are_no_body_marks(words: str, size: int) -> None:
    picture = scan()
    draw = ImageDraw.Draw(picture)
    draw.text((60, 300), words, fill=240, font=ImageFont.load_default(size))
    assert "body mark" not in find_marks(picture).counts


def test_a_dotted_line_alone_is_found() -> None:
    picture = scan()
    plant.dotted(ImageDraw.Draw(picture), (100, 100), (300, 180), 235)
    assert find_marks(picture).summary == "1 dotted line"


def test_a_box_limits_the_search_and_marks_stay_in_the_pixels_of_the_picture() -> None:
    picture = scan()
    draw = ImageDraw.Draw(picture)
    plant.cross(draw, (60, 60), 6, 1, 240)
    plant.cross(draw, (300, 210), 6, 1, 240)
    found = find_marks(picture, (200, 100, 500, 400)).marks
    assert [mark.box for mark in found] == [(294, 204, 307, 217)]
    assert find_marks(picture) == find_marks(np.asarray(picture.convert("RGB")))


def test_a_large_picture_is_searched_smaller_and_answered_in_its_own_pixels() -> None:
    picture = scan()
    plant.cross(ImageDraw.Draw(picture), (60, 60), 6, 1, 240)
    large = picture.resize((1500, 1200), Image.Resampling.NEAREST)
    (mark,) = find_marks(large).marks
    assert max(abs(a - b) for a, b in zip(mark.box, (162, 162, 201, 201), strict=True)) <= 9


# ---- colour, and two scans in one picture


def rgb(seed: int) -> Image.Image:
    return scan(seed).convert("RGB")


def broad(seed: int, width: int = 500) -> Image.Image:
    """A scan by a beam that is wide, as those of real scanners are, beside what the network sees."""
    return Image.fromarray(plant.speckle(400, width // 3, seed)).resize((width, 400), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("colour", "shape"), itertools.product(plant.COLOURS, plant.SHAPES))
@pytest.mark.parametrize("quality", [None, 85])
def test_coloured_marks_are_found_at_their_places(colour: str, shape: str, quality: int | None) -> None:
    picture, places = rgb(1), [(120, 200), (330, 210)]
    for at in places:
        plant.coloured_mark(ImageDraw.Draw(picture), at, 6, 1, plant.COLOURS[colour], shape)
    found = find_marks(plant.as_jpeg(picture, quality) if quality else picture)
    assert found.counts == {"caliper": 2} and not found.overlay
    centres = sorted(((own.box[0] + own.box[2]) / 2, (own.box[1] + own.box[3]) / 2) for own in found.marks)
    assert np.abs(np.array(centres) - places).max() <= 3


@pytest.mark.parametrize("seed", range(3))
def test_grey_scans_tinted_ones_and_the_colour_noise_of_jpeg_have_none(seed: int) -> None:
    stream = io.BytesIO()
    rgb(seed).save(stream, "JPEG", quality=60, subsampling=2)
    tint = Image.fromarray((np.asarray(rgb(seed)) * (1.0, 0.75, 0.4)).astype(np.uint8))
    for picture in (rgb(seed), Image.open(stream).convert("RGB"), tint):
        found = find_coloured_ink(picture)
        assert found.marks == [] and not found.overlay


def test_a_mark_on_a_tinted_scan_is_found() -> None:
    tint = Image.fromarray((np.asarray(rgb(4)) * (1.0, 0.75, 0.4)).astype(np.uint8))
    plant.coloured_mark(ImageDraw.Draw(tint), (200, 150), 7, 2, (0, 255, 255), "+")
    (mark,) = find_coloured_ink(tint).marks
    assert mark[0] == "caliper" and mark[1][0] <= 200 < mark[1][2] and mark[1][1] <= 150 < mark[1][3]


@pytest.mark.parametrize("seed", range(6))
def test_flow_and_an_empty_colour_box_are_an_overlay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert find_coloured_ink(plant.as_jpeg(plant.flow(rgb(seed), rng), 85)).overlay
    boxed = rgb(seed)
    ImageDraw.Draw(boxed).rectangle((100, 90, 320, 260), outline=(0, 255, 0))
    assert find_coloured_ink(boxed).overlay


@pytest.mark.parametrize(("seed", "gap"), itertools.product(range(4), (0, 2, 9)))
def test_two_scans_side_by_side_are_told_from_each_of_them(seed: int, gap: int) -> None:
    one, other = broad(seed), broad(seed + 10, 420)
    both = plant.side_by_side(one, other, gap)

    def seen(picture: Image.Image) -> np.ndarray:
        return np.asarray(picture.resize((256, 256), Image.Resampling.BILINEAR))

    assert meets_in_a_seam(seen(both))
    assert not meets_in_a_seam(seen(one)) and not meets_in_a_seam(seen(other))
