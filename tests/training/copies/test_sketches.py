"""A sketch finds the picture that it is of, however its speckle was drawn, and says how it lies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.fft import dctn

from scans import draw_scan
from sonoforge.training.copies.planting import about_the_middle, plant
from sonoforge.training.copies.signatures import SIGNS, Sketched, find_sketched, make_sketches

SCANS = [draw_scan(seed, 200) for seed in range(24)]


def find(pictures: list[NDArray[np.uint8]]) -> list[Sketched | None]:
    return find_sketched(make_sketches(SCANS), pictures)


def test_copies_with_new_speckle_are_found_turned_and_zoomed_and_other_scans_are_not() -> None:
    rng = np.random.default_rng(0)
    found = find([plant("speckle anew, turn, zoom", scan, rng) for scan in SCANS])
    assert [one and one.sketch for one in found] == list(range(len(SCANS)))
    assert not any(find([draw_scan(seed, 200) for seed in range(100, 140)]))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_how_a_copy_lies_is_said(mirrored: bool, inverted: bool) -> None:
    changed = about_the_middle(SCANS[3], 5.0, 1.2)
    changed = 255 - changed if inverted else changed
    (found,) = find([changed[:, ::-1] if mirrored else changed])
    assert found is not None and found.sketch == 3
    assert found.look == (mirrored, inverted, False)
    assert found.size == pytest.approx(1.2, rel=0.06)
    assert abs(np.degrees(found.angle)) == pytest.approx(5, abs=3)


def test_the_signs_are_those_of_scipys_cosine_transform() -> None:
    """A picture that holds one wave of the transform, over the part that is sketched."""
    places = (np.arange(128) + 0.5) / 128
    # The middle three quarters hold 2 periods across and 1 down, from their own border on.
    inner = (places - 0.125) / 0.75
    wave = np.cos(np.pi * 4 * inner)[None, :] * np.cos(np.pi * 2 * inner)[:, None]
    picture = np.asarray(128 + 100 * wave, np.uint8)
    sketches = make_sketches([picture])
    cells = cv2.resize(wave[16:112, 16:112], (16, 16), interpolation=cv2.INTER_AREA)
    transform = dctn(cells, norm="ortho")
    assert np.unravel_index(np.abs(transform).argmax(), transform.shape) == (2, 4)
    strongest = int(sketches.usual.argmax())
    assert np.unpackbits(sketches.signs, axis=1)[0, strongest] == (transform[2, 4] > 0)
    assert sketches.usual[strongest] > 5 * np.sort(sketches.usual)[-2]


def test_a_sketch_is_24_bytes_and_nothing_is_found_in_blank_pictures() -> None:
    assert make_sketches(SCANS).signs.nbytes == len(SCANS) * SIGNS // 8 == len(SCANS) * 24
    blank = np.full((90, 120), 80, np.uint8)
    assert find([blank]) == [None]
    assert find_sketched(make_sketches([blank]), SCANS[:3]) == [None] * 3
    assert find_sketched(make_sketches([]), SCANS[:3]) == [None] * 3
