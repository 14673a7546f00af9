"""The filter 1, 3, 3, 1 with up- and down-sampling against zeros inserted one by one and scipy's full convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from torch import Tensor

from sonoforge.models.stylegan.layers import binomial_taps, smooth, upsample


def _slow(maps: Tensor, up: int, down: int, before: int, after: int) -> NDArray[np.float64]:
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    results = []
    for image in maps.double().numpy().reshape(-1, *maps.shape[2:]):
        spread = np.zeros([side * up for side in image.shape])
        spread[::up, ::up] = image
        results.append(convolve2d(np.pad(spread, (before, after)), kernel, mode="valid")[::down, ::down])
    stack: NDArray[np.float64] = np.stack(results).reshape(*maps.shape[:2], *results[0].shape)
    return stack


def _maps() -> Tensor:
    return torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_smoothing_is_the_full_convolution(down: int, padding: int) -> None:
    result = smooth(_maps(), binomial_taps(), padding, stride=down, gain=1.5)
    np.testing.assert_allclose(result, 1.5 * _slow(_maps(), 1, down, padding, padding), atol=1e-5, rtol=1e-5)


def test_doubling_is_inserted_zeros_and_the_full_convolution() -> None:
    result = upsample(_maps(), binomial_taps())
    assert result.shape == (2, 3, 16, 20)
    np.testing.assert_allclose(result, 4 * _slow(_maps(), 2, 1, 2, 1), atol=1e-5, rtol=1e-5)


def test_the_filter_has_no_gain_and_stops_the_highest_frequency() -> None:
    np.testing.assert_allclose(binomial_taps(), [1 / 8, 3 / 8, 3 / 8, 1 / 8])


def test_a_plane_keeps_its_height_and_a_blob_its_place() -> None:
    np.testing.assert_allclose(upsample(torch.ones(1, 1, 16, 16), binomial_taps())[..., 8:-8, 8:-8], 1, atol=1e-6)
    blob = torch.zeros(1, 1, 16, 16)
    blob[..., 7, 8] = 1
    result = upsample(blob, binomial_taps())
    places = torch.arange(32) + 0.5
    # Centre of mass, in pixels of the input.
    row, column = (float((result.sum((0, 1, axis)) * places).sum() / result.sum() / 2) for axis in (3, 2))
    assert (row, column) == (pytest.approx(7.5), pytest.approx(8.5))


def test_gradients_of_both_orders_are_right() -> None:
    maps = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)

    def filtered(values: Tensor) -> Tensor:
        return smooth(upsample(values, binomial_taps()), binomial_taps(), 1, stride=2).square()

    assert torch.autograd.gradcheck(filtered, maps)
    assert torch.autograd.gradgradcheck(filtered, maps)
