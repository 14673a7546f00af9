"""Low-pass filters for networks without aliasing: windowed ideal filters, separable or radially symmetric.

Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen, Aila, "Alias-Free Generative Adversarial Networks", NeurIPS 2021
(StyleGAN3): section 3 and appendix C.

The ideal filter (a sinc along each axis; a jinc of the radius) is cut to a few taps by Kaiser's window, whose one
parameter is chosen from the width of the transition band (Kaiser, "Nonrecursive digital filter design using the
I0-sinh window function", 1974; formulas as in Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad


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


# Finite impulse response (FIR) filtering of maps, with up- and down-sampling, as depthwise convolutions.
#
# To up-sample, zeros are put between samples and a low-pass filter fills them; to down-sample, a low-pass
# filter comes before samples are dropped (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019).
# A strided convolution does both steps at once: no zero is stored or multiplied, no sample computed only
# to be dropped.

BINOMIAL = (1.0, 3.0, 3.0, 1.0)  # of StyleGAN2 and its discriminator: its authors' configuration
SHORT = 4  # taps up to which one pass, with the squared number of products, is faster than two


def low_pass(taps: Sequence[float] = BINOMIAL) -> Tensor:
    """Return the taps of a separable low-pass filter, scaled to sum to 1: (K,) float32."""
    values = torch.tensor(taps, dtype=torch.float32)
    return values / values.sum()


def resample(
    maps: Tensor,
    taps: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | tuple[int, int] | tuple[int, int, int, int] = 0,
    gain: float = 1.0,
) -> Tensor:
    """Insert zeros, pad with zeros, convolve with a filter, and keep some of the samples.

    Args:
        maps: (N, C, H, W) float.
        taps: (K,) of a separable filter, or (K, L) of any other; convolved with, that is, mirrored and
            correlated with.
        up: Samples for each sample: ``up - 1`` zeros follow each.
        down: Of each ``down`` samples the first is kept.
        padding: Zeros added to the up-sampled maps: on all sides; or before and after, along both axes;
            or left, right, top and bottom.  Negative: cut off.
        gain: Factor of the result.  Up-sampling keeps the amplitude with ``up ** 2``.

    Returns:
        (N, C, (H * up + top + bottom - K) // down + 1, (W * up + left + right - L) // down + 1).
    """
    if isinstance(padding, int):
        padding = (padding, padding)
    left, right, top, bottom = padding if len(padding) == 4 else (*padding, *padding)
    taps = taps.to(maps.dtype)
    if taps.ndim == 1 and len(taps) <= SHORT:
        taps = torch.outer(taps, taps)
    if taps.ndim == 2:
        return _filter(maps, taps * gain, (up, up), (down, down), (left, right, top, bottom))
    columns, rows = taps[:, None] * gain, taps[None]
    maps = _filter(maps, columns, (up, 1), (down, 1), (0, 0, top, bottom))
    return _filter(maps, rows, (1, up), (1, down), (left, right, 0, 0))


def upsample(maps: Tensor, taps: Tensor, factor: int = 2) -> Tensor:
    """Up-sample (N, C, H, W) to (N, C, factor * H, factor * W); the image keeps its position and amplitude."""
    before, after = (len(taps) + factor - 1) // 2, (len(taps) - factor) // 2
    return resample(maps, taps, up=factor, padding=(before, after), gain=float(factor**2))


def downsample(maps: Tensor, taps: Tensor, factor: int = 2) -> Tensor:
    """Down-sample (N, C, H, W) to (N, C, H // factor, W // factor); the image keeps its position."""
    before, after = (len(taps) - factor + 1) // 2, (len(taps) - factor) // 2
    return resample(maps, taps, down=factor, padding=(before, after))


def _filter(
    maps: Tensor,
    kernel: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> Tensor:
    """Apply one kernel (K, L); up and down are (vertical, horizontal), padding left, right, top, bottom."""
    channels = maps.shape[1]
    left, right, top, bottom = padding
    if up == (1, 1):
        symmetric = left == right >= 0 and top == bottom >= 0
        if not symmetric:
            maps = pad(maps, padding)
        return conv2d(
            maps,
            kernel.flip((0, 1)).expand(channels, 1, *kernel.shape),
            stride=down,
            padding=(top, left) if symmetric else 0,
            groups=channels,
        )
    # A transposed convolution gives every position that a sample reaches; those outside the padded maps are cut off.
    height, width = kernel.shape
    cuts = (width - 1 - left, width - up[1] - right, height - 1 - top, height - up[0] - bottom)
    common = (max(0, min(cuts[2:])), max(0, min(cuts[:2])))
    maps = conv_transpose2d(maps, kernel.expand(channels, 1, *kernel.shape), stride=up, padding=common, groups=channels)
    rest = (common[1] - cuts[0], common[1] - cuts[1], common[0] - cuts[2], common[0] - cuts[3])
    if any(rest):
        maps = pad(maps, rest)
    return maps if down == (1, 1) else maps[:, :, :: down[0], :: down[1]]
