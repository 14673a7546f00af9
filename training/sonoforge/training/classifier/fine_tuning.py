"""Fine-tune a classifier: one loop for whole images and for cached feature maps of frozen blocks.

The output of the first ``frozen_blocks`` blocks is a fixed function of the image. It is computed once for each image
and augmented variant, and the remaining blocks train on the cached maps, which is about seven times less work per step.

*Distillation* puts an ensemble's answer into one small network.  The student learns the teachers' mean answer to the
same view that they all see (Hinton, Vinyals & Dean, arXiv 1503.02531; Beyer et al., Knowledge distillation: a good
teacher is patient and consistent, CVPR 2022).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.models import OUTLINE_BLOCK
from sonoforge.models.mobilenetv2 import OutlineHead
from sonoforge.runtime import atomic
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.augmentation import Pixels, augment
from sonoforge.training.classifier.losses import (
    Outlines,
    Shown,
    add_prevalence,
    hierarchical_loss,
    hierarchical_losses,
    outline_loss,
)
from sonoforge.training.classifier.network import bfloat16, to_tensor
from sonoforge.training.classifier.settings import ClassifierSettings

log = logging.getLogger(__name__)

Indices = NDArray[np.int64]
EpochRow = dict[str, float]
_BIAS = "classifier.1.bias"  # of the classes
OPTIMISERS: dict[str, type[torch.optim.Adam]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


class Batch(NamedTuple):
    """Input to the trained blocks for B images, and what each view shows and teaches."""

    inputs: Tensor  # (B, ...)
    labels: Indices | None = None  # (B,) None: the images' own
    teaches_lesion: NDArray[np.bool_] | None = None  # (B,) whether it may teach the first step, see `losses`; None: all
    crops: NDArray[np.bool_] | None = None  # (B,) whether it is a part of a scan; None: all are whole
    answers: Tensor | None = None  # (B, classes) the teachers' probabilities
    outlines: Outlines | None = None  # of the lesions, if these are learned, too


class TrainingInputs(NamedTuple):
    """Training images.

    ``batch(indices, rng)`` returns a `Batch` of image indices (B,); ``labels`` are the true classes (N,).  ``measure``,
    if any, gets the network after each epoch, as training would return it, and adds figures to the epoch's row.
    """

    batch: Callable[[Indices, np.random.Generator], Batch]
    labels: Indices
    taught: Callable[[Indices, np.random.Generator], Batch] | None = None  # views beside teachers; None: ``batch``
    measure: Callable[[Any], EpochRow] | None = None
    weights: NDArray[np.float64] | None = None  # (N,) of each image in the loss; None: all count alike
    frequencies: NDArray[np.float64] | None = None  # (N,) mean showings an epoch, N in sum; None: once each
    healthy: int | None = None  # the healthy class of hierarchical heads, see `losses`; None: one softmax
    healthy_share: float = 0.5  # expected among new scans, with hierarchical heads

    def only(self, chosen: Indices) -> TrainingInputs:
        """Serve only the images at these indices."""
        own = None if self.weights is None else self.weights[chosen]
        shown = None if self.frequencies is None else self.frequencies[chosen] / self.frequencies[chosen].mean()

        def of_chosen(batch: Callable[[Indices, np.random.Generator], Batch]) -> Any:
            return lambda indices, rng: batch(chosen[indices], rng)

        batch, taught = of_chosen(self.batch), self.taught and of_chosen(self.taught)
        return self._replace(batch=batch, labels=self.labels[chosen], taught=taught, weights=own, frequencies=shown)


def feature_inputs(features: Tensor, labels: Indices) -> TrainingInputs:
    """Serve cached maps (V, N, C, H, W), drawing a random variant of each image."""

    def batch(indices: Indices, rng: np.random.Generator) -> Batch:
        variants = rng.integers(0, features.shape[0], len(indices))
        chosen = features[torch.from_numpy(variants), torch.from_numpy(indices)]
        return Batch(chosen.contiguous(memory_format=torch.channels_last))

    return TrainingInputs(batch, labels)


def pixel_inputs(pixels: Pixels, labels: Indices, augmentation: str, device: torch.device) -> TrainingInputs:
    """Serve whole images (N, S, S, 3), augmented afresh each time."""

    def batch(indices: Indices, rng: np.random.Generator, taught: bool = False) -> Batch:
        views = [augment(pixels[i], augmentation, rng, taught=taught) for i in indices]
        return Batch(to_tensor(np.stack(views), device))

    return TrainingInputs(batch, labels, functools.partial(batch, taught=True))


def forward_from(net: Any, block: int, inputs: Tensor) -> Tensor:
    """Return logits (N, classes) from the input of ``net.features[block]``."""
    pooled = net.features[block:](inputs).mean((2, 3))
    logits: Tensor = net.classifier(pooled)
    return logits


def class_weights(labels: Indices, classes: int, device: torch.device) -> Tensor:
    """Return weights N / (C n_c) of the classes (C,), so that rare classes count as much as common ones."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32, device=device)


def fit(
    net: Any,
    inputs: TrainingInputs,
    settings: ClassifierSettings,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
) -> list[EpochRow]:
    """Train the blocks after the frozen ones and the classifier, in place.

    Order, augmentation and dropout derive from (seed, epoch), so a run that continues from ``checkpoint``, which is
    written every epoch, ends with the weights of an uninterrupted one (bit for bit on a CPU with one thread).
    ``inputs`` serve the input of block ``settings.frozen_blocks``. Return one row per epoch: ``epoch``, ``loss``,
    ``accuracy`` (on augmented training images), ``learning_rate``, and what ``inputs.measure`` adds.
    """
    training = _Training(net, inputs, settings, seed)
    history: list[EpochRow] = []
    if checkpoint is not None and checkpoint.is_file():
        history = training.restore(checkpoint)
        log.info("continuing after epoch %d of %d (%s)", len(history), settings.epochs, checkpoint)
    for epoch in range(len(history), settings.epochs):
        row = training.epoch(epoch)
        if not np.isfinite(row["loss"]):
            raise GateError(f"classifier: the loss became {row['loss']} in epoch {epoch + 1}; lower the learning rate")
        if inputs.measure is not None:
            row |= training.measured(inputs.measure)
        history.append(row)
        if on_epoch is not None:
            on_epoch(row)
        if checkpoint is not None:
            training.save(checkpoint, history)
    net.load_state_dict(training.result(), strict=False)
    if settings.outlines and not settings.zoomed_second_pass:
        del net.outline
    net.eval()
    return history


class _Training:
    """A network in training, with its optimiser, schedule, averaged weights and outline head."""

    def __init__(self, net: Any, inputs: TrainingInputs, settings: ClassifierSettings, seed: int) -> None:
        self.net, self.inputs, self.settings, self.seed = net, inputs, settings, seed
        labels, device = inputs.labels, next(net.parameters()).device
        self.device, self.start_block = device, settings.frozen_blocks
        trained = [*net.features[self.start_block :].parameters(), *net.classifier.parameters()]
        if settings.outlines:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(seed, "outline head"))
                net.outline = OutlineHead().to(device)
            trained += net.outline.parameters()
        # Images left after the last full batch are skipped: a batch of one has no statistics.
        self.batch = min(settings.batch, len(labels))
        self.steps = max(1, len(labels) // self.batch)
        self.optimizer = OPTIMISERS[settings.optimiser](
            trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        rate, steps = settings.learning_rate, max(2, self.steps * settings.epochs)
        self.schedule = (
            torch.optim.lr_scheduler.ConstantLR(self.optimizer, factor=1.0)
            if settings.schedule == "constant"
            else torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, total_steps=steps)
        )
        self.average = {key: value.clone() for key, value in _trained_state(net, self.start_block).items()}
        self.target = torch.from_numpy(labels).to(device)
        self.class_weights = None
        if settings.class_weights:
            self.class_weights = class_weights(labels, net.classifier[1].out_features, device)
        self.image_weights = None if inputs.weights is None else torch.from_numpy(inputs.weights).float().to(device)
        self.shown = Shown(device)

    def epoch(self, epoch: int) -> EpochRow:
        """Train on every image once, or according to its frequency."""
        rng = np.random.default_rng(derive_seed(self.seed, "order and augmentation", epoch))
        order = rng.permutation(len(self.target)).astype(np.int64)
        if self.inputs.frequencies is not None:
            order = order[draw_by_frequency(self.inputs.frequencies[order], rng)]
        total_loss, correct = 0.0, 0
        self.net.eval()  # frozen batch norms keep their statistics
        self.net.features[self.start_block :].train()
        self.net.classifier.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.seed, "dropout", epoch))
            for index in range(self.steps):
                loss, hits = self._step(order[index * self.batch : (index + 1) * self.batch], rng)
                step = epoch * self.steps + index + 1
                _update_average(self.average, self.net.state_dict(), self.settings.ema_decay, step)
                total_loss, correct = total_loss + loss, correct + hits
        return {
            "epoch": epoch + 1,
            "loss": total_loss / self.steps,
            "accuracy": correct / (self.steps * self.batch),
            "learning_rate": float(self.schedule.get_last_lr()[0]),
        }

    def _step(self, chosen: Indices, rng: np.random.Generator) -> tuple[float, int]:
        """Learn from one batch; return its loss and number of correct answers."""
        place = torch.from_numpy(chosen).to(self.device)
        view = self.inputs.batch(chosen, rng)
        truth = self.target[place] if view.labels is None else torch.from_numpy(view.labels).to(self.device)
        split = max(self.start_block, OUTLINE_BLOCK)
        with bfloat16(self.net, self.device, enabled=self.settings.precision == "bf16"):
            maps = self.net.features[self.start_block : split](view.inputs)
            logits = forward_from(self.net, split, maps).float()
        loss = self._loss(logits, view, truth, None if self.image_weights is None else self.image_weights[place])
        if self.settings.outlines and view.outlines is not None:
            loss = loss + self.settings.outlines * outline_loss(self.net.outline(maps.float()), view.outlines)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach()), int((logits.detach().argmax(1) == truth).sum())

    def _loss(self, logits: Tensor, view: Batch, truth: Tensor, each: Tensor | None) -> Tensor:
        if view.answers is not None:
            # The teachers' answers are smooth already, and their training was weighted by class.
            return _class_loss(logits, view.answers.to(self.device), each, None, 0)
        healthy, smoothing = self.inputs.healthy, self.settings.label_smoothing
        if healthy is None:
            return _class_loss(logits, truth, each, self.class_weights, smoothing)
        # The sum of the losses of both steps, each over the views that teach it.
        nothing = np.zeros(len(truth), np.bool_)
        crops = torch.from_numpy(nothing if view.crops is None else view.crops).to(self.device)
        teaches = torch.from_numpy(~nothing if view.teaches_lesion is None else view.teaches_lesion).to(logits)
        ill = truth != healthy
        weights = torch.ones_like(teaches) if each is None else each
        self.shown.add(crops, ill, teaches * weights)
        prior = self.shown.log_odds(crops)
        first, second = hierarchical_losses(logits, truth, healthy, smoothing, prior)
        return hierarchical_loss(first, second, teaches, ill.to(first), weights)

    def result(self) -> dict[str, Tensor]:
        """Return the averaged weights of the trained part, adjusted to the expected share of healthy scans."""
        state = {key: value.clone() for key, value in self.average.items()}
        if self.inputs.healthy is not None:
            add_prevalence(state[_BIAS], self.inputs.healthy, self.inputs.healthy_share)
        return state

    def measured(self, measure: Callable[[Any], EpochRow]) -> EpochRow:
        """Measure the network with its averaged weights, then restore the trained ones."""
        trained = {key: self.net.state_dict()[key].clone() for key in self.average}
        self.net.load_state_dict(self.result(), strict=False)
        row = measure(self.net)
        self.net.load_state_dict(trained, strict=False)
        return row

    def save(self, checkpoint: Path, history: list[EpochRow]) -> None:
        """Write everything that the next epoch needs."""
        state = {"net": _trained_state(self.net, self.start_block), "average": self.average, "history": history}
        state |= {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        state["shown"] = self.shown.counts
        with atomic.replacing(checkpoint) as file:
            torch.save(state, file)

    def restore(self, checkpoint: Path) -> list[EpochRow]:
        """Read what `save` wrote; return the rows of the finished epochs."""
        saved = torch.load(checkpoint, map_location=self.device, weights_only=True)
        self.net.load_state_dict(saved["net"], strict=False)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.average = saved["average"]
        self.shown.counts = saved["shown"]
        history: list[EpochRow] = saved["history"]
        return history


def draw_by_frequency(frequencies: NDArray[np.float64], rng: np.random.Generator) -> Indices:
    """Draw as many shuffled indices as there are images, each according to its frequency f, with mean 1.

    Systematic sampling (Madow & Madow, On the theory of systematic sampling, 1944): an image is drawn floor(f) or
    ceil(f) times, f times on average.
    """
    ends = np.cumsum(frequencies)
    ends *= len(ends) / ends[-1]
    drawn = np.searchsorted(ends, rng.random() + np.arange(len(ends)), side="right")
    return rng.permutation(np.minimum(drawn, len(ends) - 1)).astype(np.int64)


def _class_loss(logits: Tensor, wanted: Tensor, each: Tensor | None, weight: Tensor | None, smoothing: float) -> Tensor:
    """Return the mean cross-entropy with classes (B,) or probabilities (B, C), weighted by class and image."""
    if each is None:
        return F.cross_entropy(logits, wanted, weight=weight, label_smoothing=smoothing)
    own = F.cross_entropy(logits, wanted, weight=weight, label_smoothing=smoothing, reduction="none")
    return (each * own).sum() / each.sum()


def _trained_state(net: Any, start_block: int) -> dict[str, Tensor]:
    frozen = tuple(f"features.{block}." for block in range(start_block))
    return {key: value for key, value in net.state_dict().items() if not key.startswith(frozen)}


@torch.no_grad()
def _update_average(average: dict[str, Tensor], state: dict[str, Tensor], decay: float, step: int) -> None:
    """Update the averaged weights and batch-norm statistics; the decay warms up so that early steps fade fast."""
    keep = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    floating = [key for key, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[key] for key in floating], [state[key] for key in floating], 1 - keep)
    for key, value in average.items():
        if not value.is_floating_point():
            value.copy_(state[key])


def taught_by(inputs: TrainingInputs, teachers: Sequence[Any], settings: ClassifierSettings) -> TrainingInputs:
    """Serve views with the teachers' answers to them: the softmax of their mean logits."""
    for teacher in teachers:
        teacher.eval()
    serve = inputs.taught or inputs.batch

    def said_by(teacher: Any, maps: Tensor) -> Tensor:
        with bfloat16(teacher, maps.device, enabled=settings.precision == "bf16"):
            return forward_from(teacher, settings.frozen_blocks, maps).float()

    def batch(indices: Indices, rng: np.random.Generator) -> Batch:
        view = serve(indices, rng)
        with torch.inference_mode():
            logits = torch.stack([said_by(teacher, view.inputs) for teacher in teachers]).mean(0)
            answers = F.softmax(logits, dim=1)
        return view._replace(answers=answers.clone())

    return inputs._replace(batch=batch, healthy=None)
