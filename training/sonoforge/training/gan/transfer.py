"""Start a training from the weights of another one, of these networks at any size.

Fine-tuning a generator of many other images is what small sets gain most by (Karras et al., "Training Generative
Adversarial Networks with Limited Data", NeurIPS 2020, section 4.2), the more so when the discriminator's blocks
nearest the image are kept as they are (Mo, Cho, Shin, "Freeze the Discriminator: a Simple Baseline for Fine-Tuning
GANs", 2020).

A tensor is taken where its place in the network and its shape agree.  Places are counted in doublings from the
smallest maps, so a network of 512 pixels shares all its levels but one with one of 256; StyleGAN3's layers, which no
resolution belongs to, are counted by index.  A layer's bias, noise and magnitude go with its weight, and a mapping
network of another depth is left alone.  All that is left is as drawn at the start of any training.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from sonoforge.models.stylegan import official, official3, stylegan1
from sonoforge.models.stylegan.discriminator import Discriminator
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.networks import outline_networks
from sonoforge.training.gan.recipes import Recipe

log = logging.getLogger(__name__)

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
PREFIX = re.compile(r"(G_ema|G|D)[./](.+)")

State = Mapping[str, Tensor]


class Start(NamedTuple):
    """Weights to start from.

    Attributes:
        name: File or checkpoint and the first 16 hex digits of its sha256; recorded with the training.
        architectures: Names in `networks.ARCHITECTURES` whose tensors these may be.
        generator: Its tensors by our names; empty where there is none.
        discriminator: Its tensors by our names; empty where there is none.
    """

    name: str
    architectures: tuple[str, ...]
    generator: State
    discriminator: State


def read_start(path: Path) -> Start:
    """Read what ``--start-from`` names.

    Args:
        path: A run folder (then its newest checkpoint), a checkpoint folder, or a ``.safetensors`` or ``.npz`` file
            with the tensors of the authors' PyTorch networks of StyleGAN2 or StyleGAN3: ``G/NAME`` or, where there
            is none, ``G_ema/NAME``, and ``D/NAME``; a dot in place of the slash will do.

    Raises:
        SonoforgeError: Not one of these, or damaged.
    """
    if path.is_dir():
        return _read_checkpoint(gan_checkpoint.find_checkpoint(path))
    readers = {".safetensors": load, ".npz": _load_arrays}
    if path.suffix not in readers:
        raise SonoforgeError(
            f"{path}: found no folder, .safetensors or .npz file; expected a run folder, or a file of tensors named "
            "G/..., D/...; pickles (.pkl, .pt) run code when opened: save their state dicts as .safetensors first"
        )
    try:
        content = path.read_bytes()
        tensors = readers[path.suffix](content)
    except (OSError, ValueError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
        raise SonoforgeError(f"{path}: cannot be read as {path.suffix} ({' '.join(str(error).split())})") from error
    parts: dict[str, dict[str, Tensor]] = {"G": {}, "G_ema": {}, "D": {}}
    for name, value in tensors.items():
        if found := PREFIX.fullmatch(name):
            parts[found[1]][found[2]] = value
    try:
        architectures, generator = _official_generator(parts["G"] or parts["G_ema"])
        discriminator = official.discriminator_from_official(parts["D"]).state_dict() if parts["D"] else {}
    except ValueError as error:
        raise SonoforgeError(f"{path}: {error}") from error
    if not generator and not discriminator:
        raise SonoforgeError(f"{path}: found no tensors named G/..., G_ema/... or D/..., expected official state dicts")
    return Start(_named(path.name, content), architectures, generator, discriminator)


def _read_checkpoint(path: Path) -> Start:
    about = gan_checkpoint.describe(path)
    states = [gan_checkpoint.load_state(path, stem) for stem in ("generator", "discriminator")]
    # The description holds the hash of each file.
    name = _named(f"{path.resolve().parent.parent.name}/{path.name}", (path / gan_checkpoint.DESCRIPTION).read_bytes())
    return Start(name, (about.architecture,), *states)


def _load_arrays(content: bytes) -> dict[str, Tensor]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        wanted = [name for name in arrays.files if PREFIX.fullmatch(name)]
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in wanted}


def _official_generator(state: State) -> tuple[tuple[str, ...], State]:
    if not state:
        return ("stylegan2", "stylegan3"), {}  # which share their discriminator
    if "synthesis.b4.const" in state:
        return ("stylegan2",), official.generator_from_official(state).state_dict()
    return ("stylegan3",), official3.generator_from_official(state).state_dict()


def _named(name: str, content: bytes) -> str:
    return f"{name} (sha256 {hashlib.sha256(content).hexdigest()[:16]})"


def check_start(start: Start | None, frozen: int, recipe: Recipe, options: dict[str, Any]) -> None:
    """Refuse, at no cost, what `take_over` or `freeze` would refuse.

    Args:
        start: Weights to start from, or None.
        frozen: Blocks of the discriminator to freeze.
        recipe: With all settings applied.
        options: From `networks.generator_options`.

    Raises:
        SonoforgeError: Weights of another architecture, of which nothing fits, or blocks that cannot be frozen.
    """
    generator, discriminator = outline_networks(recipe, options)
    _outermost(discriminator, frozen)
    if start is None:
        return
    if recipe.architecture not in start.architectures:
        raise SonoforgeError(
            f"--start-from: {start.name} holds {' or '.join(start.architectures)} networks, expected "
            f"{recipe.architecture}; choose a recipe of its own architecture"
        )
    if not any(_parameters_taken(network, theirs) for network, theirs in _pairs(start, generator, discriminator)):
        raise SonoforgeError(
            f"--start-from: {start.name}: found no weight whose place and shape agree with the networks to train, "
            "expected layers as wide as theirs; see --width and --preset"
        )


def take_over(start: Start, generator: nn.Module, discriminator: nn.Module) -> None:
    """Copy all that fits into networks that have just been made, and log how much that was.

    Args:
        start: Checked by `check_start`.
        generator: Changed in place.
        discriminator: Changed in place; frozen before, where it is to be, so that new layers among these are told.
    """
    for network, theirs in _pairs(start, generator, discriminator):
        own = network.state_dict()
        fitting = _fitting(own, theirs)
        for name, value in fitting.items():
            own[name].copy_(value)
        sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
        taken = sum(size for name, size in sizes.items() if name in fitting)
        new = list(dict.fromkeys(_layer(name) for name in sizes if name not in fitting))
        log.info(
            "%s: %d parameters taken from %s, %d new%s",
            "generator" if network is generator else "discriminator", taken, start.name, sum(sizes.values()) - taken,
            f" ({', '.join(new[:6])}{f' and {len(new) - 6} more' if len(new) > 6 else ''})" if new else "",
        )  # fmt: skip
        if any(not parameter.requires_grad and name not in fitting for name, parameter in network.named_parameters()):
            log.warning("some of the frozen layers are new: they stay as they were drawn and learn nothing")
        _tell_channels(own, theirs, fitting)


def _pairs(start: Start, generator: nn.Module, discriminator: nn.Module) -> list[tuple[nn.Module, State]]:
    return [(generator, start.generator), (discriminator, start.discriminator)]


def _parameters_taken(network: nn.Module, theirs: State) -> bool:
    fitting = _fitting(network.state_dict(), theirs)
    return any(name in fitting for name, _ in network.named_parameters())


def _layer(name: str) -> str:
    """Name a parameter's layer as far as its number: ``synthesis.layers.3``."""
    return re.sub(r"(\.\d+)\..*|\.(weight|bias)$", r"\1", name)


def _fitting(own: State, theirs: State) -> dict[str, Tensor]:
    """Choose what may be taken: tensors of the own shapes by own names."""
    by_place = {place: theirs[name] for name, place in _places(theirs).items()}
    last_layer = _last_layer(own)
    fitting: dict[str, Tensor] = {}
    for name, place in _places(own).items():
        adapted = _adapt(name, by_place[place], own[name].shape, last_layer) if place in by_place else None
        if adapted is not None:
            fitting[name] = adapted
    mapping = {name for name in own if name.startswith("mapping.layers.")}
    if mapping != {name for name in theirs if name.startswith("mapping.layers.")}:
        fitting = {name: value for name, value in fitting.items() if name not in mapping}
    if not mapping <= fitting.keys():
        fitting.pop("mapping.average", None)
    weightless = {name.rpartition(".")[0] for name in own if name.endswith(".weight") and name not in fitting}
    return {name: value for name, value in fitting.items() if name.rpartition(".")[0] not in weightless}


def _places(state: State) -> dict[str, str]:
    """Name the level of each tensor; the residual discriminator counts its blocks from the image, not the last."""
    blocks = sum(bool(re.fullmatch(r"blocks\.\d+\.skip\.weight", name)) for name in state)
    return {name: _place(name, blocks) for name in state if not name.endswith("_extra_state")}


def _place(name: str, blocks: int) -> str:
    if not blocks:
        return name
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        return f"level {blocks - int(found[1])}: {found[2]}"
    return f"level {blocks}: {name}" if name.startswith("from_image.") else name


def _last_layer(state: State) -> str:
    """Name StyleGAN3's layer that makes the image; other networks have layers of that kind by the name to_image."""
    numbers = [int(found[1]) for name in state if (found := re.fullmatch(r"synthesis\.layers\.(\d+)\.weight", name))]
    return f"synthesis.layers.{max(numbers)}" if "synthesis.input.weight" in state else ""


def _adapt(name: str, value: Tensor, shape: torch.Size, last_layer: str) -> Tensor | None:
    """Return a tensor in this shape, or None; only layers at the image change it, between grey and colour."""
    if value.shape == shape:
        return value
    to_image = re.fullmatch(r"synthesis\.to_image\.\d+(\.convolution)?\.(weight|bias)", name)
    if (to_image or name in (f"{last_layer}.weight", f"{last_layer}.bias")) and value.shape[1:] == shape[1:]:
        if (len(value), shape[0]) == (3, 1):  # the grey of what was coloured
            luma = torch.tensor(LUMA, dtype=value.dtype).view(3, *[1] * (value.ndim - 1))
            return (value * luma).sum(0, keepdim=True)
        if (len(value), shape[0]) == (1, 3):
            return value.expand(shape)
    if name.startswith("from_image.") and value.ndim == 4 and (len(value), *value.shape[2:]) == (shape[0], *shape[2:]):
        # The response to a grey image stays.  At each pass weights are divided by the root of the number of inputs.
        if (value.shape[1], shape[1]) == (3, 1):
            return value.sum(1, keepdim=True) / math.sqrt(3)
        if (value.shape[1], shape[1]) == (1, 3):
            return (value / math.sqrt(3)).expand(shape)
    return None


def _tell_channels(own: State, theirs: State, fitting: State) -> None:
    by_place = {place: theirs[name] for name, place in _places(theirs).items()}
    places = _places(own)
    for name in fitting:
        before, now = by_place[places[name]].shape, own[name].shape
        if before != now:
            axis = int(name.startswith("from_image."))
            log.warning(
                "its images have %d channels and these %d: the weights of the layers at the image are %s",
                before[axis], now[axis],
                ("summed" if axis else "averaged by luma") if now[axis] == 1 else "repeated",
            )  # fmt: skip
            return


def freeze(discriminator: nn.Module, count: int) -> None:
    """Let the blocks nearest the image, with the layers that read the image into them, take no gradient.

    Args:
        discriminator: Of the StyleGAN family; changed in place.
        count: Number of blocks; each halves the side.

    Raises:
        SonoforgeError: Another discriminator, or fewer blocks.
    """
    for module in _outermost(discriminator, count):
        module.requires_grad_(False)


def _outermost(discriminator: nn.Module, count: int) -> list[nn.Module]:
    if count == 0:
        return []
    if isinstance(discriminator, Discriminator):
        blocks = list(discriminator.blocks)
        images: list[nn.Module] = [discriminator.from_image]
    elif isinstance(discriminator, stylegan1.Discriminator):  # which counts from the smallest, and grows
        blocks = list(discriminator.blocks)[::-1]
        images = list(discriminator.from_image)[::-1][:count]
    else:
        raise SonoforgeError(
            "--freeze-discriminator: found a recipe whose discriminator has no blocks to freeze, expected one of "
            "stylegan1, stylegan2, stylegan3-t, stylegan3-r; leave it out"
        )
    if count > len(blocks):
        raise SonoforgeError(
            f"--freeze-discriminator: found {count}, expected at most {len(blocks)}: the blocks of this discriminator"
        )
    return [*images, *blocks[:count]]
