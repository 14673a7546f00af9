"""Read pretrained weights for torchvision's networks from a ``.safetensors`` file, or let torchvision download them.

Every failure is one line with its remedies; nothing is ever substituted, and no user's file is unpickled.
"""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.inputs import sha256_of

DIGEST = 16  # hex digits of a weights file's sha256 that are printed and recorded


class Weights(NamedTuple):
    """Tensors by torchvision's names, floating ones as float32, and the SHA-256 of their file (16 hex digits)."""

    state: dict[str, Tensor]
    digest: str


def read_weights(path: Path, choices: str) -> Weights:
    """Read a ``.safetensors`` file; the error for a missing one lists the ``choices``."""
    if not path.is_file():
        raise SonoforgeError(f"{path}: no such weights file; {choices}")
    if path.suffix != ".safetensors":
        raise SonoforgeError(
            f"{path}: must be a .safetensors file, not {path.suffix or 'without a suffix'} (never unpickled)"
        )
    with refusing(f"{path}: not a readable safetensors file", kinds=(SafetensorError, OSError)):
        return Weights(_widened(load_file(path)), sha256_of(path)[:DIGEST])


def download_weights(name: str, ways_out: str) -> Weights:
    """Let torchvision download its own weights, once, into torch's folder (``TORCH_HOME``).

    ``name`` is torchvision's, such as ``MobileNet_V2_Weights.IMAGENET1K_V1``; ``ways_out`` lists alternatives.
    """
    weights = import_torchvision().models.get_weight(name)
    file = _file_of(weights.url)
    # torch announces the download on stdout, which belongs to --json.
    failed, kinds = f"ImageNet weights: {weights.url} could not be downloaded", (OSError, RuntimeError)
    with refusing(failed, ways_out, kinds), contextlib.redirect_stdout(sys.stderr):
        state = weights.get_state_dict(progress=False, check_hash=True)
        digest = sha256_of(file)[:DIGEST]
    return Weights(_widened(state), digest)


def is_downloaded(name: str) -> bool:
    """Whether `download_weights` would find torchvision's weights with this name in torch's folder."""
    return _file_of(import_torchvision().models.get_weight(name).url).is_file()


def _file_of(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def mismatches(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that are missing, unknown, or of another shape or kind of number; sorted."""
    common = state.keys() & expected.keys()
    wrong = {
        name
        for name in common
        if state[name].shape != expected[name].shape
        or state[name].is_floating_point() != expected[name].is_floating_point()
    }
    return sorted((state.keys() ^ expected.keys()) | wrong)


def check_tensors(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], found: str, wanted: str) -> None:
    """Refuse weights other than exactly these tensors; ``found`` and ``wanted`` start and end the message."""
    wrong = mismatches(state, expected)
    if wrong:
        raise SonoforgeError(
            f"{found} ({len(wrong)} tensors are missing, unknown or of another shape, first {wrong[0]}); {wanted}"
        )


def _widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
