"""The adversarial losses: what each network minimises, given the discriminator's scores.

A new loss is one file and one row of `LOSSES`.  Scores are (N,) floats, larger where an image looks more real,
before any sigmoid; only `began` takes reconstruction errors instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from sonoforge.training.gan.objectives.losses import bce, began, boundary_seeking, hinge, least_squares, wasserstein


class Loss(NamedTuple):
    """A pair of scalar functions, and the state they carry from one step to the next."""

    # (real scores, fake scores, state) to a scalar.
    discriminator: Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
    generator: Callable[[Tensor, Mapping[str, Tensor]], Tensor]  # (fake scores, state) to a scalar
    start: Mapping[str, float] = {}  # the state's initial values by name; empty for most
    # (mean real score, mean fake score, state) to the next state, after a step of both networks.
    update: Callable[[Tensor, Tensor, Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    signed: bool = True  # whether 0 is the boundary between generated and real, which ADA's heuristic needs
    reconstruction: bool = False  # whether the scores are reconstruction errors


def _stateless(
    discriminator: Callable[[Tensor, Tensor], Tensor], generator: Callable[[Tensor], Tensor], *, signed: bool = True
) -> Loss:
    return Loss(lambda real, fake, _: discriminator(real, fake), lambda fake, _: generator(fake), signed=signed)


LOSSES: dict[str, Loss] = {
    "bce": _stateless(bce.discriminator_loss, bce.non_saturating_generator_loss),
    "bce-minimax": _stateless(bce.discriminator_loss, bce.minimax_generator_loss),
    "least-squares": _stateless(least_squares.discriminator_loss, least_squares.generator_loss, signed=False),
    "wasserstein": _stateless(wasserstein.discriminator_loss, wasserstein.generator_loss, signed=False),
    "hinge": _stateless(hinge.discriminator_loss, hinge.generator_loss),
    "boundary-seeking": _stateless(bce.discriminator_loss, boundary_seeking.generator_loss),
    "began": Loss(
        began.discriminator_loss, began.generator_loss, began.START, began.update, signed=False, reconstruction=True
    ),
}
