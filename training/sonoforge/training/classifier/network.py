"""Build the network, run its frozen blocks on images, and answer with all members together."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.models.backbones import load_plain
from sonoforge.models.mobilenetv2 import run_twice
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.augmentation import VARIANTS, Pixels, augment
from sonoforge.training.classifier.backbone import Network, outline
from sonoforge.training.classifier.initial_weights import Backbone
from sonoforge.training.classifier.settings import ClassifierSettings


@contextlib.contextmanager
def bfloat16(net: nn.Module, device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Use bfloat16 autocast while inside; weights stay in float32.

    On a CPU, depthwise convolutions with stride 2 stay in float32 too: in bfloat16 their backward pass has no fast
    kernel and takes 3 to 40 times as long, half the time of a training step.
    """
    slow: list[Any] = []
    if enabled and device.type == "cpu":
        slow = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and max(m.stride) > 1]
    for layer in slow:
        layer.forward = _in_float32(layer)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            yield
    finally:
        for layer in slow:
            del layer.forward


def _in_float32(layer: nn.Conv2d) -> Any:
    forward = layer.forward

    def run(inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return forward(inputs.float())

    return run


INFERENCE_BATCH = 32


def build_network(classes: int, backbone: Backbone, seed: int, device: torch.device) -> Any:
    """Build the network with the backbone's weights; the rest is drawn from ``seed``."""
    net = backbone.network.build(classes, seed)
    load_plain(net, backbone.state)
    return net.to(device=device, memory_format=torch.channels_last)


@torch.inference_mode()
def map_bytes(network: Network, settings: ClassifierSettings) -> int:
    """Return the size in bytes of one image's maps after the frozen blocks, see `frozen_features`."""
    side, net = settings.preprocessing.size, outline(network)
    image = torch.zeros(1, 3, side, side, device=net.classifier[1].weight.device)
    return 4 * int(net.features[: settings.frozen_blocks](image).numel())


def to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """Normalise images (N, S, S, 3) to float32 (N, 3, S, S)."""
    batch = torch.from_numpy(IMAGENET.normalise(np.ascontiguousarray(pixels)))
    return batch.to(device=device, memory_format=torch.channels_last)


@torch.inference_mode()
def frozen_features(
    net: Any, pixels: Pixels, settings: ClassifierSettings, variant: int, seed: int, device: torch.device
) -> Tensor:
    """Run the frozen blocks over one augmented variant of every image (N, S, S, 3); return float32 (N, C, H, W).

    Variant 0 is the image itself, 1 its mirror image; `VARIANTS` says how many there are.
    """
    net.eval()
    rng = np.random.default_rng(derive_seed(seed, "augmentation variant", variant))
    parts = []
    for start in range(0, len(pixels), INFERENCE_BATCH):
        chunk = pixels[start : start + INFERENCE_BATCH]
        if variant == 1:
            chunk = chunk[:, :, ::-1]
        elif variant > 1:
            chunk = np.stack([augment(image, settings.augmentation, rng) for image in chunk])
        with bfloat16(net, device, enabled=settings.precision == "bf16"):
            maps = net.features[: settings.frozen_blocks](to_tensor(chunk, device))
        parts.append(maps.float().contiguous())
    return torch.cat(parts)


def all_features(net: Any, pixels: Pixels, settings: ClassifierSettings, seed: int, device: torch.device) -> Tensor:
    """Return the maps of every variant, float32 (V, N, C, H, W)."""
    variants = range(VARIANTS[settings.augmentation])
    return torch.stack([frozen_features(net, pixels, settings, variant, seed, device) for variant in variants])


class Answers(NamedTuple):
    """The members' answers to N images: probabilities (N, classes) and mean embeddings (N, D)."""

    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]


class Watched(NamedTuple):
    """Images that training does not read, to measure after each epoch; as `answer` takes them."""

    views: Sequence[Pixels | Tensor]
    labels: NDArray[np.int64]  # (N,) true classes
    look: int | None = None


def measure(net: Any, watched: Watched, start_block: int, device: torch.device) -> dict[str, float]:
    """Return ``test_accuracy`` and ``test_loss`` (mean cross-entropy, in nats, without label smoothing)."""
    probabilities = answer([net], watched.views, start_block, device, look=watched.look).probabilities
    of_truth = probabilities[np.arange(len(watched.labels)), watched.labels]
    return {
        "test_accuracy": float((probabilities.argmax(axis=1) == watched.labels).mean()),
        "test_loss": float(-np.log(of_truth.clip(np.finfo(np.float64).tiny)).mean()),
    }


def pixel_views(pixels: Pixels, mirror: bool) -> tuple[Pixels, ...]:
    """Return the images (N, S, S, 3) and, with ``mirror``, their mirror images."""
    return (pixels, pixels[:, :, ::-1]) if mirror else (pixels,)


@torch.inference_mode()
def answer(
    members: Sequence[Any],
    views: Sequence[Pixels | Tensor],
    start_block: int,
    device: torch.device,
    *,
    look: int | None = None,
) -> Answers:
    """Answer with the mean logits of members that share ``start_block`` blocks, each on the views' mean embedding.

    With ``look``, each member runs twice on each view, see `models.mobilenetv2.run_twice`.
    """
    for net in members:
        net.eval()
    shared = members[0].features[:start_block]
    probabilities, embeddings = [], []
    for start in range(0, len(views[0]), INFERENCE_BATCH):
        chunks = [view[start : start + INFERENCE_BATCH] for view in views]
        if look:
            images = [to_tensor(chunk, device) for chunk in chunks if not isinstance(chunk, Tensor)]
            passes = [[run_twice(net.features, net.outline, own, look) for own in images] for net in members]
            pooled = [torch.stack([own.embedding for own in both]).mean(0) for both in passes]
        else:
            maps = [
                chunk.contiguous(memory_format=torch.channels_last)
                if isinstance(chunk, Tensor)
                else shared(to_tensor(chunk, device))
                for chunk in chunks
            ]
            pooled = [
                torch.stack([net.features[start_block:](m).mean((2, 3)) for m in maps]).mean(0) for net in members
            ]
        logits = torch.stack([net.classifier(e) for net, e in zip(members, pooled, strict=True)]).mean(0)
        probabilities.append(F.softmax(logits.double(), dim=1).cpu().numpy())
        embeddings.append(torch.stack(pooled).mean(0).cpu().numpy())
    return Answers(np.concatenate(probabilities), np.concatenate(embeddings))
