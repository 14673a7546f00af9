"""Two questions in place of three classes: is there a lesion, and is it malignant?

The probabilities of C classes are those of two steps: "is it healthy?" against all others together, and which of the
others it is, given that it is one.  A softmax over C logits has both in it, so the network, its file and its map stay
as they are: the first is the sigmoid of the healthy class's logit less the log-sum-exp of the others', the second the
softmax over the others.  Cross-entropy is the sum of both steps' losses; apart, each image teaches the steps that its
collection can teach.  A collection of lesions alone would teach the first that its scanner makes lesions.

The factorisation is that of a hierarchical softmax (Morin & Bengio, AISTATS 2005).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HEALTHY = "normal"
"""The class of scans without a lesion."""


def question_losses(logits: Tensor, truth: Tensor, healthy: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the losses (B,) of both steps; without smoothing they add up to the cross-entropy of the classes.

    Args:
        logits: (B, C).
        truth: (B,) true classes.
        healthy: Index of the healthy class.
        smoothing: Label smoothing of each step, 0..1.

    Returns:
        Loss of "healthy or not", and of "which of the others", 0 for healthy images.
    """
    others = [label for label in range(logits.shape[1]) if label != healthy]
    ill = (truth != healthy).to(logits.dtype)
    odds = torch.logsumexp(logits[:, others], dim=1) - logits[:, healthy]
    target = ill * (1 - smoothing) + smoothing / 2
    first = F.binary_cross_entropy_with_logits(odds, target, reduction="none")
    place = truth - (truth > healthy).to(truth.dtype)
    which = torch.where(ill > 0, place, 0)
    second = F.cross_entropy(logits[:, others], which, reduction="none", label_smoothing=smoothing)
    return first, second * ill


def question_loss(first: Tensor, second: Tensor, teaches: Tensor, ill: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of the mean losses of both steps, each over the images that teach it.

    Args:
        first: (B,) see `question_losses`.
        second: (B,).
        teaches: (B,) 1 where the image teaches the first step.
        ill: (B,) 1 where it teaches the second.
        weights: (B,) of each image.
    """
    means = [
        (loss * own * weights).sum() / (own * weights).sum().clamp_min(torch.finfo(loss.dtype).tiny)
        for loss, own in ((first, teaches), (second, ill))
    ]
    return means[0] + means[1]
