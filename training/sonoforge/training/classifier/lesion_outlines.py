"""The lesion's outline as a second task: what a network learns to find, it cannot mistake for its surroundings.

A 1x1 convolution on the map of stride 16 says for each of its cells how much of it is lesion.  It shapes the blocks
before it while they are trained and is dropped afterwards, so the network, its file and its speed stay as they are.
The loss is the sum of binary cross-entropy and soft Dice (Milletari et al., V-Net, 3DV 2016).
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH = 96  # channels of the map that block `settings.OUTLINE_BLOCK` reads


class Outlines(NamedTuple):
    """Where the lesions of B views are."""

    masks: Tensor  # (B, S, S) float, 0 outside to 1 inside
    known: Tensor  # (B,) float, 0 where a view may show a lesion that no mask shows


class OutlineHead(nn.Module):
    """Logits (B, 1, S/16, S/16) of how much of each cell is lesion, from the map (B, 96, S/16, S/16)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(_WIDTH, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """See `OutlineHead`."""
        logits: Tensor = self.cells(maps)
        return logits


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
