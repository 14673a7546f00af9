"""StyleGAN2 against slow second implementations, and its properties."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

import stylegan_reference as reference
from gan_pairs import count_weights, draw_latents, on_meta, small_pair
from kept_memory import KeptMemory
from sonoforge.models.stylegan.generator import MappingNetwork, StyledSettings, mix_styles
from sonoforge.models.stylegan.layers import EqualisedConv2d, activate, append_minibatch_std
from sonoforge.models.stylegan.stylegan2 import Discriminator, Generator, ResidualSettings, SynthesisLayer


def _close(found: Tensor, expected: Tensor, atol: float = 1e-4, rtol: float = 0) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=rtol)


def _pair(size: int, classes: bool) -> tuple[Generator, Discriminator]:
    """Small networks, away from the initial values at which biases do nothing."""
    networks: tuple[Generator, Discriminator] = small_pair("stylegan2", "projection" if classes else "none", size)
    networks[1].group = 4
    for network in networks:
        for name, values in network.named_parameters():
            if name.endswith("bias"):
                values.data += 0.3 * torch.randn(values.shape, generator=_chance()) / (100 if "mapping" in name else 1)
    return networks


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [16, 56])
@pytest.mark.parametrize("classes", [False, True])
def test_networks_and_their_gradients_equal_the_plain_ones(size: int, classes: bool) -> None:
    generator, discriminator = _pair(size, classes)
    latents, labels = draw_latents(6), torch.arange(6) % 3 if classes else None
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
    generator = on_meta(lambda: Generator(StyledSettings(size, 3, 512, mapping_layers=2, channel_base=base)))
    discriminator = on_meta(lambda: Discriminator(ResidualSettings(size, 3, channel_base=base)))
    assert [layer.weight.shape[1] for layer in generator.synthesis.to_image] == maps
    assert [block.first.weight.shape[0] for block in discriminator.blocks] == maps[:0:-1]
    assert [count_weights(network) for network in (generator, discriminator)] == parameters


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
    generator, discriminator = _pair(64, True)
    labels = torch.arange(2)
    for layer in generator.synthesis.layers:
        layer.affine.weight.data.mul_(1e4)
        layer.weight.data.mul_(1e4)
    single = generator(draw_latents(2), labels).detach()
    with torch.autocast("cpu", dtype):
        images = generator(draw_latents(2), labels)
        scores, _ = discriminator(images, labels)
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
