"""Only generated images that pass every test are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.copies.generated import least_groups
from sonoforge.training.crossval import balancing
from sonoforge.training.crossval.balancing import at_size_drawn, curate
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.gan.options import GanSettings


def scans(first: int, count: int) -> np.ndarray:
    return np.stack([np.repeat(draw_scan(seed, 64)[..., None], 3, axis=2) for seed in range(first, first + count)])


def test_copies_poor_images_and_those_of_another_class_are_left_out() -> None:
    count = least_groups()
    real = LabelledImages(scans(0, count), np.arange(count) % 2, ("a", "b"), np.arange(count))
    fresh, copies = scans(1000, 6), real.pixels[:3, :, ::-1]
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
    pixels = np.concatenate([copies, noise, fresh, fresh[:1] // 2 + 60])
    drawn = LabelledImages(pixels, np.zeros(len(pixels), np.int64), ("a", "b"))

    def score(images: np.ndarray) -> np.ndarray:
        """All but the last are called a."""
        return np.stack([np.arange(len(images)) < len(images) - 1, np.arange(len(images)) == len(images) - 1], 1) * 1.0

    kept, found = curate(drawn, {0: 2}, real, real.pixels, score)
    assert (found.drawn, found.not_recognised, found.kept) == (12, 1, 2)
    # A copy whose original is itself unusual, as one in ten is by one of six measures, is left out before.
    assert found.copies >= 2 and found.unusual >= 2 and found.copies + found.unusual >= 5
    assert set(kept.hashes) <= set(LabelledImages(fresh, np.zeros(6, np.int64), ("a", "b")).hashes)
    nobody, none = curate(drawn, {0: 2}, real, real.pixels, lambda images: np.tile([0.0, 1.0], (len(images), 1)))
    assert len(nobody) == none.kept == 0 and none.not_recognised == 12
    few = real.subset(np.arange(count - 1))
    with pytest.raises(SonoforgeError, match=r"found .* 38 near-duplicate groups"):
        curate(drawn, {0: 2}, few, few.pixels, score)


@pytest.mark.slow
def test_images_drawn_smaller_are_not_rejected_for_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """At half the resolution, scans are as usual among scans of half the resolution as sharp ones among sharp ones."""
    monkeypatch.setattr(
        balancing, "_copy_finder", lambda _: lambda pixels: np.zeros(len(pixels), np.bool_)
    )  # tested above
    real = LabelledImages(scans(0, 80), np.zeros(80, np.int64), ("a", "b"), np.arange(80))
    fresh, half = scans(1000, 20), GanSettings(recipe="dcgan", image_size=32)
    small = at_size_drawn(fresh, half)
    assert small.shape == fresh.shape and (small != fresh).any()

    def unusual(pixels: np.ndarray, as_drawn: np.ndarray) -> int:
        drawn = LabelledImages(pixels, np.zeros(len(pixels), np.int64), ("a", "b"))
        return curate(drawn, {0: 0}, real, as_drawn, lambda images: np.tile([1.0, 0.0], (len(images), 1)))[1].unusual

    assert unusual(small, real.pixels) == 20
    assert unusual(small, at_size_drawn(real.pixels, half)) <= unusual(fresh, real.pixels) + 3 <= 9
