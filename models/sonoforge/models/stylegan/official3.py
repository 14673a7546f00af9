"""Weights of official StyleGAN3 generators in the networks here; their discriminators' are read by `official`.

Files of tensors only, by the names of the authors' PyTorch implementation: see `official`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sonoforge.models.stylegan.official import mapping_state
from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings

State = Mapping[str, Tensor]

_TAP_TOLERANCE = 1e-5


def generator_from_official(state: State, *, magnitude_decay: float = 0.999) -> Generator:
    """Build a StyleGAN3 generator, configuration T or R, from an official state dict, in evaluation mode.

    Args:
        state: Tensors by official name (``mapping.fc0.weight``, ``synthesis.L0_36_512.weight``, ...).
        magnitude_decay: See `GeneratorSettings`; no part of a state.

    Raises:
        ValueError: A name, shape or filter does not belong to such a network.
    """
    try:
        generator = _build(state, magnitude_decay)
    except (KeyError, IndexError) as error:
        raise ValueError(f"official state: found no {error} of its shape, expected a StyleGAN3 generator") from error
    _check_filters(state, generator)
    try:
        generator.load_state_dict(generator_state(state))
    except RuntimeError as error:
        raise ValueError(f"official state: {' '.join(str(error).split())}") from error
    return generator.eval()


def _build(state: State, magnitude_decay: float) -> Generator:
    """Infer the settings of a generator from its tensors' names and shapes."""
    found = {match.groups() for name in state if (match := re.match(_LAYER, name))}
    layers = sorted(tuple(map(int, numbers)) for numbers in found)
    _, image_size, channels = layers[-1]
    _, _, widest = layers[0]
    _, _, narrowest = layers[-2]
    rotation = state[f"synthesis.L0_{layers[0][1]}_{widest}.weight"].shape[2] == 1
    factor = 2 if rotation else 1
    style_size = state["mapping.w_avg"].shape[0]
    classes = state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0
    settings = GeneratorSettings(
        image_size,
        channels,
        state["mapping.fc0.weight"].shape[1] - (style_size if classes else 0),
        classes,
        config="r" if rotation else "t",
        style_size=style_size,
        mapping_layers=sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in state),
        layers=len(layers) - 1,
        # Twice the cutoff of the last layer but one is the sampling rate of the image.
        channel_base=narrowest * image_size // factor,
        channel_max=widest // factor,
        magnitude_decay=magnitude_decay,
    )
    return Generator(settings)


def generator_state(state: State) -> dict[str, Tensor]:
    """Rename an official StyleGAN3 generator's tensors; filters, which are no part of a state here, are left out."""
    renamed = mapping_state(state)
    for name, value in state.items():
        if found := re.fullmatch(r"synthesis\.input\.(.+)", name):
            renamed[f"synthesis.input.{_INPUT_PARTS.get(found[1], found[1])}"] = value
        elif (found := re.fullmatch(_LAYER + r"(.+)", name)) and not found[4].endswith("_filter"):
            part = "magnitude" if found[4] == "magnitude_ema" else found[4]
            renamed[f"synthesis.layers.{found[1]}.{part}"] = value
    return renamed


_LAYER = r"synthesis\.L(\d+)_(\d+)_(\d+)\."  # index, side and channels of the result
_INPUT_PARTS = {
    "freqs": "frequencies",
    "affine.weight": "placement.weight",
    "affine.bias": "placement.bias",
}


def _check_filters(state: State, generator: Generator) -> None:
    for name, taps in state.items():
        found = re.fullmatch(_LAYER + r"(up|down)_filter", name)
        if not found:
            continue
        own = getattr(generator.synthesis.layers[int(found[1])], f"{found[4]}_taps", None)
        if own is None or own.shape != taps.shape or not torch.allclose(own, taps.float().cpu(), atol=_TAP_TOLERANCE):
            raise ValueError(f"official state: {name}: found another filter, expected that of the published design")
