"""DiffAugment against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sonoforge.training.gan.augmentations import AUGMENTATIONS, diffaugment

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(count: int = 4, channels: int = 3, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=_chance(99), dtype=dtype) * 2 - 1


def test_brightness_saturation_and_contrast_follow_their_definitions() -> None:
    images = torch.tensor([[[[0.1, 0.3]], [[-0.2, 0.5]], [[0.4, -0.5]]]])
    one = torch.ones(1)
    assert torch.allclose(diffaugment.brighten(images, 0.25 * one), images + 0.25)
    grey = torch.tensor([[[[0.1, 0.1]]]]).expand(1, 3, 1, 2)  # the means of both pixels
    assert torch.allclose(diffaugment.saturate(images, 0 * one), grey)
    assert torch.allclose(diffaugment.saturate(images, 2 * one), 2 * images - grey)
    assert torch.allclose(diffaugment.change_contrast(images, 0.5 * one), 0.5 * images + 0.05)


def test_translation_moves_whole_pixels_and_fills_with_zeros() -> None:
    images = _images(3, 2, 8)
    moved = diffaugment.translate(images, torch.tensor([[2, -1], [0, 0], [-8, 3]]))
    expected = torch.zeros(2, 8, 8)
    expected[:, :7, 2:] = images[0, :, 1:, :6]
    assert torch.equal(moved[0], expected)
    assert torch.equal(moved[1], images[1])
    assert not moved[2].any()


def test_cutout_is_clipped_at_the_edges() -> None:
    corner = torch.tensor([[1, 2], [-2, 3]])
    expected = torch.ones(2, 1, 6, 6)
    expected[0, :, 2:5, 1:4] = 0
    expected[1, :, 3:6, 0:1] = 0
    assert torch.equal(diffaugment.cut_out(torch.ones(2, 1, 6, 6), corner, 3), expected)


def test_diffaugment_draws_from_the_published_ranges() -> None:
    """On images that tell each part's numbers."""
    count, side = 4000, 16
    bright = diffaugment.augment(torch.zeros(count, 1, side, side), ONE, 1, _chance(13), ("colour",))
    shifts = bright[:, 0, 0, 0]
    assert float(shifts.min()) == pytest.approx(-0.5, abs=0.01)
    assert float(shifts.max()) == pytest.approx(0.5, abs=0.01)

    # Luma -1 on the left and 1 on the right, and chroma (0.5, -0.5, 0) everywhere: differences tell the factors.
    images = torch.ones(count, 3, side, side)
    images[..., : side // 2] = -1
    images += torch.tensor([0.5, -0.5, 0.0])[:, None, None]
    coloured = diffaugment.augment(images, ONE, 3, _chance(14), ("colour",))
    contrast = (coloured[..., -1] - coloured[..., 0]).mean((1, 2)) / 2
    chroma = (coloured[:, 0] - coloured[:, 1])[:, 0, 0]
    assert (float(contrast.min()), float(contrast.max())) == pytest.approx((0.5, 1.5), abs=0.01)
    saturation = chroma / contrast
    assert (float(saturation.min()), float(saturation.max())) == pytest.approx((0.0, 2.0), abs=0.01)
    # Independent of each other.
    assert abs(float(torch.corrcoef(torch.stack([saturation, contrast]))[0, 1])) < 4 / math.sqrt(count)


def test_diffaugment_translates_by_an_eighth_and_cuts_out_half_the_side() -> None:
    count, side = 2000, 32
    point = torch.zeros(count, 1, side, side)
    point[:, :, 16, 16] = 1
    moved = diffaugment.augment(point, ONE, 1, _chance(15), ("translation",)).flatten(1).argmax(1)
    for offset in (moved % side - 16, moved // side - 16):
        assert sorted(offset.unique().tolist()) == list(range(-4, 5))
        assert bool((torch.bincount(offset + 4) - count / 9).abs().max() < 4 * math.sqrt(count / 9))
    holes = diffaugment.augment(torch.ones(count, 1, side, side), ONE, 1, _chance(16), ("cutout",)) == 0
    heights = holes.any(3).sum(2)
    assert int(heights.max()) == side // 2
    assert int(heights.min()) == side // 4  # its centre on the edge
    widths = holes.any(2).sum(2)
    assert torch.equal(holes.sum((2, 3)), heights * widths)


def test_diffaugment_leaves_the_values_of_masks() -> None:
    images = _images(6, 4)
    coloured = AUGMENTATIONS["diffaugment-colour-translation"].apply(images, ZERO, 3, _chance(17))
    moved = AUGMENTATIONS["diffaugment-translation-cutout"].apply(images, ZERO, 3, _chance(17))
    for augmented in (coloured, moved):
        values = [set(mask[mask != 0].tolist()) for mask in augmented[:, 3]]
        assert all(kept <= set(mask.flatten().tolist()) for kept, mask in zip(values, images[:, 3], strict=True))
    assert set(coloured[0, 0].flatten().tolist()).isdisjoint(images[0, 0].flatten().tolist())
