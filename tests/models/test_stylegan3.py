"""StyleGAN3: equal to plain operations, and equivariant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import stylegan_reference as reference
from corners import corners
from gan_pairs import count_weights, on_meta
from kept_memory import KeptMemory
from sonoforge.models.stylegan.layers import initialise
from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings, plan_grids

CONFIGS = ["t", "r"]


def _small(config: str, size: int = 32, **options: Any) -> Generator:
    """A generator of few maps with its initial weights from a fixed seed."""
    options = {"style_size": 16, "layers": 6, "channel_base": 16 * size, "channel_max": 16} | options
    generator = Generator(GeneratorSettings(size, 2, 16, config=config, **options))
    initialise(generator, torch.Generator().manual_seed(0))
    return generator.eval()


def _settled(generator: Generator) -> Generator:
    """With the magnitudes and the average style that training would find."""
    for layer in generator.synthesis.layers:
        layer.magnitude_decay = 0.0
    with torch.no_grad():
        generator(_latents(16, 1), update_average=True)
        generator.mapping.average.copy_(generator.mapping(_latents(64, 2))[:, 0].mean(0))
    return generator


def _latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def _names(size: int, channels: int = 3, factor: int = 1, layers: int = 14) -> list[str]:
    grids = plan_grids(size, channels, layers, factor * 32768, factor * 512)
    return [f"L{index}_{grid.side}_{grid.channels}" for index, grid in enumerate(grids[1:])]


def test_layers_are_those_that_the_authors_print() -> None:
    # As printed by the authors' training script, quoted in issues 181, 40 and 194 of their repository.
    assert _names(1024, factor=2)[10:] == ["L10_1044_161", "L11_1044_102", "L12_1044_64", "L13_1024_64", "L14_1024_3"]
    assert _names(128, factor=2)[8:] == [
        *("L8_84_1024", "L9_148_1024", "L10_148_912", "L11_148_683", "L12_148_512", "L13_128_512", "L14_128_3"),
    ]
    assert _names(256)[:5] == ["L0_36_512", "L1_36_512", "L2_36_512", "L3_52_512", "L4_52_512"]


def test_published_networks_have_the_published_numbers_of_parameters() -> None:
    counts = {
        c: count_weights(on_meta(lambda c=c: Generator(GeneratorSettings(1024, 3, 512, config=c)))) for c in CONFIGS
    }
    assert counts["r"] == 15_093_151  # as the authors' script prints, issue 181
    assert round(counts["t"] / 1e6, 1) == 22.3  # paper, figure 5


def test_rates_of_224_pixels_are_halves_of_it() -> None:
    grids = plan_grids(224, 1, 14, 32768, 512)
    assert sorted({grid.rate for grid in grids}) == [14, 28, 56, 112, 224]
    assert grids[-1].side == 224
    for grid in grids:
        assert grid.cutoff <= grid.rate / 2
        assert grid.cutoff + grid.half_width >= grid.rate / 2  # transition bands reach the end of the spectrum


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "s"}, "config: 's' is not one of t, r"),
        ({"layers": 2}, "layers: 2 is below 3"),
        ({"image_size": 40}, "image_size: 40 is not a multiple of 16"),
    ],
)
def test_other_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generator(GeneratorSettings(**({"image_size": 32, "channels": 1, "latent_size": 8} | options)))


def _moved_styles(generator: Generator) -> Tensor:
    """Different styles for each layer, and an input that they move."""
    with torch.no_grad():
        generator.synthesis.input.placement.weight.normal_(std=0.3)
        generator.synthesis.input.transform.copy_(torch.tensor([[1.3, 0.4, 0.1], [-0.2, 0.9, -0.2], [0, 0, 1.0]]))
        for layer in generator.synthesis.layers:
            layer.bias.normal_(std=0.2)
    return torch.randn(3, generator.synthesis.num_styles, 16)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", corners([32, 48], 48))
def test_synthesis_is_that_of_plain_operations(config: str, size: int) -> None:
    torch.manual_seed(0)
    generator = _settled(_small(config, size, channel_max=6))
    styles = _moved_styles(generator)
    fast, slow = generator.synthesis(styles), reference.synthesise(generator, styles)
    assert fast.shape == (3, 2, size, size)
    torch.testing.assert_close(fast, slow, atol=2e-5, rtol=0)
    weights = torch.randn_like(fast)
    values = [*generator.synthesis.parameters()]
    found, expected = (torch.autograd.grad((images * weights).mean(), values) for images in (fast, slow))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-6


@pytest.mark.parametrize("config", CONFIGS)
def test_layers_keep_far_less_for_the_gradient_than_plain_operations(config: str) -> None:
    def kept(synthesise: Callable[[], Tensor]) -> int:
        with KeptMemory() as memory:
            held = synthesise()
        assert held.requires_grad
        return memory.most

    generator = _small(config, 64)
    styles = torch.randn(2, generator.synthesis.num_styles, 16)
    ours = kept(lambda: generator.synthesis.compute(styles)[0])
    assert ours < 0.6 * kept(lambda: reference.synthesise(generator, styles))


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_of_a_few_images_at_a_time_are_those_of_all_at_once(config: str) -> None:
    def gradients(again: bool, twice: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
        generator = _small(config, 16).double()
        synthesis = generator.synthesis
        synthesis.images_at_once = 2
        synthesis.layers[2].requires_grad_(False)
        styles = generator.mapping(_latents(3).double())
        images = synthesis(styles, update_average=True) if again else synthesis.compute(styles, update_average=True)[0]
        with torch.no_grad():  # another batch moves the magnitudes before the first one's gradient is computed
            generator(_latents(2, 1).double(), update_average=True)
        loss = images.square().mean()
        if twice:
            loss = torch.autograd.grad(loss, styles, create_graph=True)[0].norm()
        loss.backward()
        return [images, *(own.grad for own in generator.parameters() if own.grad is not None)], generator.state_dict()

    for twice in (False, True) if config == "t" else (False,):
        (found, state), (expected, other) = (gradients(again, twice) for again in (True, False))
        assert len(found) > 20
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(state, other, rtol=0, atol=0)


@torch.no_grad()
def _decibels(generator: Generator, matrix: list[list[float]], move: Callable[[Tensor], Tensor], border: int) -> float:
    """Peak signal-to-noise ratio of images of a moved input against moved images, without their border."""
    latents = _latents(8)
    still, before = generator(latents), generator.synthesis.input.transform
    generator.synthesis.input.transform = torch.tensor(matrix, dtype=torch.float32)
    error = (generator(latents) - move(still))[..., border:-border, border:-border].square().mean()
    generator.synthesis.input.transform = before
    return 10 * math.log10(4 / float(error))


@pytest.mark.parametrize("size", corners([32, 64], 32))
@pytest.mark.parametrize("config", CONFIGS)
def test_translation_equivariance_exceeds_45_db(config: str, size: int) -> None:
    generator = _settled(_small(config, size))
    for x, y in ((4, 0), (-3, 2)):  # pixels to the right and down
        matrix = [[1, 0, -x / size], [0, 1, -y / size], [0, 0, 1]]
        assert _decibels(generator, matrix, lambda image, x=x, y=y: image.roll((y, x), (2, 3)), 4) > 45  # type: ignore[misc]


def test_only_configuration_r_is_equivariant_to_rotation() -> None:
    """A quarter turn clockwise, which needs no resampling."""
    found = {
        config: _decibels(
            _settled(_small(config)), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], lambda image: image.rot90(-1, (2, 3)), 6
        )
        for config in CONFIGS
    }
    assert found["r"] > 45
    assert found["t"] < 30


def test_transforms_of_their_own_for_each_image() -> None:
    generator = _settled(_small("r"))
    latents, source = _latents(2), generator.synthesis.input
    matrices = torch.eye(3).repeat(2, 1, 1)
    matrices[0, :2, 2] = torch.tensor([0.1, -0.2])
    matrices[1, :2, :2] = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    expected = []
    for latent, matrix in zip(latents, matrices, strict=True):
        source.transform = matrix
        expected.append(generator(latent[None]))
    source.transform = matrices
    torch.testing.assert_close(generator(latents), torch.cat(expected), rtol=0, atol=1e-5)


def test_waves_are_uniform_on_a_disc_and_the_input_begins_in_place() -> None:
    source = _small("t", channel_max=512, channel_base=2**14).synthesis.input
    radius = source.frequencies.norm(dim=1)
    assert radius.max() <= 2
    # Half of the waves lie beyond 1 / sqrt(2) of the radius.
    assert (radius > math.sqrt(2)).float().mean() == pytest.approx(0.5, abs=0.07)
    torch.testing.assert_close(source.placement(torch.randn(2, 16)), torch.tensor([[1.0, 0, 0, 0]] * 2))
