"""Weights of the official StyleGAN2 and StyleGAN3 in the networks here.

The official networks are distributed as pickles, which run code when opened.  Whoever trusts one saves the state dicts
of its generator and discriminator, in the official implementation, as ``.safetensors`` or ``.npz``; here only tensors
are read, by the names of StyleGAN2-ADA's and StyleGAN3's PyTorch implementations.

Sizes and widths are read from names and shapes.  Settings that no tensor shows (StyleGAN3's ``output_scale`` of 0.25)
are taken as published.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.generator import RATE, StyledGenerator, StyledSettings
from sonoforge.models.stylegan.layers import binomial_taps
from sonoforge.models.stylegan.stylegan2 import Discriminator, ResidualSettings
from sonoforge.models.stylegan.stylegan2 import Generator as StyleGAN2Generator
from sonoforge.models.stylegan.stylegan3 import MARGIN, Generator, GeneratorSettings, plan_grids

State = Mapping[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# Initial weights have the standard deviation 1 / lr_multiplier and move little from there: Adam takes steps of the
# rate, about 0.002, against 100.  Within this factor of 1 / RATE the published multiplier is taken for granted.
SPREAD = 1.5
_TAP_TOLERANCE = 1e-5

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


def generator_from_official(state: State) -> StyledGenerator:
    """Build a generator of StyleGAN2, or of StyleGAN3, configuration T or R, in evaluation mode.

    ``state`` holds tensors by official name (``mapping.fc0.weight``, ``synthesis.b4.const``, ...).

    Raises:
        ValueError: A name, shape or filter of another network, or another learning-rate multiplier.
    """
    if "synthesis.input.weight" in state:
        _check_rate(state)
        return _loaded(_stylegan3(state), state)
    if "synthesis.b4.const" not in state:
        raise ValueError("official state: without 'synthesis.b4.const' it is no StyleGAN2 or StyleGAN3 generator")
    _check_rate(state)
    resolutions = _resolutions(state, r"synthesis\.b(\d+)\.")
    widths = [_length(state, f"synthesis.b{side}.conv1.weight", 0) for side in resolutions]
    sizes = _mapping_sizes(state) | _width_settings(resolutions, widths)
    settings = StyledSettings(resolutions[-1], _length(state, "synthesis.b4.torgb.weight", 0), **sizes)
    return _loaded(StyleGAN2Generator(settings), state)


def discriminator_from_official(state: State) -> Discriminator:
    """Build a discriminator of StyleGAN2 or StyleGAN3, in evaluation mode; see `generator_from_official`."""
    if "b4.out.weight" not in state:
        raise ValueError("official state: without 'b4.out.weight' it is no residual StyleGAN2 discriminator")
    _check_rate(state)
    resolutions = _resolutions(state, r"b(\d+)\.")
    widths = [_length(state, "b4.conv.weight", 0)]
    widths += [_length(state, f"b{side}.conv0.weight", 0) for side in resolutions[1:]]
    classes = _classes(state)
    settings = ResidualSettings(
        resolutions[-1],
        _length(state, f"b{resolutions[-1]}.fromrgb.weight", 1),
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


def _length(state: State, name: str, axis: int) -> int:
    if name not in state or state[name].ndim <= axis:
        raise ValueError(f"official state: there is no {name!r} with a size along axis {axis}")
    return state[name].shape[axis]


def _classes(state: State) -> int:
    return _length(state, "mapping.embed.weight", 1) if "mapping.embed.weight" in state else 0


def _mapping_depth(state: State) -> int:
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in state)


def _mapping_sizes(state: State) -> dict[str, int]:
    """Return the settings that the tensors of a generator's mapping network show, as `StyledSettings` has them."""
    style_size, classes = _length(state, "mapping.w_avg", 0), _classes(state)
    return {
        "latent_size": _length(state, "mapping.fc0.weight", 1) - (style_size if classes else 0),
        "classes": classes,
        "style_size": style_size,
        "mapping_layers": _mapping_depth(state),
    }


def _resolutions(state: State, pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in state if (found := re.match(pattern, name))})


def _width_settings(resolutions: list[int], widths: list[int]) -> dict[str, int]:
    """The settings that give these widths: the least base that is enough for every layer, and the widest layer."""
    base = max(width * side for width, side in zip(widths, resolutions, strict=True))
    return {"channel_base": base, "channel_max": max(widths)}


def _check_rate(state: State) -> None:
    """Refuse a mapping network that was not trained with the published learning-rate multiplier, by a ValueError."""
    weights = [
        value.flatten().float() for name, value in state.items() if re.fullmatch(r"mapping\.fc\d+\.weight", name)
    ]
    spread = float(torch.cat(weights).square().mean().sqrt()) if weights else 1 / RATE
    if not 1 / SPREAD <= spread * RATE <= SPREAD:
        raise ValueError(
            f"official state: the weights of mapping.fc0 and on are {spread:.3g} large, not about {1 / RATE:g} as with "
            f"the published lr_multiplier of {RATE:g}; multiply these weights and biases by lr_multiplier / {RATE:g}"
        )


def _loaded(network: Network, state: State) -> Network:
    """Load tensors by official name into a network of the sizes that they show.

    Raises:
        ValueError: A tensor is missing, too many, or of another shape; or a filter is another.
    """
    synthesis: Any = getattr(network, "synthesis", None)
    expected: Tensor | None
    for name, taps in state.items():
        if name.endswith("resample_filter"):
            expected = torch.outer(binomial_taps(), binomial_taps())
        elif found := re.fullmatch(_LAYER + r"(up|down)_filter", name):
            expected = getattr(synthesis.layers[int(found[1])], f"{found[4]}_taps", None)
        else:
            continue
        own = taps.float().cpu()
        if expected is None or own.shape != expected.shape or not torch.allclose(own, expected, atol=_TAP_TOLERANCE):
            raise ValueError(f"official state: {name}: is another filter than the published one")
    try:
        network.load_state_dict(renamed(state))
    except RuntimeError as error:
        problem = " ".join(str(error).partition(":")[2].split())
        raise ValueError(f"official state: its structure is not the published one: {problem}") from error
    return network.eval()


def _layers(state: State) -> list[tuple[int, int]]:
    """Return side and channels of each layer's result of StyleGAN3, by index."""
    found = {match.groups() for name in state if (match := re.match(_LAYER, name))}
    if not found:
        raise ValueError("official state: without layers L0 and on it is no StyleGAN3 generator")
    return [(side, channels) for _, side, channels in sorted(tuple(map(int, numbers)) for numbers in found)]


def margin_of(state: State) -> int:
    """Return the margin in samples of the layers of a StyleGAN3, published as `stylegan3.MARGIN`.

    Sides that no margin gives are a ValueError.
    """
    layers = _layers(state)
    planned = plan_grids(*layers[-1], len(layers) - 1, 1, 1)[1:]
    margin = MARGIN + (layers[0][0] - planned[0].side) // 2
    for index, ((side, _), grid) in enumerate(zip(layers, planned, strict=True)):
        if side != (grid.side if index >= len(layers) - 2 else grid.rate + 2 * margin):
            raise ValueError(
                f"official state: layer L{index} has a side of {side}, not {grid.rate} and the margins of the first "
                "layer; another first_cutoff, first_stopband or num_critical is not supported"
            )
    return margin


def _stylegan3(state: State) -> Generator:
    """Build the generator that the tensors' names and shapes show."""
    layers = _layers(state)
    side, channels = layers[-1]
    kernel = _length(state, f"synthesis.L0_{layers[0][0]}_{layers[0][1]}.weight", 2)
    settings = GeneratorSettings(
        side, channels, **_mapping_sizes(state), config="r" if kernel == 1 else "t", layers=len(layers) - 1
    )
    planned = plan_grids(side, channels, len(layers) - 1, 1, 1, margin_of(state))
    widths = [_length(state, "synthesis.input.weight", 0), *(channels for _, channels in layers)]
    grids = [dataclasses.replace(grid, channels=width) for grid, width in zip(planned, widths, strict=True)]
    return Generator(settings, grids)
