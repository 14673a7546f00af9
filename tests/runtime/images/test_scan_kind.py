"""What is drawn in colour is found before colours become grey levels; two scans in one picture are told from one."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

import planted_marks as plant
from sonoforge.runtime.images.burned_in_marks import find_marks
from sonoforge.runtime.images.coloured_ink import find_coloured_ink
from sonoforge.runtime.images.scan_checks import meets_in_a_seam
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause


def scan(seed: int, width: int = 500) -> Image.Image:
    return Image.fromarray(plant.speckle(400, width, seed)).convert("RGB")


def broad(seed: int, width: int = 500) -> Image.Image:
    """A scan by a beam that is wide, as those of real scanners are, beside what the network sees."""
    return scan(seed, width // 3).convert("L").resize((width, 400), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("colour", "shape"), itertools.product(plant.COLOURS, plant.SHAPES))
@pytest.mark.parametrize("quality", [None, 85])
def test_coloured_marks_are_found_at_their_places(colour: str, shape: str, quality: int | None) -> None:
    picture, places = scan(1), [(120, 200), (330, 210)]
    for at in places:
        plant.coloured_mark(ImageDraw.Draw(picture), at, 6, 1, plant.COLOURS[colour], shape)
    found = find_marks(plant.as_jpeg(picture, quality) if quality else picture)
    assert found.counts == {"caliper": 2} and not found.overlay
    centres = sorted(((own.box[0] + own.box[2]) / 2, (own.box[1] + own.box[3]) / 2) for own in found.marks)
    assert np.abs(np.array(centres) - places).max() <= 3


@pytest.mark.parametrize("seed", range(3))
def test_grey_scans_tinted_ones_and_the_colour_noise_of_jpeg_have_none(seed: int) -> None:
    stream = io.BytesIO()
    scan(seed).save(stream, "JPEG", quality=60, subsampling=2)
    tint = Image.fromarray((np.asarray(scan(seed)) * (1.0, 0.75, 0.4)).astype(np.uint8))
    for picture in (scan(seed), Image.open(stream).convert("RGB"), tint):
        found = find_coloured_ink(picture)
        assert found.marks == [] and not found.overlay


def test_a_mark_on_a_tinted_scan_is_found() -> None:
    tint = Image.fromarray((np.asarray(scan(4)) * (1.0, 0.75, 0.4)).astype(np.uint8))
    plant.coloured_mark(ImageDraw.Draw(tint), (200, 150), 7, 2, (0, 255, 255), "+")
    (mark,) = find_coloured_ink(tint).marks
    assert mark[0] == "caliper" and mark[1][0] <= 200 < mark[1][2] and mark[1][1] <= 150 < mark[1][3]


def test_boxes_stay_in_a_reduced_and_cropped_picture() -> None:
    picture = Image.fromarray(plant.speckle(1200, 1600, 5)).convert("RGB")
    ImageDraw.Draw(picture).line((900, 700, 930, 700), (0, 255, 0), 4)
    ImageDraw.Draw(picture).line((915, 685, 915, 715), (0, 255, 0), 4)
    mark = find_marks(picture, (300, 200, 1600, 1200)).marks[0]
    assert np.abs(np.array(mark.box) - (900, 685, 931, 716)).max() <= 5


@pytest.mark.parametrize("seed", range(6))
def test_flow_and_an_empty_colour_box_are_an_overlay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert find_coloured_ink(plant.as_jpeg(plant.flow(scan(seed), rng), 85)).overlay
    boxed = scan(seed)
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


def test_the_answer_names_the_kind_and_is_not_trusted_for_it() -> None:
    classifier, rng = Classifier(), np.random.default_rng(0)
    plain = classifier.classify(scan(7))
    assert plain.kind == "B-mode" and Cause.NOT_ONE_SCAN not in plain.trust.causes
    for picture, kind in (
        (plant.flow(scan(7), rng), "colour overlay"),
        (plant.side_by_side(broad(7), broad(8), 4), "two scans"),
    ):
        result = classifier.classify(picture)
        assert result.kind == result.to_dict()["kind"] == kind
        assert {Cause.NOT_ONE_SCAN, Cause.OTHER_KIND} & set(result.trust.causes)
