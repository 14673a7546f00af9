"""StyleGAN3 against recorded numbers of the official implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from golden import below, golden_arrays, golden_settings
from official_weights import discriminator_from_official, generator_from_official, renamed
from sonoforge.models.stylegan.stylegan3 import Generator

CONFIGS = ["t", "r"]
TOLERANCE = 1e-5  # measured: 1.4e-6 for T and R


def _official(config: str) -> tuple[Generator, nn.Module, dict[str, Tensor]]:
    settings, arrays = golden_settings(f"stylegan3_{config}"), golden_arrays(f"stylegan3_{config}")
    generator = generator_from_official(below(arrays, "G/"))
    for layer in generator.synthesis.layers:
        layer.magnitude_decay = settings["G_kwargs"]["magnitude_ema_beta"]
    return generator, discriminator_from_official(below(arrays, "D/")), arrays


def _assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_images_are_those_of_the_official_network(config: str) -> None:
    generator, discriminator, arrays = _official(config)
    tolerance = TOLERANCE
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
        _assert_near(discriminator(arrays[images_name])[0], arrays[logits_name][:, 0], 5e-5)
    generator.synthesis.input.transform.copy_(arrays["in/transform"])
    count = len(arrays["out/img_transform"])
    _assert_near(generator(arrays["in/z"][:count]), arrays["out/img_transform"], tolerance)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_each_layer_has_the_recorded_statistics(config: str) -> None:
    generator, _, arrays = _official(config)
    prefix = "out/actstat/G.synthesis."
    recorded = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    first, *others = arrays["out/ws"].unbind(1)
    found = {"input": generator.synthesis.input(first)}
    for index, (layer, style) in enumerate(zip(generator.synthesis.layers, others, strict=True)):
        name = next(name for name in recorded if name.startswith(f"L{index}_"))
        found[name] = layer(list(found.values())[-1], style, layer.gain(None))
    for name, maps in found.items():
        _assert_near(torch.stack([maps.mean(), maps.std(), maps.abs().max()]).double(), recorded[name], 1e-5)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_averages_move_as_the_official_ones(config: str) -> None:
    generator, _, arrays = _official(config)
    generator(arrays["in/z_ema"], update_average=True)
    moved = {name.removeprefix("out/ema/"): value for name, value in arrays.items() if name.startswith("out/ema/")}
    state = generator.state_dict()
    assert len(moved) == 8
    for name, expected in renamed(moved).items():
        _assert_near(state[name], expected, 1e-5)
    untouched = renamed(below(arrays, "G/"))
    for name in untouched.keys() - renamed(moved).keys():
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
    _assert_near(fake, arrays[f"out/train/{phase}/scores/fake"][:, 0], 5e-5)
    if phase == "Gmain":
        network, loss = generator, softplus(-fake)
    else:
        real = discriminator(arrays["in/real_img_u8"].float() / 127.5 - 1)[0]
        _assert_near(real, arrays["out/train/Dmain/scores/real"][:, 0], 5e-5)
        network, loss = discriminator, softplus(fake) + softplus(-real)
    _assert_near(loss, arrays[f"out/train/{phase}/{phase[0]}/loss"][:, 0], 5e-5)
    loss.mean().backward()
    prefix = f"out/gradstat/{phase}/"
    recorded = renamed({name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)})
    parameters = dict(network.named_parameters())
    assert recorded.keys() == parameters.keys()
    for name, (total, norm, dot) in recorded.items():
        gradient = parameters[name].grad
        assert gradient is not None
        values = gradient.contiguous().flatten().double()
        found = [values.sum(), values.norm(), values @ torch.arange(1, len(values) + 1).double().cos()]
        np.testing.assert_allclose(found, [total, norm, dot], rtol=0, atol=5e-4 * float(norm) + 1e-6, err_msg=name)
