"""The state of an optimiser as named tensors, for checkpoints without pickle."""

from __future__ import annotations

import torch
from torch import Tensor


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to named tensors: ``"3.exp_avg"`` is of the fourth parameter."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{key}": value for index, values in state.items() for key, value in values.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put tensors from `optimiser_tensors` into a new optimiser over the same parameters."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for name, saved in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if saved.shape == parameter.shape:
            # In the parameter's own memory layout: another one would be another order of operations.
            optimiser.state[parameter][key] = torch.empty_like(parameter).copy_(saved)
        else:
            optimiser.state[parameter][key] = saved.to(parameter.device)
