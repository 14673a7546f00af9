"""StyleGAN1: styles set the statistics of maps, layers fade in, and sizes and weights are the published ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from corners import corners
from sonoforge.models.stylegan.layers import initialise
from sonoforge.models.stylegan.stylegan1 import (
    Discriminator,
    Generator,
    GeneratorSettings,
    GrowingSettings,
    StyledLayer,
    adaptive_instance_norm,
)

SMALL = {"channel_base": 128, "channel_max": 8}


def make_pair(
    size: int = 32, classes: int = 0, conditioning: str = "none", channels: int = 2
) -> tuple[Generator, Discriminator]:
    generator = Generator(GeneratorSettings(size, channels, 6, classes, style_size=10, mapping_layers=2, **SMALL))
    discriminator = Discriminator(GrowingSettings(size, channels, classes, conditioning, **SMALL))
    for seed, network in enumerate((generator, discriminator)):
        initialise(network, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for layer in generator.synthesis.layers:
            layer.noise_strength.fill_(0.3)
    return generator, discriminator


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- layers


def test_adain_equals_a_slow_one() -> None:
    maps, scales, shifts = draw(3, 4, 5, 6) * 7 + 2, draw(3, 4, seed=1), draw(3, 4, seed=2)
    found = adaptive_instance_norm(maps, scales, shifts)
    for n in range(3):
        for c in range(4):
            values = [float(v) for v in maps[n, c].flatten()]
            mean = math.fsum(values) / len(values)
            deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
            for place, value in zip(found[n, c].flatten(), values, strict=True):
                expected = float(scales[n, c]) * (value - mean) / deviation + float(shifts[n, c])
                assert abs(float(place) - expected) < 1e-5


def test_statistics_of_each_map_are_those_of_its_style() -> None:
    generator, _ = make_pair()
    styles = draw(3, 8, 10)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def note(layer: StyledLayer, inputs: tuple[Tensor, ...], maps: Tensor) -> None:
        seen.append((maps, layer.scale(inputs[1]), layer.shift(inputs[1])))

    for layer in generator.synthesis.layers:
        layer.register_forward_hook(note)
    with torch.no_grad():
        generator.synthesis(styles)
    assert len(seen) == 8
    for maps, scales, shifts in seen:
        torch.testing.assert_close(maps.mean((2, 3)), shifts, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(maps.var((2, 3), correction=0).sqrt(), scales.abs(), atol=1e-3, rtol=1e-3)


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
    generator = Generator(GeneratorSettings(16, 1, 4, **SMALL))
    assert bool((generator.synthesis.constant == 1).all())
    for layer in generator.synthesis.layers:
        assert bool((layer.bias == 0).all()) and bool((layer.noise_strength == 0).all())
        assert bool((layer.scale.bias == 1).all()) and bool((layer.shift.bias == 0).all())
        assert layer.noise_strength.shape == layer.bias.shape  # one factor for each map
    assert all(abs(float(layer.weight.detach().std()) - 100) < 5 for layer in generator.mapping.layers[1:])  # rate 0.01


# ---- growing


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_fading_mixes_both_paths(alpha: float) -> None:
    generator, discriminator = make_pair()
    latents, images = draw(3, 6), draw(3, 2, 32, 32, seed=1)
    with torch.no_grad():
        ends = {}
        for name, stage in (("before", (8, 1.0)), ("after", (16, 1.0)), ("between", (16, alpha))):
            generator.set_stage(*stage)
            discriminator.set_stage(*stage)
            ends[name] = generator(latents), discriminator(images)[0]
        torch.testing.assert_close(ends["between"][0], (1 - alpha) * ends["before"][0] + alpha * ends["after"][0])
        if alpha in (0, 1):
            torch.testing.assert_close(ends["between"][1], ends["after" if alpha else "before"][1])
        assert not torch.allclose(ends["before"][1], ends["after"][1])
        assert ends["between"][0].shape == (3, 2, 32, 32)
        discriminator.set_stage(16, alpha)
        coarse, fine = (interpolate(avg_pool2d(images, side), 32) for side in (4, 2))
        faded = avg_pool2d(discriminator.fade(images), 2)
        torch.testing.assert_close(faded, avg_pool2d((1 - alpha) * coarse + alpha * fine, 2), atol=1e-6, rtol=1e-5)


def test_the_discriminator_fades_maps() -> None:
    """Half-way in, the maps that enter the older block are the mean of both paths."""
    _, discriminator = make_pair()
    images = draw(2, 2, 32, 32)
    discriminator.set_stage(32, 0.5)
    entering: list[Tensor] = []
    discriminator.blocks[1].register_forward_pre_hook(lambda module, inputs: entering.append(inputs[0]))
    with torch.no_grad():
        discriminator(images)
        new = discriminator.blocks[2](discriminator.from_image[2](images))
        old = discriminator.from_image[1](avg_pool2d(images, 2))
    torch.testing.assert_close(entering[0], (new + old) / 2)


def test_growing_keeps_earlier_layers_and_uses_no_later_ones() -> None:
    generator, discriminator = make_pair(64)
    state = {key: value.clone() for key, value in generator.state_dict().items() if "extra" not in key}
    used = {}
    for side in (8, 16, 32, 64):
        for network in (generator, discriminator):
            network.set_stage(side, 1.0)
            network.zero_grad()
        images = generator(draw(4, 6))
        discriminator(images)[0].sum().backward()
        used[side] = [
            {name for name, value in network.named_parameters() if value.grad is not None and bool(value.grad.any())}
            for network in (generator, discriminator)
        ]
        # Images are constant over the pixels that are still to come.
        block = images.detach().reshape(4, 2, side, 64 // side, side, 64 // side)
        assert float(block.std((3, 5)).max()) < 1e-6 if side < 64 else True
    for key, value in generator.state_dict().items():
        if "extra" not in key:
            torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    for network in (0, 1):
        own = [{name for name in used[side][network] if "_image" not in name} for side in (8, 16, 32, 64)]
        assert own[0] < own[1] < own[2] < own[3]
    assert {name.split(".")[2] for name in used[8][0] if name.startswith("synthesis.layers")} == set("0123")
    assert used[64][1] | {f"from_image.{i}.{w}" for i in range(3) for w in ("weight", "bias")} == {
        name for name, _ in discriminator.named_parameters()
    }


def test_the_stage_travels_with_the_state() -> None:
    generator, _ = make_pair()
    generator.set_stage(16, 0.25)
    other = Generator(GeneratorSettings(32, 2, 6, style_size=10, mapping_layers=2, **SMALL))
    other.load_state_dict(generator.state_dict())
    assert (other.resolution, other.alpha, other.mapping.num_styles) == (16, 0.25, 6)
    with torch.no_grad():
        torch.testing.assert_close(other(draw(2, 6)), generator(draw(2, 6)), rtol=0, atol=0)
    for resolution, alpha in ((4, 1.0), (64, 1.0), (16, 1.5)):
        with pytest.raises(ValueError, match="expected"):
            generator.set_stage(resolution, alpha)


# ---- styles and noise


def test_mixed_styles_change_later_layers_only() -> None:
    generator, _ = make_pair()
    with torch.no_grad():
        first, second = generator.mapping(draw(2, 6)), generator.mapping(draw(2, 6, seed=1))
        outputs: list[list[Tensor]] = []
        for layer in generator.synthesis.layers:
            layer.register_forward_hook(lambda module, inputs, maps: outputs[-1].append(maps))
        for styles in (first, torch.cat([first[:, :5], second[:, 5:]], 1)):
            outputs.append([])
            generator.synthesis(styles)
    equal = [torch.allclose(*maps, atol=1e-4) for maps in zip(*outputs, strict=True)]
    assert equal == [True] * 5 + [False] * 3


@pytest.mark.parametrize("side", [8, 32])
def test_training_mixes_styles_among_the_layers_in_use(side: int) -> None:
    generator, _ = make_pair()
    generator.set_stage(side, 1.0)
    count = {8: 4, 32: 8}[side]
    taken: list[Tensor] = []
    generator.synthesis.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    with torch.no_grad():
        generator(draw(600, 6), chance=torch.Generator().manual_seed(7))
    changes = (taken[0][:, 1:] != taken[0][:, :-1]).any(2)
    assert changes.shape == (600, count - 1)
    assert int(changes.sum(1).max()) == 1
    assert abs(float(changes.sum(1).float().mean()) - 0.9) < 0.05
    assert bool((changes.sum(0) > 0.6 * 540 / (count - 1)).all())  # everywhere alike


def test_noise_is_reproducible_and_stops_nowhere_else() -> None:
    generator, _ = make_pair()
    styles = generator.mapping(draw(2, 6)).detach()
    with torch.no_grad():
        again = [generator.synthesis(styles, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        torch.testing.assert_close(again[0], again[1], rtol=0, atol=0)
        assert not torch.allclose(again[0], again[2])
        torch.testing.assert_close(generator.synthesis(styles), generator.synthesis(styles), rtol=0, atol=0)
        noisy = generator.synthesis(styles)
        for layer in generator.synthesis.layers:
            layer.noise_strength.zero_()
        assert not torch.allclose(noisy, generator.synthesis(styles))


def test_truncation_draws_coarse_styles_to_the_average() -> None:
    generator, _ = make_pair()
    latents = draw(64, 6)
    with torch.no_grad():
        generator(latents, update_average=True)
        vectors = generator.mapping(latents)[:, 0]
        torch.testing.assert_close(generator.mapping.average, 0.005 * vectors.mean(0))  # decay 0.995
        none = generator(latents[:3], truncation_psi=0.0)
        assert float((none - none[:1]).abs().max()) < 1e-6
        assert not torch.allclose(generator(latents[:3], truncation_psi=0.0, truncation_cutoff=4), none)


# ---- labels, sizes, export, training


@pytest.mark.parametrize("conditioning", ["projection", "auxiliary"])
def test_labels_matter(conditioning: str) -> None:
    generator, discriminator = make_pair(classes=3, conditioning=conditioning)
    latents = draw(1, 6).expand(3, -1)
    with torch.no_grad():
        images = generator(latents, torch.arange(3))
        assert float((images[0] - images[1]).abs().max()) > 1e-2
        score, logits = discriminator(images[:1].expand(3, -1, -1, -1), torch.arange(3))
    if conditioning == "projection":
        assert logits is None and len(set(score.tolist())) == 3
    else:
        assert logits is not None and logits.shape == (3, 3)
    with pytest.raises(ValueError, match="labels: found None"):
        generator(latents)


@pytest.mark.parametrize("size", corners([16, 28, 32, 64, 128, 224, 256, 512, 1024], 16, 224))
def test_every_size_gives_images_and_scores(size: int) -> None:
    with FakeTensorMode():  # shapes alone, as on the meta device, where torch has no mixed precision to ask about
        generator, discriminator = (
            Generator(GeneratorSettings(size, 3, 512)),
            Discriminator(GrowingSettings(size, 3)),
        )
        images = generator(torch.empty(2, 512))
        score, logits = discriminator(images)
    assert images.shape == (2, 3, size, size)
    assert score.shape == (2,) and logits is None
    assert generator.base == discriminator.base == (14 if size % 7 == 0 else 8)
    assert generator.mapping.num_styles == 2 * (1 + int(math.log2(size // (generator.base // 2))))


@pytest.mark.parametrize("size", [12, 48, 2048])
def test_other_sizes_are_refused(size: int) -> None:
    for build in (
        lambda: Generator(GeneratorSettings(size, 1, 4)),
        lambda: Discriminator(GrowingSettings(size, 1)),
    ):
        with pytest.raises(ValueError, match=f"found {size}, expected 4 or 7 times a power of two"):
            build()


def test_the_published_generator_has_26_million_weights() -> None:
    """Section 2: 26.2 million weights, and 18 layers, for 1024x1024."""
    with torch.device("meta"):
        generator, discriminator = (
            Generator(GeneratorSettings(1024, 3, 512)),
            Discriminator(GrowingSettings(1024, 3)),
        )
    in_use = [generator.mapping, generator.synthesis.layers, generator.synthesis.to_image[-1]]
    count = sum(v.numel() for part in in_use for v in part.parameters()) + generator.synthesis.constant.numel()
    assert round(count / 1e5) == 262
    assert len(generator.synthesis.layers) == 18
    # ICLR 2018, table 2, the last column: the discriminator's 23.1 million.
    kept = sum(v.numel() for name, v in discriminator.named_parameters() if not name.startswith("from_image"))
    kept += sum(v.numel() for v in discriminator.from_image[-1].parameters())
    assert round(kept / 1e5) == 231


@pytest.mark.parametrize("stage", [(32, 1.0), (16, 0.5)])
def test_a_trace_serves_any_batch(stage: tuple[int, float]) -> None:
    generator, _ = make_pair()
    generator.eval().set_stage(*stage)
    traced = torch.jit.trace(generator, draw(2, 6))
    with torch.no_grad():
        torch.testing.assert_close(traced(draw(5, 6, seed=1)), generator(draw(5, 6, seed=1)))


def test_r1_can_be_trained_in_a_batch_of_two() -> None:
    """Second derivatives exist, and equal images (no spread in the batch) give no NaN."""
    generator, discriminator = make_pair(16)
    real = torch.zeros(2, 2, 16, 16, requires_grad=True)
    score, _ = discriminator(real)
    (gradient,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    fake, _ = discriminator(generator(draw(2, 6), chance=torch.Generator().manual_seed(0)))
    (nn.functional.softplus(fake).mean() + 5 * gradient.square().sum((1, 2, 3)).mean()).backward()
    for network in (generator, discriminator):
        assert all(bool(v.grad.isfinite().all()) for v in network.parameters() if v.grad is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_close(dtype: torch.dtype) -> None:
    generator, discriminator = make_pair()
    latents = draw(4, 6)
    with torch.no_grad():
        images, scores = generator(latents), discriminator(generator(latents))[0]
        with torch.autocast("cpu", dtype=dtype):
            half = generator(latents)
            half_scores = discriminator(images)[0]
    assert half.dtype == half_scores.dtype == torch.float32
    digits = 0.1 if dtype is torch.bfloat16 else 0.02
    assert float((half - images).abs().mean()) < digits * float(images.std())
    assert float((half_scores - scores).abs().max()) < digits * max(1.0, float(scores.abs().max()))
