"""FIR filtering with up- and down-sampling against zeros inserted one by one and scipy's full convolution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from torch import Tensor

from sonoforge.models.stylegan.filters import BINOMIAL, downsample, low_pass, resample, upsample

SEPARABLE = torch.tensor([1.0, 2.0, 4.0, -1.0, 0.5])  # not symmetric, so that a mirrored filter shows
RADIAL = torch.outer(SEPARABLE, torch.tensor([3.0, -1.0, 1.0])) + torch.eye(5, 3)


def _slow(maps: Tensor, taps: Tensor, up: int, down: int, padding: tuple[int, int, int, int]) -> NDArray[np.float64]:
    kernel = (torch.outer(taps, taps) if taps.ndim == 1 else taps).double().numpy()
    left, right, top, bottom = padding
    results = []
    for image in maps.double().numpy().reshape(-1, *maps.shape[2:]):
        height, width = (side * up for side in image.shape)
        spread = np.zeros((height, width))
        for row, column in itertools.product(range(image.shape[0]), range(image.shape[1])):
            spread[row * up, column * up] = image[row, column]
        wide = np.zeros((height + 100, width + 100))
        wide[50:-50, 50:-50] = spread
        padded = wide[50 - top : 50 + height + bottom, 50 - left : 50 + width + right]
        results.append(convolve2d(padded, kernel, mode="valid")[::down, ::down])
    stack: NDArray[np.float64] = np.stack(results).reshape(*maps.shape[:2], *results[0].shape)
    return stack


@pytest.mark.parametrize("taps", [SEPARABLE, RADIAL], ids=["separable", "radial"])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2), (4, 2), (3, 2)])
@pytest.mark.parametrize("padding", [(4, 4, 4, 4), (0, 0, 0, 0), (3, 1, 2, 5), (7, -1, 9, 0), (-1, 12, 2, 3)])
def test_resample_equals_inserted_zeros_and_full_convolution(
    taps: Tensor, up: int, down: int, padding: tuple[int, int, int, int]
) -> None:
    maps = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    result = resample(maps, taps, up=up, down=down, padding=padding, gain=1.5)
    np.testing.assert_allclose(result, 1.5 * _slow(maps, taps, up, down, padding), atol=1e-4, rtol=1e-5)


def test_padding_may_be_given_for_all_sides_or_for_before_and_after() -> None:
    maps = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        resample(maps, SEPARABLE, padding=3), resample(maps, SEPARABLE, padding=(3, 3, 3, 3)), rtol=0, atol=0
    )
    torch.testing.assert_close(
        resample(maps, SEPARABLE, padding=(3, 2)), resample(maps, SEPARABLE, padding=(3, 2, 3, 2)), rtol=0, atol=0
    )


def test_the_binomial_filter_has_no_gain_and_stops_the_highest_frequency() -> None:
    taps = low_pass(BINOMIAL)
    np.testing.assert_allclose(taps, [1 / 8, 3 / 8, 3 / 8, 1 / 8])
    np.testing.assert_allclose(float((taps * torch.tensor([1.0, -1.0, 1.0, -1.0])).sum()), 0, atol=1e-7)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_plane_keeps_its_height_and_a_blob_its_place(factor: int) -> None:
    taps = low_pass(BINOMIAL if factor == 2 else np.convolve(np.ones(4), np.ones(5)).tolist())
    plane = torch.ones(1, 1, 16, 16)
    inner = slice(4 * factor, -4 * factor)
    np.testing.assert_allclose(upsample(plane, taps, factor)[..., inner, inner], 1, atol=1e-6)
    np.testing.assert_allclose(downsample(plane, taps, factor)[..., 2:-2, 2:-2].flatten()[:1], 1, atol=1e-6)
    blob = torch.zeros(1, 1, 16, 16)
    blob[..., 7, 8] = 1
    for result, scale in ((upsample(blob, taps, factor), factor), (downsample(blob, taps, factor), 1 / factor)):
        places = torch.arange(result.shape[-1]) + 0.5
        total = result.sum()
        # Centre of mass, in pixels of the input; down-sampling a single pixel is exact to half a new one.
        row, column = (float((result.sum((0, 1, axis)) * places).sum() / total / scale) for axis in (3, 2))
        assert abs(row - 7.5) < 1 / scale + 1e-5 if scale < 1 else abs(row - 7.5) < 1e-5
        assert abs(column - 8.5) < 1 / scale + 1e-5 if scale < 1 else abs(column - 8.5) < 1e-5


@pytest.mark.parametrize(("up", "down"), [(2, 1), (1, 2)])
def test_gradients_of_both_orders_are_right(up: int, down: int) -> None:
    maps = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)

    def filtered(values: Tensor) -> Tensor:
        return resample(values, SEPARABLE.double(), up=up, down=down, padding=3).square()

    assert torch.autograd.gradcheck(filtered, maps)
    assert torch.autograd.gradgradcheck(filtered, maps)
