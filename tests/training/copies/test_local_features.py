"""Local features, their alignment and the confirmation by pixels; vectors in cells."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from scans import draw_scan
from sonoforge.training.copies import cells
from sonoforge.training.copies.cells import sort_into_cells, visits
from sonoforge.training.copies.confirmation import compare_aligned, fine_detail
from sonoforge.training.copies.local_features import LOOKS, align, extract_features, extract_halved
from sonoforge.training.copies.matches import Match
from sonoforge.training.copies.near_duplicates import LOWEST_LIMIT
from sonoforge.training.copies.pictures import Look, fit, on_disk


@pytest.mark.parametrize("look", [look for look in LOOKS if any(look)])
def test_the_features_of_a_look_are_those_of_the_picture_looked_at_so(look: Look) -> None:
    picture = draw_scan(3, 256)
    shown = 255 - picture if look.inverted else picture
    shown = np.ascontiguousarray(shown[:, ::-1]) if look.mirrored else shown
    derived, measured = extract_features(picture).seen(look), extract_features(shown)
    distance = np.linalg.norm(
        derived.descriptors[:, None].astype(float) - measured.descriptors[None].astype(float), axis=2
    )
    nearest = distance.argmin(axis=1)
    # SIFT halves a picture by every second column, from the left, so coarse features of a mirror image differ a little.
    close = distance.min(axis=1) < 150
    assert close.mean() > 0.75
    unchanged = extract_features(picture).descriptors[:, None].astype(float) - measured.descriptors[None]
    assert (np.linalg.norm(unchanged, axis=2).min(axis=1) < 150).mean() < 0.25
    where = np.linalg.norm(derived.points - measured.points[nearest], axis=1)
    turn = np.angle(np.exp(1j * (derived.angles - measured.angles[nearest])))
    assert np.quantile(where[close], 0.9) < 3.0
    assert np.quantile(np.abs(turn[close]), 0.9) < 0.3


def test_the_features_of_an_enlarged_picture_lie_where_they_did_when_found_at_half_its_size() -> None:
    enlarged = fit(draw_scan(3, 64))
    halved, whole = extract_halved(enlarged), extract_features(enlarged)
    assert (halved.width, halved.height) == (whole.width, whole.height) == enlarged.shape
    descriptors = halved.descriptors[:, None].astype(float) - whole.descriptors[None].astype(float)
    distance = np.linalg.norm(descriptors, axis=2)
    close, nearest = distance.min(axis=1) < 150, distance.argmin(axis=1)
    assert close.mean() > 0.5
    where = (halved.points - whole.points[nearest])[close]
    # OpenCV places all features a quarter of a pixel too far, of the half here as of the whole.
    assert np.median(where, axis=0) == pytest.approx([0.25, 0.25], abs=0.1)
    assert np.quantile(np.linalg.norm(where, axis=1), 0.75) < 2.0
    sizes = (halved.sizes / whole.sizes[nearest])[close]
    assert 0.9 < np.median(sizes) < 1.1


def test_a_blank_picture_has_none() -> None:
    features = extract_features(np.full((60, 80), 7, np.uint8))
    assert len(features.points) == len(features.descriptors) == 0
    assert (features.width, features.height) == (256, 192)


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


Vectors = NDArray[np.float32]


def clustered(number: int) -> Vectors:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(number // 10, 8)).repeat(10, axis=0) + 0.02 * rng.normal(size=(number, 8))).astype("f4")


def nearest(vectors: Vectors, points: Vectors, count: int) -> NDArray[np.int64]:
    """Look each point up, and return the place of the nearest vector that it meets."""
    index = sort_into_cells(vectors, 50, np.arange(len(vectors)))
    best, found = np.full(len(points), np.inf), np.full(len(points), -1)
    for cell, own in visits(index, points, count):
        members = slice(index.start[cell], index.start[cell + 1])
        distance = ((points[own, None] - index.vectors[members]) ** 2).sum(axis=2)
        closest = distance.argmin(axis=1)
        nearer = distance.min(axis=1) < best[own]
        best[own[nearer]] = distance.min(axis=1)[nearer]
        found[own[nearer]] = index.place[members][closest[nearer]]
    return found


def test_all_cells_hold_each_vector_once_and_all_of_them_find_the_nearest() -> None:
    vectors, points = clustered(500), clustered(700)[:60]
    index = sort_into_cells(vectors, 50, np.arange(500))
    assert np.array_equal(np.sort(index.place), np.arange(500))
    assert np.array_equal(index.vectors, vectors[index.place])
    exact = ((points[:, None] - vectors) ** 2).sum(axis=2).argmin(axis=1)
    assert np.array_equal(nearest(vectors, points, 10), exact)


@pytest.mark.parametrize("most", [2048, 20])
def test_a_few_cells_find_most_of_the_nearest_also_where_centres_lie_in_cells_themselves(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "_MOST_CENTRES", most)
    monkeypatch.setattr(cells, "_CENTRES_A_CELL", 8)
    vectors = clustered(5000)
    points = vectors[::7] + np.float32(0.01)
    exact = ((points[:, None] - vectors) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest(vectors, points, 2) == exact).mean() > 0.97


def test_arrays_come_back_from_disk_as_they_were() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(kind) for shape, kind in [((3, 5), "f4"), ((0, 128), "u1"), ((7,), "f8")]]
    for kept, array in zip(on_disk(iter(arrays)), arrays, strict=True):
        assert kept.dtype == array.dtype
        assert np.array_equal(kept, array)
    assert on_disk([]) == []
