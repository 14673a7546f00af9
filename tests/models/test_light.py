"""The light generator: its layers counted by hand, its gates computed again, and what reaches what."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from corners import corners
from gan_pairs import count_weights, on_meta
from sonoforge.models import IMAGE_SIZES, light
from sonoforge.models.spade import MapSettings
from sonoforge.models.spectral import draw_weights, fix_weights

LATENT, WIDTH = 6, 4


def build(size: int = 64, channels: int = 1, **options: int) -> light.Generator:
    torch.manual_seed(0)
    generator = light.Generator(MapSettings(size, channels, LATENT, width=WIDTH, **options))
    draw_weights(generator, torch.Generator().manual_seed(0))
    return generator


def draw_latents(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed))


def draw_maps(count: int, structures: int, size: int = 64) -> Tensor:
    return torch.rand(count, structures, size, size, generator=torch.Generator().manual_seed(2)).sub(0.5).sign()


def test_weights_are_those_of_the_layers_counted_by_hand() -> None:
    """Of an unconditional one: 16, 8, 4, 2, 2 times the width at 4, 8, 16, 32, 64 pixels, and 4 gates 64."""
    widths = [16 * WIDTH, 8 * WIDTH, 4 * WIDTH, 2 * WIDTH, 2 * WIDTH]
    by_hand = LATENT * 2 * widths[0] * 16 + 2 * 2 * widths[0]  # transposed 4x4 convolution, and its batch norm
    for inputs, outputs in itertools.pairwise(widths):
        by_hand += 9 * inputs * 2 * outputs + 2 * 2 * outputs
    by_hand += 16 * widths[0] * widths[4] + widths[4] ** 2  # the one skip
    by_hand += 9 * widths[4] + 1
    assert count_weights(build()) == by_hand


@pytest.mark.parametrize("size", corners(IMAGE_SIZES, 32, 224))
def test_every_size_gives_images_in_range(size: int) -> None:
    with torch.no_grad():
        images = build(size, channels=3, classes=2)(100 * draw_latents(2), torch.tensor([0, 1]))
    assert images.shape == (2, 3, size, size) and float(images.abs().max()) <= 1
    sides = {32: 0, 64: 1, 128: 2, 224: 2, 256: 3, 512: 4}
    assert len(build(size).skips) == sides[size], "a skip for each side that is 16 times another"


def test_its_size_is_near_the_authors() -> None:
    """Of FastGAN-lite at 256 pixels Sauer et al. have 2048 channels at 4x4, twice the width here."""
    generator = on_meta(lambda: light.Generator(MapSettings(256, 3, 256, width=128)))
    assert generator.blocks[0].convolution.weight.shape == (2 * 1024, 2048, 3, 3)  # type: ignore[union-attr, index]


def test_a_skip_gates_channels_as_the_paper_says() -> None:
    """Section 3.1, equation 1: pooled to 4x4, 4x4 convolution, swish, 1x1 convolution, sigmoid, times each channel."""
    generator = build()
    fix_weights(generator)
    skip = generator.skips[0]
    coarse, fine = torch.randn(2, 16 * WIDTH, 8, 8), torch.randn(2, 2 * WIDTH, 64, 64)
    pooled = coarse.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    gathered = conv2d(pooled, skip.gather.weight)  # type: ignore[union-attr, arg-type]
    gates = 1 / (1 + torch.exp(-conv2d(gathered / (1 + torch.exp(-gathered)), skip.gate.weight)))  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(skip(coarse, fine), fine * gates)
    assert gates.shape == (2, 2 * WIDTH, 1, 1)


def test_the_length_of_a_latent_says_nothing() -> None:
    generator = build().eval()
    torch.testing.assert_close(generator(draw_latents(3)), generator(5 * draw_latents(3)), rtol=1e-4, atol=1e-5)


def test_classes_change_the_image_and_have_to_be_given() -> None:
    generator = build(classes=3).eval()
    latents = draw_latents(1)
    with torch.no_grad():
        images = [generator(latents, torch.tensor([label])) for label in range(3)]
    assert min(float((images[0] - other).abs().max()) for other in images[1:]) > 1e-4
    with pytest.raises(ValueError, match="labels: found None"):
        generator(latents)


def test_it_draws_into_the_map_that_it_is_given_and_else_into_one_it_keeps() -> None:
    generator = build(channels=3, structures=2, maps=4).eval()
    maps = draw_maps(4, 2)
    with torch.no_grad():
        drawn, changed = (generator(draw_latents(4), None, own) for own in (maps, -maps))
    assert drawn.shape == (4, 3, 64, 64) and bool((drawn[:, 1:] == maps).all())
    assert float((drawn[:, :1] - changed[:, :1]).abs().max()) > 1e-3, "the image follows the map"
    generator.keep_maps(maps > 0)
    kept = generator(draw_latents(50))[:, 1:]
    found = {int((own == maps).flatten(1).all(1).nonzero()) for own in kept}
    assert found == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size": 48}, "found 48, expected one of 32, 64, 128, 224, 256, 512"),
        (
            {"structures": 1, "channels": 2, "classes": 2},
            "classes: found 2, expected 0: the label map",
        ),
        ({"structures": 2, "channels": 2}, "structures: found 2 of 2 channels, expected fewer"),
    ],
)
def test_what_it_cannot_be_is_refused(options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build(**options)
