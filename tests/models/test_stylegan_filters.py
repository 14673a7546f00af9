"""The StyleGANs' filters against SciPy, and the filtered leaky ReLU against plain operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal, special
from torch import Tensor

import stylegan_reference as reference
from sonoforge.models.stylegan import filtered_lrelu
from sonoforge.models.stylegan.filtered_lrelu import lowpass


@pytest.mark.parametrize(
    ("taps", "cutoff", "half_width", "rate"), [(12, 2, 6, 32), (24, 5.7, 10.3, 64), (13, 16, 4, 64)]
)
def test_filters_are_those_of_scipy(taps: int, cutoff: float, half_width: float, rate: float) -> None:
    expected = signal.firwin(taps, cutoff, width=2 * half_width, fs=rate)
    np.testing.assert_allclose(lowpass(taps, cutoff, half_width, rate), expected, atol=1e-7)


@pytest.mark.parametrize("taps", [12, 13])
def test_radial_filter_is_a_windowed_jinc(taps: int) -> None:
    where = np.arange(taps) - (taps - 1) / 2
    window = signal.windows.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, 0.3)))
    expected = np.empty((taps, taps))
    for row, y in enumerate(where):
        for column, x in enumerate(where):
            argument = 2 * np.pi * 7 / 32 * max(math.hypot(x, y), 1e-9)
            expected[row, column] = special.j1(argument) / argument * window[row] * window[column]
    found = lowpass(taps, 7, 0.3 * 8, 32, radial=True)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-7)


_SHAPES = [  # up, down, crop, whether the filter is radial
    (2, 2, 0, False),
    (4, 2, 7, False),
    (2, 4, 2, True),
]


def _operation(up: int, down: int, crop: int, radial: bool) -> dict[str, Any]:
    return {
        "up_taps": lowpass(6 * up, 4, 3, 16 * up).double(),
        "down_taps": lowpass(6 * down, 5, 3, 16 * down, radial=radial).double(),
        **{"up": up, "down": down, "crop": crop},
    }


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("scale", [1, 512])  # at 512 most activations are cut off
def test_filtered_leaky_relu_is_that_of_plain_operations(shape: tuple[int, int, int, bool], scale: float) -> None:
    operation = _operation(*shape)
    maps = (scale * torch.randn(2, 3, 11, 11, dtype=torch.float64)).requires_grad_()
    fast, slow = (
        form(maps, **operation) for form in (filtered_lrelu.filtered_leaky_relu, reference.filtered_leaky_relu)
    )
    torch.testing.assert_close(fast, slow)
    weights = torch.randn_like(slow)
    found, expected = (torch.autograd.grad((result * weights).sum(), maps)[0] for result in (fast, slow))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", _SHAPES)
def test_filtered_leaky_relu_can_be_differentiated_twice(shape: tuple[int, int, int, bool]) -> None:
    operation = _operation(*shape)
    maps = torch.randn(1, 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def quadratic(values: Tensor) -> Tensor:
        """Some activations are cut off."""
        return filtered_lrelu.filtered_leaky_relu(512 * values * values, **operation) / 512

    assert torch.autograd.gradcheck(quadratic, maps)
    assert torch.autograd.gradgradcheck(quadratic, maps)
