"""Fine-tune MobileNetV2: one loop for whole images and for cached feature maps of frozen blocks.

With the first ``frozen_blocks`` blocks frozen, their output is a fixed function of the image.  It is
computed once for each image and augmented variant and the remaining blocks are trained on the cached
maps: about seven times less work a step, the same result as running the frozen blocks every time.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.runtime import atomic
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.weights import Backbone, apply_backbone

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
BatchInputs = Callable[[NDArray[np.int64], np.random.Generator], Tensor]
VARIANTS = {"none": 1, "flip": 2, "classical": 6}
"""Kinds of augmentation, and how many variants of an image are cached where blocks are frozen."""

INFERENCE_BATCH = 32


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is fine-tuned.

    Attributes:
        frozen_blocks: Leading blocks (of 19) kept at their initial weights; 0 trains the whole network.
        epochs: Passes over the training images.
        learning_rate: Peak of the one-cycle schedule (Smith & Topin 2019) of AdamW.
        weight_decay: AdamW's decoupled weight decay.
        batch: Images a step.
        label_smoothing: Share of the target spread over all classes (Szegedy et al. 2016), 0..1.
        averaging: Decay of the exponential moving average of the weights a step, 0 for none; the averaged
            weights are the result.
        class_weights: Weight each class by the inverse of its frequency.
        augmentation: ``none``; ``flip`` (left-right); ``classical`` (flip, zoom, shift, brightness, contrast).
        members: Networks trained with different seeds on the same frozen blocks; they answer together, on the mean of
            their logits (Lakshminarayanan et al., Deep ensembles, NeurIPS 2017).
        mirror: Answer on the mean embedding of the image and its mirror image; twice the work of one answer.
        precision: ``fp32``, or ``bf16``: forward and backward passes in bfloat16 autocast, weights in float32.
    """

    frozen_blocks: int = 11
    epochs: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch: int = 32
    label_smoothing: float = 0.1
    averaging: float = 0.98
    class_weights: bool = False
    augmentation: str = "flip"
    members: int = 1
    mirror: bool = False
    precision: str = "fp32"


BUDGETS: dict[str, ClassifierSettings] = {
    # Chosen on BUSI's sealed folds of seed 0.  One network: accuracy .845 to .851 (three seeds), macro-AUC .943 to
    # .949; three together: .867 and .954.  Averaging their weights instead (.851), batch norm in eval mode (.742), 8 or
    # 12 epochs, mixing of images, stronger augmentation, half or double the rate did not help; the mirror image did.
    "quick": ClassifierSettings(epochs=5, members=3, mirror=True),
    # The published run: every block, 20 epochs (more over-fitted there).
    "paper": ClassifierSettings(frozen_blocks=0, epochs=20, learning_rate=5e-4, averaging=0.99),
}


def augment(pixels: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a randomly changed copy of one image, uint8 (S, S, 3).

    ``classical`` flips left-right, zooms by 0.85..1.15, shifts by up to 8 % and changes brightness and
    contrast by up to 15 %; never up-down, because shadow and enhancement lie below a lesion.
    """
    flip = bool(rng.random() < 0.5)
    if kind == "none":
        return pixels
    if kind == "flip":
        return pixels[:, ::-1] if flip else pixels
    side = pixels.shape[0]
    zoom = rng.uniform(0.85, 1.15)
    shift_x, shift_y = rng.uniform(-0.08, 0.08, 2) * side
    sign = -1.0 if flip else 1.0
    centre = (side - 1) / 2
    # Pillow maps output (x, y) to input (a x + b y + c, d x + e y + f).
    coefficients = (
        *(sign / zoom, 0.0, centre - sign * centre / zoom + shift_x),
        *(0.0, 1 / zoom, centre - centre / zoom + shift_y),
    )
    image = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.85, 1.15))
    return np.asarray(image)


def build_network(classes: int, backbone: Backbone, seed: int, device: torch.device) -> Any:
    """Build the network with the backbone's weights; the rest is drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = mobilenet_v2(classes)
    apply_backbone(net, backbone)
    return net.to(device=device, memory_format=torch.channels_last)


def _to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    batch = torch.from_numpy(IMAGENET.normalise(np.ascontiguousarray(pixels)))
    return batch.to(device=device, memory_format=torch.channels_last)


@torch.inference_mode()
def frozen_features(
    net: Any, pixels: Pixels, settings: ClassifierSettings, variant: int, seed: int, device: torch.device
) -> Tensor:
    """Run the frozen blocks once over one augmented variant of every image.

    Args:
        net: A torchvision ``MobileNetV2``.
        pixels: (N, S, S, 3).
        settings: For ``frozen_blocks`` and ``augmentation``.
        variant: 0 is the image itself, 1 its mirror image; see `VARIANTS` for how many there are.
        seed: With the variant, the seed of the augmentation.
        device: Where to run.

    Returns:
        Float32 (N, C, H, W).
    """
    net.eval()
    rng = np.random.default_rng((seed, variant))
    parts = []
    for start in range(0, len(pixels), INFERENCE_BATCH):
        chunk = pixels[start : start + INFERENCE_BATCH]
        if variant == 1:
            chunk = chunk[:, :, ::-1]
        elif variant > 1:
            chunk = np.stack([augment(image, settings.augmentation, rng) for image in chunk])
        parts.append(net.features[: settings.frozen_blocks](_to_tensor(chunk, device)).contiguous())
    return torch.cat(parts)


def all_features(net: Any, pixels: Pixels, settings: ClassifierSettings, seed: int, device: torch.device) -> Tensor:
    """Maps of every variant, float32 (V, N, C, H, W)."""
    variants = range(VARIANTS[settings.augmentation])
    return torch.stack([frozen_features(net, pixels, settings, variant, seed, device) for variant in variants])


def feature_inputs(features: Tensor) -> BatchInputs:
    """Serve cached maps (V, N, C, H, W), a random variant of each image."""

    def batch(indices: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        variants = rng.integers(0, features.shape[0], len(indices))
        chosen = features[torch.from_numpy(variants), torch.from_numpy(indices)]
        return chosen.contiguous(memory_format=torch.channels_last)

    return batch


def pixel_inputs(pixels: Pixels, augmentation: str, device: torch.device) -> BatchInputs:
    """Serve whole images (N, S, S, 3), augmented afresh each time."""

    def batch(indices: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        return _to_tensor(np.stack([augment(pixels[i], augmentation, rng) for i in indices]), device)

    return batch


def forward_from(net: Any, block: int, inputs: Tensor) -> Tensor:
    """Logits (N, classes) from the input of ``net.features[block]``."""
    pooled = net.features[block:](inputs).mean((2, 3))
    logits: Tensor = net.classifier(pooled)
    return logits


def _class_weights(labels: NDArray[np.int64], classes: int, device: torch.device) -> Tensor:
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32, device=device)


def fit(
    net: Any,
    inputs: BatchInputs,
    labels: NDArray[np.int64],
    settings: ClassifierSettings,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train the blocks after the frozen ones and the classifier, in place.

    Order, augmentation and dropout derive from (seed, epoch), so a run that continues from ``checkpoint``
    ends with the weights of an uninterrupted one (bit for bit on CPU with as many threads).

    Args:
        net: A torchvision ``MobileNetV2``.
        inputs: Serves the input of block ``settings.frozen_blocks`` for given image indices.
        labels: (N,) true classes.
        settings: See `ClassifierSettings`.
        seed: Seed of order, augmentation and dropout.
        checkpoint: File written after every epoch and continued from where it exists.
        on_epoch: Called with each epoch's row.

    Returns:
        One row an epoch: ``epoch``, ``loss``, ``accuracy`` (on augmented training images), ``learning_rate``.
    """
    start_block, classes = settings.frozen_blocks, net.classifier[1].out_features
    device = next(net.parameters()).device
    trained = [*net.features[start_block:].parameters(), *net.classifier.parameters()]
    optimizer = torch.optim.AdamW(trained, settings.learning_rate, weight_decay=settings.weight_decay)
    # What is left after the last full batch waits for the next epoch's order: a batch of one has no statistics.
    batch = min(settings.batch, len(labels))
    steps = max(1, len(labels) // batch)
    total = max(2, steps * settings.epochs)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=total)
    weight = _class_weights(labels, classes, device) if settings.class_weights else None
    average = {key: value.clone() for key, value in _trained_state(net, start_block).items()}
    target = torch.from_numpy(labels).to(device)
    history: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"], strict=False)
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        average, history = saved["average"], saved["history"]
        log.info("continuing after epoch %d of %d (%s)", len(history), settings.epochs, checkpoint)

    def train_step(inputs_now: Tensor, truth: Tensor) -> tuple[float, int]:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits = forward_from(net, start_block, inputs_now)
        loss = F.cross_entropy(logits.float(), truth, weight=weight, label_smoothing=settings.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        return float(loss.detach()), int((logits.detach().argmax(1) == truth).sum())

    for epoch in range(len(history), settings.epochs):
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(labels)).astype(np.int64)
        total_loss, correct = 0.0, 0
        _train_mode(net, start_block)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "dropout", epoch))
            for index in range(steps):
                chosen = order[index * batch : (index + 1) * batch]
                loss, hits = train_step(inputs(chosen, rng), target[torch.from_numpy(chosen).to(device)])
                _update_average(average, net.state_dict(), settings.averaging, epoch * steps + index + 1)
                total_loss, correct = total_loss + loss, correct + hits
        row = {
            "epoch": epoch + 1,
            "loss": total_loss / steps,
            "accuracy": correct / (steps * batch),
            "learning_rate": float(schedule.get_last_lr()[0]),
        }
        if not np.isfinite(row["loss"]):
            raise GateError(f"classifier: the loss became {row['loss']} in epoch {epoch + 1}; lower --learning-rate")
        history.append(row)
        if on_epoch is not None:
            on_epoch(row)
        if checkpoint is not None:
            state = {"net": _trained_state(net, start_block), "average": average, "history": history}
            state |= {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            buffer = io.BytesIO()
            torch.save(state, buffer)
            atomic.write_bytes(checkpoint, buffer.getvalue())
    net.load_state_dict(average, strict=False)
    net.eval()
    return history


def _trained_state(net: Any, start_block: int) -> dict[str, Tensor]:
    return {key: value for key, value in net.state_dict().items() if _is_trained(key, start_block)}


def _is_trained(key: str, start_block: int) -> bool:
    parts = key.split(".")
    return parts[0] == "classifier" or int(parts[1]) >= start_block


def _train_mode(net: Any, start_block: int) -> None:
    """Put the trained part in train mode; frozen batch norms keep their statistics."""
    net.eval()
    net.features[start_block:].train()
    net.classifier.train()


@torch.no_grad()
def _update_average(average: dict[str, Tensor], state: dict[str, Tensor], decay: float, step: int) -> None:
    """Move the averaged weights and batch-norm statistics; the decay warms up so that early steps fade fast."""
    keep = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    floating = [key for key, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[key] for key in floating], [state[key] for key in floating], 1 - keep)
    for key, value in average.items():
        if not value.is_floating_point():
            value.copy_(state[key])


class Answers(NamedTuple):
    """What the members say of N images: probabilities (N, classes) and mean embeddings (N, 1280)."""

    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]


def pixel_views(pixels: Pixels, mirror: bool) -> tuple[Pixels, ...]:
    """The images (N, S, S, 3), and with ``mirror`` their mirror images."""
    return (pixels, pixels[:, :, ::-1]) if mirror else (pixels,)


@torch.inference_mode()
def answer(members: Sequence[Any], views: Sequence[Pixels | Tensor], start_block: int, device: torch.device) -> Answers:
    """Answer on the mean logits of the members, each reading the mean embedding of the views.

    Args:
        members: Networks with the same blocks before ``start_block``.
        views: Each holds the same N images, as pixels (N, S, S, 3) or as cached maps (N, C, H, W).
        start_block: Number of blocks that the members share; the one after them reads the cached maps.
        device: Where to run.
    """
    for net in members:
        net.eval()
    shared = members[0].features[:start_block]
    probabilities, embeddings = [], []
    for start in range(0, len(views[0]), INFERENCE_BATCH):
        chunks = [view[start : start + INFERENCE_BATCH] for view in views]
        maps = [
            chunk.contiguous(memory_format=torch.channels_last)
            if isinstance(chunk, Tensor)
            else shared(_to_tensor(chunk, device))
            for chunk in chunks
        ]
        pooled = [torch.stack([net.features[start_block:](m).mean((2, 3)) for m in maps]).mean(0) for net in members]
        logits = torch.stack([net.classifier(e) for net, e in zip(members, pooled, strict=True)]).mean(0)
        probabilities.append(F.softmax(logits.double(), dim=1).cpu().numpy())
        embeddings.append(torch.stack(pooled).mean(0).cpu().numpy())
    return Answers(np.concatenate(probabilities), np.concatenate(embeddings))
