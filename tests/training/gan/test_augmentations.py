"""What all augmentations have in common: masks keep their values, gradients of both orders, seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sonoforge.training.gan.augmentations import AUGMENTATIONS, ada
from sonoforge.training.gan.augmentations.ada import filter_bands
from sonoforge.training.gan.augmentations.resampling import sample_bilinear

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(count: int = 4, channels: int = 3, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=_chance(99), dtype=dtype) * 2 - 1


def test_masks_keep_their_values_under_colour_filter_and_noise() -> None:
    images = _images(8, 5)
    transforms = (*ada.COLOUR, "bands", "noise")
    augmented = ada.augment(images, ONE, 3, _chance(7), transforms)
    assert torch.equal(augmented[:, 3:], images[:, 3:])
    assert float((augmented[:, :3] - images[:, :3]).abs().amax((1, 2, 3)).min()) > 0.01


@pytest.mark.parametrize("transforms", [ada.BLITTING, ada.GEOMETRIC, ("cutout",)])
def test_masks_move_with_their_images(transforms: tuple[str, ...]) -> None:
    images = _images(8, 1).expand(-1, 2, -1, -1)
    augmented = ada.augment(images, ONE, 1, _chance(8), transforms)
    assert torch.equal(augmented[:, 1], augmented[:, 0])
    assert not torch.equal(augmented, images)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_every_augmentation_keeps_shape_and_repeats_itself_from_a_seed(name: str) -> None:
    images = _images(4, 4)
    augment = AUGMENTATIONS[name].apply
    first, again, other = (augment(images, torch.tensor(0.8), 3, _chance(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_gradients_reach_every_image_and_twice(name: str) -> None:
    """As R1 on augmented images, and a path length through them, need it; by deterministic kernels alone."""
    images = _images(4, 2).requires_grad_(True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        augmented = AUGMENTATIONS[name].apply(images, torch.tensor(0.8), 1, _chance(9))
        (gradient,) = torch.autograd.grad(augmented.pow(3).sum(), images, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), images)
    finally:
        torch.use_deterministic_algorithms(before)
    assert bool((gradient.abs().amax((1, 2, 3)) > 0).all())
    assert bool((second.abs().amax((1, 2, 3)) > 0).all())
    assert bool(second.isfinite().all())


def _check_twice(function: Callable[[Tensor], Tensor], images: Tensor) -> None:
    images.requires_grad_(True)
    assert torch.autograd.gradcheck(function, (images,))
    assert torch.autograd.gradgradcheck(function, (images,))


def test_the_bilinear_look_up_is_differentiable_twice() -> None:
    grid = torch.rand(1, 4, 3, 2, generator=_chance(10), dtype=torch.float64) * 2.4 - 1.2
    _check_twice(lambda images: sample_bilinear(images, grid).pow(2), _images(1, 2, 5, torch.float64))


def test_ada_is_differentiable_twice() -> None:
    images = _images(1, 2, 6, torch.float64)
    draws = ada.draw(images, ONE, 1, _chance(11), (*ada.BGC, *ada.CORRUPTING))
    _check_twice(lambda images: ada.apply(images, draws, 1).pow(2), images)


def test_band_filters_are_differentiable_twice() -> None:
    images = _images(1, 1, 22, torch.float64)
    drawn = torch.tensor([[0.5, 2.0, 1.0, 3.0]], dtype=torch.float64)
    weights = torch.randn(22, 22, 4, generator=_chance(12), dtype=torch.float64)
    corner = images[:, :, :3, :3].clone()

    def function(corner: Tensor) -> Tensor:
        patched = torch.nn.functional.pad(corner, (0, 19, 0, 19)) + images
        return torch.einsum("nchw,hwk->nk", filter_bands(patched, drawn).pow(2), weights)

    _check_twice(function, corner)
