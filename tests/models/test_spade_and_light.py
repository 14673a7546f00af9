"""SPADE and the light generator: layers counted by hand, gates computed again, and the reach of a label map."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from gan_pairs import count_weights, on_meta
from sonoforge.models import projected, spade
from sonoforge.models.layers import draw_weights, fix_weights
from sonoforge.models.spade import MapSettings

SIZE, STRUCTURES, LATENT, WIDTH = 64, 2, 6, 4


@pytest.fixture
def generator() -> spade.Generator:
    torch.manual_seed(0)
    made = spade.Generator(MapSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, width=2))
    return made.double().eval()


def draw_maps(count: int, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(count, STRUCTURES, SIZE, SIZE, generator=chance, dtype=torch.float64).sub(0.5).sign()


def draw_single(count: int) -> Tensor:
    return draw_latents(count).float()


def draw_latents(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_are_as_many_as_the_paper_says() -> None:
    """96 million (table 4, its decoder with 256 x 256 pixels); 5.6 million is what the authors' code counts of the
    discriminator for Cityscapes, of 36 channels of labels and 3 of colour."""
    generator = on_meta(lambda: spade.Generator(MapSettings(256, 39, 256, structures=36)))
    assert count_weights(generator) / 1e6 == pytest.approx(96, rel=0.02)
    assert count_weights(on_meta(lambda: spade.Discriminator(256, 39))) / 1e6 == pytest.approx(5.6, rel=0.01)


def test_weights_are_those_of_the_layers_counted_by_hand() -> None:
    structures, width, latent = 3, 4, 10

    def normalisation(channels: int) -> int:
        return (9 * structures + 1) * 128 + 2 * (9 * 128 + 1) * channels

    widths = [64, 32, 16, 8, 4]  # at 4, 8, 16, 32, 64
    by_hand = (latent + 1) * 64 * 16
    for inputs, outputs in zip([64, *widths], widths, strict=False):
        middle = min(inputs, outputs)
        by_hand += normalisation(inputs) + normalisation(middle)
        by_hand += (9 * inputs + 1) * middle + (9 * middle + 1) * outputs
        if inputs != outputs:
            by_hand += normalisation(inputs) + inputs * outputs
    by_hand += 9 * 4 + 1
    made = on_meta(lambda: spade.Generator(MapSettings(64, 1 + structures, latent, structures=structures, width=width)))
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
    with pytest.raises(ValueError, match=r"maps: "):
        generator(draw_latents(1))
    made = spade.Generator(MapSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, maps=4, width=2)).eval()
    maps = draw_maps(4)
    made.keep_maps(maps > 0)
    latents = torch.zeros(4, LATENT)
    latents[:, 0] = torch.tensor([-1.0, -0.3, 0.3, 1.0])  # the quantiles .16, .38, .62, .84 of a normal number
    with torch.no_grad():
        samples = made(latents)
        given = made(latents, None, maps.float())
    assert torch.equal(samples[:, 1:], maps.float())
    assert torch.equal(samples, given)
    again = spade.Generator(MapSettings(SIZE, 1 + STRUCTURES, LATENT, structures=STRUCTURES, maps=4, width=2)).eval()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(latents), samples)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [({"structures": 2}, "structures: 2 of 2 channels"), ({"structures": 1, "classes": 3}, "classes: ")],
)
def test_impossible_label_maps_are_refused(options: dict[str, int], message: str) -> None:
    for build in (
        lambda: spade.Generator(MapSettings(64, 2, 4, **options)),
        lambda: projected.Generator(MapSettings(64, 2, 4, **options)),
    ):
        with pytest.raises(ValueError, match=message):
            build()


# The light generator.


def build_light(size: int = 64, channels: int = 1, **options: int) -> projected.Generator:
    torch.manual_seed(0)
    generator = projected.Generator(MapSettings(size, channels, LATENT, width=WIDTH, **options))
    draw_weights(generator, torch.Generator().manual_seed(0))
    return generator


def test_weights_of_the_light_generator_are_those_of_the_layers_counted_by_hand() -> None:
    """Of an unconditional one: 16, 8, 4, 2, 2 times the width at 4, 8, 16, 32, 64 pixels, and 4 gates 64."""
    widths = [16 * WIDTH, 8 * WIDTH, 4 * WIDTH, 2 * WIDTH, 2 * WIDTH]
    by_hand = LATENT * 2 * widths[0] * 16 + 2 * 2 * widths[0]  # transposed 4x4 convolution, and its batch norm
    for inputs, outputs in itertools.pairwise(widths):
        by_hand += 9 * inputs * 2 * outputs + 2 * 2 * outputs
    by_hand += 16 * widths[0] * widths[4] + widths[4] ** 2  # the one skip
    by_hand += 9 * widths[4] + 1
    assert count_weights(build_light()) == by_hand


def test_a_skip_gates_channels_as_the_paper_says() -> None:
    """Section 3.1, equation 1: pooled to 4x4, 4x4 convolution, swish, 1x1 convolution, sigmoid, times each channel."""
    generator = build_light()
    fix_weights(generator)
    skip = generator.skips[0]
    coarse, fine = torch.randn(2, 16 * WIDTH, 8, 8), torch.randn(2, 2 * WIDTH, 64, 64)
    pooled = coarse.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    gathered = conv2d(pooled, skip.gather.weight)  # type: ignore[union-attr, arg-type]
    gates = 1 / (1 + torch.exp(-conv2d(gathered / (1 + torch.exp(-gathered)), skip.gate.weight)))  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(skip(coarse, fine), fine * gates)
    assert gates.shape == (2, 2 * WIDTH, 1, 1)


def test_the_length_of_a_latent_says_nothing() -> None:
    generator = build_light().eval()
    torch.testing.assert_close(generator(draw_single(3)), generator(5 * draw_single(3)), rtol=1e-4, atol=1e-5)


def test_it_draws_into_the_map_that_it_is_given_and_else_into_one_it_keeps() -> None:
    generator = build_light(channels=3, structures=2, maps=4).eval()
    maps = draw_maps(4).float()
    with torch.no_grad():
        drawn, changed = (generator(draw_single(4), None, own) for own in (maps, -maps))
    assert drawn.shape == (4, 3, 64, 64) and bool((drawn[:, 1:] == maps).all())
    assert float((drawn[:, :1] - changed[:, :1]).abs().max()) > 1e-3, "the image follows the map"
    generator.keep_maps(maps > 0)
    kept = generator(draw_single(50))[:, 1:]
    found = {int((own == maps).flatten(1).all(1).nonzero()) for own in kept}
    assert found == {0, 1, 2, 3}


def test_a_skip_for_each_side_that_is_16_times_another() -> None:
    assert [len(build_light(size).skips) for size in (32, 64, 128, 224, 256, 512)] == [0, 1, 2, 2, 3, 4]
