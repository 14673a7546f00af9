"""Spectral normalisation (Miyato et al., "Spectral Normalization for GANs", ICLR 2018)."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def normalise_spectrally(network: nn.Module) -> None:
    """Divide the weight of each linear and convolution layer by its largest singular value, in place.

    The singular value is estimated by one step of power iteration at each forward pass in training mode
    (section 2.1, algorithm 1).
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
            spectral_norm(module)
