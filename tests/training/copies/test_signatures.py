"""Signatures and sketches recognise changed copies of their pictures, say how they lie, and find nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.fft import dctn

from scans import draw_scan
from sonoforge.runtime.images.sketches import SIGNS
from sonoforge.training.copies.planting import about_the_middle, plant
from sonoforge.training.copies.signatures import (
    Signatures,
    Sketched,
    find_sketched,
    make_signatures,
    make_sketches,
    recognise,
)

SCANS = [draw_scan(seed, 200) for seed in range(16)]


def with_new_speckle(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth away a scan's speckle and multiply by new speckle, half of it fully developed (Rayleigh)."""
    size = 0.006 * max(picture.shape)
    tissue = cv2.GaussianBlur(cv2.medianBlur(picture, 3), (0, 0), size).astype(np.float64)
    waves = [cv2.GaussianBlur(rng.standard_normal(picture.shape), (0, 0), 0.6 * size) for _ in range(2)]
    speckle = np.hypot(*waves)
    return np.clip(np.round(tissue * (0.5 + 0.5 * speckle / speckle.mean())), 0, 255).astype(np.uint8)


KINDS = ("exact", "JPEG 30", "gain", "crop 25 %", "shift 15 %", "turn 10 degrees", "zoom 0.7", "zoom 1.4", "mirrored")


@pytest.fixture(scope="module")
def signatures() -> Signatures:
    return make_signatures(SCANS)


def test_every_kind_of_copy_is_recognised_and_other_pictures_are_not(signatures: Signatures) -> None:
    rng = np.random.default_rng(0)
    copies = [plant(kind, SCANS[number], rng) for number, kind in enumerate(KINDS)]
    others = [draw_scan(seed, 200) for seed in range(100, 116)]
    found = recognise(signatures, [*others, *copies])
    assert [(copy.second, copy.first) for copy in found] == [(16 + number, number) for number in range(len(KINDS))]
    assert [copy.mirrored for copy in found] == [kind == "mirrored" for kind in KINDS]
    how = dict(zip(KINDS, found, strict=True))
    assert how["zoom 1.4"].scale == pytest.approx(1.4, rel=0.03)
    assert how["crop 25 %"].scale == pytest.approx(1 / 0.75, rel=0.03)
    assert abs(how["turn 10 degrees"].degrees) == pytest.approx(10, abs=1)


@pytest.mark.parametrize(("zoom", "degrees"), [(1.0, 0.0), (1.25, 8.0)])
def test_scans_whose_speckle_was_drawn_anew_are_recognised(signatures: Signatures, zoom: float, degrees: float) -> None:
    rng = np.random.default_rng(1)
    copies = [about_the_middle(with_new_speckle(scan, rng), degrees, zoom) for scan in SCANS]
    found = recognise(signatures, copies)
    assert [(copy.first, copy.second) for copy in found] == [(number, number) for number in range(len(SCANS))]
    assert [copy.scale for copy in found] == pytest.approx([zoom] * len(SCANS), rel=0.1)


def test_blank_pictures_leave_nothing_and_match_nothing() -> None:
    blank = [np.zeros((100, 120), np.uint8)] * 2
    nothing = make_signatures(blank)
    assert nothing.counts.tolist() == [0, 0]
    assert recognise(nothing, SCANS[:2]) == []
    assert recognise(make_signatures([*blank, SCANS[0]]), [*blank, SCANS[0]])[0].first == 2


SKETCHED = [draw_scan(seed, 200) for seed in range(24)]


def find(pictures: list[NDArray[np.uint8]]) -> list[Sketched | None]:
    return find_sketched(make_sketches(SKETCHED), pictures)


def test_other_scans_are_not_found() -> None:
    assert not any(find([draw_scan(seed, 200) for seed in range(100, 140)]))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_how_a_copy_lies_is_said(mirrored: bool, inverted: bool) -> None:
    changed = about_the_middle(SKETCHED[3], 5.0, 1.2)
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
    assert make_sketches(SKETCHED).signs.nbytes == len(SKETCHED) * SIGNS // 8 == len(SKETCHED) * 24
    blank = np.full((90, 120), 80, np.uint8)
    assert find([blank]) == [None]
    assert find_sketched(make_sketches([blank]), SKETCHED[:3]) == [None] * 3
    assert find_sketched(make_sketches([]), SKETCHED[:3]) == [None] * 3
