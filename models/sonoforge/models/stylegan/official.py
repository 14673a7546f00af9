"""Weights of the official StyleGAN2 (and of StyleGAN3's discriminator) in the networks here.

The official networks are distributed as pickles, which run code when they are opened.  Whoever trusts one saves the
state dicts of its generator and discriminator, in the official implementation, as ``.safetensors`` or ``.npz``;
here only tensors are read, by the names of StyleGAN2-ADA's and StyleGAN3's PyTorch implementations.

Sizes and widths are read from names and shapes.  What no tensor shows is taken as published, unless the state has a
number named ``settings.NAME`` beside its tensors: ``settings.lr_multiplier``, of the mapping network, and of StyleGAN3
``settings.output_scale``.  Both are factors, so weights are converted to the published value and compute the same.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sonoforge.models.stylegan.discriminator import Discriminator, ResidualSettings
from sonoforge.models.stylegan.filters import binomial_taps
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import layer_widths
from sonoforge.models.stylegan.mapping import RATE
from sonoforge.models.stylegan.stylegan2 import Generator

State = Mapping[str, Tensor]
Value = TypeVar("Value")

SETTINGS = "settings."
# Initial weights have the standard deviation 1 / lr_multiplier and move little from there: Adam takes steps of the
# rate, about 0.002, against 100.  Within this factor of 1 / RATE the published multiplier is taken for granted.
SPREAD = 1.5


def generator_from_official(state: State, *, mixing: float = 0.9) -> Generator:
    """Build a StyleGAN2 generator from an official state dict, in evaluation mode.

    Args:
        state: Tensors by official name (``mapping.fc0.weight``, ``synthesis.b4.const``, ...).
        mixing: See `StyledSettings`; no part of a state.

    Raises:
        ValueError: A name or shape does not belong to such a network, another filter than StyleGAN2's, or a
            learning-rate multiplier that is not told.
    """
    names = _checked(state, "synthesis.b4.const", "a StyleGAN2 generator with skip outputs")
    resolutions = _resolutions(names, r"synthesis\.b(\d+)\.")
    widths = [_length(names, f"synthesis.b{side}.conv1.weight", 0) for side in resolutions]
    channels = _length(names, "synthesis.b4.torgb.weight", 0)
    sizes = mapping_sizes(names) | _width_settings(resolutions, widths)
    settings = StyledSettings(resolutions[-1], channels, **sizes, mixing=mixing)
    generator = Generator(settings)
    load_renamed(generator, names, generator_state)
    return generator.eval()


def discriminator_from_official(state: State) -> Discriminator:
    """Build a discriminator of StyleGAN2 or StyleGAN3 from an official state dict, in evaluation mode.

    See `generator_from_official`.
    """
    names = _checked(state, "b4.out.weight", "a residual StyleGAN2 discriminator")
    resolutions = _resolutions(names, r"b(\d+)\.")
    widths = [_length(names, "b4.conv.weight", 0)]
    widths += [_length(names, f"b{side}.conv0.weight", 0) for side in resolutions[1:]]
    channels, classes = _length(names, f"b{resolutions[-1]}.fromrgb.weight", 1), classes_of(names)
    conditioning, sizes = "projection" if classes else "none", _width_settings(resolutions, widths)
    settings = ResidualSettings(
        resolutions[-1], channels, classes, conditioning, mapping_layers=mapping_depth(names), **sizes
    )
    discriminator = Discriminator(settings)
    load_renamed(discriminator, names, discriminator_state)
    return discriminator.eval()


def mapping_state(state: Mapping[str, Value]) -> dict[str, Value]:
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


def generator_state(state: Mapping[str, Value]) -> dict[str, Value]:
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


def discriminator_state(state: Mapping[str, Value]) -> dict[str, Value]:
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


def classes_of(state: State) -> int:
    """Number of classes of the network that a state's mapping network is of, 0 for an unconditional one."""
    return _length(state, "mapping.embed.weight", 1) if "mapping.embed.weight" in state else 0


def mapping_depth(state: State) -> int:
    """Number of fully connected layers of a state's mapping network."""
    return sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in state)


def mapping_sizes(state: State) -> dict[str, int]:
    """Return the settings that the tensors of a generator's mapping network show, as `StyledSettings` has them."""
    style_size, classes = _length(state, "mapping.w_avg", 0), classes_of(state)
    return {
        "latent_size": _length(state, "mapping.fc0.weight", 1) - (style_size if classes else 0),
        "classes": classes,
        "style_size": style_size,
        "mapping_layers": mapping_depth(state),
    }


def _checked(state: State, key: str, expected: str) -> State:
    if key not in state:
        raise ValueError(f"official state: found no {key!r}, expected {expected}")
    taps = binomial_taps()
    for name, value in state.items():
        if name.endswith("resample_filter") and not (
            value.shape == (4, 4) and torch.allclose(value.float().cpu(), torch.outer(taps, taps), atol=1e-6)
        ):
            raise ValueError(f"official state: {name}: found another filter, expected that of 1, 3, 3, 1")
    return at_published_rate(state, ("lr_multiplier",))


def _resolutions(state: Mapping[str, object], pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in state if (found := re.match(pattern, name))})


def _width_settings(resolutions: list[int], widths: list[int]) -> dict[str, int]:
    """The settings that give these widths: the least base that is enough for every layer, and the widest layer."""
    base = max(width * side for width, side in zip(widths, resolutions, strict=True))
    if layer_widths(len(widths), base, max(widths)) != widths:
        raise ValueError(
            f"official state: found layers of {', '.join(map(str, widths))} channels from {resolutions[0]} to "
            f"{resolutions[-1]} pixels, expected channel_base divided by the side, at most channel_max"
        )
    return {"channel_base": base, "channel_max": max(widths)}


def at_published_rate(state: State, allowed: Sequence[str]) -> State:
    """Convert a mapping network to the learning-rate multiplier of the published ones; it computes the same.

    A state whose multiplier is another has it as ``settings.lr_multiplier``, which is left out of the result; it has no
    settings beside those ``allowed``.

    Raises:
        ValueError: An unknown setting, or weights that show that the multiplier is another but not which.
    """
    told = {name: settings_value(state, name) for name in state if name.startswith(SETTINGS)}
    for name in told:
        if name.removeprefix(SETTINGS) not in allowed:
            expected = ", ".join(SETTINGS + known for known in allowed)
            raise ValueError(f"official state: found {name!r}, expected no settings but {expected}")
    layers = [name for name in state if re.fullmatch(r"mapping\.fc\d+\.(weight|bias)", name)]
    weights = [state[name].flatten().float() for name in layers if name.endswith("weight")]
    rate = told.get(SETTINGS + "lr_multiplier")
    if rate is None and weights:
        spread = float(torch.cat(weights).square().mean().sqrt())
        if not 1 / SPREAD <= spread * RATE <= SPREAD:
            raise ValueError(
                f"official state: the weights of mapping.fc0 and on are {spread:.3g} large, expected about "
                f"{1 / RATE:g}, as with the published lr_multiplier of {RATE:g}; add the one that the network has, as "
                "a number named settings.lr_multiplier (G/settings.lr_multiplier or D/... in a file)"
            )
    factor = 1.0 if rate is None else rate / RATE
    return {
        name: value * factor if name in layers and factor != 1 else value
        for name, value in state.items()
        if name != SETTINGS + "lr_multiplier"
    }


def settings_value(state: State, name: str) -> float:
    """Return a setting that stands beside the tensors: one finite number above 0, or a ValueError."""
    if state[name].numel() != 1 or not 0 < float(state[name]) < float("inf"):
        raise ValueError(f"official state: {name}: found {state[name].tolist()}, expected one number above 0")
    return float(state[name])


def load_renamed(network: torch.nn.Module, state: State, rename: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
    """Load tensors by official name, which ``rename`` turns into ours, into a network of the structure that they show.

    Raises:
        ValueError: A tensor is missing, too many, or of another shape; in official names where there is one.
    """
    theirs = rename({name: name for name in state})
    own = network.state_dict()
    for name, value in own.items():
        if name not in theirs:
            raise ValueError(f"official state: found no tensor for {name}, expected the published structure")
        found = state[theirs[name]]
        if found.shape != value.shape:
            raise ValueError(
                f"official state: {theirs[name]}: found the shape {tuple(found.shape)}, expected "
                f"{tuple(value.shape)}, as the other tensors have it in the published structure"
            )
    known = {official_name for name, official_name in theirs.items() if name in own}
    for official_name in state:
        if official_name not in known and not official_name.endswith("_filter"):
            raise ValueError(f"official state: found {official_name}, which the published structure does not have")
    network.load_state_dict({name: state[official_name] for name, official_name in theirs.items()})


def _without_filters(state: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in state.items() if not name.endswith("resample_filter")}
