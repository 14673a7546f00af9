"""SPADE: weights near the paper's, and what a pixel of the label map can and cannot change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gan_pairs import count_weights, on_meta
from sonoforge.models import spade

SIZE, STRUCTURES, LATENT = 64, 2, 6


@pytest.fixture
def generator() -> spade.Generator:
    torch.manual_seed(0)
    made = spade.Generator(spade.GeneratorSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, width=2))
    return made.double().eval()


def draw_maps(count: int, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(count, STRUCTURES, SIZE, SIZE, generator=chance, dtype=torch.float64).sub(0.5).sign()


def draw_latents(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_are_as_many_as_the_paper_says() -> None:
    """96 million (table 4, its decoder with 256 x 256 pixels); 5.6 million is what the authors' code counts of the
    discriminator for Cityscapes, of 36 channels of labels and 3 of colour."""
    generator = on_meta(lambda: spade.Generator(spade.GeneratorSettings(256, 39, 256, structures=36)))
    assert count_weights(generator) / 1e6 == pytest.approx(96, rel=0.02)
    assert count_weights(on_meta(lambda: spade.Discriminator(256, 39))) / 1e6 == pytest.approx(5.6, rel=0.01)


def test_weights_are_those_of_the_layers_counted_by_hand() -> None:
    structures, width, latent = 3, 4, 10
    norm = (9 * structures + 1) * 128 + 2 * (9 * 128 + 1) * 1  # for one channel; shared layer counted once below

    def normalisation(channels: int) -> int:
        return (9 * structures + 1) * 128 + 2 * (9 * 128 + 1) * channels

    assert normalisation(1) == norm
    widths = [64, 32, 16, 8, 4]  # at 4, 8, 16, 32, 64
    by_hand = (latent + 1) * 64 * 16
    for inputs, outputs in zip([64, *widths], widths, strict=False):
        middle = min(inputs, outputs)
        by_hand += normalisation(inputs) + normalisation(middle)
        by_hand += (9 * inputs + 1) * middle + (9 * middle + 1) * outputs
        if inputs != outputs:
            by_hand += normalisation(inputs) + inputs * outputs
    by_hand += 9 * 4 + 1
    made = on_meta(
        lambda: spade.Generator(spade.GeneratorSettings(64, 1 + structures, latent, structures=structures, width=width))
    )
    assert count_weights(made) == by_hand


@pytest.mark.parametrize(("pixel", "reach"), [((33, 21), 5), ((34, 22), 12), ((36, 20), 26)])
def test_a_pixel_of_the_map_changes_the_image_within_its_reach_alone(
    generator: spade.Generator, pixel: tuple[int, int], reach: int
) -> None:
    """The map is read by its nearest pixel at each side, so one at odd coordinates is seen at the full side alone.

    There two layers read the map (2 pixels), each followed by a convolution (1 each, 4 in all for the second), and one
    more ends the network: 5.  A pixel at coordinates that 2 divides once is seen at half the side, too: 4 there are 9
    at the full side, where two more convolutions and the last add 3: 12.  Divided twice: 4, 11, 25, and 1.
    """
    maps = draw_maps(1)
    moved = maps.clone()
    row, column = pixel
    moved[0, 0, row, column] *= -1
    with torch.no_grad():
        difference = (generator(draw_latents(1), None, moved) - generator(draw_latents(1), None, maps))[0, 0].abs()
    changed = difference.nonzero()
    assert len(changed) > 0
    away = (changed - torch.tensor(pixel)).abs().max()
    assert int(away) == reach


def test_without_a_map_it_draws_into_those_it_keeps(generator: spade.Generator) -> None:
    with pytest.raises(ValueError, match=r"maps: found None"):
        generator(draw_latents(1))
    made = spade.Generator(
        spade.GeneratorSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, maps=4, width=2)
    ).eval()
    maps = draw_maps(4)
    made.keep_maps(maps > 0)
    latents = torch.zeros(4, LATENT)
    latents[:, 0] = torch.tensor([-1.0, -0.3, 0.3, 1.0])  # the quantiles .16, .38, .62, .84 of a normal number
    with torch.no_grad():
        samples = made(latents)
        given = made(latents, None, maps.float())
    assert torch.equal(samples[:, 1:], maps.float())
    assert torch.equal(samples, given)
    again = spade.Generator(
        spade.GeneratorSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, maps=4, width=2)
    ).eval()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(latents), samples)


def test_an_encoder_moves_and_scales_the_latents() -> None:
    torch.manual_seed(3)
    made = spade.Generator(spade.GeneratorSettings(SIZE, 2, LATENT, structures=1, width=2, encoder=True)).eval()
    assert made.encoder is not None
    images, maps, latents = torch.rand(2, 1, SIZE, SIZE), torch.ones(2, 1, SIZE, SIZE), torch.randn(2, LATENT)
    with torch.no_grad():
        mean, log_variance = made.encoder(images)
        expected = made(mean + latents * (log_variance / 2).exp(), None, maps)
        assert torch.equal(made(latents, None, maps, images), expected)
        assert not torch.allclose(made(latents, None, maps), expected)


def test_both_scales_weigh_the_same_in_the_mean_score() -> None:
    torch.manual_seed(4)
    for size in (32, 64, 224):
        discriminator = spade.Discriminator(size, 3, width=2).eval()
        samples = torch.randn(2, 3, size, size)
        with torch.no_grad():
            scores, logits = discriminator(samples)
            maps = discriminator.feature_maps(samples)
        assert logits is None
        assert [own[-1].shape[2] for own in maps] == [size // 8, size // 16]
        expected = torch.stack([own[-1].mean((1, 2, 3)) for own in maps]).mean(0)
        torch.testing.assert_close(scores.mean((1, 2)), expected)


def test_every_parameter_of_both_networks_learns() -> None:
    torch.manual_seed(5)
    made = spade.Generator(
        spade.GeneratorSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, width=2, encoder=True)
    )
    discriminator = spade.Discriminator(SIZE, 1 + STRUCTURES, width=2)
    samples = made(torch.randn(2, LATENT), None, draw_maps(2).float(), torch.rand(2, 1, SIZE, SIZE))
    discriminator(samples)[0].square().sum().backward()
    for network in (made, discriminator):
        for name, values in network.named_parameters():
            assert values.grad is not None, name
            assert bool(values.grad.isfinite().all()), name


@pytest.mark.parametrize("size", [16, 48, 1024])
def test_other_sizes_are_refused(size: int) -> None:
    for build in (lambda: spade.Generator(spade.GeneratorSettings(size, 2, 4)), lambda: spade.Discriminator(size, 2)):
        with pytest.raises(ValueError, match=f"found {size}, expected one of 32, 64, 128, 224, 256, 512"):
            build()


def test_what_is_no_label_map_is_refused() -> None:
    with pytest.raises(ValueError, match="structures: found 2 of 2 channels"):
        spade.Generator(spade.GeneratorSettings(64, 2, 4, structures=2))
    with pytest.raises(ValueError, match="classes: found 3"):
        spade.Generator(spade.GeneratorSettings(64, 2, 4, classes=3))
    with pytest.raises(ValueError, match="conditioning: found 'projection'"):
        spade.Discriminator(64, 2, 3, "projection")
