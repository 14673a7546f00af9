"""MobileNetV2 (Sandler et al., CVPR 2018) as torchvision defines it.

This file adds an import that also works where torchvision was built for another torch than the installed one, and batch
normalisation that can be fine-tuned after it was folded into the convolutions.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sonoforge.models.torchvision_import import import_torchvision

EMBEDDING = 1280  # width of the pooled feature vector that feeds the classifier


def mobilenet_v2(classes: int, dropout: float = 0.2) -> Any:
    """Build a torchvision ``MobileNetV2`` with a fresh classifier for ``classes`` classes.

    Args:
        classes: Number of output classes.
        dropout: Drop probability before the classifier (torchvision's default, 0.2).

    Returns:
        The network: ``features`` (19 blocks), ``classifier`` (dropout, linear 1280 -> classes);
        input ``(N, 3, 224, 224)`` normalised with the ImageNet mean and deviation.
    """
    net = import_torchvision().models.mobilenet_v2(weights=None, dropout=dropout)
    net.classifier[1] = nn.Linear(EMBEDDING, classes)
    nn.init.normal_(net.classifier[1].weight, 0.0, 0.01)
    nn.init.zeros_(net.classifier[1].bias)
    return net


def load_folded(net: Any, convolutions: list[tuple[Tensor, Tensor]]) -> None:
    """Load convolutions whose batch normalisation was folded in, as an exported graph holds them.

    Every batch norm becomes the identity plus the folded bias; call `restore_batch_norm` before
    fine-tuning in train mode.

    Args:
        net: A torchvision ``MobileNetV2``.
        convolutions: (weight, bias) of each convolution, in forward order.

    Raises:
        ValueError: The number or a shape of the convolutions does not fit.
    """
    layers = [m for m in net.features.modules() if isinstance(m, nn.Conv2d)]
    if len(convolutions) != len(layers):
        raise ValueError(f"found {len(convolutions)} convolutions, expected {len(layers)}")
    with torch.no_grad():
        for layer, norm, (weight, bias) in zip(layers, _norms(net), convolutions, strict=True):
            if layer.weight.shape != weight.shape:
                raise ValueError(f"found a kernel of {tuple(weight.shape)}, expected {tuple(layer.weight.shape)}")
            layer.weight.copy_(weight)
            norm.weight.fill_(1.0)
            norm.bias.copy_(bias)
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)


@torch.no_grad()
def folded_statistics(net: Any) -> tuple[Tensor, Tensor]:
    """Return what would reach every batch norm of a `load_folded` network, by the running statistics of ``net``.

    Args:
        net: A trained torchvision ``MobileNetV2``.

    Returns:
        Mean and variance of each channel of all batch norms, in forward order, (17056,) float32.
    """
    means, variances = [], []
    for norm in _norms(net):
        mean, variance = norm.running_mean.double().cpu(), norm.running_var.double().cpu()
        gain = norm.weight.double().cpu() / (variance + norm.eps).sqrt()
        means.append(gain * mean)
        variances.append((gain.square() * variance).clamp_min(1e-8))
    return torch.cat(means).float(), torch.cat(variances).float()


@torch.no_grad()
def restore_batch_norm(net: Any, means: Tensor, variances: Tensor) -> None:
    """Give every batch norm the statistics of `folded_statistics`, without changing what the network computes.

    The affine part absorbs the change, so outputs in eval mode stay equal (to rounding) while train mode, which
    normalises by the batch's own statistics, sees ordinary activations.

    Raises:
        ValueError: Another number of channels.
    """
    norms = _norms(net)
    sizes = [norm.num_features for norm in norms]
    if len(means) != sum(sizes) or len(variances) != sum(sizes):
        raise ValueError(f"found statistics of {len(means)} and {len(variances)} channels, expected {sum(sizes)}")
    for norm, mean, variance in zip(norms, means.double().split(sizes), variances.double().split(sizes), strict=True):
        gain = norm.weight.double().cpu() / (norm.running_var.double().cpu() + norm.eps).sqrt()
        offset = norm.bias.double().cpu() - gain * norm.running_mean.double().cpu()
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.bias.copy_(offset + gain * mean)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _norms(net: Any) -> list[Any]:
    """Return the batch norms of a ``MobileNetV2``, in forward order."""
    return [module for module in net.features.modules() if isinstance(module, nn.BatchNorm2d)]
