"""Compute the losses of hierarchical heads and of the auxiliary outline task.

*Hierarchical heads* split the classification into two steps: lesion or not, then which kind (a hierarchical softmax,
Morin & Bengio, AISTATS 2005).  A softmax over C logits contains both, so network and file stay as they are: the first
step is the sigmoid of the healthy logit minus the log-sum-exp of the others, the second the softmax over the others.
Cross-entropy is the sum of both losses.  With separate losses, each image teaches only the steps that its collection
can teach: a collection of nothing but lesions would teach the first step that its scanner makes lesions. How often
training shows healthy views depends on its sampling. The first step therefore learns on top of the log odds of a lesion
in views of that kind (`Shown`), and the share of healthy scans is added at the end: the logit adjustment of Menon et
al., Long-tail learning via logit adjustment (ICLR 2021), section 4.2.

*Outlines*: a 1x1 convolution on the map of stride 16 predicts how much of each cell is lesion.  It shapes the blocks
before it, and is removed after training unless there is a zoomed second pass.  Its loss is the sum of binary
cross-entropy and soft Dice (Milletari et al., V-Net, 3DV 2016).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

HEALTHY = "normal"
"""The class of scans without a lesion."""


class Shown:
    """How often whole scans and crops have shown a lesion in training.

    ``counts`` (2, 2): for both kinds, the weight of views without and with a lesion, starting at one.
    """

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.ones(2, 2, device=device)

    def log_odds(self, crops: Tensor) -> Tensor:
        """Return the log odds of a lesion (B,) in crops or whole scans, (B,) bool."""
        return (self.counts[:, 1] / self.counts[:, 0]).log()[crops.long()]

    def add(self, crops: Tensor, ill: Tensor, weights: Tensor) -> None:
        """Count views (B,) with their weights (B,), 0 for views that do not teach the first step."""
        self.counts.index_put_((crops.long(), ill.long()), weights.to(self.counts), accumulate=True)


def add_prevalence(bias: Tensor, healthy: int, share: float) -> None:
    """Change the biases (C,) of the last layer from even odds of a lesion to a ``share`` of healthy scans."""
    bias[healthy] -= math.log((1 - share) / share)


def hierarchical_losses(
    logits: Tensor, truth: Tensor, healthy: int, smoothing: float, prior: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the losses (B,) of both steps; without smoothing and prior, they add up to the cross-entropy.

    Args:
        logits: (B, C).
        truth: (B,) true classes.
        healthy: Index of the healthy class.
        smoothing: Label smoothing of each step, 0..1.
        prior: Log odds of a lesion (B,) before seeing the image.

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

    ``teaches`` (B,) is 1 if the image teaches the first step, ``ill`` (B,) if it teaches the second.
    """
    means = [
        (loss * own * weights).sum() / (own * weights).sum().clamp_min(torch.finfo(loss.dtype).tiny)
        for loss, own in ((first, teaches), (second, ill))
    ]
    return means[0] + means[1]


class Outlines(NamedTuple):
    """Masks of the lesions in B views."""

    masks: Tensor  # (B, S, S) float, 0 outside to 1 inside
    known: Tensor  # (B,) float, 0 where a view may show a lesion without a mask


def outline_loss(logits: Tensor, outlines: Outlines) -> Tensor:
    """Return the mean cross-entropy of all cells plus 1 - Dice over all of them; 0 if no view's lesions are known."""
    shares = F.adaptive_avg_pool2d(outlines.masks[:, None], (logits.shape[2], logits.shape[3]))
    known = outlines.known[:, None, None, None].expand_as(shares)
    said = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    mean = (known * entropy).sum() / known.sum().clamp_min(1)
    # One cell is added to both, so that finding no lesion where there is none has a Dice of 1.
    dice = (2 * (known * said * shares).sum() + 1) / ((known * (said + shares)).sum() + 1)
    return mean + 1 - dice
