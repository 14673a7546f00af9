"""Layers that the StyleGAN family shares: equalised learning rates, and an activation that keeps the variance.

Weights are stored as draws from N(0, 1) and scaled at each pass to the variance that He's initialisation
asks for, so that an optimiser that normalises gradients moves all of them at the same relative rate
(Karras et al., "Progressive Growing of GANs", ICLR 2018, section 4.1).  A learning-rate multiplier m
below 1 slows a layer down: its parameters are stored divided by m and multiplied with it at each pass
(Karras, Laine, Aila, "A Style-Based Generator Architecture for GANs", CVPR 2019, appendix C: 0.01 in the
mapping network).
"""

from __future__ import annotations

import contextlib
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, linear

from sonoforge.models.stylegan.fir import low_pass, resample

SLOPE = 0.2
# Keeps the variance of what passes leaky ReLU, about (He et al., ICCV 2015): a factor of the activation here, so that
# weights need no gain of their own.
GAIN = math.sqrt(2)
# Where half precision is used, activations are cut off at this size, far above those of a healthy network
# (Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, appendix D).
CLAMP = 256.0
# Under mixed precision so many of the highest resolutions are computed in half precision (the same place).
HALF_LEVELS = 4
EPSILON = 1e-8


@runtime_checkable
class Drawn(Protocol):
    """A module with random initial values of its own, those of its children left aside."""

    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw them again, from torch's global source where none is given."""


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all initial values of a network.

    Args:
        network: Of this package; changed in place.
        generator: Source of the numbers, on the network's device.
    """
    for module in network.modules():
        if isinstance(module, Drawn):
            module.draw(generator)


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Switch mixed precision off, where it is on, for what is cheap and needs the digits."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def at_least_single(values: Tensor) -> Tensor:
    """Convert half precision to single, and leave the rest as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def normalise(vectors: Tensor) -> Tensor:
    """Scale each vector, along dimension 1, to a mean square of 1."""
    return vectors * torch.rsqrt(vectors.square().mean(1, keepdim=True) + EPSILON)


def activate(values: Tensor, clamp: float | None = None) -> Tensor:
    """Apply leaky ReLU; `GAIN` is for the caller to include, for example in the weights.

    Args:
        values: Of any shape; changed in place, so that training keeps one copy of them fewer.
        clamp: Largest absolute value of the result, None for no limit.
    """
    values = leaky_relu(values, SLOPE, inplace=True)
    return values if clamp is None else values.clamp(-clamp, clamp)


class EqualisedLinear(nn.Module):
    """A linear layer, with leaky ReLU and its gain if asked for.

    Args:
        inputs: Input features.
        outputs: Output features.
        activated: Whether the activation follows.
        bias: Whether to add a bias.
        bias_start: The bias's initial value.
        rate: Learning-rate multiplier.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activated: bool = False,
        bias: bool = True,
        bias_start: float = 0.0,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.bias_start = bias_start
        self.rate = rate
        self.activated = activated
        self.draw()

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw the initial values."""
        self.weight.normal_(std=1 / self.rate, generator=chance)
        if self.bias is not None:
            self.bias.fill_(self.bias_start / self.rate)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        # Leaky ReLU of g x is g times that of x, so its gain may come before.
        gain = self.rate * (GAIN if self.activated else 1.0)
        bias = None if self.bias is None else self.bias * gain
        features = linear(features, self.weight * (gain / math.sqrt(self.weight.shape[1])), bias)
        return activate(features) if self.activated else features


class EqualisedConv2d(nn.Module):
    """A convolution that keeps the side or halves it, with bias, leaky ReLU and its gain if asked for.

    To halve the side, maps are low-pass filtered first (`fir`).

    Args:
        inputs: Input maps.
        outputs: Output maps.
        kernel: Side of the kernel, odd.
        activated: Whether bias and activation follow.
        down: 1, or 2 to halve the side.
        gain: Factor of the result.
        clamp: Largest absolute value after the activation, before ``gain``; None for no limit.
    """

    taps: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        activated: bool = True,
        down: int = 1,
        gain: float = 1.0,
        clamp: float | None = CLAMP,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if activated else None
        self.down = down
        self.activated = activated
        self.gain = gain
        self.clamp = None if clamp is None else clamp * gain
        self.register_buffer("taps", low_pass(), persistent=False)
        self.draw()

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw the initial values."""
        self.weight.normal_(generator=chance)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, maps: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H // down, W // down)."""
        kernel = self.weight.shape[2]
        gain = self.gain * (GAIN if self.activated else 1.0)
        weight = self.weight * (gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * gain
        stride, padding = 1, kernel // 2
        if self.down == 2:
            around = len(self.taps) - 2 + kernel - 1  # of the filter and the kernel together
            before, after = (around + 1) // 2, around // 2
            if kernel == 1:  # filter only what is kept
                maps = resample(maps, self.taps, down=2, padding=(before, after))
            else:
                maps, stride = resample(maps, self.taps, padding=(before, after)), 2
            padding = 0
        maps = conv2d(maps, weight, bias, stride, padding)
        return activate(maps, self.clamp) if self.activated else maps
