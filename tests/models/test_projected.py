"""The projected discriminator: what is fixed, what is mixed, and what its scores depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from gan_pairs import Pools
from sonoforge.models import projected
from sonoforge.models.layers import fix_weights

SIZE = 32


def build(**options: Any) -> projected.Discriminator:
    settings = projected.DiscriminatorSettings(
        **{"image_size": SIZE, "channels": 1, "image_channels": 1, "width": 3, **options}
    )
    discriminator = projected.Discriminator(settings, Pools())
    projected.initialise(discriminator, torch.Generator().manual_seed(0))
    return discriminator.eval()


def draw(count: int, channels: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_maps_are_mixed_across_channels_then_from_coarse_to_fine() -> None:
    discriminator, images = build(), draw(2)
    own = [conv2d(maps, mix.weight) for maps, mix in zip(Pools()(images), discriminator.across_channels, strict=True)]
    expected = [own[2]]
    for number in (1, 0):
        coarse = conv2d(expected[0], discriminator.across_scales[number].weight, padding=1)
        enlarged = interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        expected.insert(0, own[number] + enlarged)
    for found, wanted in zip(discriminator.project(images), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert [maps.shape[1:] for maps in expected] == [(6, 16, 16), (6, 8, 8), (6, 4, 4)]


def test_only_the_scales_are_trained() -> None:
    discriminator = build().train()
    discriminator(draw(2))[0].sum().backward()
    learning = {name for name, values in discriminator.named_parameters() if values.grad is not None}
    assert {name.split(".")[0] for name in learning} == {"scales"}
    assert {name for name, values in discriminator.named_parameters() if values.requires_grad} == learning
    images = draw(2).requires_grad_()
    discriminator(images)[0].sum().backward()
    assert images.grad is not None and bool((images.grad != 0).all()), "every pixel counts"


def test_there_is_a_score_for_every_place_of_the_last_maps() -> None:
    score, logits = build()(draw(5))
    assert score.shape == (5, 3 * 4 * 4) and logits is None, "16, 8 and 4 pixels are halved to 4"
    assert build(view=64)(draw(5))[0].shape == (5, 3 * 4 * 4), "32, 16 and 8 pixels, too"


def test_a_class_adds_the_product_of_its_row() -> None:
    discriminator, images = build(classes=3, conditioning="projection"), draw(4)
    first, second = (discriminator(images, torch.full((4,), label))[0] for label in (0, 2))
    fix_weights(discriminator)
    apart = []
    for scale, maps in zip(discriminator.scales, discriminator.project(images), strict=True):
        rows = scale.class_rows.weight  # type: ignore[union-attr]
        apart.append(conv2d(scale.layers(maps), rows[2:3] - rows[:1]).flatten(1))  # type: ignore[index, operator]
    torch.testing.assert_close(second - first, torch.cat(apart, 1))
    with pytest.raises(ValueError, match="labels: "):
        discriminator(images)


def test_every_pixel_of_a_mask_counts_where_it_lies() -> None:
    """A mask is rearranged, not blurred: at the finest scale no pixel of it is lost."""
    discriminator = build(channels=3)
    samples = draw(1, 3)
    masks = samples[:, 1:].sign()
    parts = projected._rearranged(masks, SIZE // 4)
    assert parts.shape == (1, 2 * 16, 8, 8)
    torch.testing.assert_close(nn.functional.pixel_shuffle(parts, 4), masks)
    samples.requires_grad_()
    discriminator(samples)[0].square().sum().backward()
    assert samples.grad is not None and bool((samples.grad[:, 1:] != 0).all())
