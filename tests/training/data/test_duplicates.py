"""Near-duplicates: what is one scan is found, what is not is not, by an independent measure."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from scans import draw_scan
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.data.duplicates import (
    THRESHOLD,
    _best_correlation,
    find_duplicates,
    fine_detail,
    join_groups,
    threshold_sensitivity,
)


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR))


def slow_correlation(a: NDArray[np.uint8], b: NDArray[np.uint8], largest_shift: int = 6) -> float:
    """Best Pearson correlation over shifts and mirror, by plain loops: the definition."""

    def detail(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        image = pixels.astype(np.float64)
        return image - ndimage.gaussian_filter(image, 4.0, mode="nearest")

    best = -1.0
    x, side = detail(a), 64
    for y in (detail(b), detail(b)[:, ::-1]):
        for dy in range(-largest_shift, largest_shift + 1):
            for dx in range(-largest_shift, largest_shift + 1):
                u = x[max(dy, 0) : side + min(dy, 0), max(dx, 0) : side + min(dx, 0)]
                v = y[max(-dy, 0) : side + min(-dy, 0), max(-dx, 0) : side + min(-dx, 0)]
                best = max(best, float(np.corrcoef(u.ravel(), v.ravel())[0, 1]))
    return best


def _annotated(scan: NDArray[np.uint8]) -> NDArray[np.uint8]:
    marked = scan.copy()
    marked[100:112, 20:70] = 255
    marked[40, 30:90] = 255
    return marked


def _jpeg(scan: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(scan).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer))


SCAN = draw_scan(0)
ALTERED = {
    "brightness": (SCAN * 0.8 + 20).astype(np.uint8),
    "contrast": (255 - (255 - SCAN.astype(float)) * 0.5).astype(np.uint8),
    "mirrored": SCAN[:, ::-1],
    "mirrored and dark": (SCAN[:, ::-1] * 0.5).astype(np.uint8),
    "noise": np.clip(SCAN + np.random.default_rng(5).normal(0, 8, SCAN.shape), 0, 255).astype(np.uint8),
    "shifted": np.roll(SCAN, (9, -7), (0, 1)),
    "annotated": _annotated(SCAN),
    "jpeg": _jpeg(SCAN),
    "smaller": np.asarray(Image.fromarray(SCAN).resize((90, 70))),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_an_altered_copy_joins_its_original(kind: str) -> None:
    pictures = [draw_scan(seed) for seed in range(12)] + [ALTERED[kind]]
    found = find_duplicates(np.stack([thumbnail(p) for p in pictures]))
    assert found.groups.tolist() == [*range(12), 0]
    assert (found.pairs.first.tolist(), found.pairs.second.tolist()) == ([0], [12])
    assert found.pairs.mirrored.tolist() == ["mirrored" in kind]
    assert [cluster.tolist() for cluster in found.clusters] == [[0, 12]]


def test_correlation_agrees_with_its_definition() -> None:
    pictures = [SCAN, *(ALTERED[kind] for kind in ("shifted", "annotated", "mirrored", "noise"))]
    small = np.stack([thumbnail(p) for p in pictures])
    pairs = find_duplicates(small).pairs
    found = {(int(a), int(b)): float(r) for a, b, r, _ in zip(*pairs, strict=True)}
    expected = {(a, b): slow_correlation(small[a], small[b]) for a in range(5) for b in range(a + 1, 5)}
    assert len(found) >= 8
    assert found == pytest.approx({pair: r for pair, r in expected.items() if r >= THRESHOLD}, abs=1e-9)


def test_different_scans_stay_apart() -> None:
    found = find_duplicates(np.stack([thumbnail(draw_scan(seed)) for seed in range(60)]))
    assert found.groups.tolist() == list(range(60))
    assert not found.shares_layout


def test_blank_and_almost_blank_images_match_nothing_by_accident() -> None:
    generator = np.random.default_rng(1)
    blank = [np.full((64, 64), level, np.uint8) for level in (0, 0, 128, 255)]
    faint = [np.full((64, 64), 90, np.uint8) + (generator.random((64, 64)) < 0.05).astype(np.uint8) for _ in range(2)]
    ramp = [np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[:, None], 64, axis=1)] * 2
    noise = [generator.integers(0, 256, (64, 64)).astype(np.uint8) for _ in range(3)]
    # A faint slope: rounding draws the same contours into both.
    y, x = np.mgrid[:64, :64]
    slope = [(level + (x + y) / 40).round().astype(np.uint8) for level in (100, 150)]
    pictures = np.stack([*blank, *faint, *noise, *slope])
    assert not np.isnan(fine_detail(pictures)).any()
    assert find_duplicates(pictures).groups.tolist() == list(range(11))
    with np.errstate(all="raise", under="ignore"):
        find_duplicates(np.stack([*blank, *ramp]))
        # Where a shift leaves nothing to compare, it counts as no correlation, not as 0 / 0.
        assert _best_correlation(np.zeros((1, 64, 64)), fine_detail(noise[0][None])).tolist() == [0.0]


def test_equal_contents_are_one_group_even_where_there_is_nothing_to_see() -> None:
    blank = np.zeros((4, 64, 64), np.uint8)
    assert find_duplicates(blank, ["a", "b", "a", "c"]).groups.tolist() == [0, 1, 0, 2]


def test_groups_are_the_connected_components() -> None:
    first, second = np.array([5, 1, 4, 8]), np.array([1, 0, 3, 4])
    assert join_groups(9, first, second).tolist() == [0, 0, 1, 2, 2, 0, 3, 4, 2]
    assert join_groups(3, np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == [0, 1, 2]


def test_a_shared_outline_is_reported_rather_than_believed() -> None:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = (x**2 + y**2 < 0.8) * 150
    pictures = [np.clip(disc + (disc > 0) * draw_scan(s, 64) * 0.1, 0, 255).astype(np.uint8) for s in range(40)]
    assert find_duplicates(np.stack(pictures)).shares_layout


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 64, 64\)"):
        find_duplicates(np.zeros((2, 32, 32), np.uint8))


def test_real_busi_clusters_are_stable_and_those_known(busi: ImageCache) -> None:
    cache, found = busi, busi.duplicates
    assert is_busi(cache.fingerprint)
    names = [item.path for item in cache.dataset.items]
    assert 585 <= found.groups.max() + 1 <= 615
    together = found.groups[names.index("benign/benign (433).png")]
    assert together == found.groups[names.index("malignant/malignant (145).png")]
    equal = [(a, b) for a, b, *_ in zip(*found.pairs, strict=True) if cache.hashes[a] == cache.hashes[b]]
    assert [(names[a], names[b]) for a, b in equal] == [("benign/benign (433).png", "malignant/malignant (145).png")]
    rows = {row.threshold: row for row in threshold_sensitivity(found, cache.dataset.labels)}
    assert rows[THRESHOLD].mixed == 8  # as an independent search by plain correlation found
    assert rows[THRESHOLD].largest <= 10
    assert abs(rows[0.5].groups - rows[0.65].groups) <= 10
    generator = np.random.default_rng(0)
    for k in generator.choice(len(found.pairs.first), 5, replace=False):
        a, b = found.pairs.first[k], found.pairs.second[k]
        expected = slow_correlation(cache.thumbnails[a], cache.thumbnails[b])
        assert found.pairs.correlation[k] == pytest.approx(expected, abs=1e-9)
