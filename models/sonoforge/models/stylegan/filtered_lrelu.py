"""Leaky ReLU without aliasing: at a higher sampling rate, between two low-pass filters.

Karras 2021 (StyleGAN3), section 2 and figure 4b: a point-wise non-linearity creates frequencies above any limit.
Computing it on a finer grid, which can hold most of them, and filtering before returning to the coarse grid comes close
to acting on the continuous signal.

Filters run as depthwise convolutions, separable ones axis by axis: a transposed convolution, which multiplies none of
the zeros between samples, to up-sample, and one with a stride, which computes no sample that is dropped, to
down-sample.  Each is the other's adjoint, so neither keeps its input for the gradient.

Low-pass filters (section 3 and appendix C) are windowed ideal ones, separable or radially symmetric: a sinc along each
axis, or a jinc of the radius, is cut to a few taps by Kaiser's window, whose one parameter is chosen from the width of
the transition band (Kaiser 1974; formulas as in Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from sonoforge.models.stylegan.layers import CLAMP, GAIN, apply_linear, clamped_leaky_relu


def lowpass(taps: int, cutoff: float, half_width: float, rate: float, *, radial: bool = False) -> Tensor:
    """Design a low-pass filter that adds up to 1, float32: (T,) for one axis; if radial, (T, T) for both.

    ``cutoff`` is the middle of the transition band and ``half_width`` half its width; ``rate`` is the sampling rate in
    the same unit: twice the highest frequency.  A radial filter passes the same frequencies in every direction; the
    ideal one is a jinc, the Fourier transform of a disc.
    """
    from scipy.signal import kaiser_atten, kaiser_beta  # noqa: PLC0415 - slow to import, and for StyleGAN3 alone

    at = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2  # in samples from the centre
    beta = kaiser_beta(kaiser_atten(taps, 4 * half_width / rate))
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    if radial:
        argument = 2 * math.pi * cutoff / rate * torch.hypot(at[:, None], at)
        ideal = torch.where(argument > 0, 2 * torch.special.bessel_j1(argument) / argument.clamp(min=1e-12), 1.0)
        values = ideal * window[:, None] * window
    else:
        values = torch.sinc(2 * cutoff / rate * at) * window
    return (values / values.sum()).float()


def upsample(maps: Tensor, taps: Tensor, factor: int, crop: int) -> Tensor:
    """Put ``factor`` - 1 zeros between samples of (N, C, H, W), and filter by taps (T,), or (T, T) if not separable.

    Return (N, C, H', W'), H' = (H - 1) * factor + T - 2 * crop, centred on the input.
    """
    own = partial(_filtered, taps=taps, stride=factor, padding=crop)
    return apply_linear(maps, partial(own, convolve=conv_transpose2d), partial(own, convolve=conv2d))


def downsample(maps: Tensor, taps: Tensor, factor: int) -> Tensor:
    """Filter (N, C, H, W) by symmetric taps, and keep each ``factor``-th sample, where the filter lies fully inside.

    H - T and W - T are multiples of the factor; return (N, C, H', W'), H' = (H - T) / factor + 1.
    """
    own = partial(_filtered, taps=taps, stride=factor, padding=0)
    return apply_linear(maps, partial(own, convolve=conv2d), partial(own, convolve=conv_transpose2d))


def filtered_leaky_relu(maps: Tensor, up_taps: Tensor, down_taps: Tensor, *, up: int, down: int, crop: int) -> Tensor:
    """Up-sample (N, C, H, W), bias included, by ``up``; LeakyReLU with its gain, cut off; down-sample by ``down``.

    See `upsample` for ``crop`` and the taps, which add up to 1.
    """
    # Zeros between samples take 1 / up^2 of the amplitude.  LeakyReLU's gain may come before it too, as it depends on
    # signs alone; in the few taps it costs nothing.
    fine = upsample(maps, up_taps * (up * GAIN**0.5), up, crop)
    return downsample(clamped_leaky_relu(fine, CLAMP, compact=True), down_taps, down)


def _filtered(maps: Tensor, taps: Tensor, stride: int, padding: int, convolve: Callable[..., Tensor]) -> Tensor:
    taps, channels = taps.to(maps.dtype), maps.shape[1]
    if taps.ndim == 2:
        kernel = taps.expand(channels, 1, -1, -1)
        return convolve(maps, kernel, stride=stride, padding=padding, groups=channels)
    column, row = taps[:, None].expand(channels, 1, -1, -1), taps.expand(channels, 1, 1, -1)
    maps = convolve(maps, column, stride=(stride, 1), padding=(padding, 0), groups=channels)
    return convolve(maps, row, stride=(1, stride), padding=(0, padding), groups=channels)
