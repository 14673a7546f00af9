"""Projections agree with scikit-learn's, and the share in a hull with counting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import Delaunay
from sklearn.decomposition import PCA

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.projections import pca_projection, share_inside

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
    assert found.fakes_inside == pytest.approx((Delaunay(found.real).find_simplex(found.fake) >= 0).mean())
    np.testing.assert_array_equal(found.real, pca_projection(real, 255 - fake).real)


def test_pca_of_images_along_one_line_leaves_the_second_axis_at_zero() -> None:
    ramp = np.array([0, 10, 20, 30], dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), dtype=np.uint8)
    found = pca_projection(ramp, ramp[:2])
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-9)
    np.testing.assert_allclose(found.fake[:, 1], 0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_the_share_inside_counts_points_and_the_border(scale: float) -> None:
    rng = np.random.default_rng(0)
    points, hull = rng.normal(size=(200, 2)), rng.normal(size=(25, 2)) * [3, 0.5]
    expected = (Delaunay(hull).find_simplex(points) >= 0).mean()
    assert share_inside(points * scale + 5, hull * scale + 5) == pytest.approx(expected)
    assert share_inside(SQUARE * scale, SQUARE * scale) == 1
    assert share_inside((SQUARE + 0.5) * scale, SQUARE * scale) == 0.25
    for flat in (SQUARE[:2], SQUARE[:0], np.array([[0.0, 0], [1, 1], [3, 3], [0.1, 0.1]]), np.ones((6, 2))):
        assert share_inside(points, flat * scale) is None


def test_sets_without_a_map_are_refused() -> None:
    for real, message in ((images(2, 1), "2 real images"), (np.full((5, 8, 8, 1), 7, np.uint8), "equal")):
        with pytest.raises(SonoforgeError, match=message):
            pca_projection(real, images(5, 2))
