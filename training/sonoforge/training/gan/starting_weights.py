"""Weights that a training starts from: a checkpoint of ours, or official StyleGAN2 and StyleGAN3 networks."""

import hashlib
import io
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sonoforge.models.stylegan import official
from sonoforge.models.stylegan.stylegan3 import IMAGE_SCALE, MARGIN
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint

log = logging.getLogger(__name__)

PREFIX = re.compile(r"(G_ema|G|D)[./](.+)")

State = Mapping[str, Tensor]


class StartingWeights(NamedTuple):
    """Weights to start from."""

    name: str  # file or checkpoint and the first 16 hex digits of its sha256; recorded with the training
    architectures: tuple[str, ...]  # names in `networks.ARCHITECTURES` that these tensors may belong to
    generator: State  # its tensors by our names; empty if there are none
    discriminator: State  # its tensors by our names; empty if there are none
    classes: tuple[str, ...] = ()  # in the order of their labels, of conditional networks of ours


def read_starting_weights(path: Path) -> StartingWeights:
    """Read the weights of one pair of networks.

    Args:
        path: A run folder (then its newest checkpoint), a checkpoint folder, or a ``.safetensors`` or ``.npz`` file
            with the tensors of the authors' PyTorch networks of StyleGAN2 or StyleGAN3: ``G/NAME`` or, without
            these, ``G_ema/NAME``, and ``D/NAME``; a dot may stand for the slash.  Numbers named
            ``G/settings.NAME`` and ``D/settings.NAME`` tell what no tensor shows, see `official`.

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
    return StartingWeights(_with_hash(path.name, content), architectures, generator, discriminator)


def _read_checkpoint(path: Path) -> StartingWeights:
    about = gan_checkpoint.describe(path)
    generator, discriminator = (gan_checkpoint.load_state(path, stem) for stem in ("generator", "discriminator"))
    # The description contains the hash of each file.
    description = (path / gan_checkpoint.DESCRIPTION).read_bytes()
    name = _with_hash(f"{path.resolve().parent.parent.name}/{path.name}", description)
    return StartingWeights(name, (about.architecture,), generator, discriminator, tuple(about.classes))


def _load_arrays(content: bytes) -> dict[str, Tensor]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        wanted = [name for name in arrays.files if PREFIX.fullmatch(name)]
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in wanted}


def _official_generator(state: State) -> tuple[tuple[str, ...], State]:
    if not state:
        return ("stylegan2", "stylegan3"), {}  # which share their discriminator
    if "synthesis.b4.const" in state:
        return ("stylegan2",), official.generator_from_official(state).state_dict()
    generator = official.generator_from_official(state)
    if (margin := official.margin_of(state)) != MARGIN:
        log.warning("its margin_size is %d and here %d: its images begin another way near borders", margin, MARGIN)
    if official.SCALE_SETTING not in state:
        log.info(
            "output_scale: taken as %g, as published, since no tensor shows it; a number named G/%s tells another",
            IMAGE_SCALE, official.SCALE_SETTING,
        )  # fmt: skip
    return ("stylegan3",), generator.state_dict()


def _with_hash(name: str, content: bytes) -> str:
    return f"{name} (sha256 {hashlib.sha256(content).hexdigest()[:16]})"
