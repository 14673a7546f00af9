"""The regularisers: what stabilises a network's training, beside its loss.

A new regulariser is one file and one row of `REGULARISERS`.  Each acts in one of three ways: a penalty added
to a network's loss, a correction of the discriminator's weights after its step, or a change of the discriminator
when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from torch import Tensor, nn

from sonoforge.training.gan.objectives.batch import Batch
from sonoforge.training.gan.objectives.regularisers import (
    consistency,
    gradient_penalty,
    kl_divergence,
    orthogonal,
    path_length,
    r1,
)
from sonoforge.training.gan.objectives.regularisers.spectral_norm import normalise_spectrally
from sonoforge.training.gan.objectives.regularisers.weight_clipping import clip_weights


class Regulariser(NamedTuple):
    """One regulariser."""

    of: Literal["generator", "discriminator"]  # the network it acts on
    # (network, batch, state) to a scalar, multiplied by the recipe's weight; it may update `state`.
    penalty: Callable[[nn.Module, Batch, dict[str, Tensor]], Tensor] | None = None
    # (network, weight) called after each of the network's steps.
    after_step: Callable[[nn.Module, float], None] | None = None
    build: Callable[[nn.Module], None] | None = None  # (network) called once, before the first step
    start: Mapping[str, float] = {}  # the state's initial values by name
    weight: float = 1.0  # published default of its weight


REGULARISERS: dict[str, Regulariser] = {
    "weight-clipping": Regulariser("discriminator", after_step=clip_weights, weight=0.01),
    "gradient-penalty": Regulariser("discriminator", penalty=gradient_penalty.penalty, weight=10.0),
    "r1": Regulariser("discriminator", penalty=r1.penalty, weight=10.0),
    "consistency": Regulariser("discriminator", penalty=consistency.penalty, weight=10.0),
    "spectral-norm": Regulariser("discriminator", build=normalise_spectrally),
    "orthogonal": Regulariser("generator", penalty=orthogonal.penalty, weight=1e-4),
    "kl-divergence": Regulariser("generator", penalty=kl_divergence.penalty, weight=0.05),
    "path-length": Regulariser("generator", penalty=path_length.penalty, start=path_length.START, weight=2.0),
}
