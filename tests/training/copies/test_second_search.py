"""Copies are found however they lie, other scans are not taken for copies, and the set itself says what is far."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from places import SHARED
from scans import draw_scan
from sonoforge.training.copies.second_search import SIDE, find_repeated, shrink, threshold_of
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.second_opinion import check_plans, find_second_views
from sonoforge.training.data.splits import make_plan

SCANS = [draw_scan(seed, 192) for seed in range(20)]


def copy(
    scan: NDArray[np.uint8], zoom: float = 1.0, angle: float = 0.0, shift: tuple[float, float] = (0, 0)
) -> NDArray[np.uint8]:
    """Turn a scan about its middle by ``angle`` degrees, enlarge it and move it by a share of its side, by Pillow."""
    side = len(scan)
    cos, sin = np.cos(np.deg2rad(angle)) / zoom, np.sin(np.deg2rad(angle)) / zoom
    middle = side / 2
    x, y = middle + shift[0] * side, middle + shift[1] * side
    inverse = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    turned = Image.fromarray(scan).transform((side, side), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    return np.asarray(turned)


def brighten(scan: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (255 * (scan / 255) ** 0.8 * 0.8).astype(np.uint8)


def speckle(scan: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Smooth a scan and multiply it by exponential noise, as of an amplitude's square."""
    noise = ndimage.gaussian_filter(np.random.default_rng(7).exponential(1.0, scan.shape), 0.7)
    return np.clip(ndimage.gaussian_filter(scan.astype(float), 1.5) * (0.5 + 0.5 * noise), 0, 255).astype(np.uint8)


def strength(filtered: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(2 * np.abs(filtered), 0, 255).astype(np.uint8)


COPIES = {
    "darker": brighten,
    "zoomed": lambda s: copy(s, zoom=1.4),
    "zoomed and mirrored": lambda s: copy(s, zoom=1.3)[:, ::-1],
    "turned": lambda s: copy(s, angle=10),
    "shifted": lambda s: copy(s, shift=(0.15, -0.12)),
    "zoomed, turned and shifted": lambda s: copy(s, 1.25, -7, (0.08, 0.05)),
    "cropped": lambda s: s[: int(0.8 * len(s)), int(0.25 * len(s)) :],
    "letterboxed": lambda s: np.pad(s, ((0, 0), (48, 30))),
    "inverted": lambda s: 255 - s,
    "upside down": lambda s: s[::-1],
    "half turn, zoomed": lambda s: copy(s, zoom=1.2)[::-1, ::-1],
    "new speckle, turned and zoomed": lambda s: speckle(copy(s, 1.2, 8)),
    "stretched": lambda s: np.asarray(Image.fromarray(s).resize((len(s), int(1.1 * len(s))))),
}


def find(scans: list[NDArray[np.uint8]]) -> list[tuple[int, int]]:
    found = find_repeated(scans, np.arange(len(scans)))
    return [(min(one.first, one.second), max(one.first, one.second)) for one in found.matches]


def test_copies_are_found_however_they_lie_and_nothing_else_is() -> None:
    planted = [make(SCANS[number]) for number, make in enumerate(COPIES.values())]
    assert set(find([*SCANS, *planted])) == {(number, len(SCANS) + number) for number in range(len(COPIES))}


def test_the_edges_alone_of_scans_are_found() -> None:
    scans = [speckle(scan) for scan in SCANS]
    fine = [scan.astype(float) for scan in scans]
    planted = [
        strength(ndimage.laplace(fine[0])),
        255 - strength(ndimage.laplace(fine[1])),
        copy(strength(ndimage.laplace(fine[2])), zoom=0.85)[:, ::-1],
    ]
    pairs = find([*scans, *planted])
    assert sorted(pairs) == [(number, len(scans) + number) for number in range(len(planted))]


def test_no_pair_is_found_among_different_scans() -> None:
    assert find(SCANS) == []


def test_pairs_of_one_group_are_not_compared() -> None:
    scans = [*SCANS[:10], copy(SCANS[0], 1.3), copy(SCANS[1], 1.3)]
    groups = np.array([*range(10), 0, 11])
    found = find_repeated(scans, groups)
    assert {frozenset((one.first, one.second)) for one in found.matches} == {frozenset((1, 11))}
    assert found.compared == 12 * 11 // 2 - 1


@pytest.mark.parametrize(("zoom", "angle"), [(1.3, 8.0), (1.1, -6.0)])
def test_the_alignment_is_the_planted_one(zoom: float, angle: float) -> None:
    planted = copy(SCANS[0], zoom, angle, (0.05, 0.0))
    (match,) = find_repeated([SCANS[0], *SCANS[2:6], planted], np.arange(6)).matches
    scale, turn = zoom, np.deg2rad(angle)
    expected = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = match.matrix[:, :2]  # first to second; the scan is number 0
    assert np.allclose(linear if match.first == 0 else np.linalg.inv(linear), expected, atol=0.02)
    assert match.scale == pytest.approx(zoom if match.first == 0 else 1 / zoom, abs=0.02)


def test_bars_are_cut_off_and_blank_pictures_bear_it() -> None:
    scan = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    framed = np.pad(scan, ((30, 10), (0, 40)), constant_values=255)
    assert np.array_equal(shrink(framed), shrink(scan))
    assert shrink(np.zeros((40, 30), np.uint8)).shape == (SIDE, SIDE * 3 // 4)
    assert find([np.full((50, 50), grey, np.uint8) for grey in (0, 9, 255)]) == []


def test_the_threshold_lies_six_deviations_above_the_null_distribution() -> None:
    rng = np.random.default_rng(0)
    null = np.tanh(rng.normal(0.3, 0.08, 20_000))
    expected = np.tanh(0.3 + 6 * 0.08)
    assert threshold_of(null) == pytest.approx(expected, abs=0.01)
    with_copies = np.concatenate([null, np.full(2_000, 0.95)])  # a copy in eleven moves it little
    assert threshold_of(with_copies) == pytest.approx(expected, abs=0.03)
    assert threshold_of(null[:5]) == threshold_of(null * 0.1) == 0.45


# Each pair is one view at two zooms: compared as pictures, side by side.
ONE_VIEW = ((14, 114), (114, 123), (95, 96), (95, 97), (65, 66), (98, 99), (11, 113), (80, 81))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the images of BUSI beside the checkout")
def test_busi_holds_the_known_views_at_other_zooms(busi: ImageCache) -> None:
    names = [item.path for item in busi.dataset.items]
    found = find_repeated(busi.pictures, np.arange(len(names)))
    pairs = {frozenset((names[one.first], names[one.second])) for one in found.matches}
    for numbers in ONE_VIEW:
        assert frozenset(f"malignant/malignant ({number}).png" for number in numbers) in pairs


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the images of BUSI beside the checkout")
def test_busis_sealed_folds_keep_two_possible_second_views_together_and_divide_no_scan(
    busi: ImageCache, tmp_path: Path
) -> None:
    views = find_second_views(busi)
    plan = make_plan(busi, "sealed", together=[(view.first, view.second) for view in views])
    assert len(set(plan.groups)) == len(set(make_plan(busi, "sealed").groups)) - 2
    opinion = check_plans(tmp_path, busi, [dataclasses.replace(plan, fold_of=plan.groups)], views)  # each group a fold
    assert opinion["leaks"] == []
    assert {frozenset((pair["file"], pair["other"])) for pair in opinion["possible_second_views"]} == {
        frozenset(("malignant/malignant (120).png", "malignant/malignant (122).png")),
        frozenset(("benign/benign (101).png", "benign/benign (115).png")),
    }
