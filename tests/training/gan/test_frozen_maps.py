"""A frozen feature network, which a CPU asks a few images at a time for their gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kept_memory import KeptMemory
from sonoforge.training.evaluation.features import Features
from sonoforge.training.gan.networks import FROZEN_BATCH, FrozenMaps

COUNT = 2 * FROZEN_BATCH + 3


@pytest.fixture
def features() -> Features:
    """Four scales, of double precision."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.ReLU6()) for _ in range(4)]
    module = nn.Sequential(*layers).double().eval().requires_grad_(False)
    return Features("stub", {f"layer{index}": index for index in range(4)}, module)


def _gradient(maps: list[Tensor], images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(torch.stack([own.square().sum() for own in maps]).sum(), images)
    return gradient


def test_maps_and_gradients_are_those_of_the_whole_batch_at_once(features: Features) -> None:
    images = torch.randn(COUNT, 1, 64, 64, dtype=torch.float64).requires_grad_()
    found, expected = FrozenMaps(features)(images), features.maps(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(_gradient(found, images), _gradient(expected, images))


def test_a_large_batch_keeps_what_a_few_images_do(features: Features) -> None:
    images = torch.randn(8 * FROZEN_BATCH, 1, 64, 64, dtype=torch.float64).requires_grad_()
    most = []
    for ask in (FrozenMaps(features), features.maps):
        with KeptMemory() as memory:
            _gradient(ask(images), images)
        most.append(memory.most)
    assert most[0] < 0.4 * most[1]
