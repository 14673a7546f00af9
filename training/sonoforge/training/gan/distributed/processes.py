"""What the processes of one training exchange."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sonoforge.models.stylegan.mapping import has_styles
from sonoforge.training.gan.ema import MOVING


def reduce_mean(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, the same in each."""
    reduced: Tensor = fabric.all_reduce(values, reduce_op="mean")  # type: ignore[assignment]
    return reduced


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Whether the flag is set in any process: the same answer in all, so that none goes on alone."""
    if fabric.world_size == 1:
        return flag
    return bool(reduce_mean(fabric, torch.tensor(float(flag), device=fabric.device)) > 0)


def average_gradients(fabric: Fabric, network: nn.Module) -> None:
    """Make every process's gradients their mean.

    Done by hand, once an update, because torch's DistributedDataParallel cannot be differentiated twice, as
    gradient penalties need (as in the StyleGAN2 authors' code).
    """
    if fabric.world_size == 1:
        return
    _average(fabric, [parameter.grad for parameter in network.parameters() if parameter.grad is not None])


def average_styles(fabric: Fabric, network: nn.Module) -> None:
    """Make the running averages of a generator with styles (`ema.MOVING`) those of all processes."""
    if fabric.world_size == 1 or not has_styles(network):
        return
    _average(fabric, [buffer for name, buffer in network.named_buffers() if name.rpartition(".")[2] in MOVING])


def _average(fabric: Fabric, tensors: list[Tensor]) -> None:
    """Replace tensors by their means over all processes, in one exchange."""
    mean = reduce_mean(fabric, torch.cat([tensor.flatten() for tensor in tensors]))
    parts = mean.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [part.view_as(own) for part, own in zip(parts, tensors, strict=True)])
