"""The averaged generator: an exponential moving average of weights and batch-norm statistics.

Samples come from the average, which is steadier than the generator of any one step (Yazici 2019,
"The Unusual Effectiveness of Averaging in GAN Training").  The half-life is counted in images, with
a ramp-up, as in Karras 2020 (StyleGAN2-ADA, table 5 and section C): otherwise a short run would
mostly average its own beginning.
"""

import torch
from torch import nn

RAMP_UP = 0.05  # half-life at most this share of the images seen so far (Karras 2020)
# Buffers that are moving averages themselves: the average style, with the mapping's decay 0.998 a step, and StyleGAN3's
# magnitudes, with a half-life of 20 000 images; and the unit vectors of spectral normalisation, which would be shorter
# than 1 if they were averaged.
MOVING = ("average", "magnitude", "_u", "_v")


def ema_decay(batch: int, images_seen: int, half_life: float) -> float:
    """Return the weight of the old average in one step, in [0, 1); the half-life counts images."""
    current = min(half_life, RAMP_UP * images_seen)
    return 0.5 ** (batch / current) if current > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``network`` in place: ``decay`` of the old, the rest of the new.

    The means and variances of batch normalisation are averaged like weights, because the averaged weights are run
    with them and they remember ten steps only.  Those in `MOVING` are copied, moving averages as in the StyleGAN
    authors' code: they lag behind the generator about as far as the averaged weights do, or farther; averaged once
    more they would lag twice as far.  Counters are copied, too.
    """
    old = average.state_dict()
    new = network.state_dict()
    floating = [
        name for name, value in old.items() if value.is_floating_point() and name.rpartition(".")[2] not in MOVING
    ]
    torch._foreach_lerp_([old[name] for name in floating], [new[name] for name in floating], 1.0 - decay)
    for name in old.keys() - set(floating):
        old[name].copy_(new[name])
