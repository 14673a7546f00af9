"""Linear operations that can be differentiated any number of times.

R1 and the path length differentiate gradients, which not every version of torch supports for the operations used here.
The gradient of a linear operation is its transpose, and the gradient of that is the operation again.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

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


def sample_bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """Look up images at points, differentiably in the images: (N, C, H', W').

    Args:
        images: (N, C, H, W), zero beyond its edges.
        grid: (N, H', W', 2) x and y of each point: -1 and 1 are the image's edges.
    """

    def look_up(images: Tensor) -> Tensor:
        return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    shape = images.shape

    def spread(values: Tensor) -> Tensor:
        only_the_shape_is_read = values.new_zeros(1).expand(shape)
        bilinear, zeros = 0, 0
        gradients: tuple[Tensor, Tensor] = torch.ops.aten.grid_sampler_2d_backward(
            values, only_the_shape_is_read, grid, bilinear, zeros, False, [True, False]
        )
        return gradients[0]

    return apply_linear(images, look_up, spread)


# The low-pass (analysis) filters of Daubechies' least asymmetric orthogonal wavelets with 2 and 6 vanishing moments,
# which sum to the root of 2 ("Ten Lectures on Wavelets", 1992, table 6.3).

SYM2 = tuple((a + b * math.sqrt(3)) / (4 * math.sqrt(2)) for a, b in ((1, -1), (3, -1), (3, 1), (1, 1)))
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
LENGTH = len(SYM6)
MIDDLE = (LENGTH - 1) / 2  # 5.5, of the taps
CENTRE = 5.0  # of their weight, to the nearest half: 5.1


# Sums of shifted images: on a CPU several times as fast as torch's convolution of single channels, and on a GPU in full
# precision, where a convolution would round to TF32.


def _weighted_sum(parts: list[tuple[float, Tensor]]) -> Tensor:
    total = parts[0][1] * parts[0][0]
    for weight, part in parts[1:]:
        total.add_(part, alpha=weight)
    return total


def _enlarge_axis(images: Tensor, axis: int, gain: float) -> Tensor:
    """Put zeros between the pixels and convolve with the filter: n pixels become 2 n + 10."""
    margin = LENGTH // 2 - 1
    padded = pad(images, (0, 0, margin, margin) if axis == 2 else (margin, margin))
    count = images.shape[axis] + margin
    enlarged = images.new_empty([*images.shape[:axis], count, 2, *images.shape[axis + 1 :]])
    for phase in (0, 1):
        parts = [(gain * SYM6[tap], padded.narrow(axis, margin - tap // 2, count)) for tap in range(phase, LENGTH, 2)]
        enlarged.select(axis + 1, phase).copy_(_weighted_sum(parts))  # several times as fast as stacking both
    return enlarged.flatten(axis, axis + 1)


def _reduce_axis(images: Tensor, axis: int, gain: float) -> Tensor:
    """Apply the transpose of `_enlarge_axis`: 2 n + 10 pixels become n."""
    phases = [part.contiguous() for part in images.unflatten(axis, (-1, 2)).unbind(axis + 1)]
    count = phases[0].shape[axis] - (LENGTH // 2 - 1)
    return _weighted_sum([(gain * SYM6[tap], phases[tap % 2].narrow(axis, tap // 2, count)) for tap in range(LENGTH)])


def _enlarge(images: Tensor, gain: float) -> Tensor:
    return _enlarge_axis(_enlarge_axis(images, 3, gain), 2, gain)


def _reduce(images: Tensor, gain: float) -> Tensor:
    return _reduce_axis(_reduce_axis(images, 2, gain), 3, gain)


# A constant must stay: an output pixel meets every second tap when enlarging, and these sum to the root of 1/2.
_UP, _DOWN = math.sqrt(2), math.sqrt(0.5)


def upsample(images: Tensor) -> Tensor:
    """Enlarge (N, C, H, W) twice, with zeros beyond the edges, to (N, C, 2 H + 10, 2 W + 10)."""
    return apply_linear(images, partial(_enlarge, gain=_UP), partial(_reduce, gain=_UP))


def downsample(images: Tensor) -> Tensor:
    """Reduce (N, C, 2 H + 10, 2 W + 10) to (N, C, H, W): the inverse of `upsample`, and its transpose up to scale."""
    return apply_linear(images, partial(_reduce, gain=_DOWN), partial(_enlarge, gain=_DOWN))
