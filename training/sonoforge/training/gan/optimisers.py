"""Optimisers by name, their state as named tensors (checkpoints hold no pickle), and the averaged generator."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sonoforge.training.gan.recipes import OptimiserSettings


def build_optimiser(
    settings: OptimiserSettings, parameters: Iterable[nn.Parameter], lazy_interval: int, *, fused: bool
) -> torch.optim.Optimizer:
    """Make one optimiser.

    With lazy regularisation every k = ``lazy_interval`` steps (1: none), k steps become k + 1; rate and betas are taken
    to the power k / (k + 1), so that Adam forgets as fast as before (Karras 2020, "Analyzing and Improving the Image
    Quality of StyleGAN", appendix B).  A fused kernel would bypass float16's gradient scaling.
    """
    share = lazy_interval / (lazy_interval + 1) if lazy_interval > 1 else 1.0
    rate = settings.learning_rate * share
    betas = (settings.betas[0] ** share, settings.betas[1] ** share)
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=betas, eps=1e-8, fused=fused)
    return torch.optim.RMSprop(parameters, lr=rate, alpha=betas[1], foreach=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set the rate to its first value times ``factor``."""
    for group in optimiser.param_groups:
        group["lr"] = group.setdefault("first_lr", group["lr"]) * factor


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to named tensors: ``"3.exp_avg"`` belongs to the fourth parameter."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value) for index, values in state.items() for key, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load tensors from `optimiser_tensors` into a new optimiser over the same parameters."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for name, saved in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if saved.shape == parameter.shape:
            # In the parameter's own memory layout: another one would be another order of operations.
            optimiser.state[parameter][key] = torch.empty_like(parameter).copy_(saved)
        elif key == "step" and not optimiser.defaults.get("fused"):
            optimiser.state[parameter][key] = saved.cpu()  # Adam and RMSprop count on the CPU unless fused
        else:
            optimiser.state[parameter][key] = saved.to(parameter.device)


# The averaged generator, which draws the samples: steadier than the generator of any one step (Yazici 2019, "The
# Unusual Effectiveness of Averaging in GAN Training").  Its half-life is counted in images, with a ramp-up (Karras
# 2020, StyleGAN2-ADA, table 5 and section C): otherwise a short run would mostly average its own beginning.

RAMP_UP = 0.05  # half-life at most this share of the images seen so far (Karras 2020)
# Buffers that are copied: moving averages themselves (the mean style with decay 0.998 a step, StyleGAN3's magnitudes
# with a half-life of 20 000 images), and the unit vectors of spectral normalisation, which averaging would shorten.
MOVING = ("average", "magnitude", "_u", "_v")


def ema_decay(batch: int, images_seen: int, half_life: float) -> float:
    """Return the weight of the old average in one step, in [0, 1); the half-life is in images."""
    current = min(half_life, RAMP_UP * images_seen)
    return 0.5 ** (batch / current) if current > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``network`` in place: ``decay`` of the old, the rest of the new.

    Batch-norm statistics are averaged like weights: the averaged weights run with them, and they remember only ten
    steps. `MOVING` and counters are copied, as in the StyleGAN authors' code: averaged again, they would lag twice as
    far.
    """
    old = average.state_dict()
    new = network.state_dict()
    floating = [
        name for name, value in old.items() if value.is_floating_point() and name.rpartition(".")[2] not in MOVING
    ]
    torch._foreach_lerp_([old[name] for name in floating], [new[name] for name in floating], 1.0 - decay)
    for name in old.keys() - set(floating):
        old[name].copy_(new[name])
