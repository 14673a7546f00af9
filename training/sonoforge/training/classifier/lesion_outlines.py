"""The lesion's outline as a second task: what a network learns to find, it cannot mistake for its surroundings.

A 1x1 convolution on the map of stride 16 says for each of its cells how much of it is lesion.  It shapes the blocks
before it while they are trained.  Afterwards it is dropped, unless the network looks again where it sees a lesion.
The loss is the sum of binary cross-entropy and soft Dice (Milletari et al., V-Net, 3DV 2016).
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


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
