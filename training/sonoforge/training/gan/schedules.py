"""How learning rates and resolution change while a training goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


def constant(progress: float) -> float:
    """The full rate throughout."""
    del progress
    return 1.0


def linear_decay(progress: float) -> float:
    """The full rate in the first half, then down to 0 in a line (Zhu et al., CycleGAN, ICCV 2017, section 4)."""
    return min(1.0, 2.0 * (1.0 - progress))


# Share of the training that is done, in [0, 1), to a factor of the learning rates.
SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "linear-decay": linear_decay}


class Stage(NamedTuple):
    """Where a growing training is."""

    resolution: int  # side in pixels that the newest layers work at
    alpha: float  # weight of the newest layers, 0 to 1


FADES = 64  # steps in which the weight of new layers rises from 0 to 1


def growing_stage(progress: float, image_size: int, start: int) -> Stage:
    """Progressive growing (Karras et al., "Progressive Growing of GANs", ICLR 2018, section 2 and appendix A).

    There, each resolution is trained with 800 000 images, then the next fades in during as many.  Here the phases
    are equal shares of the training instead, so that a short one reaches its full resolution too: start, fade,
    steady, fade, steady ...

    Args:
        progress: Share of the training that is done, in [0, 1).
        image_size: The full resolution.
        start: The first resolution; doubled until ``image_size``.
    """
    doublings = round(math.log2(image_size / start))
    position = progress * (2 * doublings + 1)
    phase = min(int(position), 2 * doublings)
    fading = phase % 2 == 1
    # In few steps, as the stage is a constant of a compiled network.
    alpha = math.floor((position - phase) * FADES) / FADES if fading else 1.0
    return Stage(start * 2 ** ((phase + 1) // 2), alpha)
