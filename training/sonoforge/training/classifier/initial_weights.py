"""Choose where a classifier's weights start: ImageNet, a bundle's network, a file, or random numbers.

They are always reported and never silently replaced.  By default, the shipped network is used for small sets of its
kind that it has not seen; ``training/studies/other-scanners`` measures its benefit.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sonoforge.models.mobilenetv2 import load_folded, mobilenet_v2, restore_batch_norm
from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import SHIPPED, Bundle, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.evaluation.spaces import kind_of
from sonoforge.training.pretrained import DIGEST, check_tensors, download_weights, read_weights
from sonoforge.training.statistics.verdict import UNKNOWN

log = logging.getLogger(__name__)

_IMAGENET = "MobileNet_V2_Weights.IMAGENET1K_V1"
_IMAGENET_ROUNDED = "cda332e4c3e385d8bb9eeff863360d5e25bdad793de9e8bc1cef360ba796876e"  # see `_rounded_digest`
# Below the first number of images, adapting a network of other collections is as good as fine-tuning it; from the
# second on, it is no better start than ImageNet.
_FEW, _MANY = 100, 500
_STATISTICS, _BATCH_NORM = "batch-norm.npz", dict.fromkeys(("means", "variances"), ArrayKind(np.float32, ("N",)))
_CHOICES = "give imagenet, shipped, none, a bundle or a .safetensors file"


class Backbone(NamedTuple):
    """Initial weights."""

    state: dict[str, Tensor]  # by torchvision's names: ``features.*``; of a network with these classes ``classifier.*``
    source: str  # their origin in one line
    digest: str  # see `weights_digest`


def choose_weights(choice: str | None, cache: ImageCache) -> str:
    """Return the initial weights that the user gave, or those that suit the images; log the reason.

    Breast ultrasound is compared with the shipped network's training images, about 45 core-milliseconds an image the
    first time.
    """
    if choice:
        return choice
    if len(cache.hashes) >= _MANY:
        log.info("initial weights: imagenet; from %d images on, the shipped ones are no better", _MANY)
        return "imagenet"
    if kind_of(cache.images, np.arange(len(cache.hashes))) != BREAST_ULTRASOUND:
        log.info("initial weights: imagenet; the shipped network was trained on another kind of image")
        return "imagenet"
    from sonoforge.training.classifier.trained_on import find_seen  # noqa: PLC0415 - needs OpenCV

    bundle = open_bundle(None)
    seen = find_seen(bundle, cache)
    if seen:
        log.info("initial weights: imagenet; the shipped network was trained on %d of these images", len(seen))
        return "imagenet"
    log.info("initial weights: shipped; trained on breast ultrasound, but on none of these images")
    if len(cache.hashes) < _FEW and cache.dataset.classes == bundle.classes:
        log.info("with fewer than %d labelled scans, sonoforge adapt is as good, in seconds", _FEW)
    return "shipped"


def load_backbone(choice: str, cache: ImageCache) -> Backbone:
    """Open the chosen initial weights; refuse a bundle if its network was trained on images of this data set."""
    if choice == "none":
        log.warning("weights: none; the network starts from random numbers; expect a far lower accuracy")
        return Backbone({}, "random initialisation (--weights none)", "")
    if choice == "imagenet":
        otherwise = "give --set classifier.weights=FILE, torchvision's MobileNetV2 as .safetensors, or "
        otherwise += "--set classifier.weights=none to start from random numbers"
        weights = download_weights(_IMAGENET, otherwise)
        return Backbone(_features_only(weights.state, "weights"), f"torchvision {_IMAGENET}", _IMAGENET)
    if (bundle := _bundle(choice)) is not None:
        return _network_of(bundle, cache)
    if Path(choice).with_name("model.json").is_file():
        raise SonoforgeError(
            f"weights: {choice}: give the run's bundle instead, which records the training images; make one with "
            f"sonoforge export {Path(choice).parent.parent}"
        )
    weights = read_weights(Path(choice), _CHOICES)
    state, digest = _features_only(weights.state, choice), f"sha256 {weights.digest}"
    origin = "" if _rounded_digest(state) == _IMAGENET_ROUNDED else f", {UNKNOWN}"
    return Backbone(state, f"{Path(choice).name} ({digest}{origin})", digest)


def weights_digest(choice: str) -> str:
    """Return a hash of the file of the chosen weights, or the name of published ones; SonoforgeError if unreadable."""
    if choice == "none":
        return ""
    if choice == "imagenet":
        return _IMAGENET
    if (bundle := _bundle(choice)) is not None:
        return _digest_of(bundle)
    return f"sha256 {read_weights(Path(choice), _CHOICES).digest}"


def _features_only(state: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Keep the backbone's tensors, after a check of names and shapes."""
    expected = {key: value for key, value in mobilenet_v2(1).state_dict().items() if key.startswith("features.")}
    kept = {key: value for key, value in state.items() if key.startswith("features.")}
    check_tensors(kept, expected, f"{where}: not a torchvision MobileNetV2", "use torchvision's key names")
    return {key: kept[key] for key in expected}


def _rounded_digest(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of all numbers in half precision, the same for files of either precision."""
    numbers = hashlib.sha256()
    for value in state.values():
        if value.is_floating_point():
            numbers.update(value.half().numpy().tobytes())
    return numbers.hexdigest()


def _bundle(choice: str) -> Bundle[ClassifierManifest] | None:
    """Open the bundle with this name; None if it is something else."""
    if choice == "shipped":
        return open_bundle(None)
    return open_bundle(choice) if Path(choice).is_dir() or choice.endswith(".zip") else None


def _digest_of(bundle: Bundle[ClassifierManifest]) -> str:
    return f"sha256 {bundle.manifest.files['model.onnx'].sha256[:DIGEST]}"


def _network_of(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> Backbone:
    import onnx  # noqa: PLC0415 - heavy, needed for this choice only
    from onnx import numpy_helper  # noqa: PLC0415

    from sonoforge.training.classifier.trained_on import refuse_seen  # noqa: PLC0415 - needs OpenCV

    if _STATISTICS not in bundle.manifest.files:
        raise SonoforgeError(
            f"weights: {bundle.path}: is an ensemble; give a bundle of one network, trained with "
            "classifier.ensemble_size=1"
        )
    refuse_seen(bundle, cache)
    graph = onnx.load_model_from_string(bundle.read("model.onnx")).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    convolutions = {node.input[1]: node.input[2] for node in graph.node if node.op_type == "Conv" and node.input[2:]}
    net = mobilenet_v2(1)
    # A network with a zoomed second pass runs each of its convolutions twice, and one of its outline between them.
    own = [names for names in convolutions.items() if not names[0].startswith("outlines.")]
    load_folded(net, [(tensors[weight], tensors[bias]) for weight, bias in own])
    # Of its own training, since the images at hand are test images, too.
    statistics = bundle.arrays(_STATISTICS, _BATCH_NORM)
    restore_batch_norm(net, torch.from_numpy(statistics["means"]), torch.from_numpy(statistics["variances"]))
    state = {key: value for key, value in net.state_dict().items() if key.startswith("features.")}
    data = bundle.manifest.raw["training"]["data"]
    which = "shipped bundle" if bundle.path == SHIPPED else f"bundle {bundle.path.name}:"
    source = f"{which} {bundle.manifest.name} {bundle.manifest.version} (trained on {data})"
    if bundle.classes == cache.dataset.classes:
        last = next(node for node in graph.node if node.op_type == "Gemm")
        state |= {"classifier.1.weight": tensors[last.input[1]], "classifier.1.bias": tensors[last.input[2]]}
    return Backbone(state, source, _digest_of(bundle))


def apply_backbone(net: Any, backbone: Backbone) -> None:
    """Load initial weights into a torchvision ``MobileNetV2``, leaving other layers unchanged."""
    if backbone.state:
        missing, unexpected = net.load_state_dict(backbone.state, strict=False)
        if unexpected or any(key.startswith("features.") for key in missing):
            raise SonoforgeError(
                f"weights from {backbone.source} do not fit MobileNetV2: {[*missing, *unexpected][:3]}"
            )
