"""EQ-T and EQ-R: exact for scenes that move exactly, and closed forms for those that stick to the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.equivariance import (
    pseudo_rotate,
    render_transformed,
    rotate,
    rotation_equivariance,
    translate,
    translation_equivariance,
    valid_after_rotation,
)

SIDE = 48


def _waves(band: float, count: int = 20) -> tuple[Tensor, Tensor]:
    """Frequencies in cycles over the side, within a fraction of the highest that the grid holds, and phases."""
    chance = torch.Generator().manual_seed(3)
    radius = torch.rand(count, generator=chance, dtype=torch.float64).sqrt() * band * SIDE / 2
    angle = torch.rand(count, generator=chance, dtype=torch.float64) * 2 * math.pi
    phases = torch.rand(count, generator=chance, dtype=torch.float64)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), phases


def _scene(band: float, latents: Tensor, matrices: Tensor) -> Tensor:
    """A continuous scene for each latent, seen where the matrices say: equivariant by construction."""
    frequencies, phases = _waves(band)
    axis = (torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2) / SIDE
    grid = torch.stack([axis.expand(SIDE, SIDE), axis[:, None].expand(SIDE, SIDE), torch.ones(SIDE, SIDE)], 2)
    images = []
    for latent, matrix in zip(latents, matrices, strict=True):
        places = (grid @ matrix.double().t())[..., :2]
        images.append(torch.sin(2 * math.pi * (places @ frequencies.t() + phases + float(latent[0]))).mean(2))
    return torch.stack(images)[:, None] * 2


def _latents(count: int) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(5))


def test_a_scene_that_moves_exactly_has_high_figures_of_each_kind() -> None:
    def render(latents: Tensor, matrices: Tensor) -> Tensor:
        return _scene(0.3, latents, matrices)

    whole = translation_equivariance(render, _latents(12), 0)
    assert whole.decibels > 250  # to the rounding of float64
    assert whole.samples == 12
    assert "whole pixels" in whole.protocol
    assert translation_equivariance(render, _latents(12), 0, fractional=True).decibels > 50
    assert rotation_equivariance(render, _latents(12), 0).decibels > 80


def test_the_windowed_sinc_limits_fractional_figures_of_fine_scenes() -> None:
    def figure(band: float) -> float:
        return translation_equivariance(
            lambda latents, matrices: _scene(band, latents, matrices), _latents(6), 0, fractional=True
        ).decibels

    assert figure(0.3) > figure(0.6) > figure(0.95)


def test_a_pattern_that_sticks_to_the_grid_is_measured_as_its_power() -> None:
    deviation = 0.1
    pattern = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * deviation

    def render(latents: Tensor, matrices: Tensor) -> Tensor:
        return _scene(0.3, latents, matrices) + pattern

    found = translation_equivariance(render, _latents(60), 1)
    # The difference of two independent patterns; where nothing moved, none: 1 of (2 * 6 + 1)^2 pairs.
    assert found.decibels == pytest.approx(10 * math.log10(4 / (2 * deviation**2)), abs=0.5)
    assert 0 < found.standard_error < 0.3
    # What both filters of a rotation pass is less than the whole power.
    assert found.decibels < rotation_equivariance(render, _latents(8), 1).decibels < found.decibels + 6


def test_equal_images_have_no_finite_figure() -> None:
    found = translation_equivariance(lambda latents, _: torch.zeros(len(latents), 1, SIDE, SIDE), _latents(4), 0)
    assert found.decibels == math.inf
    assert found.standard_error == 0


def test_standard_error_shrinks_with_the_root_of_the_number_of_images() -> None:
    pattern = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def render(latents: Tensor, matrices: Tensor) -> Tensor:
        return _scene(0.3, latents, matrices) + pattern * latents[:, 1].abs()[:, None, None, None]

    few, many = (translation_equivariance(render, _latents(count), 0).standard_error for count in (25, 400))
    assert few / many == pytest.approx(4, rel=0.5)


def test_translation_by_whole_pixels_is_exact() -> None:
    image = torch.rand(2, 20, 20, dtype=torch.float64)
    moved, valid = translate(image, 3.0, -2.0)
    assert valid.sum() == 17 * 18
    torch.testing.assert_close(moved[:, :18, 3:], image[:, 2:, :17], rtol=0, atol=1e-14)
    assert valid[:18, 3:].all()


def test_fractional_translation_agrees_with_splines_on_a_smooth_image() -> None:
    image = _scene(0.15, _latents(1), torch.eye(3)[None])[0]
    moved, valid = translate(image, 1.3, -2.6)
    expected = ndimage.shift(image[0].numpy(), (-2.6, 1.3), order=5)
    assert np.abs(moved[0].numpy() - expected)[valid.numpy()].max() < 0.02


def test_rotation_agrees_with_splines_on_a_smooth_image() -> None:
    image = _scene(0.15, _latents(1), torch.eye(3)[None])[0]
    angle = math.radians(33)
    valid = valid_after_rotation(SIDE, angle).numpy()
    # With y down, scipy's positive angles turn from x (right) to y (up).
    expected = ndimage.rotate(image[0].numpy(), -33, reshape=False, order=5)
    assert valid.sum() > 300
    assert np.abs(rotate(image, angle)[0].numpy() - expected)[valid].max() < 0.01


def test_a_quarter_turn_is_pseudo_rotation_and_a_transposition() -> None:
    image = torch.rand(1, SIDE, SIDE, dtype=torch.float64)
    valid = valid_after_rotation(SIDE, math.pi / 2)
    turned = rotate(image, math.pi / 2)[:, valid]
    torch.testing.assert_close(turned, pseudo_rotate(image, math.pi / 2).rot90(-1, (1, 2))[:, valid], atol=1e-3, rtol=0)


def test_both_images_lose_what_only_one_of_the_grids_holds() -> None:
    """A wave in the corner of the spectrum: turned by an eighth, no grid of that rate can hold it."""
    places = torch.arange(SIDE, dtype=torch.float64)
    corner = torch.cos(0.9 * math.pi * (places + places[:, None]))[None]
    middle = torch.cos(0.4 * math.pi * (places + places[:, None]))[None]
    valid = valid_after_rotation(SIDE, math.pi / 4)
    for operation in (rotate, pseudo_rotate):
        assert operation(corner, math.pi / 4)[:, valid].std() < 0.05 * corner.std()
        assert operation(middle, math.pi / 4)[:, valid].std() > 0.9 * middle.std()


def test_the_generator_is_left_as_it_was() -> None:
    generator = Generator(GeneratorSettings(32, 1, 8, style_size=8, layers=4, channel_base=64, channel_max=4)).eval()
    render = render_transformed(generator)
    latents = torch.randn(3, 8)
    before = generator(latents)
    matrices = torch.eye(3).repeat(3, 1, 1)
    matrices[1, 0, 2] = 0.25
    images = render(latents, matrices)
    torch.testing.assert_close(images[[0, 2]], before[[0, 2]])
    assert (images[1] - before[1]).abs().max() > 1e-3
    torch.testing.assert_close(generator(latents), before, rtol=0, atol=0)
    assert generator.synthesis.input.transform.shape == (3, 3)


def test_a_conditional_generator_is_measured_for_one_class() -> None:
    generator = Generator(GeneratorSettings(32, 1, 8, 3, style_size=8, layers=4, channel_base=64, channel_max=4)).eval()
    latents, still = torch.randn(2, 8), torch.eye(3).repeat(2, 1, 1)
    torch.testing.assert_close(
        render_transformed(generator, 2)(latents, still), generator(latents, torch.full((2,), 2)).detach()
    )


def test_other_generators_and_tiny_images_are_refused() -> None:
    with pytest.raises(SonoforgeError, match="give StyleGAN3"):
        render_transformed(nn.Linear(2, 2))
    with pytest.raises(SonoforgeError, match="images of 16 pixels"):
        rotation_equivariance(lambda latents, _: torch.zeros(len(latents), 1, 16, 16), _latents(2), 0)
