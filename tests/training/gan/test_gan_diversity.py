"""The averaged generator, and the two cheap figures of each tick: diversity and distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sonoforge.training.gan.optimisers import ema_decay, update_average
from sonoforge.training.gan.progress.ticks import (
    is_collapsed,
    mean_pairwise_distance,
    sliced_distance,
    thumbnails,
)


def test_ema_decay_halves_after_the_half_life_and_ramps_up() -> None:
    assert ema_decay(100, 10**9, 1000.0) ** 10 == pytest.approx(0.5)  # 10 steps of 100 images
    assert ema_decay(100, 2000, 10_000.0) == pytest.approx(0.5)  # half-life 5 % of 2000 images
    assert ema_decay(100, 0, 1000.0) == 0.0


def test_average_follows_weights_and_batch_norm_statistics() -> None:
    average, network = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    network.weight.data.fill_(3.0)
    network.running_mean.fill_(8.0)  # type: ignore[union-attr]
    network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    update_average(average, network, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]  # 0.75 * 1 + 0.25 * 3
    assert average.running_mean.tolist() == [2.0, 2.0]  # type: ignore[union-attr]
    assert int(average.num_batches_tracked) == 7  # type: ignore[arg-type]


def test_pairwise_distance_of_known_points() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert mean_pairwise_distance(points) == pytest.approx((5 + 0 + 5) / 3)
    assert mean_pairwise_distance(points[:1]) == 0.0


def test_sliced_distance_of_a_shift_is_its_closed_form() -> None:
    rows = torch.randn(500, 256, generator=torch.Generator().manual_seed(0))
    assert sliced_distance(rows, rows) == 0.0
    # A shift by d in every coordinate moves the projection on normal directions by d * N(0, D):
    # mean absolute value d * sqrt(2 D / pi).
    assert sliced_distance(rows, rows + 0.5) == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.15)


def test_sliced_distance_agrees_with_scipy() -> None:
    from scipy.stats import wasserstein_distance

    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(256, 20, generator=generator), 2 * torch.randn(256, 20, generator=generator)
    directions = np.random.default_rng(0).standard_normal((20, 2000))
    projected = (first.numpy() @ directions, second.numpy() @ directions)
    expected = np.mean([wasserstein_distance(a, b) for a, b in zip(projected[0].T, projected[1].T, strict=True)])
    assert sliced_distance(first, second) == pytest.approx(expected / np.sqrt(20), rel=0.1)


def test_collapse_is_judged_after_the_first_tenth() -> None:
    assert is_collapsed(0.2, step=11, steps=100)
    assert not is_collapsed(0.2, step=10, steps=100)
    assert not is_collapsed(0.6, step=50, steps=100)


def test_thumbnails_average_grey_levels() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[:, 0, ::2] = 3.0
    rows = thumbnails(images)
    assert rows.shape == (1, 32 * 32)
    assert torch.allclose(rows, torch.full_like(rows, 0.5))
