"""Extract features with torchvision's networks, with weights from files or torchvision's own, never others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.pretrained import Weights, check_tensors, download_weights, is_downloaded, read_weights

WEIGHTS: dict[str, str] = json.loads(Path(__file__).with_name("weights.json").read_text("utf-8"))
"""Torchvision's weights for each network; if there are several, the ones available at the papers' time.

Ragab et al. do not say which SqueezeNet: 1.1 is its authors' later release, as accurate in less time.
"""
BATCH = 16  # images at a time
OPTION = "--set crossval.comparator_weights"


def load_networks(names: Sequence[str], given: Sequence[str]) -> dict[str, Weights]:
    """Read the weights of these networks from the given files, or let torchvision download them.

    ``given`` holds ``NAME=FILE``, or folders with files ``NAME*.safetensors``.
    """
    files = _find_files(names, given)
    missing = [name for name in names if name not in files and not is_downloaded(WEIGHTS[name])]
    ways_out = (
        f"weights of {', '.join(missing)} are missing: give {OPTION} NAME=FILE.safetensors,... or a folder of "
        "NAME.safetensors files, with torchvision's key names; no other network can replace them"
    )
    loaded = {}
    for name in names:
        if name in files:
            weights, where = read_weights(files[name], f"give {OPTION} {name}=FILE.safetensors"), str(files[name])
            digest = f"{name} sha256 {weights.digest}"
        else:
            weights, where, digest = download_weights(WEIGHTS[name], ways_out), "torchvision", WEIGHTS[name]
        whole = _build(name).state_dict()
        check_tensors(weights.state, whole, f"{where}: not torchvision's {name}", "use its key names")
        loaded[name] = weights._replace(digest=digest)
    return loaded


def _find_files(names: Sequence[str], given: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for entry in given:
        name, is_pair, file = entry.partition("=")
        if is_pair and name in WEIGHTS:
            files[name] = Path(file)
        elif Path(entry).is_dir():
            for own in names:
                found = sorted(Path(entry).glob(f"{own}*.safetensors"))
                if len(found) > 1:
                    listed = ", ".join(path.name for path in found)
                    raise SonoforgeError(f"{entry}: several files for {own}: {listed}; give {OPTION} {own}=FILE")
                if found:
                    files[own] = found[0]
        else:
            raise SonoforgeError(
                f"{OPTION}: {entry} is neither NAME=FILE nor an existing folder; NAME is any of " + ", ".join(WEIGHTS)
            )
    return files


def _build(name: str) -> Any:
    """Make the network without drawing weights: VGG has 138 million."""
    with torch.device("meta"):
        return getattr(import_torchvision().models, name)(weights=None)


@torch.inference_mode()
def extract_features(
    name: str, given: Sequence[str], pixels: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    """Return what the network's last layer reads of each image (N, S, S, 3) uint8: float32 (N, D).

    Its weights are those of `load_networks`.
    D is 4096 (AlexNet, VGG), 2048 (ResNet-50), 1280 (MobileNetV2), 512 (SqueezeNet: the mean of its last maps, which
    its one convolution and pooling read).
    """
    net = _build(name)
    net.load_state_dict(load_networks((name,), given)[name].state, assign=True)
    net.to(device).eval()
    if name == "resnet50":
        net.fc = torch.nn.Identity()
    elif name == "squeezenet1_1":
        net.classifier = torch.nn.AdaptiveAvgPool2d(1)
    else:
        net.classifier = net.classifier[:-1]
    parts = []
    for start in range(0, len(pixels), BATCH):
        batch = torch.from_numpy(IMAGENET.normalise(np.ascontiguousarray(pixels[start : start + BATCH])))
        parts.append(net(batch.to(device)).flatten(1).float().cpu().numpy())
    return np.concatenate(parts)
