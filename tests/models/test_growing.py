"""StyleGAN1 grows: layers fade in, later ones wait, and the stage travels with the state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from gan_pairs import draw_images, draw_latents, small_pair


@pytest.mark.parametrize("size", [32, 224])
@torch.no_grad()
def test_growth_starts_from_the_smaller_stage_and_ends_without_it(size: int) -> None:
    generator, discriminator = small_pair("stylegan1", size=size)
    base, latents = generator.base, draw_latents(3)
    assert base == discriminator.base == {32: 8, 224: 14}[size]
    for resolution in (2 * base, size):
        results = {}
        for stage in ((resolution // 2, 1.0), (resolution, 0.0), (resolution, 0.5), (resolution, 1.0)):
            for network in (generator, discriminator):
                network.set_stage(*stage)
            images = generator(latents)
            assert images.shape == (3, 2, size, size)
            # Blocks of pixels: nothing finer than the stage's resolution.
            coarse = avg_pool2d(images, size // stage[0])
            torch.testing.assert_close(images, interpolate(coarse, size), rtol=1e-4, atol=1e-5)
            results[stage] = images, discriminator(draw_images(3, size))[0]
        for index in (0, 1):
            before, start, middle, end = (result[index] for result in results.values())
            torch.testing.assert_close(start, before, rtol=1e-4, atol=1e-5)
            assert float((end - before).abs().max()) > 1e-3
            if index == 0:  # linear in alpha, as images are what is blended
                torch.testing.assert_close(middle, (start + end) / 2, rtol=1e-4, atol=1e-5)
    assert (generator.resolution, discriminator.resolution) == (size, size)


@torch.no_grad()
def test_the_discriminator_fades_maps() -> None:
    """Half-way in, the maps that enter the older block are the mean of both paths."""
    discriminator, images = small_pair("stylegan1")[1], draw_images(2)
    discriminator.set_stage(32, 0.5)
    entering: list[Tensor] = []
    level = discriminator.level
    used = list(discriminator.blocks)[: level + 1]
    used[-2].register_forward_pre_hook(lambda module, inputs: entering.append(inputs[0]))
    discriminator(images)
    new = used[-1](discriminator.from_image[level](images))
    old = discriminator.from_image[level - 1](avg_pool2d(images, 2))
    torch.testing.assert_close(entering[0], (new + old) / 2)


def test_real_images_fade_as_generated_ones_do() -> None:
    discriminator, images = small_pair("stylegan1")[1], draw_images(2)
    half, quarter = avg_pool2d(images, 2), avg_pool2d(images, 4)
    discriminator.set_stage(16, 0.25)
    expected = 0.25 * half + 0.75 * interpolate(quarter, 16)
    torch.testing.assert_close(avg_pool2d(discriminator.fade(images), 2), expected)
    for stage in ((16, 1.0), (discriminator.base, 0.5)):
        discriminator.set_stage(*stage)
        assert torch.equal(discriminator.fade(images), images)


@torch.no_grad()
def test_the_stage_travels_with_the_state_dict() -> None:
    generator, alpha = small_pair("stylegan1")[0], 0.1 + 0.2  # not a round number in any base
    generator.set_stage(16, alpha)
    state = generator.state_dict()
    assert not any(value.is_floating_point() for key, value in state.items() if key.endswith("extra_state"))
    other = small_pair("stylegan1")[0]
    assert (other.resolution, other.alpha) == (32, 1.0)
    other.load_state_dict({key: value.clone() for key, value in state.items()})
    assert (other.resolution, other.alpha) == (16, alpha)
    assert torch.equal(other(draw_latents(2)), generator(draw_latents(2)))
    for resolution, share in ((2, 1.0), (64, 1.0), (16, 1.5)):
        with pytest.raises(ValueError, match=f"not {share}" if share > 1 else f"{resolution} is not"):
            generator.set_stage(resolution, share)


@pytest.mark.parametrize("stage", [(32, 1.0), (16, 0.5)])
@torch.no_grad()
def test_a_trace_serves_any_batch(stage: tuple[int, float]) -> None:
    generator = small_pair("stylegan1")[0].eval()
    generator.set_stage(*stage)
    traced = torch.jit.trace(generator, draw_latents(2))
    torch.testing.assert_close(traced(draw_latents(5, 1)), generator(draw_latents(5, 1)))
