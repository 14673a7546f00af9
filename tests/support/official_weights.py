"""Recorded networks of the official StyleGAN2 and StyleGAN3 in the networks here, by their PyTorch state dicts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import binomial_taps
from sonoforge.models.stylegan.stylegan2 import Discriminator, ResidualSettings
from sonoforge.models.stylegan.stylegan2 import Generator as StyleGAN2Generator
from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings, plan_grids

State = Mapping[str, Tensor]

_LAYER = r"synthesis\.L(\d+)_(\d+)_(\d+)\."  # of StyleGAN3: index, side and channels of the result
# Official names of tensors, and ours; `renamed` handles those of a level.
_NAMES = (
    (r"^mapping\.fc(\d+)\.", r"mapping.layers.\1."),
    (r"^mapping\.embed\.", "mapping.embedding."),
    (r"^mapping\.w_avg$", "mapping.average"),
    (r"^synthesis\.b4\.const$", "synthesis.constant"),
    (r"\.noise_const$", ".noise"),
    (r"^synthesis\.input\.freqs$", "synthesis.input.frequencies"),
    (r"^synthesis\.input\.affine\.", "synthesis.input.placement."),
    ("^" + _LAYER, r"synthesis.layers.\1."),
    (r"\.magnitude_ema$", ".magnitude"),
    (r"^b4\.conv\.", "last_conv."),
    (r"^b4\.fc\.", "last_linear."),
    (r"^b4\.out\.", "score."),
    (r"^b\d+\.fromrgb\.", "from_image."),
)
_OWNERS = {"conv0": "first", "conv1": "second", "skip": "skip"}


def generator_from_official(state: State) -> Any:
    """Build a generator of StyleGAN2, or of StyleGAN3, configuration T or R, in evaluation mode."""
    style_size, classes = len(state["mapping.w_avg"]), _classes(state)
    sizes = {
        "latent_size": state["mapping.fc0.weight"].shape[1] - (style_size if classes else 0),
        "classes": classes,
        "style_size": style_size,
        "mapping_layers": _mapping_depth(state),
    }
    if "synthesis.input.weight" in state:
        return _loaded(_stylegan3(state, sizes), state)
    resolutions = _resolutions(state, r"synthesis\.b(\d+)\.")
    widths = [len(state[f"synthesis.b{side}.conv1.weight"]) for side in resolutions]
    channels = len(state["synthesis.b4.torgb.weight"])
    settings = StyledSettings(resolutions[-1], channels, **sizes, **_width_settings(resolutions, widths))
    return _loaded(StyleGAN2Generator(settings), state)


def discriminator_from_official(state: State) -> Any:
    """Build a discriminator of StyleGAN2 or StyleGAN3, in evaluation mode."""
    resolutions = _resolutions(state, r"b(\d+)\.")
    widths = [len(state["b4.conv.weight"]), *(len(state[f"b{side}.conv0.weight"]) for side in resolutions[1:])]
    classes = _classes(state)
    settings = ResidualSettings(
        resolutions[-1],
        state[f"b{resolutions[-1]}.fromrgb.weight"].shape[1],
        classes,
        "projection" if classes else "none",
        mapping_layers=_mapping_depth(state),
        **_width_settings(resolutions, widths),
    )
    return _loaded(Discriminator(settings), state)


def renamed(state: State) -> dict[str, Tensor]:
    """Return an official network's tensors by our names, without filters; unknown names stay."""
    found = {}
    levels = len(_resolutions(state, r"b(\d+)\."))  # of a discriminator, whose blocks count from the image
    for official_name, value in state.items():
        name = official_name
        for pattern, ours in _NAMES:
            name = re.sub(pattern, ours, name)
        if part := re.match(r"(synthesis\.)?b(\d+)\.(conv0|conv1|skip|torgb)\.", name):
            level, kind = int(part[2]).bit_length() - 3, part[3]  # 4 is level 0
            if part[1] is None and kind in _OWNERS:
                name = f"blocks.{levels - 1 - level}.{_OWNERS[kind]}.{name[part.end() :]}"
            elif part[1] and kind != "skip":
                owner = f"to_image.{level}" if kind == "torgb" else f"layers.{2 * level - (kind == 'conv0')}"
                name = f"synthesis.{owner}.{name[part.end() :]}"
        if not name.endswith("_filter"):
            found[name] = value
    return found


def _classes(state: State) -> int:
    return state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0


def _mapping_depth(state: State) -> int:
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in state)


def _resolutions(state: State, pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in state if (found := re.match(pattern, name))})


def _width_settings(resolutions: list[int], widths: list[int]) -> dict[str, int]:
    """The settings that give these widths: the least base that is enough for every layer, and the widest layer."""
    base = max(width * side for width, side in zip(widths, resolutions, strict=True))
    return {"channel_base": base, "channel_max": max(widths)}


def _stylegan3(state: State, sizes: dict[str, int]) -> Generator:
    found = {match.groups() for name in state if (match := re.match(_LAYER, name))}
    layers = sorted(tuple(map(int, numbers)) for numbers in found)
    side, channels = layers[-1][1:]
    kernel = next(
        value for name, value in state.items() if re.match(r"synthesis\.L0_.*\.weight", name) and value.ndim == 4
    )
    config = "r" if kernel.shape[2] == 1 else "t"
    settings = GeneratorSettings(side, channels, **sizes, config=config, layers=len(layers) - 1)
    planned = plan_grids(side, channels, len(layers) - 1, 1, 1)
    assert [grid.side for grid in planned[1:]] == [own for _, own, _ in layers]
    widths = [len(state["synthesis.input.weight"]), *(own for *_, own in layers)]
    grids = [dataclasses.replace(grid, channels=width) for grid, width in zip(planned, widths, strict=True)]
    return Generator(settings, grids)


def _loaded(network: Any, state: State) -> Any:
    """Load tensors by official name into a network of their sizes, whose filters must be the official ones."""
    for name, taps in state.items():
        if name.endswith("resample_filter"):
            torch.testing.assert_close(taps.float(), torch.outer(binomial_taps(), binomial_taps()), atol=1e-5, rtol=0)
        elif found := re.fullmatch(_LAYER + r"(up|down)_filter", name):
            own = getattr(network.synthesis.layers[int(found[1])], f"{found[4]}_taps")
            torch.testing.assert_close(taps.float(), own, atol=1e-5, rtol=0)
    network.load_state_dict(renamed(state))
    return network.eval()
