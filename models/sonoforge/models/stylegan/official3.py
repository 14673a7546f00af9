"""State dicts of the official StyleGAN3 generators, under the names that `stylegan3` uses.

The official names: github.com/NVlabs/stylegan3.  Files of tensors only (safetensors, npz); a pickle would have to be
converted by whoever trusts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sonoforge.models.stylegan.stylegan3 import Generator, SynthesisLayer

_FILTER_TOLERANCE = 1e-5  # of a tap


def translate_generator(state: Mapping[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """Rename the tensors of an official generator, configuration T or R.

    Args:
        state: Official names (``synthesis.L0_36_512.weight``, ``mapping.fc0.weight``, ...) to tensors.
        generator: Built with the same arguments.

    Returns:
        A state dict for ``generator.load_state_dict``.

    Raises:
        ValueError: An unknown name, or layers or filters that are not those of ``generator``.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if filtered := re.fullmatch(r"synthesis\.L(\d+)_\d+_\d+\.(up|down)_filter", name):
            _check_filter(name, value, generator, int(filtered[1]), filtered[2])
        else:
            renamed[_rename(name)] = value
    found = {name: tuple(value.shape) for name, value in renamed.items()}
    expected = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise ValueError(
            f"StyleGAN3 state: {len(wrong)} tensors are missing, unknown or of another shape, first {wrong[0]}: found "
            f"{found.get(wrong[0])}, expected {expected.get(wrong[0])}; build the generator with the official arguments"
        )
    return renamed


_NAMES = (
    (r"mapping\.w_avg", "mapping.average"),
    (r"mapping\.embed\.(weight|bias)", r"mapping.embedding.\1"),
    (r"mapping\.fc(\d+)\.(weight|bias)", r"mapping.layers.\1.\2"),
    (r"synthesis\.input\.(weight|transform|phases)", r"synthesis.input.\1"),
    (r"synthesis\.input\.freqs", "synthesis.input.frequencies"),
    (r"synthesis\.input\.affine\.(weight|bias)", r"synthesis.input.placement.\1"),
    (r"synthesis\.L(\d+)_\d+_\d+\.(weight|bias|affine\.weight|affine\.bias)", r"synthesis.layers.\1.\2"),
    (r"synthesis\.L(\d+)_\d+_\d+\.magnitude_ema", r"synthesis.layers.\1.magnitude"),
)


def _rename(name: str) -> str:
    for pattern, ours in _NAMES:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    raise ValueError(f"StyleGAN3 state: found {name!r}, expected the names of an official StyleGAN3 generator")


def _check_filter(name: str, taps: Tensor, generator: Generator, index: int, direction: str) -> None:
    layers = generator.synthesis.layers
    own = getattr(layers[index], f"{direction}_taps", None) if index < len(layers) else None
    if not isinstance(own, Tensor) or own.shape != taps.shape or (own.cpu() - taps).abs().max() > _FILTER_TOLERANCE:
        raise ValueError(f"StyleGAN3 state: {name} is not the filter of this layer; check size, configuration, layers")
