"""ProGAN and StyleGAN1 grow: layers fade in, later ones wait, and the stage travels with the state; ProGAN's layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from gan_pairs import count_weights, draw_images, draw_latents, layer_shapes, on_meta, small_pair
from sonoforge.models.stylegan import progan
from sonoforge.models.stylegan.layers import EqualisedLinear, initialise

GROWING = ["progan", "stylegan1"]


@pytest.mark.parametrize(("name", "size"), [("progan", 32), ("progan", 224), ("stylegan1", 32)])
@torch.no_grad()
def test_growth_starts_from_the_smaller_stage_and_ends_without_it(name: str, size: int) -> None:
    generator, discriminator = small_pair(name, size=size)
    base, latents = generator.base, draw_latents(3)
    assert base == discriminator.base == {"progan": {32: 4, 224: 7}, "stylegan1": {32: 8}}[name][size]
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


@pytest.mark.parametrize("name", GROWING)
@torch.no_grad()
def test_the_discriminator_fades_maps(name: str) -> None:
    """Half-way in, the maps that enter the older block are the mean of both paths."""
    discriminator, images = small_pair(name)[1], draw_images(2)
    discriminator.set_stage(32, 0.5)
    entering: list[Tensor] = []
    level = discriminator.level
    used = list(discriminator.blocks)[: level + 1 + len(discriminator.blocks) - len(discriminator.from_image)]
    used[-2].register_forward_pre_hook(lambda module, inputs: entering.append(inputs[0]))
    discriminator(images)
    new = used[-1](discriminator.from_image[level](images))
    old = discriminator.from_image[level - 1](avg_pool2d(images, 2))
    torch.testing.assert_close(entering[0], (new + old) / 2)


@pytest.mark.parametrize("name", GROWING)
def test_real_images_fade_as_generated_ones_do(name: str) -> None:
    discriminator, images = small_pair(name)[1], draw_images(2)
    half, quarter = avg_pool2d(images, 2), avg_pool2d(images, 4)
    discriminator.set_stage(16, 0.25)
    expected = 0.25 * half + 0.75 * interpolate(quarter, 16)
    torch.testing.assert_close(avg_pool2d(discriminator.fade(images), 2), expected)
    for stage in ((16, 1.0), (discriminator.base, 0.5)):
        discriminator.set_stage(*stage)
        assert torch.equal(discriminator.fade(images), images)


@pytest.mark.parametrize("name", GROWING)
@torch.no_grad()
def test_the_stage_travels_with_the_state_dict(name: str) -> None:
    generator, alpha = small_pair(name)[0], 0.1 + 0.2  # not a round number in any base
    generator.set_stage(16, alpha)
    state = generator.state_dict()
    assert not any(value.is_floating_point() for key, value in state.items() if key.endswith("extra_state"))
    other = small_pair(name)[0]
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


# ProGAN.


def _conv_shapes(network: nn.Module, value: Tensor) -> list[tuple[int, int]]:
    """(side, maps) after each convolution."""
    return [(height, maps) for height, _, maps in layer_shapes(network, value, progan.EqualisedConv2d)]


def test_progan_layers_and_weights_are_those_of_table_2() -> None:
    generator = on_meta(lambda: progan.Generator(512, 3, 512))
    shapes = _conv_shapes(generator, torch.zeros(4, 512, device="meta"))
    expected = [(4, 512), (8, 512), (16, 512), (32, 512), (64, 256), (128, 128), (256, 64), (512, 32)]
    assert shapes == [row for row in expected for _ in range(2)] + [(512, 3)]
    discriminator = on_meta(lambda: progan.Discriminator(512, 3))
    shapes = _conv_shapes(discriminator, torch.zeros(4, 3, 512, 512, device="meta"))
    expected_down = [
        (512, 32),
        (512, 32),
        (512, 64),
        (256, 64),
        (256, 128),
        (128, 128),
        (128, 256),
        (64, 256),
        (64, 512),
    ]
    expected_down += [(side, 512) for side in (32, 32, 16, 16, 8, 8, 4, 1)]
    assert shapes == expected_down
    # Table 2 counts the weights of each layer, in the order of the generator's rows, and 23.1 million in all (for
    # 1024x1024, whose two outer blocks and outputs have 0.007 million).
    convolutions = [module for name, module in generator.named_modules() if _is_convolution(name, module)]
    counts = [count_weights(module) for module in convolutions]
    published = [4.2e6, *[2.4e6] * 7, 1.2e6, 590e3, 295e3, 148e3, 74e3, 37e3, 18e3, 9.2e3]
    assert counts == [pytest.approx(value, rel=0.03) for value in published]
    assert round((sum(counts) + 7e3) / 1e6, 1) == 23.1
    inner = sum(
        count_weights(module) for name, module in discriminator.named_modules() if _is_convolution(name, module)
    )
    assert round((inner + count_weights(discriminator.head) + 7e3) / 1e6, 1) == 23.1


def _is_convolution(name: str, module: nn.Module) -> bool:
    return isinstance(module, progan.EqualisedConv2d) and not name.startswith(("to_image", "from_image"))


def test_equalised_layers_scale_normal_weights_by_hes_constant() -> None:
    chance = torch.Generator().manual_seed(0)
    layer, dense = progan.EqualisedConv2d(50, 40, 3, padding=1), EqualisedLinear(300, 200)
    initialise(nn.ModuleList([layer, dense]), chance)
    for weights in (layer.weight.detach(), dense.weight.detach()):
        assert float(weights.mean()) == pytest.approx(0, abs=5 / math.sqrt(weights.numel()))
        assert float(weights.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * weights.numel()))
    maps = torch.randn(8, 50, 16, 16, generator=chance)
    expected = conv2d(maps, layer.weight * math.sqrt(2 / (50 * 9)), padding=1)
    torch.testing.assert_close(layer(maps), expected, rtol=1e-4, atol=1e-5)
    # Away from the border, normal input gives output of variance 2, which a ReLU halves in mean square.
    assert float(layer(maps)[:, :, 1:-1, 1:-1].detach().var()) == pytest.approx(2, rel=0.1)
    assert float(dense(torch.randn(500, 300, generator=chance)).detach().var()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("group", "expected"), [
    (2, [1.0, 1.0, 3.0, 3.0]),  # standard deviations of (0, 2) and (10, 16)
    (4, [6.403124] * 4),  # of (0, 2, 10, 16): mean 7, variance (49 + 25 + 9 + 81) / 4 = 41
    (3, [1.0, 1.0, 3.0, 3.0]),  # four images in groups of at most three: two and two
    (1, [1e-4] * 4),  # the root of epsilon
])  # fmt: skip
def test_minibatch_std_of_a_toy_batch(group: int, expected: list[float]) -> None:
    maps = torch.tensor([0.0, 2.0, 10.0, 16.0])[:, None, None, None].expand(4, 3, 2, 2)
    appended = progan.append_minibatch_std(maps, group)
    assert torch.equal(appended[:, :3], maps)
    torch.testing.assert_close(appended[:, 3], torch.tensor(expected)[:, None, None].expand(4, 2, 2))


def test_minibatch_std_of_equal_images_has_a_finite_gradient() -> None:
    maps = torch.ones(4, 2, 3, 3, requires_grad=True)
    progan.append_minibatch_std(maps, 4).sum().backward()
    assert bool(maps.grad.isfinite().all())
