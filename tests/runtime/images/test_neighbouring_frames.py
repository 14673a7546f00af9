"""Frames of one sweep are joined; pictures of different patients, and what they share, are not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

import planted_marks as plant
from scans import draw_scan
from sonoforge.runtime.images.repeats import Fingerprint, Sweeps, take_fingerprint


def print_of(levels: np.ndarray) -> Fingerprint:
    return take_fingerprint(levels, np.asarray(Image.fromarray(levels).resize((256, 256), Image.Resampling.BILINEAR)))


def frames(seed: int, count: int, step: int) -> list[np.ndarray]:
    """Windows of one scan, each moved on by so many pixels."""
    whole = draw_scan(seed, 400)
    return [whole[i * step : i * step + 300, 2 * i * step : 2 * i * step + 300] for i in range(count)]


def series(pictures: list[np.ndarray]) -> list[str]:
    sweeps = Sweeps()
    return [sweeps.find(str(i), print_of(picture)) for i, picture in enumerate(pictures)]


@pytest.mark.parametrize("step", [0, 3, 8])
def test_a_sweep_is_joined_to_its_first_frame_and_another_scan_begins_anew(step: int) -> None:
    pictures = [*frames(1, 4, step), *frames(2, 3, step)]
    assert series(pictures) == ["0", "0", "0", "0", "4", "4", "4"]


def test_a_frame_goes_on_with_a_sweep_over_another_picture_between_but_not_over_many() -> None:
    one = frames(1, 3, 4)
    others = [draw_scan(seed, 300) for seed in range(10, 14)]
    assert series([one[0], others[0], one[1]]) == ["0", "1", "0"]
    assert series([one[0], *others, one[1]]) == ["0", "1", "2", "3", "4", "5"]


def test_different_scans_with_the_same_label_in_the_same_place_are_not_joined() -> None:
    pictures = []
    for seed in range(12):
        picture = Image.fromarray(plant.speckle(300, 400, seed))
        draw = ImageDraw.Draw(picture)
        draw.text((120, 250), "MAMA DIR  12 H", fill=250)
        for depth in range(20, 300, 40):
            draw.line((2, depth, 8, depth), fill=230)
        pictures.append(np.asarray(picture))
    assert series(pictures) == [str(i) for i in range(12)]


def test_pictures_without_a_view_and_empty_ones_stand_alone() -> None:
    sweeps = Sweeps()
    levels = draw_scan(1, 300)
    assert [sweeps.find(name, take_fingerprint(levels, None)) for name in ("a", "b")] == ["a", "b"]
    assert series([np.full((90, 120), 99, np.uint8)] * 2) == ["0", "1"]
