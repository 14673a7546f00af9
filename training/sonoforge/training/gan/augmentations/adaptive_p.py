"""The adaptive strength of augmentation (Karras et al., "Training GANs with Limited Data", 2020, section 3).

A discriminator that overfits is confident of the real images that it trains on.  r_t = E[sign(D(real))] (equation 1)
measures this: 0 is undecided, 1 is a positive score for every real image.  The probability p of each augmentation
starts at 0, and every four steps it goes up or down by a fixed amount, towards r_t = 0.6.

The state is a dict of scalar tensors: ``strength`` (p), and the sum of ``signs`` and the number of ``scores``
since p last moved.  It needs scores whose sign separates real from generated images.

The paper clamps p only at 0.  Here p is clamped at 1 as well: beyond it nothing more is augmented, and p would take
longer to come down again.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

TARGET = 0.6  # of r_t: section 3
INTERVAL = 4  # steps between two moves of p: section 3
RISE = 500_000  # number of real images while p goes from 0 to 1: section 3
START = {"strength": 0.0, "signs": 0.0, "scores": 0.0}


def observe(state: Mapping[str, Tensor], scores: Tensor) -> dict[str, Tensor]:
    """Count the discriminator's scores (N,) of one batch of augmented real images."""
    return {
        "strength": state["strength"],
        "signs": state["signs"] + scores.detach().sign().sum(),
        "scores": state["scores"] + scores.numel(),
    }


def adapt(state: Mapping[str, Tensor], images: int) -> dict[str, Tensor]:
    """Move p as far as ``images`` since the last call allow, and reset the counts; without a score p stays."""
    overfitting = state["signs"] / state["scores"].clamp(min=1.0)
    direction = torch.where(state["scores"] > 0, (overfitting - TARGET).sign(), 0.0)
    nothing = torch.zeros_like(state["scores"])
    return {
        "strength": (state["strength"] + direction * (images / RISE)).clamp(0.0, 1.0),
        "signs": nothing,
        "scores": nothing.clone(),
    }
