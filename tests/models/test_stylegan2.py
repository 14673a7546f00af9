"""StyleGAN2 against slow second implementations, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

import stylegan_reference as reference
from kept_memory import KeptMemory
from sonoforge.models.stylegan.generator import MappingNetwork, StyledSettings, mix_styles
from sonoforge.models.stylegan.layers import EqualisedConv2d, activate, initialise
from sonoforge.models.stylegan.stylegan2 import (
    Discriminator,
    Generator,
    ResidualSettings,
    SynthesisLayer,
    append_minibatch_std,
)


def _close(found: Tensor, expected: Tensor, atol: float = 1e-4, rtol: float = 0) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=rtol)


CLASSES = 3


def _pair(
    size: int = 32, channels: int = 3, classes: int = CLASSES, seed: int = 0, most: int = 16
) -> tuple[Generator, Discriminator]:
    """Small networks, away from the initial values at which noise and biases do nothing."""
    generator = Generator(
        StyledSettings(
            size, channels, 8, classes, style_size=12, mapping_layers=2, channel_base=8 * size, channel_max=most
        )
    )
    conditioning = "projection" if classes else "none"
    discriminator = Discriminator(
        ResidualSettings(
            size, channels, classes, conditioning, channel_base=8 * size, channel_max=most, mapping_layers=2
        )
    )
    chance = torch.Generator().manual_seed(seed)
    for network in (generator, discriminator):
        initialise(network, chance)
        for name, values in network.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                values.data += 0.3 * torch.randn(values.shape, generator=chance) / (100 if "mapping" in name else 1)
    return generator, discriminator


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 8, generator=_chance(seed))


def _labels(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


@pytest.mark.parametrize("up", [False, True])
def test_a_layer_equals_convolutions_with_each_image_s_own_weights(up: bool) -> None:
    chance = _chance(1)
    layer = SynthesisLayer(5, 4, 6, 12 if up else 6, up=up)
    layer.noise_strength.data.fill_(0.7)
    layer.bias.data.normal_(generator=chance)
    maps, style = torch.randn(3, 5, 6, 6, generator=chance), torch.randn(3, 6, generator=chance)
    with torch.no_grad():
        found = layer(maps, style)
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    for image in range(3):
        scales = (layer.affine.weight @ style[image] / math.sqrt(6) + layer.affine.bias).detach()
        for output in range(4):
            own = (layer.weight[output] * scales[:, None, None]).detach().double().numpy()
            own /= np.sqrt((own**2).sum() + 1e-8)
            total = np.zeros((12, 12) if up else (6, 6))
            for source in range(5):
                values = maps[image, source].double().numpy()
                if up:
                    spread = np.zeros((11, 11))
                    spread[::2, ::2] = values
                    total += convolve2d(np.pad(convolve2d(spread, own[source]), 1), taps, mode="valid")
                else:
                    total += correlate2d(np.pad(values, 1), own[source], mode="valid")
            total += 0.7 * layer.noise.double().numpy() + float(layer.bias[output].detach())
            expected = np.maximum(total, 0.2 * total) * math.sqrt(2)
            np.testing.assert_allclose(found[image, output], expected, atol=1e-4)


@pytest.mark.parametrize("size", [16, 56])
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_networks_and_their_gradients_equal_the_plain_ones(size: int, classes: int) -> None:
    generator, discriminator = _pair(size, classes=classes)
    latents, labels = _latents(6), _labels(6) if classes else None
    images, plain = generator(latents, labels), reference.generate(generator, latents, labels)
    _close(images, plain, 1e-4, 1e-4)
    scores, plain_scores = discriminator(images, labels)[0], reference.judge(discriminator, images, labels)
    _close(scores, plain_scores, 1e-4, 1e-4)
    parameters = [*generator.parameters(), *discriminator.parameters()]
    found = torch.autograd.grad(scores.sum(), parameters, allow_unused=True)
    plain_path = reference.judge(discriminator, plain, labels).sum()
    expected = torch.autograd.grad(plain_path, parameters, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert one is not None and other is not None
        assert float((one - other).norm()) <= 5e-3 * float(other.norm()) + 1e-5


@pytest.mark.parametrize("strength", [1.0, 1e4])
@torch.no_grad()
def test_demodulation_gives_unit_expected_variance(strength: float) -> None:
    layer = SynthesisLayer(64, 64, 16, 32, up=False)
    initialise(layer, _chance(2))
    layer.weight.mul_(strength)
    layer.affine.weight.mul_(strength)
    maps, style = torch.randn(8, 64, 32, 32, generator=_chance(3)), torch.randn(8, 16, generator=_chance(4))
    found = layer(maps, style)[..., 1:-1, 1:-1] / math.sqrt(2)
    variances = torch.where(found > 0, found, found / 0.2).var((2, 3))
    assert abs(float(variances.mean()) - 1) < 0.01
    assert float(variances.max()) < 1.4 and float(variances.min()) > 0.7


@pytest.mark.parametrize(("count", "group"), [(4, 4), (8, 4), (6, 4), (5, 2), (2, 4), (1, 4)])
def test_minibatch_deviation_is_that_of_every_group(count: int, group: int) -> None:
    maps = torch.randn(count, 3, 4, 4, generator=_chance(5))
    _close(append_minibatch_std(maps, group), reference.append_minibatch_std(maps, group), 1e-6)


PUBLISHED = {
    1024: (32768, [512, 512, 512, 512, 512, 256, 128, 64, 32], 28_794_124, 29_012_513),
    256: (16384, [512, 512, 512, 512, 256, 128, 64], 23_191_522, 24_001_089),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_have_the_published_maps_and_parameters(size: int) -> None:
    base, maps, *parameters = PUBLISHED[size]
    with torch.device("meta"):
        generator = Generator(StyledSettings(size, 3, 512, mapping_layers=2, channel_base=base))
        discriminator = Discriminator(ResidualSettings(size, 3, channel_base=base))
    assert [layer.weight.shape[1] for layer in generator.synthesis.to_image] == maps
    assert [block.first.weight.shape[0] for block in discriminator.blocks] == maps[:0:-1]
    assert [_count(network) for network in (generator, discriminator)] == parameters


def _count(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())


def test_noise_is_independent_between_images_and_has_the_layer_s_strength() -> None:
    layer = SynthesisLayer(2, 3, 4, 64, up=False)
    layer.noise_strength.data.fill_(0.5)
    maps = torch.zeros(2, 2, 64, 64)
    with torch.no_grad():
        found = layer(maps, torch.zeros(2, 4), _chance()) / math.sqrt(2)
    values = torch.where(found > 0, found, found / 0.2)
    assert torch.equal(values[:, 0], values[:, 1])  # one noise for all maps of an image
    assert abs(float(values[:, 0].std()) - 0.5) < 0.02
    assert abs(float(torch.corrcoef(values[:, 0].flatten(1))[0, 1])) < 0.06


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mixing_gives_its_share_of_images_the_fine_styles_of_another_latent(share: float) -> None:
    mapping = MappingNetwork(8, 0, 12, 6, layers=1)
    styles = mapping(torch.randn(2000, 8, generator=_chance(6)))
    mixed = mix_styles(mapping, styles, None, share, _chance(7))
    changed = (mixed != styles).all(2)
    places = changed.sum(1)
    assert abs(float((places > 0).float().mean()) - share) < 0.04
    assert not changed[:, 0].any()  # the coarsest is always the first latent's
    assert bool((changed.int().diff(dim=1) >= 0).all())  # one change, to the end
    if share:
        shares = torch.bincount(places[places > 0], minlength=6)[1:] / (places > 0).sum()
        assert float((shares - 0.2).abs().max()) < 0.05
        # All fine styles of an image are of one other latent.
        late = mixed[places > 1]
        assert torch.equal(late[:, -1], late[:, -2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_finite_with_huge_styles_and_weights(dtype: torch.dtype) -> None:
    generator, discriminator = _pair(64, most=32)
    for layer in generator.synthesis.layers:
        layer.affine.weight.data.mul_(1e4)
        layer.weight.data.mul_(1e4)
    single = generator(_latents(2), _labels(2)).detach()
    with torch.autocast("cpu", dtype):
        images = generator(_latents(2), _labels(2))
        scores, _ = discriminator(images, _labels(2))
    assert images.dtype == scores.dtype == torch.float32
    parameters = [*generator.parameters(), *discriminator.parameters()]
    gradients = torch.autograd.grad(scores.sum(), parameters)
    for values in (images, scores, *gradients):
        assert bool(values.isfinite().all())
    # Correlated with single precision: finite for the right reason.
    assert float(torch.corrcoef(torch.stack([images.detach().flatten(), single.flatten()]))[0, 1]) > 0.99


def test_activations_are_cut_off() -> None:
    layer, convolution = SynthesisLayer(2, 2, 4, 8, up=False), EqualisedConv2d(2, 2, 3, gain=0.5)
    for module in (layer, convolution):
        assert module.bias is not None
        module.bias.data.copy_(torch.tensor([2000.0, -2000.0]))
    maps = torch.randn(1, 2, 8, 8, generator=_chance())
    with torch.no_grad():
        for found, limit in ((layer(maps, torch.zeros(1, 4)), 256.0), (convolution(maps), 128.0)):
            assert torch.equal(found[0, 0], torch.full((8, 8), limit))
            assert torch.equal(found[0, 1], torch.full((8, 8), -limit))


def test_the_activation_keeps_only_its_result_and_has_the_gradients_of_plain_operations() -> None:
    def plain(values: Tensor) -> Tensor:
        return leaky_relu(values, 0.2).clamp(-2, 2)

    start = torch.linspace(-15, 5, 1000, dtype=torch.float64).requires_grad_()
    weights = torch.randn(1000, dtype=torch.float64, generator=_chance())
    kept, both = [], []
    for one in (lambda values: activate(values * 1, 2.0), plain):
        with KeptMemory() as memory:
            result = one(start)
        kept.append(memory.most)
        (slope,) = torch.autograd.grad((result.exp() * weights).sum(), start, create_graph=True)
        both.append((result, slope, *torch.autograd.grad(slope.square().sum(), start)))
    for found, expected in zip(*both, strict=True):
        assert torch.equal(found, expected)
    assert kept == [start.nbytes, 2 * start.nbytes]
