"""The thesis DCGAN: layer sizes as published, and initial weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sonoforge.models.dcgan_thesis import Discriminator, Generator, initialise


def _shapes(network: nn.Module, value: torch.Tensor, kinds: tuple[type[nn.Module], ...]) -> list[tuple[int, ...]]:
    """(height, width, maps) after each layer of these kinds."""
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        shapes.append((*output.shape[2:], output.shape[1]))

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        network(value)
    for hook in hooks:
        hook.remove()
    return shapes


def test_generator_has_the_layers_of_the_thesis() -> None:
    generator = Generator(224, 3, 100)
    assert generator.dense.out_features == 28 * 28 * 256
    shapes = _shapes(generator, torch.zeros(2, 100), (nn.ConvTranspose2d,))
    assert shapes == [(28, 28, 128), (56, 56, 64), (112, 112, 32), (224, 224, 3)]


def test_discriminator_has_the_layers_of_the_thesis() -> None:
    discriminator = Discriminator(224, 3)
    shapes = _shapes(discriminator, torch.zeros(2, 3, 224, 224), (nn.Conv2d,))
    assert shapes == [(112, 112, 32), (56, 56, 64), (28, 28, 128)]
    dense = [module for module in discriminator.modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in dense] == [(28 * 28 * 128, 1)]


@pytest.mark.parametrize(("size", "channels"), [(16, 4), (32, 1), (40, 3)])
def test_any_multiple_of_eight_and_any_number_of_channels(size: int, channels: int) -> None:
    images = Generator(size, channels, 7)(torch.randn(3, 7))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    score, class_logits = Discriminator(size, channels)(images)
    assert score.shape == (3,)
    assert class_logits is None


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="found 100, expected a multiple of 8"):
        Generator(100)


def test_batch_norm_everywhere_but_at_output_and_input() -> None:
    generator = [type(module) for module in Generator(32).layers]
    assert generator[-2:] == [nn.ConvTranspose2d, nn.Tanh]
    assert generator.count(nn.BatchNorm2d) == 4
    discriminator = [type(module) for module in Discriminator(32).layers]
    assert discriminator[:3] == [nn.Conv2d, nn.LeakyReLU, nn.Conv2d]
    assert discriminator.count(nn.BatchNorm2d) == 2


def test_initial_weights_follow_radford_and_the_seed() -> None:
    first, second, other = Generator(64), Generator(64), Generator(64)
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        initialise(network, torch.Generator().manual_seed(seed))
    weights = first.dense.weight.detach()
    # Standard errors over 1.6 million weights: 0.02 / sqrt(n) and 0.02 / sqrt(2 n).
    assert abs(float(weights.mean())) < 5 * 0.02 / math.sqrt(weights.numel())
    assert float(weights.std()) == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * weights.numel()))
    scales = first.layers[0].weight.detach()
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.01)
    assert not any(values.any() for name, values in first.named_parameters() if name.endswith("bias"))
    assert torch.equal(weights, second.dense.weight)
    assert not torch.equal(weights, other.dense.weight)
