"""StyleGAN3: equal to the official networks, to plain operations, and equivariant."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from scipy import signal, special
from torch import Tensor, nn
from torch.nn.functional import softplus

import stylegan3_reference as reference
from places import SHARED
from sonoforge.models.stylegan import filtered_lrelu
from sonoforge.models.stylegan.filters import kaiser_attenuation, kaiser_beta, lowpass, radial_lowpass
from sonoforge.models.stylegan.official import discriminator_from_official, discriminator_state
from sonoforge.models.stylegan.official3 import generator_from_official, generator_state
from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings, SynthesisLayer, initialise, plan_grids
from sonoforge.training.metrics.equivariance import (
    render_transformed,
    rotation_equivariance,
    translation_equivariance,
)

GOLDEN = SHARED / "golden"
CONFIGS = ["t", "r"]
# Of the recorded arrays' README, and 1e-3 for R, whose sums are longer.
TOLERANCE = {"t": 1e-4, "r": 1e-3}


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


# Filters


@pytest.mark.parametrize(
    ("taps", "cutoff", "half_width", "rate"), [(12, 2, 6, 32), (24, 5.7, 10.3, 64), (13, 16, 4, 64)]
)
def test_filters_are_those_of_scipy(taps: int, cutoff: float, half_width: float, rate: float) -> None:
    expected = signal.firwin(taps, cutoff, width=2 * half_width, fs=rate)
    np.testing.assert_allclose(lowpass(taps, cutoff, half_width, rate), expected, atol=1e-7)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.3, 0.6])
def test_kaisers_formulas_are_those_of_scipy(width: float) -> None:
    attenuation = kaiser_attenuation(12, width)
    assert attenuation == pytest.approx(signal.kaiser_atten(12, width))
    assert kaiser_beta(attenuation) == pytest.approx(signal.kaiser_beta(attenuation))


@pytest.mark.parametrize("taps", [12, 13])
def test_radial_filter_is_a_windowed_jinc(taps: int) -> None:
    where = np.arange(taps) - (taps - 1) / 2
    window = signal.windows.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, 0.3)))
    expected = np.empty((taps, taps))
    for row, y in enumerate(where):
        for column, x in enumerate(where):
            argument = 2 * np.pi * 7 / 32 * max(math.hypot(x, y), 1e-9)
            expected[row, column] = special.j1(argument) / argument * window[row] * window[column]
    found = radial_lowpass(taps, 7, 0.3 * 8, 32)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-7)


def test_radial_filter_cuts_off_in_all_directions_alike() -> None:
    def response(taps: Tensor, radius: float, angle: float) -> float:
        where = np.arange(12) - 5.5
        phase = 2 * np.pi * radius / 32 * (np.cos(angle) * where + np.sin(angle) * where[:, None])
        return float((taps.numpy() * np.cos(phase)).sum())

    line = lowpass(12, 5, 3, 32)
    for radius in (3.0, 5.0, 6.0, 7.0):
        spread = {
            kind: abs(response(taps, radius, 0) - response(taps, radius, np.pi / 4))
            for kind, taps in (("radial", radial_lowpass(12, 5, 3, 32)), ("separable", torch.outer(line, line)))
        }
        assert spread["radial"] < 0.02
        assert spread["separable"] > 5 * spread["radial"]


# Filtered leaky ReLU

_SHAPES = [  # up, down, crop, whether the filter is radial
    (2, 2, 0, False),
    (4, 2, 7, False),
    (2, 4, 2, True),
]


def _operation(up: int, down: int, crop: int, radial: bool) -> dict[str, Any]:
    down_filter = radial_lowpass if radial else lowpass
    return {
        "up_taps": lowpass(6 * up, 4, 3, 16 * up).double(),
        "down_taps": down_filter(6 * down, 5, 3, 16 * down).double(),
        **{"up": up, "down": down, "crop": crop},
    }


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("scale", [1, 512])  # at 512 most activations are cut off
def test_filtered_leaky_relu_is_that_of_plain_operations(shape: tuple[int, int, int, bool], scale: float) -> None:
    operation = _operation(*shape)
    maps = (scale * torch.randn(2, 3, 11, 11, dtype=torch.float64)).requires_grad_()
    fast, slow = (
        form(maps, **operation) for form in (filtered_lrelu.filtered_leaky_relu, reference.filtered_leaky_relu)
    )
    torch.testing.assert_close(fast, slow)
    weights = torch.randn_like(slow)
    found, expected = (torch.autograd.grad((result * weights).sum(), maps)[0] for result in (fast, slow))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", _SHAPES)
def test_filtered_leaky_relu_can_be_differentiated_twice(shape: tuple[int, int, int, bool]) -> None:
    operation = _operation(*shape)
    maps = torch.randn(1, 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def quadratic(values: Tensor) -> Tensor:
        """Some activations are cut off."""
        return filtered_lrelu.filtered_leaky_relu(512 * values * values, **operation) / 512

    assert torch.autograd.gradcheck(quadratic, maps)
    assert torch.autograd.gradgradcheck(quadratic, maps)


def test_filters_keep_a_constant_and_the_centre() -> None:
    taps = lowpass(12, 4, 3, 32)
    maps = torch.ones(1, 1, 16, 16)
    fine = filtered_lrelu.upsample(maps, taps * 2, 2, 11)
    torch.testing.assert_close(fine, torch.ones(1, 1, 20, 20), atol=0.01, rtol=0)
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    coarse = filtered_lrelu.downsample(filtered_lrelu.upsample(ramp, taps * 2, 2, 4), taps, 2)
    assert coarse.shape[2] == 12  # two less on each side
    torch.testing.assert_close(coarse[0, 0, 4:8, 4:8], ramp[0, 0, 6:10, 6:10], atol=0.05, rtol=0)


# Layers


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
    with torch.device("meta"):
        counts = {
            c: sum(p.numel() for p in Generator(GeneratorSettings(1024, 3, 512, config=c)).parameters())
            for c in CONFIGS
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
        ({"config": "s"}, "config: found 's', expected one of t, r"),
        ({"layers": 2}, "layers: found 2, expected at least 3"),
        ({"image_size": 40}, "image_size: found 40, expected a multiple of 16"),
    ],
)
def test_other_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generator(GeneratorSettings(**({"image_size": 32, "channels": 1, "latent_size": 8} | options)))


# The networks against plain operations


def _moved_styles(generator: Generator) -> Tensor:
    """Different styles for each layer, and an input that they move."""
    with torch.no_grad():
        generator.synthesis.input.placement.weight.normal_(std=0.3)
        generator.synthesis.input.transform.copy_(torch.tensor([[1.3, 0.4, 0.1], [-0.2, 0.9, -0.2], [0, 0, 1.0]]))
        for layer in generator.synthesis.layers:
            layer.bias.normal_(std=0.2)
    return torch.randn(3, generator.synthesis.num_styles, 16)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [32, 48])
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
        tensors: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            tensors[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            held = synthesise()
        assert held.requires_grad
        return sum(tensors.values())

    generator = _small(config, 64)
    styles = torch.randn(2, generator.synthesis.num_styles, 16)
    assert kept(lambda: generator.synthesis(styles)) < 0.6 * kept(lambda: reference.synthesise(generator, styles))


@pytest.mark.parametrize("config", CONFIGS)
def test_synthesis_is_faster_than_plain_operations(config: str) -> None:
    """Forward and backward take 0.15 to 0.3 of the time; asserted with room for a busy machine."""
    generator = _small(config, 64)
    styles = torch.randn(2, generator.synthesis.num_styles, 16)

    def seconds(synthesise: Callable[[], Tensor]) -> float:
        best = math.inf
        for _ in range(3):
            began = time.process_time()
            synthesise().square().mean().backward()
            best = min(best, time.process_time() - began)
        return best

    assert seconds(lambda: generator.synthesis(styles)) < 0.8 * seconds(lambda: reference.synthesise(generator, styles))


# Official networks


@cache
def _golden(config: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings, and arrays by name."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no {GOLDEN}")
    arrays = np.load(GOLDEN / f"stylegan3_{config}.npz", allow_pickle=False)
    tensors = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
    return json.loads((GOLDEN / f"stylegan3_{config}.json").read_text()), tensors


def _state(config: str, network: str) -> dict[str, Tensor]:
    return {name[2:]: value for name, value in _golden(config)[1].items() if name.startswith(f"{network}/")}


def _official(config: str) -> tuple[Generator, nn.Module, dict[str, Tensor]]:
    settings, arrays = _golden(config)
    generator = generator_from_official(_state(config, "G"), magnitude_decay=settings["G_kwargs"]["magnitude_ema_beta"])
    return generator, discriminator_from_official(_state(config, "D")), arrays


def _assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_images_are_those_of_the_official_network(config: str) -> None:
    generator, discriminator, arrays = _official(config)
    tolerance = TOLERANCE[config]
    styles = generator.mapping(arrays["in/z"])
    _assert_near(styles, arrays["out/ws"], 1e-5)
    _assert_near(generator.mapping(arrays["in/z"], truncation_psi=0.7), arrays["out/ws_psi07"], 1e-5)
    cut = generator.mapping(arrays["in/z"], truncation_psi=0.5, truncation_cutoff=3)
    _assert_near(cut, arrays["out/ws_psi05_cutoff3"], 1e-5)
    images = generator(arrays["in/z"])
    _assert_near(images, arrays["out/img"], tolerance)
    _assert_near(generator(arrays["in/z"], truncation_psi=0.7), arrays["out/img_psi07"], tolerance)
    first = int(arrays["out/mix_cutoff"])
    mixed = torch.cat([styles[:, :first], styles.flip(0)[:, first:]], 1)
    count = len(arrays["out/img_mix"])
    _assert_near(generator.synthesis(mixed[:count]), arrays["out/img_mix"], tolerance)
    for images_name, logits_name in (("out/img", "out/logits"), ("out/img_psi07", "out/logits_psi07")):
        _assert_near(discriminator(arrays[images_name])[0], arrays[logits_name][:, 0], 1e-4)
    generator.synthesis.input.transform.copy_(arrays["in/transform"])
    count = len(arrays["out/img_transform"])
    _assert_near(generator(arrays["in/z"][:count]), arrays["out/img_transform"], tolerance)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_each_layer_has_the_recorded_statistics(config: str) -> None:
    generator, _, arrays = _official(config)
    styles = arrays["out/ws"]
    recorded = {name.split(".")[2]: value for name, value in arrays.items() if name.startswith("out/actstat/G.synth")}
    maps = generator.synthesis.input(styles[:, 0])
    for index in range(-1, len(generator.synthesis.layers)):
        if index >= 0:
            maps = generator.synthesis.layers[index](maps, styles[:, index + 1])
        name = "input" if index < 0 else next(name for name in recorded if name.startswith(f"L{index}_"))
        found = torch.stack([maps.mean(), maps.std(), maps.abs().max()]).double()
        torch.testing.assert_close(found, recorded[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_averages_move_as_the_official_ones(config: str) -> None:
    generator, _, arrays = _official(config)
    generator(arrays["in/z_ema"], update_average=True)
    moved = {name.removeprefix("out/ema/"): value for name, value in arrays.items() if name.startswith("out/ema/")}
    state = generator.state_dict()
    assert len(moved) == 8
    for name, expected in generator_state(moved).items():
        _assert_near(state[name], expected, 1e-5)
    untouched = generator_state(_state(config, "G"))
    for name in untouched.keys() - generator_state(moved).keys():
        torch.testing.assert_close(state[name], untouched[name], rtol=0, atol=0)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("phase", ["Gmain", "Dmain"])
def test_losses_and_gradients_are_the_official_ones(config: str, phase: str) -> None:
    generator, discriminator, arrays = _official(config)
    generator.train()
    discriminator.train()
    # The official loss moves the averages in the discriminator's phase alone.
    images = generator(arrays[f"in/gen_z_{phase}"], update_average=phase == "Dmain")
    fake = discriminator(images)[0]
    _assert_near(fake, arrays[f"out/train/{phase}/scores/fake"][:, 0], 1e-4)
    if phase == "Gmain":
        network, rename, loss = generator, generator_state, softplus(-fake)
    else:
        real = discriminator(arrays["in/real_img_u8"].float() / 127.5 - 1)[0]
        _assert_near(real, arrays["out/train/Dmain/scores/real"][:, 0], 1e-4)
        network, rename, loss = discriminator, discriminator_state, softplus(fake) + softplus(-real)
    _assert_near(loss, arrays[f"out/train/{phase}/{phase[0]}/loss"][:, 0], 1e-4)
    loss.mean().backward()
    prefix = f"out/gradstat/{phase}/"
    recorded = rename({name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)})
    parameters = dict(network.named_parameters())
    assert recorded.keys() == parameters.keys()
    for name, (total, norm, dot) in recorded.items():
        gradient = parameters[name].grad
        assert gradient is not None
        values = gradient.contiguous().flatten().double()
        found = [values.sum(), values.norm(), values @ torch.arange(1, len(values) + 1).double().cos()]
        np.testing.assert_allclose(found, [total, norm, dot], rtol=0, atol=1e-2 * float(norm) + 1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.clear(), "expected a StyleGAN3 generator"),
        (lambda state: state.pop("mapping.w_avg"), "found no 'mapping.w_avg'"),
        (lambda state: state.pop("synthesis.input.freqs"), "Missing key.*synthesis.input.frequencies"),
        (lambda state: state.update({"synthesis.L1_36_32.extra": torch.zeros(1)}), "synthesis.layers.1.extra"),
        (lambda state: state.pop("synthesis.L2_52_32.bias"), "Missing key.*synthesis.layers.2.bias"),
        (lambda state: state["synthesis.L3_52_27.up_filter"].mul_(1.1), "L3_52_27.up_filter: found another filter"),
        (lambda state: state.update({"synthesis.L3_52_27.down_filter": torch.ones(12, 12)}), "found another filter"),
    ],
)
def test_a_state_of_another_network_is_refused(change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    state = {name: value.clone() for name, value in _state("t", "G").items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        generator_from_official(state)


# Properties


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("config", CONFIGS)
def test_translation_equivariance_exceeds_45_db(config: str, size: int) -> None:
    generator = _settled(_small(config, size))
    found = translation_equivariance(render_transformed(generator), _latents(8), 0)
    assert found.decibels - 3 * found.standard_error > 45
    fractions = translation_equivariance(render_transformed(generator), _latents(8), 0, fractional=True)
    assert fractions.decibels - 3 * fractions.standard_error > 40


def test_only_configuration_r_is_equivariant_to_rotation() -> None:
    found = {
        config: rotation_equivariance(render_transformed(_settled(_small(config))), _latents(8), 0).decibels
        for config in CONFIGS
    }
    assert found["r"] > 45
    assert found["t"] < 30


def test_translating_the_styles_translates_the_image() -> None:
    generator = _settled(_small("t"))
    placement = generator.synthesis.input.placement
    styles = generator.mapping(_latents(2))
    before = generator.synthesis(styles)
    with torch.no_grad():
        placement.bias[2] = 5 / 32  # to the right, in sides of the image
    moved = generator.synthesis(styles)
    _assert_near(moved[..., 8:-3], before[..., 3:-8], 0.01)


def test_settled_magnitudes_keep_maps_from_growing_or_fading() -> None:
    torch.manual_seed(0)
    generator = _settled(_small("t", layers=8, channel_max=64, channel_base=64 * 32))
    styles = generator.mapping(_latents(8))
    maps = generator.synthesis.input(styles[:, 0])
    for layer in generator.synthesis.layers[:-1]:
        assert isinstance(layer, SynthesisLayer)
        torch.testing.assert_close(layer.magnitude, maps.square().mean(), rtol=0.2, atol=0)
        maps = layer(maps, styles[:, 1])
        assert 0.3 < maps.square().mean() < 2


def test_averages_move_only_when_asked_to() -> None:
    generator = _small("t").train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    generator(_latents(4))
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    maps = generator.synthesis.input(generator.mapping(_latents(4))[:, 0])
    generator(_latents(4), update_average=True)
    expected = 0.999 * 1 + 0.001 * maps.square().mean()
    torch.testing.assert_close(generator.synthesis.layers[0].magnitude, expected)


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
    _assert_near(generator(latents), torch.cat(expected), 1e-5)


def test_a_conditional_generator_answers_to_labels() -> None:
    generator = Generator(
        GeneratorSettings(32, 1, 16, 3, style_size=16, layers=4, channel_base=128, channel_max=8)
    ).eval()
    latents = _latents(1).expand(3, -1)
    images = generator(latents, torch.arange(3))
    assert (images[0] - images[1]).abs().max() > 1e-3
    torch.testing.assert_close(generator(latents, torch.eye(3)), images)
    with pytest.raises(ValueError, match="labels: found None"):
        generator(latents)


def test_styles_are_mixed_only_where_asked_for_and_reproducibly() -> None:
    plain, mixing = _small("t"), _small("t", mixing=1.0)
    mixing.load_state_dict(plain.state_dict())
    first, again, other = (mixing(_latents(4), chance=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).abs().max() > 1e-3
    torch.testing.assert_close(mixing(_latents(4)), plain(_latents(4), chance=torch.Generator().manual_seed(0)))


def test_initial_values_come_from_the_seed_alone() -> None:
    one, other = _small("r"), _small("r")
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=0, atol=0)
    source = _small("t", channel_max=512, channel_base=2**14).synthesis.input
    radius = source.frequencies.norm(dim=1)
    assert radius.max() <= 2
    # Uniform on a disc: half of the waves beyond 1 / sqrt(2) of the radius.
    assert (radius > math.sqrt(2)).float().mean() == pytest.approx(0.5, abs=0.07)
    torch.testing.assert_close(source.placement(torch.randn(2, 16)), torch.tensor([[1.0, 0, 0, 0]] * 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", CONFIGS)
def test_mixed_precision_gives_nearly_the_same_and_finite_gradients(config: str, dtype: torch.dtype) -> None:
    generator = _settled(_small(config))
    with torch.no_grad():  # large weights and magnitudes, which half precision could not hold unscaled
        for layer in generator.synthesis.layers[:-1]:
            layer.weight.mul_(1e4)
            layer.affine.weight.mul_(1e3)
            layer.affine.bias.mul_(1e3)
    expected = generator(_latents(2))
    with torch.autocast("cpu", dtype):
        found = generator(_latents(2))
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < (0.05 if dtype == torch.bfloat16 else 0.01) * expected.std()
    found.square().mean().backward()
    for values in generator.parameters():
        assert values.grad is not None
        assert values.grad.isfinite().all()


class _Sampler(nn.Module):
    """Latents and the truncation's psi to images."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, psi: Tensor) -> Tensor:
        styles = self.generator.mapping(latents)
        return self.generator.synthesis(self.generator.mapping.average.lerp(styles, psi))


@pytest.mark.parametrize("config", CONFIGS)
def test_onnx_gives_the_same_images_for_any_batch_and_truncation(config: str, tmp_path: Path) -> None:
    generator = _settled(_small(config, layers=3, channel_max=4))
    path = tmp_path / "generator.onnx"
    torch.onnx.export(
        _Sampler(generator).eval(),
        (_latents(2), torch.tensor(0.7)),
        path,
        dynamo=True,
        input_names=["latents", "psi"],
        output_names=["images"],
        dynamic_shapes={"latents": {0: torch.export.Dim("batch")}, "psi": {}},
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path)
    for count, psi in ((1, 1.0), (5, 0.5)):
        fed = {"latents": _latents(count).numpy(), "psi": np.array(psi, np.float32)}
        expected = generator(_latents(count), truncation_psi=psi).detach().numpy()
        np.testing.assert_allclose(session.run(None, fed)[0], expected, atol=1e-3)
