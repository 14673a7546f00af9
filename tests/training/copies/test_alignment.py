"""Alignment and confirmation: a known transform comes back; the correlation is that of its definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from scans import draw_scan
from sonoforge.training.copies.confirmation import compare_aligned, fine_detail
from sonoforge.training.copies.local_features import align, extract_features
from sonoforge.training.copies.matches import Match
from sonoforge.training.copies.near_duplicates import LOWEST_LIMIT
from sonoforge.training.copies.pictures import Look


@pytest.mark.parametrize(("scale", "degrees", "shift"), [(1.3, 0, (0, 0)), (0.8, 20, (9, -14)), (1.0, 170, (0, 30))])
def test_a_known_transform_comes_back(scale: float, degrees: float, shift: tuple[float, float]) -> None:
    picture = draw_scan(1, 256)
    known = cv2.getRotationMatrix2D((127.5, 127.5), -degrees, scale)
    known[:, 2] += shift
    moved = cv2.warpAffine(picture, known, (256, 256))
    first, second = extract_features(picture), extract_features(moved)
    found = align(first, second)
    assert found is not None
    match = Match.of(0, 1, Look(mirrored=False, inverted=False), found)
    assert match.scale == pytest.approx(scale, rel=0.02)
    assert abs((match.degrees - degrees + 180) % 360 - 180) < 1.5
    corners = np.array([[100, 100, 1], [150, 110, 1], [128, 160, 1]], float)
    np.testing.assert_allclose(corners @ found.matrix.T, corners @ known.T, atol=2)
    assert compare_aligned(picture, moved, found.matrix).correlation > 0.8


def test_a_stretched_copy_is_aligned_too() -> None:
    picture = draw_scan(2, 256)
    wide = np.ascontiguousarray(cv2.resize(picture, (256, 220)))
    first, second = extract_features(picture), extract_features(wide)
    found = align(first, second)
    assert found is not None
    assert found.matrix[0, 0] == pytest.approx(1, abs=0.03)
    assert found.matrix[1, 1] == pytest.approx(220 / 256, abs=0.03)


def test_the_correlation_is_that_of_its_definition() -> None:
    """By SciPy's filters and NumPy's correlation, on pictures as large as the compared overlap."""
    one = draw_scan(4, 96)
    two = np.clip(one * 0.6 + draw_scan(5, 96) * 0.3, 0, 255).astype(np.uint8)
    whole = np.eye(2, 3)

    def detail(view: np.ndarray) -> np.ndarray:
        def smooth(plane: np.ndarray) -> np.ndarray:
            return ndimage.gaussian_filter(plane, 3.0, mode="constant", truncate=4.0)

        mass = smooth(np.ones((96, 96)))
        rest = view - smooth(view.astype(float)) / mass
        return rest / (np.sqrt(smooth(rest * rest) / mass) + 2.0)

    expected = np.corrcoef(detail(one).ravel(), detail(two).ravel())[0, 1]
    assert compare_aligned(one, two, whole).correlation == pytest.approx(expected, abs=0.01)
    assert abs(fine_detail(one.astype(np.float32), np.ones((96, 96), np.float32)).mean()) < 1e-6


def test_the_score_is_in_standard_errors_of_unrelated_pictures() -> None:
    """By its definition, scores of unrelated pictures spread by 1, whatever their texture."""
    whole = np.eye(2, 3)
    scores = [compare_aligned(draw_scan(2 * i, 96), draw_scan(2 * i + 1, 96), whole).score for i in range(150)]
    assert np.std(scores) == pytest.approx(1, abs=0.25)
    assert abs(np.mean(scores)) < 0.6


def changed_in_parts(picture: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Copies that agree with a picture (256, 256) in parts only, made with NumPy and SciPy alone."""
    rows, columns = np.mgrid[:256, :256].astype(float)
    waves = [rows + 8 * np.sin(columns / 40), columns + 8 * np.sin(rows / 33)]
    inside = draw_scan(77, 256).copy()
    inside[60:170, 80:200] = picture[60:170, 80:200]
    return {
        "solarised": np.where(picture < 80, picture, 255 - picture).astype(np.uint8),
        "bent": ndimage.map_coordinates(picture, waves, order=1, mode="nearest"),
        "inside another": inside,
    }


def test_copies_that_agree_in_parts_only_score_by_the_area_that_does() -> None:
    picture, other = draw_scan(6, 256), draw_scan(8, 256)
    for kind, copy in changed_in_parts(picture).items():
        own, unrelated = (compare_aligned(one, copy, np.eye(2, 3)) for one in (picture, other))
        assert own.score > LOWEST_LIMIT > 5 > unrelated.score, kind
    patch = compare_aligned(picture, changed_in_parts(picture)["inside another"], np.eye(2, 3))
    assert patch.score / 80 == pytest.approx(110 * 120 / 256**2, abs=0.08)  # windows at its border hold both


def test_marks_that_two_scans_share_do_not_make_them_one() -> None:
    """As burned in by one scanner: letters and a scale along the border, alike to the pixel."""
    one, other = draw_scan(9, 256).copy(), draw_scan(10, 256).copy()
    for picture in (one, other):
        cv2.putText(picture, "MI 1.2 L12-5", (8, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255)
        picture[20:250:16, 246:254] = 255
    assert compare_aligned(one, other, np.eye(2, 3)).score < LOWEST_LIMIT


def test_padding_does_not_count() -> None:
    """Two unrelated pictures in the same frame have nothing but the frame in common."""
    framed = []
    for seed in (7, 8):
        picture = np.zeros((256, 256), np.uint8)
        picture[60:196, 60:196] = draw_scan(seed, 136)
        framed.append(picture)
    assert abs(compare_aligned(framed[0], framed[1], np.eye(2, 3)).score) < 5
