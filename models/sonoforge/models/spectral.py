"""Layers with spectrally normalised weights, and where these are stored.

Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018: each weight
is divided by its largest singular value, estimated by one step of power iteration at each pass in training mode.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, spectral_norm

EPSILON = 1e-12  # torch's own
FIRST_STEPS = 15  # of power iteration, where it starts: torch's own


class _Outline(_SpectralNorm):
    """Has no values to iterate on, and torch's iteration on the meta device is slow: seconds for a network."""

    def _power_method(self, weight_mat: torch.Tensor, n_power_iterations: int) -> None:
        pass


def normalised(layer: Any, epsilon: float = EPSILON) -> nn.Module:
    """Normalise the weight of a linear layer or convolution, in place; on the meta device at no cost."""
    if not layer.weight.is_meta:
        spectral_norm(layer, eps=epsilon)
    else:
        dim = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # of the outputs, as torch has it
        parametrize.register_parametrization(layer, "weight", _Outline(layer.weight, dim=dim, eps=epsilon))
    own: nn.Module = layer
    return own


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, bias: bool = True, epsilon: float = EPSILON
) -> nn.Module:
    """Make a convolution; at stride 1 a kernel of odd side keeps the side of the maps."""
    return normalised(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=bias), epsilon)


def stored_weight(layer: Any) -> nn.Parameter:
    """Return the weight that is learned: of a normalised layer the one before its normalisation."""
    parameter: nn.Parameter = (
        layer.parametrizations.weight.original if hasattr(layer, "parametrizations") else layer.weight
    )
    return parameter


@torch.no_grad()
def restart(layer: Any, generator: torch.Generator) -> None:
    """Find the largest singular value of a layer's weight anew, in place, from where ``generator`` says to start."""
    if not hasattr(layer, "parametrizations"):
        return
    normalisation = layer.parametrizations.weight[0]
    weight = normalisation._reshape_weight_to_matrix(stored_weight(layer))  # one row an output
    left = torch.empty(len(weight), device=weight.device).normal_(generator=generator)
    for _ in range(FIRST_STEPS):
        right = normalize(weight.T @ left, dim=0)
        left = normalize(weight @ right, dim=0)
    normalisation._u.copy_(left)
    normalisation._v.copy_(right)


@torch.no_grad()
def draw_weights(
    network: nn.Module, generator: torch.Generator, draw: Callable[[nn.Parameter], object] | None = None
) -> None:
    """Draw the weights of convolutions, linear layers and embeddings, normalised or not; biases 0.

    ``draw`` fills one weight; without it weights are orthogonal (Saxe, McClelland, Ganguli, ICLR 2014).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            weight = stored_weight(module)
            if draw is None:
                nn.init.orthogonal_(weight, generator=generator)
            else:
                draw(weight)
            restart(module, generator)
            if not isinstance(module, nn.Embedding) and module.bias is not None:
                nn.init.zeros_(module.bias)


def fix_weights(network: nn.Module) -> None:
    """Replace each normalised weight by its value, in place, in a network that is trained no further."""
    network.eval()  # without another step of power iteration
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
