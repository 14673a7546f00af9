"""Finite impulse response (FIR) filtering of maps, with up- and down-sampling, as depthwise convolutions.

To up-sample, zeros are put between samples and a low-pass filter fills them; to down-sample, a low-pass
filter comes before samples are dropped (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019).
A strided convolution does both steps at once: no zero is stored or multiplied, no sample computed only
to be dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

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
