"""Losses of scans that teach more than a class: a lesion or none, which one, and its outline.

Hierarchical classification in place of three classes: is there a lesion, and is it malignant?

The probabilities of C classes are those of two steps: "is it healthy?" against all others together, and which of the
others it is, given that it is one.  A softmax over C logits has both in it, so the network, its file and its map stay
as they are: the first is the sigmoid of the healthy class's logit less the log-sum-exp of the others', the second the
softmax over the others.  Cross-entropy is the sum of both steps' losses; apart, each image teaches the steps that its
collection can teach.  A collection of lesions alone would teach the first that its scanner makes lesions.

The factorisation is that of a hierarchical softmax (Morin & Bengio, AISTATS 2005).

How often the training shows a healthy view is a matter of its sampling, not of the scans to come.  So the first step
learns what speaks for a lesion beside how often views of that kind show one (`Shown`), and how common healthy scans are
is added at the end: the logit adjustment of Menon et al., Long-tail learning via logit adjustment (ICLR 2021), section
4.2.

The lesion's outline as a second task: what a network learns to find, it cannot mistake for its surroundings.

A 1x1 convolution on the map of stride 16 says for each of its cells how much of it is lesion.  It shapes the blocks
before it while they are trained.  Afterwards it is dropped, unless the network looks again where it sees a lesion.
The loss is the sum of binary cross-entropy and soft Dice (Milletari et al., V-Net, 3DV 2016).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

HEALTHY = "normal"
"""The class of scans without a lesion."""


class Shown:
    """How often views of each kind, whole scans and crops, have shown a lesion to a network in training.

    ``counts`` (2, 2) has a row for each kind, and in it the weight of views without and with a lesion, from one each.
    """

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.ones(2, 2, device=device)

    def log_odds(self, crops: Tensor) -> Tensor:
        """Return the log odds of a lesion (B,) in views of these kinds, (B,) bool."""
        return (self.counts[:, 1] / self.counts[:, 0]).log()[crops.long()]

    def add(self, crops: Tensor, ill: Tensor, weights: Tensor) -> None:
        """Count views (B,) with their weights (B,), 0 for those that do not teach if there is a lesion."""
        self.counts.index_put_((crops.long(), ill.long()), weights.to(self.counts), accumulate=True)


def add_prevalence(bias: Tensor, healthy: int, share: float) -> None:
    """Change the biases (C,) of the last layer from even odds of a lesion to those with a ``share`` healthy."""
    bias[healthy] -= math.log((1 - share) / share)


def hierarchical_losses(
    logits: Tensor, truth: Tensor, healthy: int, smoothing: float, prior: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the losses (B,) of both steps; unsmoothed, without prior, they add up to the cross-entropy of the classes.

    Args:
        logits: (B, C).
        truth: (B,) true classes.
        healthy: Index of the healthy class.
        smoothing: Label smoothing of each step, 0..1.
        prior: Log odds of a lesion (B,) that are known without a look at the image.

    Returns:
        Loss of "healthy or not", and of "which of the others", 0 for healthy images.
    """
    others = [label for label in range(logits.shape[1]) if label != healthy]
    ill = (truth != healthy).to(logits.dtype)
    odds = torch.logsumexp(logits[:, others], dim=1) - logits[:, healthy] + prior
    target = ill * (1 - smoothing) + smoothing / 2
    first = F.binary_cross_entropy_with_logits(odds, target, reduction="none")
    place = truth - (truth > healthy).to(truth.dtype)
    which = torch.where(ill > 0, place, 0)
    second = F.cross_entropy(logits[:, others], which, reduction="none", label_smoothing=smoothing)
    return first, second * ill


def hierarchical_loss(first: Tensor, second: Tensor, teaches: Tensor, ill: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of the mean losses of both steps (B,), each over the images that teach it.

    ``teaches`` (B,) is 1 where the image teaches the first step, ``ill`` (B,) where it teaches the second.
    """
    means = [
        (loss * own * weights).sum() / (own * weights).sum().clamp_min(torch.finfo(loss.dtype).tiny)
        for loss, own in ((first, teaches), (second, ill))
    ]
    return means[0] + means[1]


class Outlines(NamedTuple):
    """Where the lesions of B views are."""

    masks: Tensor  # (B, S, S) float, 0 outside to 1 inside
    known: Tensor  # (B,) float, 0 where a view may show a lesion that no mask shows


def outline_loss(logits: Tensor, outlines: Outlines) -> Tensor:
    """Return the mean cross-entropy of all cells and 1 - Dice over all of them; 0 where no view's lesions are known."""
    shares = F.adaptive_avg_pool2d(outlines.masks[:, None], (logits.shape[2], logits.shape[3]))
    known = outlines.known[:, None, None, None].expand_as(shares)
    said = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    mean = (known * entropy).sum() / known.sum().clamp_min(1)
    # One cell added to both, so that views without any lesion have a Dice of 1 when none is found.
    dice = (2 * (known * said * shares).sum() + 1) / ((known * (said + shares)).sum() + 1)
    return mean + 1 - dice
