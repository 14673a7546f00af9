"""Leaky ReLU without aliasing: at a higher sampling rate, between two low-pass filters.

Karras 2021 (StyleGAN3), section 2 and figure 4b: a point-wise non-linearity makes frequencies above any limit.
Computed on a finer grid, which can hold most of them, and cut off before returning to the coarse one, it acts nearly
as on the continuous signal.

Filters run as depthwise convolutions, separable ones axis by axis: a transposed convolution, which multiplies none of
the zeros between samples, on the way up, and one with a stride, which computes no sample that is dropped, on the way
down.  Either is the other's adjoint, so neither keeps its input for the gradient; only the activations are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu


def upsample(maps: Tensor, taps: Tensor, factor: int, crop: int) -> Tensor:
    """Put ``factor`` - 1 zeros between samples, and filter.

    The full result of (H - 1) * factor + T rows has the centre of the input; so has what is left after the crop.

    Args:
        maps: (N, C, H, W) float.
        taps: (T,), or (T, T) where not separable.
        factor: At least 1.
        crop: Rows and columns left away at each border.

    Returns:
        (N, C, H', W') float, H' = (H - 1) * factor + T - 2 * crop.
    """
    result: Tensor = _Filter.apply(maps, taps, factor, crop, True)  # type: ignore[no-untyped-call]
    return result


def downsample(maps: Tensor, taps: Tensor, factor: int) -> Tensor:
    """Filter, and keep each ``factor``-th sample, where the filter lies fully inside.

    Args:
        maps: (N, C, H, W) float; H - T and W - T are multiples of the factor.
        taps: (T,), or (T, T) where not separable; symmetric.
        factor: At least 1.

    Returns:
        (N, C, H', W') float, H' = (H - T) / factor + 1.
    """
    result: Tensor = _Filter.apply(maps, taps, factor, 0, False)  # type: ignore[no-untyped-call]
    return result


def filtered_leaky_relu(
    maps: Tensor,
    up_taps: Tensor,
    down_taps: Tensor,
    *,
    up: int,
    down: int,
    crop: int,
    slope: float,
    gain: float,
    clamp: float,
) -> Tensor:
    """Up-sample, LeakyReLU, down-sample.

    Args:
        maps: (N, C, H, W) float, bias included; 0 outside.
        up_taps: (T,), of sum 1.
        down_taps: (T',) or (T', T'), of sum 1, symmetric.
        up: Factor of the rate at which the non-linearity is computed.
        down: Factor from there to the output.
        crop: See `upsample`.
        slope: Of the negative half.
        gain: Of the non-linearity.
        clamp: Largest absolute activation, which keeps half precision from overflowing.

    Returns:
        (N, C, H', W') float.
    """
    # Zeros between samples take 1 / up^2 of the amplitude.  The gain can go before the non-linearity too, as that only
    # looks at signs; in the few taps it costs nothing.
    fine = upsample(maps, up_taps * (up * gain**0.5), up, crop)
    active: Tensor = _ClampedLeakyReLU.apply(fine, slope, clamp)  # type: ignore[no-untyped-call]
    return downsample(active, down_taps, down)


class _Filter(torch.autograd.Function):
    """A linear map, or its adjoint; as a convolution of torch it would keep its input, for its taps' gradient."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, taps: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
        ctx.save_for_backward(taps)
        ctx.rest = stride, padding, transposed
        taps = taps.to(maps.dtype)
        convolve = conv_transpose2d if transposed else conv2d
        channels = maps.shape[1]
        if taps.ndim == 2:
            kernel = taps.expand(channels, 1, -1, -1)
            return convolve(maps, kernel, stride=stride, padding=padding, groups=channels)
        column, row = taps[:, None].expand(channels, 1, -1, -1), taps.expand(channels, 1, 1, -1)
        maps = convolve(maps, column, stride=(stride, 1), padding=(padding, 0), groups=channels)
        return convolve(maps, row, stride=(1, stride), padding=(0, padding), groups=channels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (taps,) = ctx.saved_tensors
        stride, padding, transposed = ctx.rest
        return _Filter.apply(gradients[0], taps, stride, padding, not transposed), None, None, None, None  # type: ignore[no-untyped-call]


class _ClampedLeakyReLU(torch.autograd.Function):
    """LeakyReLU and clamp in place; the result tells the derivatives of both, so nothing else is kept."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, slope: float, clamp: float) -> Tensor:
        ctx.mark_dirty(maps)
        result = leaky_relu(maps, slope, inplace=True).clamp_(-clamp, clamp)
        ctx.save_for_backward(result)
        ctx.rest = slope, clamp
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Slopes.apply(gradients[0], *ctx.saved_tensors, *ctx.rest), None, None  # type: ignore[no-untyped-call]


class _Slopes(torch.autograd.Function):
    """Multiplication by the derivative of `_ClampedLeakyReLU`, which is constant nearly everywhere."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, result: Tensor, slope: float, clamp: float) -> Tensor:
        ctx.save_for_backward(result)
        ctx.rest = slope, clamp
        product: Tensor = torch.ops.aten.leaky_relu_backward(gradient, result, slope, True)
        torch.ops.aten.hardtanh_backward.grad_input(product, result, -clamp, clamp, grad_input=product)
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Slopes.apply(gradients[0], *ctx.saved_tensors, *ctx.rest), None, None, None  # type: ignore[no-untyped-call]
