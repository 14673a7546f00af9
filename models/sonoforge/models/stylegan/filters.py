"""Low-pass filters for networks without aliasing: windowed ideal filters, separable or radially symmetric.

Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen, Aila, "Alias-Free Generative Adversarial Networks", NeurIPS 2021
(StyleGAN3): section 3 and appendix C.

The ideal filter (a sinc along each axis; a jinc of the radius) is cut to a few taps by Kaiser's window, whose one
parameter is chosen from the width of the transition band (Kaiser, "Nonrecursive digital filter design using the
I0-sinh window function", 1974; formulas as in Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d


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


# The low-pass filter of StyleGAN1, StyleGAN2 and their discriminators, as depthwise convolutions.
#
# To double a side, zeros are put between samples and the filter fills them; to halve it, the filter comes before
# samples are dropped (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019).  A strided convolution
# does both steps at once: no zero is stored or multiplied, no sample computed only to be dropped.


def binomial_taps() -> Tensor:
    """Return the taps (4,) float32 along each axis: 1, 3, 3, 1 of sum 1, as in the authors' configuration."""
    return torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def smooth(maps: Tensor, taps: Tensor, padding: int, *, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Filter (N, C, H, W), padded by zeros on all sides, and keep each ``stride``-th sample; see `binomial_taps`."""
    return conv2d(maps, _kernel(maps, taps, gain), stride=stride, padding=padding, groups=maps.shape[1])


def upsample(maps: Tensor, taps: Tensor) -> Tensor:
    """Double the sides of (N, C, H, W); the image keeps its position and amplitude."""
    return conv_transpose2d(maps, _kernel(maps, taps, 4.0), stride=2, padding=1, groups=maps.shape[1])


def _kernel(maps: Tensor, taps: Tensor, gain: float) -> Tensor:
    taps = taps.to(maps.dtype)
    return (torch.outer(taps, taps) * gain).expand(maps.shape[1], 1, -1, -1)
