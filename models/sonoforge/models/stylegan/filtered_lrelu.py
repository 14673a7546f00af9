"""Leaky ReLU without aliasing: at a higher sampling rate, between two low-pass filters.

Karras 2021 (StyleGAN3), section 2 and figure 4b: a point-wise non-linearity creates frequencies above any limit.
Computed on a finer grid, which can hold most of them, and cut off before returning to the coarse one, it acts nearly
as on the continuous signal.

Filters run as depthwise convolutions, separable ones axis by axis: a transposed convolution, which multiplies none of
the zeros between samples, to up-sample, and one with a stride, which computes no sample that is dropped, to
down-sample.  Each is the other's adjoint, so neither keeps its input for the gradient; of the activations on the fine
grid, a byte each is kept.

Low-pass filters (section 3 and appendix C) are windowed ideal ones, separable or radially symmetric.  The ideal filter
(a sinc along each axis; a jinc of the radius) is cut to a few taps by Kaiser's window, whose one parameter is chosen
from the width of the transition band (Kaiser, "Nonrecursive digital filter design using the I0-sinh window function",
1974; formulas as in Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5).
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

from sonoforge.models.stylegan.layers import CLAMP, GAIN, SLOPE


def kaiser_attenuation(taps: int, width: float) -> float:
    """Return the attenuation in the stop band, in dB, that a filter of this length reaches.

    The width of its transition band is a fraction of half the sampling rate.
    """
    return 2.285 * (taps - 1) * math.pi * width + 7.95


def kaiser_beta(attenuation: float) -> float:
    """Return the parameter of Kaiser's window for an attenuation in dB."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * math.pow(attenuation - 21, 0.4) + 0.07886 * (attenuation - 21)
    return 0.0


def lowpass(taps: int, cutoff: float, half_width: float, rate: float) -> Tensor:
    """Design a low-pass filter for one axis.

    Args:
        taps: Length T.
        cutoff: Middle of the transition band.
        half_width: Half the width of the transition band, in the unit of the cutoff.
        rate: Sampling rate in the same unit: twice the highest frequency.

    Returns:
        (T,) float32, symmetric, of sum 1.
    """
    at = _positions(taps)
    ideal = torch.sinc(2 * cutoff / rate * at)
    return _unit_sum(ideal * _window(taps, half_width, rate))


def radial_lowpass(taps: int, cutoff: float, half_width: float, rate: float) -> Tensor:
    """Design a low-pass filter (T, T) for both axes that passes the same frequencies in every direction.

    The ideal one is a jinc: the Fourier transform of a disc.  See `lowpass`, whose cutoff is a radius here.
    """
    at = _positions(taps)
    argument = 2 * math.pi * cutoff / rate * torch.hypot(at[:, None], at)
    ideal = torch.where(argument > 0, 2 * torch.special.bessel_j1(argument) / argument.clamp(min=1e-12), 1.0)
    window = _window(taps, half_width, rate)
    return _unit_sum(ideal * window[:, None] * window)


def _positions(taps: int) -> Tensor:
    """Positions of the taps, in samples from the filter's centre."""
    return torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2


def _window(taps: int, half_width: float, rate: float) -> Tensor:
    beta = kaiser_beta(kaiser_attenuation(taps, 2 * half_width / (rate / 2)))
    return torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)


def _unit_sum(values: Tensor) -> Tensor:
    return (values / values.sum()).float()


def upsample(maps: Tensor, taps: Tensor, factor: int, crop: int) -> Tensor:
    """Put ``factor`` - 1 zeros between samples, and filter.

    The full result of (H - 1) * factor + T rows is centred on the input, and so it is after the crop.

    Args:
        maps: (N, C, H, W) float.
        taps: (T,), or (T, T) where not separable.
        factor: At least 1.
        crop: Rows and columns dropped at each border.

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


def filtered_leaky_relu(maps: Tensor, up_taps: Tensor, down_taps: Tensor, *, up: int, down: int, crop: int) -> Tensor:
    """Up-sample, LeakyReLU with its gain, cut off at `CLAMP`, down-sample.

    Args:
        maps: (N, C, H, W) float, bias included; 0 outside.
        up_taps: (T,), of sum 1.
        down_taps: (T',) or (T', T'), of sum 1, symmetric.
        up: Up-sampling factor to the rate at which the non-linearity is computed.
        down: Down-sampling factor from there to the output.
        crop: See `upsample`.

    Returns:
        (N, C, H', W') float.
    """
    # Zeros between samples take 1 / up^2 of the amplitude.  LeakyReLU's gain may come before it too, as it depends on
    # signs alone; in the few taps it costs nothing.
    fine = upsample(maps, up_taps * (up * GAIN**0.5), up, crop)
    active: Tensor = _ClampedLeakyReLU.apply(fine)  # type: ignore[no-untyped-call]
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


_POSITIVE, _NEGATIVE, _CUT_OFF = 1, -1, 0  # what the derivative needs of a value: one byte in place of its four


class _ClampedLeakyReLU(torch.autograd.Function):
    """LeakyReLU and clamp in place; of each value only which derivative it has is kept."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.mark_dirty(maps)
        result = leaky_relu(maps, SLOPE, inplace=True).clamp_(-CLAMP, CLAMP)
        if ctx.needs_input_grad[0]:
            kinds = (result > 0).to(torch.int8).mul_(_POSITIVE - _NEGATIVE).add_(_NEGATIVE)
            ctx.save_for_backward(kinds.masked_fill_((result >= CLAMP) | (result <= -CLAMP), _CUT_OFF))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        product: Tensor = _Slopes.apply(gradients[0], *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return product


class _Slopes(torch.autograd.Function):
    """Multiplication by the derivative of `_ClampedLeakyReLU`, which is constant nearly everywhere."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, kinds: Tensor) -> Tensor:
        ctx.save_for_backward(kinds)
        product: Tensor = torch.ops.aten.leaky_relu_backward(gradient, kinds.to(gradient.dtype), SLOPE, True)
        return product.masked_fill_(kinds == _CUT_OFF, 0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Slopes.apply(gradients[0], *ctx.saved_tensors), None  # type: ignore[no-untyped-call]
