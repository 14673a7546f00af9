"""Where the classifier's initial weights come from: always reported, never silently replaced.

``imagenet``: torchvision's own (downloaded once, or from torch's download folder);
``shipped``: the backbone of the bundle inside the runtime package, refused where it has seen an image (`trained_on`);
``none``: random; anything else: a ``.safetensors`` file with torchvision's key names.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sonoforge.models.mobilenetv2 import load_folded, mobilenet_v2, restore_batch_norm
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.pretrained import DIGEST, download_weights, mismatches, read_weights

log = logging.getLogger(__name__)

_IMAGENET = "MobileNet_V2_Weights.IMAGENET1K_V1"
_BATCH_NORM = dict.fromkeys(("means", "variances"), ArrayKind(np.float32, ("N",)))
_CHOICES = "expected imagenet, shipped, none or a .safetensors file"


class Backbone(NamedTuple):
    """Initial weights: a torchvision ``features.*`` state, one line saying where they come from, `weights_digest`."""

    state: dict[str, torch.Tensor]
    source: str
    digest: str


def load_backbone(choice: str, cache: ImageCache) -> Backbone:
    """Open the initial weights that the user chose; ``shipped`` is refused where it has seen an image of the data set.

    Raises:
        SonoforgeError: Nothing to download from, an unreadable file, or keys that do not fit.
        GateError: The shipped backbone was trained on images of this data set.
    """
    if choice == "none":
        log.warning("weights: none; the network starts from random numbers, expect a far lower accuracy")
        return Backbone({}, "random initialisation (--weights none)", "")
    if choice == "imagenet":
        otherwise = (
            "give weights: a .safetensors file with torchvision's key names, or none to start from random numbers"
        )
        weights = download_weights(_IMAGENET, otherwise)
        return Backbone(_features_only(weights.state, "weights"), f"torchvision {_IMAGENET}", _IMAGENET)
    if choice == "shipped":
        return _shipped(cache)
    weights = read_weights(Path(choice), _CHOICES)
    digest = f"sha256 {weights.digest}"
    return Backbone(_features_only(weights.state, choice), f"{Path(choice).name} ({digest})", digest)


def weights_digest(choice: str) -> str:
    """Return what tells the weights of a choice from all others: a hash of their file, or the name of published ones.

    Raises:
        SonoforgeError: An unreadable file.
    """
    if choice == "none":
        return ""
    if choice == "imagenet":
        return _IMAGENET
    if choice == "shipped":
        return f"sha256 {open_bundle(None).manifest.files['model.onnx'].sha256[:DIGEST]}"
    return f"sha256 {read_weights(Path(choice), _CHOICES).digest}"


def _features_only(state: dict[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """Keep the backbone's tensors, after a check of names and shapes."""
    expected = {key: value for key, value in mobilenet_v2(1).state_dict().items() if key.startswith("features.")}
    kept = {key: value for key, value in state.items() if key.startswith("features.")}
    wrong = mismatches(kept, expected)
    if wrong:
        raise SonoforgeError(
            f"{where}: not a torchvision MobileNetV2 ({len(wrong)} tensors are missing, unknown or of another shape, "
            f"first {wrong[0]}); expected torchvision's key names"
        )
    return {key: kept[key] for key in expected}


def _shipped(cache: ImageCache) -> Backbone:
    import onnx  # noqa: PLC0415 - heavy, needed for this choice only
    from onnx import numpy_helper  # noqa: PLC0415

    from sonoforge.training.classifier.trained_on import refuse_seen  # noqa: PLC0415 - needs OpenCV

    bundle = open_bundle(None)
    refuse_seen(bundle, cache)
    graph = onnx.load_model_from_string(bundle.read("model.onnx")).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    convolutions = {node.input[1]: node.input[2] for node in graph.node if node.op_type == "Conv" and node.input[2:]}
    net = mobilenet_v2(1)
    # A network with a zoomed second pass runs each of its convolutions twice, and one of its outline between them.
    own = [names for names in convolutions.items() if not names[0].startswith("outlines.")]
    load_folded(net, [(tensors[weight], tensors[bias]) for weight, bias in own])
    # Those of its own training: the images at hand are test images, too.
    statistics = bundle.arrays("batch-norm.npz", _BATCH_NORM)
    restore_batch_norm(net, torch.from_numpy(statistics["means"]), torch.from_numpy(statistics["variances"]))
    state = {key: value for key, value in net.state_dict().items() if key.startswith("features.")}
    data = bundle.manifest.raw["training"]["data"]
    source = f"shipped bundle {bundle.manifest.name} {bundle.manifest.version} (trained on {data})"
    return Backbone(state, source, weights_digest("shipped"))


def apply_backbone(net: Any, backbone: Backbone) -> None:
    """Load a backbone state into a torchvision ``MobileNetV2``, leaving its classifier alone."""
    if backbone.state:
        missing, unexpected = net.load_state_dict(backbone.state, strict=False)
        if unexpected or any(key.startswith("features.") for key in missing):
            raise SonoforgeError(
                f"weights from {backbone.source} do not fit MobileNetV2: {[*missing, *unexpected][:3]}"
            )
