"""Weights of the official StyleGAN2 (and of StyleGAN3's discriminator) in the networks here.

The official networks are distributed as pickles, which run code when they are opened.  Whoever trusts one saves the
state dicts of its generator and discriminator, in the official implementation, as ``.safetensors`` or ``.npz``;
here only tensors are read, by the names of StyleGAN2-ADA's and StyleGAN3's PyTorch implementations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sonoforge.models.stylegan.discriminator import Discriminator, ResidualSettings
from sonoforge.models.stylegan.fir import low_pass
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.stylegan2 import Generator

State = Mapping[str, Tensor]


def generator_from_official(state: State, *, mixing: float = 0.9) -> Generator:
    """Build a StyleGAN2 generator from an official state dict, in evaluation mode.

    Args:
        state: Tensors by official name (``mapping.fc0.weight``, ``synthesis.b4.const``, ...).
        mixing: See `StyledSettings`; no part of a state.

    Raises:
        ValueError: A name or shape does not belong to such a network, or another filter than StyleGAN2's.
    """
    names = _checked(state, "synthesis.b4.const", "a StyleGAN2 generator with skip outputs")
    resolutions = _resolutions(names, r"synthesis\.b(\d+)\.")
    widths = [_length(names, f"synthesis.b{side}.conv1.weight", 0) for side in resolutions]
    layers = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in names)
    channels, style_size = _length(names, "synthesis.b4.torgb.weight", 0), _length(names, "mapping.w_avg", 0)
    classes = _length(names, "mapping.embed.weight", 1) if "mapping.embed.weight" in names else 0
    settings = StyledSettings(
        resolutions[-1],
        channels,
        _length(names, "mapping.fc0.weight", 1) - (style_size if classes else 0),
        classes,
        style_size=style_size,
        mapping_layers=layers,
        mixing=mixing,
        **_width_settings(resolutions, widths),
    )
    generator = Generator(settings)
    _load(generator, generator_state(names))
    return generator.eval()


def discriminator_from_official(state: State) -> Discriminator:
    """Build a discriminator of StyleGAN2 or StyleGAN3 from an official state dict, in evaluation mode.

    Args:
        state: Tensors by official name (``b4.out.weight``, ...).

    Raises:
        ValueError: A name or shape does not belong to such a network, or another filter than StyleGAN2's.
    """
    names = _checked(state, "b4.out.weight", "a residual StyleGAN2 discriminator")
    resolutions = _resolutions(names, r"b(\d+)\.")
    widths = [_length(names, "b4.conv.weight", 0)]
    widths += [_length(names, f"b{side}.conv0.weight", 0) for side in resolutions[1:]]
    classes = _length(names, "mapping.embed.weight", 1) if "mapping.embed.weight" in names else 0
    settings = ResidualSettings(
        resolutions[-1],
        _length(names, f"b{resolutions[-1]}.fromrgb.weight", 1),
        classes,
        "projection" if classes else "none",
        mapping_layers=sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in names),
        **_width_settings(resolutions, widths),
    )
    discriminator = Discriminator(settings)
    _load(discriminator, discriminator_state(names))
    return discriminator.eval()


def mapping_state(state: State) -> dict[str, Tensor]:
    """Rename the official mapping network's tensors (``mapping.*``); the generators' and the discriminators'."""
    renamed = {}
    for name, value in state.items():
        if found := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name):
            renamed[f"mapping.layers.{found[1]}.{found[2]}"] = value
        elif found := re.fullmatch(r"mapping\.embed\.(weight|bias)", name):
            renamed[f"mapping.embedding.{found[1]}"] = value
        elif name == "mapping.w_avg":
            renamed["mapping.average"] = value
    return renamed


def generator_state(state: State) -> dict[str, Tensor]:
    """Rename an official StyleGAN2 generator's tensors; filters, which are no part of a state here, are left out."""
    renamed = mapping_state(state)
    for name, value in state.items():
        if name == "synthesis.b4.const":
            renamed["synthesis.constant"] = value
        elif found := re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(.+)", name):
            level = int(found[1]).bit_length() - 3  # 4 is level 0
            part = {"noise_const": "noise"}.get(found[3], found[3])
            index = 2 * level - (found[2] == "conv0")
            owner = f"to_image.{level}" if found[2] == "torgb" else f"layers.{index}"
            renamed[f"synthesis.{owner}.{part}"] = value
    return _without_filters(renamed)


def discriminator_state(state: State) -> dict[str, Tensor]:
    """Rename an official discriminator's tensors; filters, which are no part of a state here, are left out."""
    renamed = mapping_state(state)
    resolutions = _resolutions(state, r"b(\d+)\.")
    owners = {"conv0": "first", "conv1": "second", "skip": "skip"}
    last = {"conv": "last_conv", "fc": "last_linear", "out": "score"}
    for name, value in state.items():
        found = re.fullmatch(r"b(\d+)\.(\w+)\.(.+)", name)
        if not found:
            continue
        side, owner, part = int(found[1]), found[2], found[3]
        if side == 4 and owner in last:
            renamed[f"{last[owner]}.{part}"] = value
        elif owner == "fromrgb":
            renamed[f"from_image.{part}"] = value
        elif owner in owners:
            renamed[f"blocks.{len(resolutions) - 1 - resolutions.index(side)}.{owners[owner]}.{part}"] = value
    return _without_filters(renamed)


def _length(state: State, name: str, axis: int) -> int:
    if name not in state or state[name].ndim <= axis:
        raise ValueError(f"official state: found no {name!r} with a size along axis {axis}, expected one")
    return state[name].shape[axis]


def _checked(state: State, key: str, expected: str) -> State:
    if key not in state:
        raise ValueError(f"official state: found no {key!r}, expected {expected}")
    taps = low_pass()
    for name, value in state.items():
        if name.endswith("resample_filter") and not (
            value.shape == (4, 4) and torch.allclose(value.float().cpu(), torch.outer(taps, taps), atol=1e-6)
        ):
            raise ValueError(f"official state: {name}: found another filter, expected that of 1, 3, 3, 1")
    return state


def _resolutions(state: State, pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in state if (found := re.match(pattern, name))})


def _width_settings(resolutions: list[int], widths: list[int]) -> dict[str, int]:
    """The settings that give these widths; the base is the smallest that fits the last layer."""
    return {"channel_base": resolutions[-1] * widths[-1], "channel_max": widths[0]}


def _load(network: torch.nn.Module, state: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"official state: {' '.join(str(error).split())}") from error


def _without_filters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("resample_filter")}
