"""Extract features with ImageNet networks: feature maps for perceptual losses, embeddings for KID and FID.

The networks are torchvision's, up to the last convolution.  Figures on them are not comparable with published FID and
KID, which use Inception-v3, so every figure carries the name of its network and the hash of its weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import did_you_mean
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.pretrained import check_tensors, download_weights, mismatches, read_weights

EMBED_SIZE = IMAGENET.size  # the side that the ImageNet weights were trained for
MAPS_SIZE = 64  # from this side on every tapped layer has a map of 2x2 or more


class Network(NamedTuple):
    """A torchvision network: a row of ``networks.json``."""

    source: str  # of the choice of layers
    weights: str  # torchvision's name of its ImageNet weights
    dimension: int  # length of its embeddings
    layers: Mapping[str, int]  # tapped layers: name, and index in torchvision's `features`
    lpips_heads: str  # name of the file with the heads of LPIPS in torchmetrics; empty: there are none
    lpips_layers: Mapping[str, int]  # the maps that LPIPS compares, as in `layers`


NETWORKS = {
    name: Network(**row)
    for name, row in json.loads(Path(__file__).with_name("networks.json").read_text("utf-8")).items()
}


@dataclass(frozen=True)
class Features:
    """A network in evaluation mode; gradients flow to the images, not to its parameters."""

    name: str  # network and first 16 hex digits of the SHA-256 of its weights file; recorded with every figure
    layers: Mapping[str, int]  # tapped layers: name, and index in `module`, ascending
    module: nn.Sequential  # torchvision's `features`

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps at the tapped layers, one (N, C', H', W') for each.

        Images are (N, C, S, S) float in [-1, 1], C = 1 (grey, repeated) or 3 (RGB).  Those below 64 pixels are enlarged
        to 64 (bilinear); others are not resized.
        """
        if images.shape[-1] < MAPS_SIZE:
            images = interpolate(images, (MAPS_SIZE, MAPS_SIZE), mode="bilinear", align_corners=False)
        value = _normalised(images)
        taps = set(self.layers.values())
        found = []
        for index, layer in enumerate(list(self.module)[: max(taps) + 1]):
            value = layer(value)
            if index in taps:
                found.append(value)
        return found

    def embed(self, images: Tensor) -> Tensor:
        """Return the mean over the last feature map for each image, (N, D): D is `Network.dimension`.

        Images are (N, C, S, S) float in [-1, 1], C = 1 or 3; resized to 224x224 (bilinear, antialiased).
        """
        if images.shape[-2:] != (EMBED_SIZE, EMBED_SIZE):
            images = interpolate(images, (EMBED_SIZE, EMBED_SIZE), mode="bilinear", align_corners=False, antialias=True)
        last: Tensor = self.module(_normalised(images))
        return last.mean((2, 3))


def _normalised(images: Tensor) -> Tensor:
    """Turn [-1, 1], 1 or 3 channels, into RGB of mean 0 and deviation 1 on ImageNet."""
    colours = images.expand(-1, 3, -1, -1)
    # Python numbers rather than tensors, so that nothing is copied to the device.
    scaled = [
        ((colours[:, channel] + 1) / 2 - mean) / std
        for channel, (mean, std) in enumerate(zip(IMAGENET.mean, IMAGENET.std, strict=True))
    ]
    return torch.stack(scaled, dim=1)


def open_features(
    choice: str,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    ways_out: str = "give --set gan.features=FILE.safetensors, its own or that of a stand-in such as squeezenet1_1",
) -> Features:
    """Open a network by its name or from a file of its weights.

    ``choice`` is a key of `NETWORKS`, or a ``.safetensors`` file with torchvision's key names (the whole network or
    only its ``features``), which its tensors identify.  ``weights`` is such a file for the named network; None
    downloads the ImageNet weights once into torch's folder.  ``ways_out`` lists alternatives to a download, for its
    error.

    Raises:
        SonoforgeError: The file or network does not exist, the file is of another network, or the download failed.
    """
    named = choice in NETWORKS
    if named and weights is None:
        found = download_weights(NETWORKS[choice].weights, ways_out)
    elif named and weights is not None:
        found = read_weights(weights, "give a .safetensors file with torchvision's key names")
    else:
        expected = f"give {', '.join(NETWORKS)} or a .safetensors file{did_you_mean(choice, list(NETWORKS))}"
        found = read_weights(Path(choice), expected)
    network, module = _recognise(str(weights or choice), found.state, [choice] if named else list(NETWORKS))
    module.eval().requires_grad_(False).to(device)
    return Features(f"{network} (sha256 {found.digest})", NETWORKS[network].layers, module)


def _recognise(where: str, state: Mapping[str, Tensor], candidates: list[str]) -> tuple[str, nn.Sequential]:
    """Find the network with exactly these tensors (ignoring its classifier), and load them."""
    kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    with torch.device("meta"):  # shapes only: no memory, no random draws
        modules = {name: getattr(import_torchvision().models, name)(weights=None).features for name in candidates}
    expected = {name: module.state_dict(prefix="features.") for name, module in modules.items()}
    nearest = min(candidates, key=lambda name: len(mismatches(kept, expected[name])))
    found = f"{where}: not a torchvision {' or '.join(candidates)}; nearest {nearest}"
    check_tensors(kept, expected[nearest], found, "use torchvision's key names")
    numbers = {name.removeprefix("features."): value for name, value in kept.items()}
    modules[nearest].load_state_dict(numbers, assign=True)
    return nearest, modules[nearest]
