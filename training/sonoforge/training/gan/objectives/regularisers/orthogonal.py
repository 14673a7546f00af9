"""Orthogonal regularisation without its diagonal (Brock, Donahue, Simonyan, ICLR 2019, section 3.1, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonoforge.training.gan.objectives.batch import Batch


def penalty(generator: nn.Module, batch: Batch, state: dict[str, Tensor]) -> Tensor:
    """Squared cosines, not yet normalised, between the filters of each layer, summed over all layers.

    Filters are the rows of each weight as a matrix (outputs, all else).  Their lengths are free: the diagonal of W W^T
    is left out.  So is a class embedding, as in the authors' code.
    """
    del batch, state
    embedded = {
        id(own) for module in generator.modules() if isinstance(module, nn.Embedding) for own in module.parameters()
    }
    weights = [own.flatten(1) for own in generator.parameters() if own.ndim > 1 and id(own) not in embedded]
    return torch.stack([_off_diagonal(weight) for weight in weights]).sum()


def _off_diagonal(weight: Tensor) -> Tensor:
    products = weight @ weight.T
    return products.square().sum() - products.diagonal().square().sum()
