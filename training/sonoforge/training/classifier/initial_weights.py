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

from sonoforge.models.backbones import is_torchvision, plain_state
from sonoforge.models.mobilenetv2 import import_torchvision, load_folded, mobilenet_v2, restore_batch_norm
from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.classifier.backbone import MOBILENET, Network
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
_BROUGHT = " of its own code"
_CHOICES = "give imagenet, shipped, none, a bundle or a .safetensors file"


class Backbone(NamedTuple):
    """A network and its initial weights."""

    # By the network's own names, without its last layer; a bundle's of the same classes with it.  Empty: drawn.
    state: dict[str, Tensor]
    source: str  # their origin in one line
    digest: str  # see `weights_digest`
    network: Network = MOBILENET


def choose_weights(choice: str | None, cache: ImageCache, network: Network = MOBILENET) -> str:
    """Return the initial weights that the user gave, or those that suit the images; log the reason.

    Breast ultrasound is compared with the shipped network's training images, about 45 core-milliseconds an image the
    first time.
    """
    if choice:
        return choice
    if not network.is_default:
        return "none" if network.is_own else "imagenet"
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


def load_backbone(choice: str, cache: ImageCache, network: Network = MOBILENET) -> Backbone:
    """Open the chosen initial weights; refuse a bundle if its network was trained on images of this data set."""
    digest = weights_digest(choice, network)
    if choice == "none":
        if digest.endswith(_BROUGHT):
            return Backbone({}, f"{digest}, {UNKNOWN}", digest, network)
        log.warning("weights: none; the network starts from random numbers; expect a far lower accuracy")
        drawn = "random initialisation (--weights none)"
        return Backbone({}, drawn if network.is_default else f"{network.recorded}, {drawn}", digest, network)
    if choice == "imagenet":
        return _pretrained(network, digest)
    if (bundle := _bundle(choice)) is not None:
        return _network_of(bundle, cache, digest)
    if Path(choice).with_name("model.json").is_file():
        raise SonoforgeError(
            f"weights: {choice}: give the run's bundle instead, which records the training images; make one with "
            f"sonoforge export {Path(choice).parent.parent}"
        )
    state = _below_head(read_weights(Path(choice), _CHOICES).state, choice, network)
    origin = "" if _rounded_digest(state) == _IMAGENET_ROUNDED else f", {UNKNOWN}"
    return Backbone(state, f"{Path(choice).name} ({digest}{origin})", digest, network)


def weights_digest(choice: str, network: Network = MOBILENET) -> str:
    """Return a hash of the file of the chosen weights, or the name of published ones; SonoforgeError if unreadable.

    It starts with the network's name, unless that is MobileNetV2.
    """
    bundle = _bundle(choice)
    if bundle is not None:
        digest = f"sha256 {bundle.manifest.files['model.onnx'].sha256[:DIGEST]}"
        if not network.is_default:
            raise SonoforgeError(f"--weights {choice}: a bundle's weights are for MobileNetV2, not {network.name}")
    elif choice == "imagenet" and network.is_own:
        raise SonoforgeError(
            f"--weights imagenet: {network.name} has none; its code may load some, with --weights none"
        )
    elif choice == "none" and network.is_own and (own := network.own_digest()):
        digest = f"sha256 {own[:DIGEST]}{_BROUGHT}"
    elif choice in ("none", "imagenet"):
        digest = choice if not network.is_default else _IMAGENET if choice == "imagenet" else ""
    else:
        digest = f"sha256 {read_weights(Path(choice), _CHOICES).digest}"
    return digest if network.is_default else f"{network.recorded}: {digest}"


def is_of(source: str, digest: str) -> bool:
    """Whether initial weights described by `Backbone.source`, as in a record, can have this `weights_digest`."""
    own = digest.rpartition(": ")[2]  # without the name of another network
    if own in ("", "none"):
        return "--weights none" in source
    return source.startswith(("torchvision ", "timm ")) if own == "imagenet" else own in source


def _pretrained(network: Network, digest: str) -> Backbone:
    """Let torchvision or timm download its weights of a network."""
    title = "torchvision's MobileNetV2" if network.is_default else network.name
    otherwise = f"give --set classifier.weights=FILE, {title} as .safetensors, or "
    otherwise += "--set classifier.weights=none to start from random numbers"
    name = _IMAGENET
    if not network.is_default and is_torchvision(network.name):
        name = str(import_torchvision().models.get_model_weights(network.name).DEFAULT)
    elif not network.is_default:
        with refusing(f"weights of timm's {network.name}: none found", otherwise, kinds=(OSError, RuntimeError)):
            made = network.build(1, 0, pretrained=True)
        return Backbone(_below_head(plain_state(made), "weights", network), f"timm {network.name}", digest, network)
    state = _below_head(download_weights(name, otherwise).state, "weights", network)
    return Backbone(state, f"torchvision {name}", digest, network)


def _below_head(state: dict[str, Tensor], where: str, network: Network) -> dict[str, Tensor]:
    """Keep the tensors below the last layers, after a check of names and shapes."""
    net = network.build(1, 0)
    own, head = plain_state(net), getattr(net, "head", "classifier")
    expected = {key: value for key, value in own.items() if not key.startswith(f"{head}.")}
    parts = {key.partition(".")[0] for key in expected}
    # Files of early versions of torch do not count batches, and nothing reads the counts.
    kept = {key: value for key, value in expected.items() if key.endswith("num_batches_tracked")}
    kept |= {key: state[key] for key in state if key.partition(".")[0] in parts and not key.startswith(f"{head}.")}
    title = "torchvision MobileNetV2" if network.is_default else network.name
    check_tensors(kept, expected, f"{where}: not a {title}", "use torchvision's key names")
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


def read_mobilenet(bundle: Bundle[ClassifierManifest]) -> Any:
    """Rebuild a bundle's MobileNetV2, in evaluation mode; it answers on one look at an image."""
    import onnx  # noqa: PLC0415 - heavy, needed for this choice only
    from onnx import numpy_helper  # noqa: PLC0415

    if other := bundle.manifest.raw["training"].get("backbone"):
        raise SonoforgeError(f"{bundle.path}: holds {other}; only of MobileNetV2 are weights read from a bundle")
    if _STATISTICS not in bundle.manifest.files:
        raise SonoforgeError(
            f"weights: {bundle.path}: is an ensemble; give a bundle of one network, trained with "
            "classifier.ensemble_size=1"
        )
    graph = onnx.load_model_from_string(bundle.read("model.onnx")).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    convolutions = {node.input[1]: node.input[2] for node in graph.node if node.op_type == "Conv" and node.input[2:]}
    net = mobilenet_v2(len(bundle.classes))
    # A network with a zoomed second pass runs each of its convolutions twice, and one of its outline between them.
    own = [names for names in convolutions.items() if not names[0].startswith("outlines.")]
    load_folded(net, [(tensors[weight], tensors[bias]) for weight, bias in own])
    # Of its own training, since the images at hand are test images, too.
    statistics = bundle.arrays(_STATISTICS, _BATCH_NORM)
    restore_batch_norm(net, torch.from_numpy(statistics["means"]), torch.from_numpy(statistics["variances"]))
    last = next(node for node in graph.node if node.op_type == "Gemm")
    net.classifier[1].load_state_dict({"weight": tensors[last.input[1]], "bias": tensors[last.input[2]]})
    return net.eval()


def _network_of(bundle: Bundle[ClassifierManifest], cache: ImageCache, digest: str) -> Backbone:
    from sonoforge.training.classifier.trained_on import refuse_seen  # noqa: PLC0415 - needs OpenCV

    refuse_seen(bundle, cache)
    state = read_mobilenet(bundle).state_dict()
    if bundle.classes != cache.dataset.classes:
        state = {key: value for key, value in state.items() if key.startswith("features.")}
    data = bundle.manifest.raw["training"]["data"]
    if bundle.is_shipped:
        return Backbone(state, f"shipped bundle {bundle.manifest.title} (trained on {data}, {digest})", digest)
    source = f"bundle {bundle.path.name}: {bundle.manifest.title} (trained on {data} as it states, {digest}, {UNKNOWN})"
    return Backbone(state, source, digest)
