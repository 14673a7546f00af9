"""Batch normalisation over the batches of all processes.

torch's own SyncBatchNorm runs on GPUs alone and cannot be differentiated twice.  This one is written in
differentiable operations, so it works with gloo on CPUs and under a gradient penalty as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from sonoforge.models.normalisation import BatchRenorm2d
from sonoforge.runtime.errors import SonoforgeError


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose mean and variance are those of all processes' images together.

    Every process must hold the same number of images.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W) as `torch.nn.BatchNorm2d` would on the joined batch."""
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
    """Replace each `torch.nn.BatchNorm2d` in the network, in place; names and values of its state stay.

    Raises:
        SonoforgeError: Batch renormalisation, whose moving averages would differ between the processes.
    """
    if any(isinstance(module, BatchRenorm2d) for module in network.modules()):
        raise SonoforgeError(
            "norm: found batch-renorm on several devices, expected one; choose norm batch, or one device"
        )
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
                shared.load_state_dict(child.state_dict())
                setattr(parent, name, shared)
