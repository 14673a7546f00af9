"""StyleGAN1: styles set the statistics of maps, and initial values and weights are the published ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from gan_pairs import draw_latents, on_meta, small_pair
from sonoforge.models.stylegan.stylegan1 import (
    Discriminator,
    Generator,
    GeneratorSettings,
    GrowingSettings,
    StyledLayer,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_layer_equals_its_steps_written_out() -> None:
    layer = StyledLayer(3, 4, 5, 8, up=True)
    with torch.no_grad():
        layer.bias.copy_(draw(4, seed=3))
        layer.noise_strength.copy_(draw(4, seed=4))
    maps, style = draw(2, 3, 4, 4, seed=5), draw(2, 5, seed=6)
    # Bilinear up-sampling of the authors: pixels doubled, then a binomial filter of length 3 (borders: zeros).
    doubled = maps.repeat_interleave(2, 2).repeat_interleave(2, 3)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    smooth = conv2d(doubled, kernel, padding=1, groups=3)
    weight = layer.convolution.weight * math.sqrt(2 / (3 * 9))  # type: ignore[union-attr]
    sums = conv2d(smooth, weight, padding=1) + layer.bias[:, None, None]
    sums = sums + layer.noise * layer.noise_strength[:, None, None]
    activated = torch.where(sums > 0, sums, 0.2 * sums)
    normal = (activated - activated.mean((2, 3), keepdim=True)) / activated.std((2, 3), correction=0, keepdim=True)
    scale = style @ layer.scale.weight.t() / math.sqrt(5) + 1
    shift = style @ layer.shift.weight.t() / math.sqrt(5)
    expected = scale[:, :, None, None] * normal + shift[:, :, None, None]
    torch.testing.assert_close(layer(maps, style), expected, atol=1e-5, rtol=1e-4)


def test_initial_values_are_the_published_ones() -> None:
    """Appendix C: constant 1, biases and noise 0, but 1 for the biases of the scales."""
    generator = Generator(GeneratorSettings(16, 1, 4, channel_base=128, channel_max=8))
    assert bool((generator.synthesis.constant == 1).all())
    for layer in generator.synthesis.layers:
        assert bool((layer.bias == 0).all()) and bool((layer.noise_strength == 0).all())
        assert bool((layer.scale.bias == 1).all()) and bool((layer.shift.bias == 0).all())
        assert layer.noise_strength.shape == layer.bias.shape  # one factor for each map
    assert all(abs(float(layer.weight.detach().std()) - 100) < 5 for layer in generator.mapping.layers[1:])  # rate 0.01


@pytest.mark.parametrize("side", [8, 32])
def test_training_mixes_styles_among_the_layers_in_use(side: int) -> None:
    generator, _ = small_pair("stylegan1")
    generator.set_stage(side, 1.0)
    count = {8: 4, 32: 8}[side]
    taken: list[Tensor] = []
    generator.synthesis.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    with torch.no_grad():
        generator(draw_latents(600), chance=torch.Generator().manual_seed(7))
    changes = (taken[0][:, 1:] != taken[0][:, :-1]).any(2)
    assert changes.shape == (600, count - 1)
    assert int(changes.sum(1).max()) == 1
    assert abs(float(changes.sum(1).float().mean()) - 0.9) < 0.05
    assert bool((changes.sum(0) > 0.6 * 540 / (count - 1)).all())  # everywhere alike


def test_the_published_generator_has_26_million_weights() -> None:
    """Section 2: 26.2 million weights, and 18 layers, for 1024x1024."""
    generator = on_meta(lambda: Generator(GeneratorSettings(1024, 3, 512)))
    discriminator = on_meta(lambda: Discriminator(GrowingSettings(1024, 3)))
    in_use = [generator.mapping, generator.synthesis.layers, generator.synthesis.to_image[-1]]
    count = sum(v.numel() for part in in_use for v in part.parameters()) + generator.synthesis.constant.numel()
    assert round(count / 1e5) == 262
    assert len(generator.synthesis.layers) == 18
    # ICLR 2018, table 2, the last column: the discriminator's 23.1 million.
    kept = sum(v.numel() for name, v in discriminator.named_parameters() if not name.startswith("from_image"))
    kept += sum(v.numel() for v in discriminator.from_image[-1].parameters())
    assert round(kept / 1e5) == 231
