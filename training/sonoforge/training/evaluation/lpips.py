"""Measure LPIPS, the perceptual distance of two images (Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018).

Section 3 and equation 1, in the authors' version 0.1: feature maps, each scaled to unit length over its channels at
each place; squared differences, weighted channel by channel with learned weights ("heads"), averaged over places,
summed over layers.  Each network has its own heads and values, so a figure states its network.

The weights w are not negative, so LPIPS is a squared Euclidean distance: of the unit-length maps times sqrt(w), divided
by the root of their area.  `embed` returns that vector for each image; one matrix product gives all distances.
Images below 64 pixels are enlarged to 64.
"""

import importlib.util
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from sonoforge.runtime.errors import SonoforgeError, install_extra
from sonoforge.runtime.images.inputs import sha256_of
from sonoforge.training.data.pixels import Pixels, to_tensor, to_unit
from sonoforge.training.evaluation.features import NETWORKS, Features, open_features
from sonoforge.training.pretrained import DIGEST

SIDE = 64  # at 64 pixels a vector of SqueezeNet has 119 000 numbers, at 128 four times as many


VARIANTS = {name: network for name, network in NETWORKS.items() if network.lpips_heads}
_EPSILON = 1e-8  # under the root, as torchmetrics has it; the authors add 1e-10 behind it
_BLOCK = 32  # images at a time through the network


@dataclass(frozen=True)
class Lpips:
    """The network and the heads, ready for use."""

    name: str  # network and heads with the first 16 hex digits of each file's SHA-256; recorded with every figure
    network: str  # key of `VARIANTS`
    features: Features  # the network with the taps of its variant
    roots: tuple[Tensor, ...]  # square root of each layer's weights, (C',) each
    device: torch.device


def open_lpips(backbone: str, device: torch.device | str = "cpu") -> Lpips:
    """Open LPIPS 0.1, with the heads of the installed torchmetrics.

    ``backbone`` is a ``.safetensors`` file of one of the networks in `VARIANTS` with torchvision's key names, or the
    name of one, to download it.

    Raises:
        SonoforgeError: The file does not exist or is another network, or torchmetrics is missing.
    """
    features = open_features(backbone, device, ways_out=f"give lpips: a .safetensors file of {backbone}")
    network = features.name.split(" ")[0]
    if network not in VARIANTS:
        raise SonoforgeError(f"{backbone}: LPIPS has no heads for {features.name}; give {', '.join(VARIANTS)}")
    variant, found = VARIANTS[network], importlib.util.find_spec("torchmetrics")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    path = Path(*folders[:1], "functional", "image", "lpips_models", f"{variant.lpips_heads}.pth")
    if not folders or not path.is_file():
        raise SonoforgeError(f"LPIPS: no heads at {path}; run {install_extra('train')}")
    state = torch.load(path, map_location="cpu", weights_only=True)  # without importing torchmetrics
    weights = [state[f"lin{layer}.model.1.weight"].flatten().float() for layer in range(len(variant.lpips_layers))]
    name = f"LPIPS 0.1 {features.name}, heads (sha256 {sha256_of(path)[:DIGEST]})"
    taps = replace(features, layers=variant.lpips_layers)
    return Lpips(name, network, taps, tuple(weight.sqrt().to(device) for weight in weights), torch.device(device))


@torch.inference_mode()
def embed(lpips: Lpips, images: Tensor) -> Tensor:
    """Return vectors whose squared Euclidean distances are LPIPS: (N, E) float32, on the network's device.

    Images are (N, C, S, S) in [-1, 1], C = 1 or 3.  At 64 pixels E is 119 000 with
    SqueezeNet, 0.5 million with VGG16, 32 000 with AlexNet; it grows with the area of the images.
    """
    parts = []
    # LPIPS normalises its input by ImageNet's mean and deviation, as `maps` does.
    for layer, root in zip(lpips.features.maps(images.to(lpips.device)), lpips.roots, strict=True):
        length = (layer.square().sum(1, keepdim=True) + _EPSILON).sqrt()
        area = layer.shape[2] * layer.shape[3]
        parts.append((layer / length * (root[:, None, None] / math.sqrt(area))).flatten(1))
    return torch.cat(parts, 1)


def distance_matrix(lpips: Lpips, images: Pixels) -> NDArray[np.float32]:
    """Return LPIPS between all images (N, S, S, C) uint8, C = 1 or 3: (N, N) float32, symmetric, 0 on the diagonal.

    Images are compared at 64 pixels: larger ones are averaged down, smaller ones enlarged (bilinear).  It takes about
    10 s and 0.5 GB for 1000 images on one core with SqueezeNet, 2 GB with VGG16.
    """
    vectors = torch.empty(0)
    for start in range(0, len(images), _BLOCK):
        part = to_unit(to_tensor(images[start : start + _BLOCK]).to(lpips.device))
        if part.shape[-1] > SIDE:  # smaller images are enlarged by `maps`
            part = interpolate(part, (SIDE, SIDE), mode="area")
        part = embed(lpips, part)
        if not start:
            vectors = part.new_empty(len(images), part.shape[1])
        vectors[start : start + _BLOCK] = part
    vectors -= vectors.mean(0)  # smaller squares, less rounding
    squares = vectors.square().sum(1)
    table = (squares[:, None] + squares - 2 * (vectors @ vectors.T)).clamp_(min=0)
    return np.asarray(table.fill_diagonal_(0).cpu().numpy())
