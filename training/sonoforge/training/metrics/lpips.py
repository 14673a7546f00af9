"""LPIPS: how differently a network sees two images (Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018).

"The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", section 3 and equation 1, in the authors'
version 0.1 with SqueezeNet 1.1 ("squeeze"): seven feature maps, each scaled to unit length over its channels at each
place; squared differences, weighted channel by channel with learned weights ("heads"), averaged over places, summed
over layers.  0 for equal images; two unrelated breast scans of 128 pixels have 0.2 to 0.4.

The weights w are not negative, so LPIPS is a squared Euclidean distance: that of the unit-length maps times sqrt(w),
divided by the root of their area.  `embed` gives each image that one vector, and one matrix product all distances.

LPIPS depends on the size of the images; each figure carries it.  Images below 64 pixels are enlarged to 64.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.metrics.features import Features, open_features
from sonoforge.training.pretrained import DIGEST, mismatches, read_weights

SIDE = 64  # at 64 pixels a vector has 119 000 numbers, at 128 four times as many
CHANNELS = (64, 128, 256, 384, 384, 512, 512)  # of the seven maps
_EPSILON = 1e-8  # under the root, as torchmetrics has it; the authors add 1e-10 behind it
_BLOCK = 32  # images at a time through the network

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Lpips:
    """The network and the heads, ready for use."""

    name: str  # network and heads with the first 16 hex digits of the sha256 of each file; recorded with every figure
    features: Features  # SqueezeNet 1.1 with the seven taps
    roots: tuple[Tensor, ...]  # square root of each layer's weights, (C',) each
    device: torch.device


def open_lpips(backbone: str, heads: str | None = None, device: torch.device | str = "cpu") -> Lpips:
    """Open LPIPS 0.1, "squeeze".

    Args:
        backbone: The path of a ``.safetensors`` file of SqueezeNet 1.1 with torchvision's key names, or
            ``squeezenet1_1``, which torchvision then downloads.
        heads: The path of a ``.safetensors`` file with the tensors lin0.model.1.weight to lin6.model.1.weight; None:
            those that come with the installed torchmetrics.
        device: Where the network is put.

    Raises:
        SonoforgeError: No such file, another network, or files that are not these weights.
    """
    features = open_features(backbone, device)
    if not features.name.startswith("squeezenet1_1 "):
        raise SonoforgeError(
            f"{backbone}: found {features.name}, expected squeezenet1_1, which the heads of LPIPS were trained for"
        )
    where, state, digest = _shipped_heads() if heads is None else _read_heads(heads)
    expected = {f"lin{layer}.model.1.weight": torch.empty(1, c, 1, 1) for layer, c in enumerate(CHANNELS)}
    wrong = mismatches(state, expected)
    if wrong:
        raise SonoforgeError(
            f"{where}: not the heads of LPIPS squeeze ({len(wrong)} tensors are missing, unknown or of another shape, "
            f"first {wrong[0]}); expected lin0.model.1.weight to lin6.model.1.weight"
        )
    weights = [state[name].flatten().float().to(device) for name in expected]
    if not all(bool((weight >= 0).all()) for weight in weights):
        raise SonoforgeError(f"{where}: found negative or undefined weights, expected the heads of LPIPS 0.1, all >= 0")
    name = f"LPIPS 0.1 {features.name}, heads (sha256 {digest})"
    return Lpips(name, features, tuple(weight.sqrt() for weight in weights), torch.device(device))


def _read_heads(heads: str) -> tuple[str, dict[str, Tensor], str]:
    weights = read_weights(Path(heads), "expected a .safetensors file of LPIPS heads, or none for torchmetrics' own")
    return heads, weights.state, weights.digest


def _shipped_heads() -> tuple[str, dict[str, Tensor], str]:
    """Find the heads in the installed torchmetrics without importing it."""
    found = importlib.util.find_spec("torchmetrics")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    path = Path(*folders[:1], "functional", "image", "lpips_models", "squeeze.pth")
    if not folders or not path.is_file():
        raise SonoforgeError(
            f"LPIPS: no heads at {path}, expected them in torchmetrics; install it (pip install 'sonoforge[train]') or "
            "name a .safetensors file with the heads"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    return str(path), state, hashlib.sha256(path.read_bytes()).hexdigest()[:DIGEST]


def embed(lpips: Lpips, images: Pixels | Tensor) -> Tensor:
    """Return vectors whose squared Euclidean distances are LPIPS: (N, E) float32, on the network's device.

    Images are (N, S, S, C) uint8 or a tensor (N, C, S, S) in [-1, 1], C = 1 or 3.
    E is 119 000 for images of 64 pixels, 0.5 million at 128, 2 million at 256.

    Raises:
        ValueError: Another number of channels.
    """
    parts = []
    with torch.inference_mode():
        # LPIPS has its own mean and deviation for input in [-1, 1]; they are ImageNet's, which `maps` takes off.
        for layer, root in zip(lpips.features.maps(_unit(images, lpips.device)), lpips.roots, strict=True):
            length = (layer.square().sum(1, keepdim=True) + _EPSILON).sqrt()
            area = layer.shape[2] * layer.shape[3]
            parts.append((layer / length * (root[:, None, None] / math.sqrt(area))).flatten(1))
        return torch.cat(parts, 1)


def distance_matrix(lpips: Lpips, images: Pixels) -> NDArray[np.float32]:
    """Return LPIPS between all images (N, S, S, C) uint8, C = 1 or 3: (N, N) float32, symmetric, 0 on the diagonal.

    Images are compared at 64 pixels: larger ones are averaged down, smaller ones enlarged (bilinear).  About 10 s and
    1 GB for 1000 images on one core.
    """
    blocks = (images[start : start + _BLOCK] for start in range(0, len(images), _BLOCK))
    vectors = torch.cat([embed(lpips, _resized(_unit(block, lpips.device))) for block in blocks])
    vectors -= vectors.mean(0)  # smaller squares, less rounding
    squares = vectors.square().sum(1)
    table = (squares[:, None] + squares - 2 * (vectors @ vectors.T)).clamp_(min=0)
    return np.asarray(table.fill_diagonal_(0).cpu().numpy())


def _unit(images: Pixels | Tensor, device: torch.device) -> Tensor:
    """Turn (N, S, S, C) uint8 into (N, C, S, S) float in [-1, 1]; leave a tensor as it is."""
    if isinstance(images, Tensor):
        return images.to(device)
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _resized(images: Tensor) -> Tensor:
    if images.shape[-1] > SIDE:
        return interpolate(images, (SIDE, SIDE), mode="area")
    if images.shape[-1] < SIDE:
        return interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return images
