"""Weights of official StyleGAN3 generators in the networks here; their discriminators' are read by `official`.

Files of tensors only, by the names of the authors' PyTorch implementation: see `official`.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

from sonoforge.models.stylegan.official import (
    SETTINGS,
    State,
    Value,
    at_published_rate,
    load_renamed,
    mapping_sizes,
    mapping_state,
    settings_value,
)
from sonoforge.models.stylegan.stylegan3 import IMAGE_SCALE, MARGIN, Generator, GeneratorSettings, plan_grids

OUTPUT_SCALE = SETTINGS + "output_scale"
_TAP_TOLERANCE = 1e-5


def generator_from_official(state: State, *, magnitude_decay: float = 0.999) -> Generator:
    """Build a StyleGAN3 generator, configuration T or R, from an official state dict, in evaluation mode.

    Args:
        state: Tensors by official name (``mapping.fc0.weight``, ``synthesis.L0_36_512.weight``, ...), and settings
            that no tensor shows, see `official`.
        magnitude_decay: See `GeneratorSettings`; no part of a state.

    Raises:
        ValueError: See `official.generator_from_official`.
    """
    state = _at_published_scale(at_published_rate(state, ("lr_multiplier", OUTPUT_SCALE.removeprefix(SETTINGS))))
    try:
        generator = _build(state, magnitude_decay)
    except (KeyError, IndexError) as error:
        raise ValueError(f"official state: found no {error} of its shape, expected a StyleGAN3 generator") from error
    _check_filters(state, generator)
    load_renamed(generator, state, generator_state)
    return generator.eval()


def margin_of(state: State) -> int:
    """Return the margin in samples of the state's layers, the published one being `stylegan3.MARGIN`.

    Raises:
        ValueError: Sides that no margin gives.
    """
    layers = _layers(state)
    planned = plan_grids(layers[-1].side, layers[-1].channels, len(layers) - 1, 1, 1)[1:]
    margin = MARGIN + (layers[0].side - planned[0].side) // 2
    for index, (layer, grid) in enumerate(zip(layers, planned, strict=True)):
        if layer.side != (grid.side if index >= len(layers) - 2 else grid.rate + 2 * margin):
            raise ValueError(
                f"official state: found a side of {layer.side} in layer L{index}, expected {grid.rate} and the margins "
                "of the first layer; another first_cutoff, first_stopband or num_critical is not known here"
            )
    return margin


class _Layer(NamedTuple):
    side: int
    channels: int


def _layers(state: State) -> list[_Layer]:
    """Side and channels of each layer's result, by index."""
    found = {match.groups() for name in state if (match := re.match(_LAYER, name))}
    return [_Layer(side, channels) for _, side, channels in sorted(tuple(map(int, numbers)) for numbers in found)]


def _build(state: State, magnitude_decay: float) -> Generator:
    """Build the generator that the tensors' names and shapes show."""
    layers = _layers(state)
    side, channels = layers[-1]
    kernel = state[f"synthesis.L0_{layers[0].side}_{layers[0].channels}.weight"].shape[2]
    config = "r" if kernel == 1 else "t"
    settings = GeneratorSettings(
        side, channels, **mapping_sizes(state), config=config, layers=len(layers) - 1, magnitude_decay=magnitude_decay
    )
    planned = plan_grids(side, channels, len(layers) - 1, 1, 1, margin_of(state))
    widths = [state["synthesis.input.weight"].shape[0], *(layer.channels for layer in layers)]
    grids = [dataclasses.replace(grid, channels=width) for grid, width in zip(planned, widths, strict=True)]
    return Generator(settings, grids)


def _at_published_scale(state: State) -> State:
    """Convert the last layer, which is linear, to the published output_scale; the images stay the same."""
    if OUTPUT_SCALE not in state:
        return state
    factor = settings_value(state, OUTPUT_SCALE) / IMAGE_SCALE
    last = max((int(found[1]) for name in state if (found := re.match(_LAYER, name))), default=0)
    scaled = re.compile(rf"synthesis\.L{last}_\d+_\d+\.(weight|bias)")
    return {
        name: value * factor if scaled.fullmatch(name) else value
        for name, value in state.items()
        if name != OUTPUT_SCALE
    }


def generator_state(state: Mapping[str, Value]) -> dict[str, Value]:
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
_INPUT_PARTS = {"freqs": "frequencies", "affine.weight": "placement.weight", "affine.bias": "placement.bias"}


def _check_filters(state: State, generator: Generator) -> None:
    for name, taps in state.items():
        found = re.fullmatch(_LAYER + r"(up|down)_filter", name)
        if not found:
            continue
        own = getattr(generator.synthesis.layers[int(found[1])], f"{found[4]}_taps", None)
        if own is None or own.shape != taps.shape or not torch.allclose(own, taps.float().cpu(), atol=_TAP_TOLERANCE):
            raise ValueError(f"official state: {name}: found another filter, expected that of the published design")
