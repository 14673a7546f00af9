"""Exchange between the processes of one training."""

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from sonoforge.models.layers import BatchRenorm2d
from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.optimisers import MOVING


def reduce_mean(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, the same in each."""
    reduced: Tensor = fabric.all_reduce(values, reduce_op="mean")  # type: ignore[assignment]
    return reduced


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Whether the flag is set in any process; all processes get the same answer."""
    if fabric.world_size == 1:
        return flag
    return bool(reduce_mean(fabric, torch.tensor(float(flag), device=fabric.device)) > 0)


def average_gradients(fabric: Fabric, network: nn.Module) -> None:
    """Replace every process's gradients by their mean.

    By hand, once an update: torch's DistributedDataParallel cannot be differentiated twice, as gradient penalties need
    (the StyleGAN2 authors' code does the same).
    """
    if fabric.world_size == 1:
        return
    _average(fabric, [parameter.grad for parameter in network.parameters() if parameter.grad is not None])


def average_styles(fabric: Fabric, network: nn.Module) -> None:
    """Average the running averages of a generator with styles (`optimisers.MOVING`) over all processes."""
    if fabric.world_size == 1 or not has_styles(network):
        return
    _average(fabric, [buffer for name, buffer in network.named_buffers() if name.rpartition(".")[2] in MOVING])


def _average(fabric: Fabric, tensors: list[Tensor]) -> None:
    """Replace tensors by their means over all processes, in one exchange."""
    mean = reduce_mean(fabric, torch.cat([tensor.flatten() for tensor in tensors]))
    parts = mean.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [part.view_as(own) for part, own in zip(parts, tensors, strict=True)])


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` over the images of all processes, each of which holds the same number.

    torch's own SyncBatchNorm runs only on GPUs and cannot be differentiated twice.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W) as `torch.nn.BatchNorm2d` would normalise the joined batch."""
        if not self.training:
            return super().forward(images)
        values = images.float()
        moments = torch.stack([values.mean((0, 2, 3)), values.square().mean((0, 2, 3))])
        world = torch.distributed.get_world_size()
        mean, square = (all_reduce(moments) / world).unbind()
        variance = (square - mean.square()).clamp_min(0)
        count = world * images.numel() // images.shape[1]
        with torch.no_grad():
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                momentum = self.momentum if self.momentum is not None else 0.1
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * count / max(count - 1, 1), momentum)
                self.num_batches_tracked.add_(1)
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = self.weight * scale, self.weight * shift + self.bias
        normalised: Tensor = values * scale[:, None, None] + shift[:, None, None]
        return normalised.to(images.dtype)


def share_batch_norm(network: nn.Module) -> None:
    """Replace each `torch.nn.BatchNorm2d` by `SharedBatchNorm2d`, in place; the state keeps its names and values.

    Raises:
        SonoforgeError: Batch renormalisation, whose moving averages would differ between the processes.
    """
    if any(isinstance(module, BatchRenorm2d) for module in network.modules()):
        raise SonoforgeError("norm: found batch-renorm on several devices; choose norm batch, or one device")
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
                shared.load_state_dict(child.state_dict())
                setattr(parent, name, shared)
