"""Define layers that the StyleGAN family shares: equalised learning rates, and an activation that keeps the variance.

Weights are stored as draws from N(0, 1) and scaled at each pass to the variance that He's initialisation prescribes, so
that an optimiser that normalises gradients moves all of them at the same relative rate (Karras et al., "Progressive
Growing of GANs", ICLR 2018, section 4.1).  A learning-rate multiplier m below 1 slows a layer down: its parameters are
stored divided by m and multiplied by it at each pass (Karras, Laine, Aila, "A Style-Based Generator Architecture for
GANs", CVPR 2019, appendix C: 0.01 in the mapping network).
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear

SLOPE = 0.2
# Keeps the variance through leaky ReLU, about (He et al., ICCV 2015); a factor of the activation, not of the weights.
GAIN = math.sqrt(2)
# Where half precision is used, activations are cut off at this size, far above those of a healthy network
# (Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, appendix D).
CLAMP = 256.0
# Number of the highest resolutions that mixed precision computes in half precision (the same appendix).
HALF_LEVELS = 4
EPSILON = 1e-8
GROUP = 4  # images in a group of the minibatch standard deviation: the authors' code
LARGEST = 1024  # side of an image


class Drawn(nn.Module):
    """A module that draws its own initial values, apart from its children's."""

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw weights and noise from N(0, 1), by default from torch's global generator; additive values start at 0."""
        for name, value in (*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)):
            if name in ("constant", "weight", "noise"):
                value.normal_(generator=chance)
            elif name in ("bias", "noise_strength"):
                value.zero_()


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all initial values of a network of `Drawn` modules, in place."""
    for module in network.modules():
        if isinstance(module, Drawn):
            module.draw(generator)


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Switch off mixed precision, if it is on, for cheap steps that need full precision."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def at_least_single(values: Tensor) -> Tensor:
    """Convert half precision to single; keep other types."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def normalise(vectors: Tensor) -> Tensor:
    """Scale each vector, along dimension 1, to a mean square of 1."""
    return vectors * torch.rsqrt(vectors.square().mean(1, keepdim=True) + EPSILON)


def eager_on_cpu(values: Tensor) -> bool:
    """Whether torch computes on a CPU, where we save memory in ways that no tracer or compiler can follow."""
    followed = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return values.device.type == "cpu" and not followed


def activate(values: Tensor, clamp: float | None = None) -> Tensor:
    """Apply leaky ReLU in place, clamped at ``clamp`` if given; the caller includes `GAIN`, as in the weights."""
    if clamp is not None and values.requires_grad and eager_on_cpu(values):
        return clamped_leaky_relu(values, clamp)
    values = leaky_relu(values, SLOPE, inplace=True)
    return values if clamp is None else values.clamp(-clamp, clamp)


def clamped_leaky_relu(values: Tensor, limit: float, *, compact: bool = False) -> Tensor:
    """Apply leaky ReLU and clamp in place.

    For the gradient it keeps the result, which the next layer keeps anyway; or if ``compact``, a byte for each value.
    """
    result: Tensor = _ClampedLeakyReLU.apply(values, limit, compact)  # type: ignore[no-untyped-call]
    return result


class _ClampedLeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, limit: float, compact: bool) -> Tensor:
        ctx.mark_dirty(values)
        kept = result = leaky_relu(values, SLOPE, inplace=True).clamp_(-limit, limit)
        if compact and ctx.needs_input_grad[0]:  # 1, -1, or 0 where it was cut off
            kept = (result > 0).to(torch.int8).mul_(2).sub_(1)
            kept.masked_fill_(result.abs() >= limit, 0)
        ctx.save_for_backward(kept)
        ctx.limit = limit
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Slopes.apply(gradients[0], *ctx.saved_tensors, ctx.limit), None, None  # type: ignore[no-untyped-call]


class _Slopes(torch.autograd.Function):
    """Multiplication by the derivative of `_ClampedLeakyReLU`, which is constant nearly everywhere."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, kept: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.limit = limit
        product: Tensor = torch.ops.aten.leaky_relu_backward(gradient, kept.to(gradient.dtype), SLOPE, True)
        return product.masked_fill_(kept == 0 if kept.dtype == torch.int8 else kept.abs() >= limit, 0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Slopes.apply(gradients[0], *ctx.saved_tensors, ctx.limit), None, None  # type: ignore[no-untyped-call]


# Linear operations that can be differentiated any number of times, as R1 and the path length need; not every version of
# torch supports that for the operations used here.  The gradient of a linear operation is its transpose, and the
# gradient of that is the operation again.

Operation = Callable[[Tensor], Tensor]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, operation: Operation, transpose: Operation) -> Tensor:
        ctx.operation, ctx.transpose = operation, transpose
        return operation(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return apply_linear(gradient, ctx.transpose, ctx.operation), None, None


def apply_linear(values: Tensor, operation: Operation, transpose: Operation) -> Tensor:
    """Return ``operation(values)`` of a linear operation, which may change its own intermediate results in place."""
    result: Tensor = _Linear.apply(values, operation, transpose)  # type: ignore[no-untyped-call]
    return result


class EqualisedLinear(Drawn):
    """A linear layer, optionally followed by leaky ReLU with its gain.

    ``bias_start`` is the initial bias, ``rate`` the learning-rate multiplier.
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
        """Map (N, inputs) to (N, outputs)."""
        # Leaky ReLU of g x is g times that of x, so its gain may come before.
        gain = self.rate * (GAIN if self.activated else 1.0)
        bias = None if self.bias is None else self.bias * gain
        features = linear(features, self.weight * (gain / math.sqrt(self.weight.shape[1])), bias)
        return activate(features) if self.activated else features


# The low-pass filter of StyleGAN1, StyleGAN2 and their discriminators, as depthwise convolutions.
#
# To double a side, zeros are put between samples and the filter fills them; to halve it, the filter comes before
# samples are dropped (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019).  A strided convolution
# does both steps at once: no zero is stored or multiplied, no sample computed only to be dropped.


def binomial_taps() -> Tensor:
    """Return the taps (4,) float32 along each axis: 1, 3, 3, 1, normalised, as in the authors' configuration."""
    return torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def smooth(maps: Tensor, taps: Tensor, padding: int, *, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Filter (N, C, H, W), padded with zeros on all sides, and keep every ``stride``-th sample; see `binomial_taps`."""
    return conv2d(maps, _kernel(maps, taps, gain), stride=stride, padding=padding, groups=maps.shape[1])


def upsample(maps: Tensor, taps: Tensor) -> Tensor:
    """Double the sides of (N, C, H, W); the image keeps its position and amplitude."""
    return conv_transpose2d(maps, _kernel(maps, taps, 4.0), stride=2, padding=1, groups=maps.shape[1])


def _kernel(maps: Tensor, taps: Tensor, gain: float) -> Tensor:
    taps = taps.to(maps.dtype)
    return (torch.outer(taps, taps) * gain).expand(maps.shape[1], 1, -1, -1)


class EqualisedConv2d(Drawn):
    """A convolution with a kernel of odd side, optionally followed by bias and clamped leaky ReLU with its gain.

    It keeps the side of the maps or, if ``down`` is 2, halves it after a low-pass filter; ``gain`` is a factor of the
    result.
    """

    taps: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, activated: bool = True, down: int = 1, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if activated else None
        self.down = down
        self.activated = activated
        self.gain = gain
        self.register_buffer("taps", binomial_taps(), persistent=False)
        self.draw()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H // down, W // down)."""
        kernel = self.weight.shape[2]
        gain = self.gain * (GAIN if self.activated else 1.0)
        weight = self.weight * (gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * gain
        stride, padding = 1, kernel // 2
        if self.down == 2:
            stride = 1 if kernel == 1 else 2  # of a kernel of one pixel, the filter computes only what is kept
            maps = smooth(maps, self.taps, 1 + padding, stride=2 // stride)
            padding = 0
        maps = conv2d(maps, weight, bias, stride, padding)
        return activate(maps, CLAMP * self.gain) if self.activated else maps


def append_minibatch_std(maps: Tensor, group: int) -> Tensor:
    """Append to (N, F, H, W) one feature map that measures how much the images of a group differ (2018, section 3).

    It is the standard deviation over the group of each feature at each pixel, averaged over features and pixels: one
    number for all images of the group, everywhere. There are G groups of at most ``group`` images; the first takes
    images 0, G, 2 G, ... of the batch.
    """
    groups = math.ceil(len(maps) / group)
    values = at_least_single(maps)
    # Within the root, epsilon keeps the gradient finite where all images are equal.
    deviations = [(values[first::groups].var(0, correction=0) + EPSILON).sqrt().mean() for first in range(groups)]
    of_images = torch.stack(deviations).repeat(group)[: len(maps)].to(maps.dtype)
    return torch.cat([maps, of_images[:, None, None, None].expand(-1, 1, *maps.shape[2:])], 1)


def layer_noise(stored: Tensor, maps: Tensor, chance: torch.Generator | None) -> Tensor:
    """Return one image of noise, which StyleGAN1 and 2 add to all feature maps of a layer (Karras 2019, section 2).

    For maps (N, C, H, W) it is (N, 1, H, W), drawn from ``chance``, or by default the layer's own (H, W), ``stored``.
    """
    if chance is None:
        return stored
    shape = (maps.shape[0], 1, *maps.shape[2:])
    return torch.randn(shape, generator=chance, device=maps.device, dtype=stored.dtype)


def sides(image_size: int) -> list[int]:
    """Return the sides in pixels, from the smallest feature maps to the image, each twice the previous one.

    They are 4, 8, 16, ... as published, and 7, 14, 28, ... for 224 and the like; any other size, or one outside 8 to
    1024 pixels, raises ValueError.
    """
    for smallest in (4, 7):
        found = [smallest << level for level in range(1, LARGEST.bit_length())]
        if image_size in found and image_size <= LARGEST:
            return [smallest, *found[: found.index(image_size) + 1]]
    raise ValueError(
        f"image_size: {image_size} is not 4 or 7 times a power of two, from 8 to {LARGEST}, such as 64, 128, 224 or 512"
    )


def layer_widths(levels: int, channel_base: int, channel_max: int) -> list[int]:
    """Return the number of channels at each level: ``channel_base`` divided by the side, at most ``channel_max``.

    Levels count from 4x4; where the smallest side is 7, it has the channels of 4x4.
    """
    return [max(1, min(channel_base // (4 << level), channel_max)) for level in range(levels)]


def channel_options(width: int) -> dict[str, int]:
    """Return options for a widest layer of ``width`` channels, in the published proportion of 512 to 512 x 64."""
    return {"channel_max": width, "channel_base": 64 * width}
