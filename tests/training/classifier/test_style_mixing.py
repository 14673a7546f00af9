"""Styles that are mixed, against the definition of the paper."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.classifier.style_mixing import mix_styles


class Chosen:
    """Draws the shares and partners that a test wants."""

    def __init__(self, share: float, other: list[int]) -> None:
        self.share, self.other = share, other

    def beta(self, a: float, b: float, size: tuple[int, ...]) -> np.ndarray:
        assert a == b == 0.1
        return np.full(size, self.share)

    def permutation(self, count: int) -> np.ndarray:
        return np.array(self.other)


MAPS = (
    torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    * torch.tensor([1.0, 3.0, 0.5])[:, None, None, None]
    + torch.arange(3)[:, None, None, None]
)


def test_an_image_with_all_of_its_own_style_stays_as_it_is() -> None:
    assert torch.allclose(mix_styles(MAPS, Chosen(1.0, [1, 2, 0])), MAPS, atol=1e-5)  # type: ignore[arg-type]


def test_means_and_deviations_move_to_the_other_image_and_what_is_shown_stays() -> None:
    mixed = mix_styles(MAPS, Chosen(0.25, [1, 2, 0]))  # type: ignore[arg-type]
    for image, other in enumerate((1, 2, 0)):
        for statistic in (lambda maps: maps.mean((1, 2)), lambda maps: maps.std((1, 2))):
            expected = 0.25 * statistic(MAPS[image]) + 0.75 * statistic(MAPS[other])
            assert torch.allclose(statistic(mixed[image]), expected, atol=1e-4)
        before, after = (
            (m[image] - m[image].mean((1, 2), True)) / m[image].std((1, 2), keepdim=True) for m in (MAPS, mixed)
        )
        assert torch.allclose(before, after, atol=1e-4)


def test_styles_are_constants_to_the_gradient_and_the_type_is_kept() -> None:
    maps = MAPS.clone().requires_grad_()
    mix_styles(maps, Chosen(0.0, [1, 2, 0])).sum().backward()  # type: ignore[arg-type]
    gain = MAPS.std((2, 3), correction=1)[[1, 2, 0]] / MAPS.std((2, 3), correction=1)
    assert maps.grad is not None and torch.allclose(maps.grad, gain[:, :, None, None].expand_as(maps), rtol=1e-3)
    assert mix_styles(MAPS.bfloat16(), np.random.default_rng(0)).dtype == torch.bfloat16


def test_every_other_network_of_an_ensemble_learns_without() -> None:
    settings = BUDGETS["collections"]
    assert [settings.of_network(number).mix_styles for number in range(4)] == [0.3, 0.0, 0.3, 0.0]
    assert settings.of_network(1).of_network(0) == dataclasses.replace(settings, mix_styles=0.0)
