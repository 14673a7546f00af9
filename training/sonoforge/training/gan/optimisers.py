"""The optimisers by name, and their state as named tensors for checkpoints without pickle."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sonoforge.training.gan.recipes import OptimiserSettings


def build_optimiser(
    settings: OptimiserSettings, parameters: Iterable[nn.Parameter], lazy_interval: int, *, fused: bool
) -> torch.optim.Optimizer:
    """Make one optimiser; a fused kernel not together with float16, whose gradient scaling it would bypass.

    A lazy interval is the steps between two lazily regularised ones, 1 for none.  Regularisation every k steps makes
    k + 1 steps of k; rate and betas are taken to the power k / (k + 1) so that Adam forgets as fast as with k (Karras
    2020, "Analyzing and Improving the Image Quality of StyleGAN", appendix B).
    """
    share = lazy_interval / (lazy_interval + 1) if lazy_interval > 1 else 1.0
    rate = settings.learning_rate * share
    betas = (settings.betas[0] ** share, settings.betas[1] ** share)
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=betas, eps=1e-8, fused=fused)
    return torch.optim.RMSprop(parameters, lr=rate, alpha=betas[1], foreach=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set the rate to a factor of the first one."""
    for group in optimiser.param_groups:
        group["lr"] = group.setdefault("first_lr", group["lr"]) * factor


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to named tensors: ``"3.exp_avg"`` is of the fourth parameter."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value) for index, values in state.items() for key, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put tensors from `optimiser_tensors` into a new optimiser over the same parameters."""
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
