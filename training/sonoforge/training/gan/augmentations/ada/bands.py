"""ADA's image-space filtering (Karras 2020, appendix B.2, figure 21): amplified and attenuated frequency bands.

The bands are [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi] of each axis, separated by a filter bank of the
wavelet sym2, symmetric and adding up to the identity.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from sonoforge.training.gan.augmentations.ada.wavelets import SYM2

BANDS = 4
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # expected share of each band in an image's power: 1/f, figure 21


def filter_bank() -> NDArray[np.float64]:
    """Return (4, 43): each band's filter, lowest first, centred.

    With the wavelet's low-pass filter H, P(z) = H(z) H(1/z) / 2 halves the spectrum softly: P(z) + P(-z) = 1.
    The bands are P(z) P(z^2) P(z^4), P(z) P(z^2) P(-z^4), P(z) P(-z^2) and P(-z).
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    centre = len(low) // 2
    high = low * (-1.0) ** np.arange(-centre, centre + 1)
    bank = np.ones((1, 1))
    for _ in range(BANDS - 1):
        stretched = np.zeros((len(bank), 2 * bank.shape[1] - 1))  # z becomes z^2
        stretched[:, ::2] = bank
        split = [np.convolve(row, low) for row in stretched]
        margin = (len(split[0]) - len(high)) // 2
        bank = np.stack([*split, np.pad(high, margin)])
    return bank


@functools.lru_cache
def _bank(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(filter_bank(), device=device, dtype=dtype)


def band_gains(drawn: Tensor) -> Tensor:
    """Convert the drawn factors (N, 4) into the gains of the bands (N, 4).

    Each band is amplified in a step of its own, after which the gains of all four are divided by the root of the
    power that the step gave a typical image.
    """
    # Root of the sum of POWER * gain^2, when one gain is the factor and the others are 1.
    steps = (1 + drawn.new_tensor(POWER) * (drawn.square() - 1)).sqrt()
    return drawn / steps.prod(1, keepdim=True)


def filter_bands(images: Tensor, drawn: Tensor) -> Tensor:
    """Amplify the frequency bands of each image; one whose factors are all 1 stays unchanged.

    Args:
        images: (N, C, S, S), S at least 22: half the filter's length is reflected outwards.
        drawn: (N, 4) factors above 0, lowest band first.
    """
    count, channels, side, _ = images.shape
    bank = _bank(images.device, images.dtype)
    taps = (band_gains(drawn) @ bank).repeat_interleave(channels, 0)[:, None, None, :]
    flat = pad(images.reshape(1, count * channels, side, side), [bank.shape[1] // 2] * 4, mode="reflect")
    flat = conv2d(flat, taps, groups=count * channels)
    flat = conv2d(flat, taps.transpose(2, 3), groups=count * channels)
    return torch.where((drawn != 1).any(1)[:, None, None, None], flat.view_as(images), images)
