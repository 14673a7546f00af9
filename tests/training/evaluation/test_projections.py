"""Projections agree with scikit-learn's, and hull overlaps with closed forms, strips and counting."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import ConvexHull, Delaunay
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.projections import (
    embedding_map,
    hull_of,
    hull_overlap,
    pca_projection,
)

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def images(count: int, seed: int, channels: int = 1, side: int = 20) -> NDArray[np.uint8]:
    """Smooth images: a few random waves each."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    waves = [np.sin(across * k * 3 + rng.uniform(0, 6, (count, channels, 1, 1)) + down * k) for k in (1, 2, 3)]
    sizes = rng.uniform(5, 40, (3, count, channels, 1, 1))
    found = 128 + sum(size * wave for size, wave in zip(sizes, waves, strict=True))
    return np.clip(found, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def grey(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Luma by its published weights (ITU-R BT.601), then Pillow's bilinear 224 x 224."""
    rows = []
    for picture in pictures:
        luma = picture[..., 0] if picture.shape[-1] == 1 else np.round(picture @ [0.299, 0.587, 0.114])
        resized = Image.fromarray(luma.astype(np.uint8)).resize((224, 224), Image.Resampling.BILINEAR)
        rows.append(np.asarray(resized, dtype=np.float64).ravel() / 255)
    return np.array(rows)


def common_by_strips(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Area common to two hulls: what their chords at one place along the first axis have in common, summed up."""
    across = np.linspace(max(first[:, 0].min(), second[:, 0].min()), min(first[:, 0].max(), second[:, 0].max()), 20_001)
    if across[0] >= across[-1]:
        return 0.0
    bottoms, tops = [], []
    for points in (first, second):
        normals = ConvexHull(points).equations
        heights = [-(own[0] * across + own[2]) / own[1] for own in normals if abs(own[1]) > 1e-12]
        upper = [own[1] > 0 for own in normals if abs(own[1]) > 1e-12]
        tops.append(np.min([height for height, above in zip(heights, upper, strict=True) if above], axis=0))
        bottoms.append(np.max([height for height, above in zip(heights, upper, strict=True) if not above], axis=0))
    chords = np.clip(np.min(tops, axis=0) - np.max(bottoms, axis=0), 0, None)
    return float((chords[1:] + chords[:-1]).sum() / 2 * (across[1] - across[0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_pca_is_sklearns_fitted_on_the_real_images_alone(channels: int) -> None:
    real, fake = images(30, 1, channels), images(20, 2, channels)
    found = pca_projection(real, fake)
    reference = PCA(2, svd_solver="full").fit(grey(real))
    # Pillow's integer luma may differ by one level of 255 from the rounded sum; one level over all pixels is 0.9.
    tolerance = 1e-6 if channels == 1 else 0.3
    for ours, theirs in ((found.real, reference.transform(grey(real))), (found.fake, reference.transform(grey(fake)))):
        signs = np.sign((ours * theirs).sum(0))
        np.testing.assert_allclose(ours, theirs * signs, atol=tolerance)
    np.testing.assert_allclose(
        found.explained, reference.explained_variance_ratio_, atol=1e-6 if channels == 1 else 0.01
    )


def test_generated_images_do_not_move_the_real_points() -> None:
    real = images(12, 1)
    first, second = pca_projection(real, images(9, 2)), pca_projection(real, 255 - images(9, 3))
    np.testing.assert_array_equal(first.real, second.real)
    same = pca_projection(real, real)
    np.testing.assert_allclose(same.real, same.fake, atol=1e-9)


def test_pca_of_images_along_one_line_leaves_the_second_axis_at_zero() -> None:
    ramp = np.array([0, 10, 20, 30], dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), dtype=np.uint8)
    found = pca_projection(ramp, ramp[:2])
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-9)
    np.testing.assert_allclose(found.fake[:, 1], 0, atol=1e-5)
    assert hull_overlap(found.real, found.fake).iou is None


def test_shifted_squares_overlap_in_a_quarter() -> None:
    assert hull_overlap(SQUARE, SQUARE + 100).iou == 0
    triangle = hull_overlap(SQUARE * 1000 - 7e5, SQUARE[:3] * 1000 - 7e5)
    assert (triangle.iou, triangle.fakes_inside, triangle.real_inside) == pytest.approx((0.5, 1.0, 0.75))
    found = hull_overlap(SQUARE, SQUARE + 0.5)
    assert (found.real_area, found.fake_area) == pytest.approx((1, 1))
    assert found.intersection_area == pytest.approx(0.25)
    assert found.iou == pytest.approx(0.25 / 1.75)
    assert (found.fakes_inside, found.real_inside) == (0.25, 0.25)


@pytest.mark.parametrize("seed", range(8))
def test_overlap_is_that_of_strips_and_of_counted_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(25, 2)) * [3, 0.5]
    fake = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 2)) + rng.normal(size=2)
    found = hull_overlap(real, fake)
    assert found.real_area == pytest.approx(ConvexHull(real).volume)
    assert found.intersection_area == pytest.approx(common_by_strips(real, fake), rel=1e-5, abs=1e-9)
    corner, sides = real.min(0), np.ptp(real, axis=0)
    thrown = corner + rng.random((40_000, 2)) * sides
    both = (Delaunay(real).find_simplex(thrown) >= 0) & (Delaunay(fake).find_simplex(thrown) >= 0)
    error = 4 * np.sqrt(both.mean() * (1 - both.mean()) / len(thrown)) * sides.prod()
    assert abs(found.intersection_area - both.mean() * sides.prod()) <= error + 1e-9
    assert found.fakes_inside == pytest.approx((Delaunay(real).find_simplex(fake) >= 0).mean())


def test_overlap_is_the_same_from_either_side_and_under_scaling() -> None:
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(30, 2)), rng.normal(size=(20, 2)) + 0.7
    there, back = hull_overlap(real, fake), hull_overlap(fake, real)
    scaled = hull_overlap(real * 1e-6 + 5, fake * 1e-6 + 5)
    assert there.iou == pytest.approx(back.iou) and there.iou == pytest.approx(scaled.iou, rel=1e-6)
    assert (there.fakes_inside, there.real_inside) == (back.real_inside, back.fakes_inside)


@pytest.mark.parametrize(
    "points",
    [SQUARE[:2], SQUARE[:0], np.array([[0.0, 0], [1, 1], [3, 3], [0.1, 0.1]]), np.ones((6, 2))],
    ids=["two points", "none", "a line", "one place"],
)
def test_points_without_a_hull_have_no_overlap(points: NDArray[np.float64]) -> None:
    assert hull_of(points) is None
    found = hull_overlap(SQUARE, points) if len(points) else hull_overlap(SQUARE, SQUARE[:1])
    assert (found.fake_area, found.intersection_area, found.iou, found.real_inside) == (0, 0, None, None)
    assert found.real_area == pytest.approx(1) and found.fakes_inside is not None


def test_tsne_keeps_neighbours_repeats_and_says_its_perplexity() -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(6)[:3] * 20, 12, axis=0)
    rows = centres + rng.normal(size=centres.shape)
    first, again = (embedding_map(rows[::2], rows[1::2], "tsne", 0) for _ in range(2))
    np.testing.assert_array_equal(first.real, again.real)
    assert first.real.shape == first.fake.shape == (18, 2) and first.explained == []
    assert f"perplexity {35 / 3:g}" in first.protocol and "18 real and 18 generated" in first.protocol
    nearest = NearestNeighbors(n_neighbors=1).fit(first.real).kneighbors(first.fake, return_distance=False)[:, 0]
    assert (nearest // 6 == np.arange(18) // 6).mean() > 0.9


def test_umap_without_umap_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(SonoforgeError, match=r"pip install 'sonoforge\[umap\]'$"):
        embedding_map(np.eye(6), np.eye(6), "umap", 0)


def test_umap_keeps_neighbours() -> None:
    pytest.importorskip("umap", reason="umap-learn is an extra")
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(6)[:3] * 20, 20, axis=0) + rng.normal(size=(60, 6))
    found = embedding_map(rows[::2], rows[1::2], "umap", 0)
    nearest = NearestNeighbors(n_neighbors=1).fit(found.real).kneighbors(found.fake, return_distance=False)[:, 0]
    assert (nearest // 10 == np.arange(30) // 10).mean() > 0.9


def test_sets_without_a_map_are_refused() -> None:
    calls = (
        (pca_projection, (images(2, 1), images(5, 2)), SonoforgeError, "2 real images"),
        (pca_projection, (np.full((5, 8, 8, 1), 7, np.uint8), images(5, 2, side=8)), SonoforgeError, "equal"),
        (embedding_map, (np.eye(6)[:2], np.eye(6)[:2], "tsne", 0), SonoforgeError, "4 images in all"),
        (embedding_map, (np.full((6, 3), np.nan), np.ones((6, 3)), "tsne", 0), SonoforgeError, "not finite"),
        (embedding_map, (np.eye(6), np.eye(6), "isomap", 0), ValueError, "tsne or umap"),
    )
    for call, arguments, kind, message in calls:
        with pytest.raises(kind, match=message):
            call(*arguments)  # type: ignore[operator]
