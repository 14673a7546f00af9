"""Signatures recognise changed copies of what they were taken of, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from scans import draw_scan
from sonoforge.training.copies.planting import plant
from sonoforge.training.copies.signatures import (
    BITS,
    KEYPOINTS,
    Signatures,
    make_signatures,
    recognise,
)

SCANS = [draw_scan(seed, 200) for seed in range(16)]
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


@pytest.mark.parametrize("kind", ["speckle anew", "speckle anew, turn, zoom"])
def test_scans_whose_speckle_was_drawn_anew_are_recognised(signatures: Signatures, kind: str) -> None:
    rng = np.random.default_rng(1)
    copies = [plant(kind, scan, rng) for scan in SCANS]
    found = recognise(signatures, copies)
    assert [(copy.first, copy.second) for copy in found] == [(number, number) for number in range(len(SCANS))]
    zoom = 1.25 if kind.endswith("zoom") else 1.0
    assert [copy.scale for copy in found] == pytest.approx([zoom] * len(SCANS), rel=0.1)


def test_a_picture_is_recognised_by_half_a_kilobyte(signatures: Signatures) -> None:
    kept = [signatures.points, signatures.sizes, signatures.angles, signatures.bits]
    assert signatures.counts.tolist() == [KEYPOINTS] * len(SCANS)
    assert sum(field.nbytes for field in kept) == len(SCANS) * KEYPOINTS * (4 + BITS // 8)


def test_keypoints_lie_all_over_the_picture(signatures: Signatures) -> None:
    places = signatures.points.reshape(len(SCANS), KEYPOINTS, 2) // 64
    covered = [len(np.unique(places[number], axis=0)) for number in range(len(SCANS))]
    assert np.median(covered) >= 14  # of 4 x 4 squares


def test_blank_pictures_leave_nothing_and_match_nothing() -> None:
    blank = [np.zeros((100, 120), np.uint8)] * 2
    nothing = make_signatures(blank)
    assert nothing.counts.tolist() == [0, 0]
    assert recognise(nothing, SCANS[:2]) == []
    assert recognise(make_signatures([*blank, SCANS[0]]), [*blank, SCANS[0]])[0].first == 2
