"""ADA: the published transformations, exactly; what is drawn; closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import golden_arrays
from sonoforge.training.gan.augmentations import AUGMENTATIONS, ada
from sonoforge.training.gan.augmentations.ada import (
    Colour,
    Cutout,
    band_gains,
    cut_out,
    filter_bands,
    filter_bank,
    recolour,
    transform,
)
from sonoforge.training.gan.augmentations.resampling import SYM2, SYM6, downsample, upsample

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(count: int = 4, channels: int = 3, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=_chance(99), dtype=dtype) * 2 - 1


def _neutral(images: Tensor, transforms: tuple[str, ...]) -> ada.Draws:
    """Draws that change nothing."""
    return ada.draw(images, ZERO, images.shape[1], _chance(), transforms)


def _geometry(images: Tensor, **values: Tensor) -> Tensor:
    neutral = _neutral(images, ada.BGC).geometry
    assert neutral is not None
    return transform(images, neutral._replace(**values))


GOLDEN_NAMES = {
    "xflip": "x_flip",
    "rotate90": "quarter_turns",
    "xint": "integer_translation",
    "scale": "scale",
    "rotate": "rotation",
    "aniso": "anisotropy",
    "xfrac": "fractional_translation",
    "brightness": "brightness",
    "contrast": "contrast",
    "lumaflip": "luma_flip",
    "hue": "hue",
    "saturation": "saturation",
    "imgfilter": "bands",
    "cutout": "cutout",
}
GOLDEN_GROUPS = {
    "b": ada.BLITTING,
    "g": ada.GEOMETRIC,
    "c": ada.COLOUR,
    "bgc": ada.BGC,
    "bgc_gray": ada.BGC,
}


def _percentile_draws(images: Tensor, transforms: tuple[str, ...], percentile: float) -> ada.Draws:
    """Every transformation at one percentile, as the golden data have it."""
    spread = math.copysign(float(torch.erfinv(torch.tensor(abs(2 * percentile - 1)))), percentile - 0.5)
    centred = 2 * percentile - 1
    values = {
        "x_flip": math.floor(2 * percentile),
        "quarter_turns": math.floor(4 * percentile),
        "integer_translation": centred * 0.125,
        "scale": 2 ** (0.2 * spread),
        "rotation": centred * math.pi,
        "anisotropy": 2 ** (0.2 * spread),
        "fractional_translation": spread * 0.125,
        "brightness": spread * 0.2,
        "contrast": 2 ** (0.5 * spread),
        "luma_flip": math.floor(2 * percentile),
        "hue": centred * math.pi,
        "saturation": 2**spread,
    }
    draws = _neutral(images, transforms)

    def at_percentile(group: Any) -> Any:
        names = [name for name in group._fields if name in transforms]
        return group._replace(**{name: torch.full_like(getattr(group, name), values[name]) for name in names})

    if draws.geometry is not None:
        draws = draws._replace(geometry=at_percentile(draws.geometry))
    if draws.colour is not None:
        draws = draws._replace(colour=at_percentile(draws.colour))
    if draws.bands is not None:
        draws = draws._replace(bands=torch.full_like(draws.bands, 2**spread))
    if draws.cutout is not None:
        count = len(images)
        draws = draws._replace(cutout=Cutout(torch.full((count, 2), percentile), torch.full((count,), 0.5)))
    return draws


def _golden_error(name: str, key: str, transforms: tuple[str, ...], percentile: float) -> float:
    arrays = golden_arrays(name)
    expected, images = arrays[f"out/{key}/p{percentile}"], arrays["in/images_u8"].float() / 127.5 - 1
    count, channels = expected.shape[:2]
    images = images[:count, :channels]
    found = ada.apply(images, _percentile_draws(images, transforms, percentile), channels)
    return float((found - expected).abs().max())


@pytest.mark.parametrize("percentile", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("group", GOLDEN_GROUPS)
def test_ada_groups_equal_the_official_pipeline(group: str, percentile: float) -> None:
    assert _golden_error("ada_groups", group, GOLDEN_GROUPS[group], percentile) <= 1e-4


@pytest.mark.parametrize("percentile", [0.2, 0.8])
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_each_ada_transformation_equals_the_official_one(name: str, percentile: float) -> None:
    assert _golden_error("ada_single", name, (GOLDEN_NAMES[name],), percentile) <= 1e-4


@pytest.mark.parametrize("name", ["ada", "ada-full"])
def test_strength_zero_returns_the_images_bit_for_bit(name: str) -> None:
    images = _images(8, 4)
    assert torch.equal(AUGMENTATIONS[name].apply(images, ZERO, 3, _chance()), images)


def _within_binomial_bounds(found: float, share: float, count: int) -> bool:
    """Within four standard deviations."""
    return abs(found - share) <= 4 * math.sqrt(share * (1 - share) / count)


def test_each_transformation_happens_with_probability_p() -> None:
    count, strength = 4000, 0.4
    images = torch.zeros(count, 1, 4, 4)
    draws = ada.draw(images, torch.tensor(strength), 1, _chance(2), ada.FULL)
    assert draws.geometry is not None and draws.colour is not None
    assert draws.bands is not None and draws.noise is not None and draws.cutout is not None
    geometry, colour = draws.geometry, draws.colour
    happened = {
        "x_flip": (geometry.x_flip != 0, 1 / 2),
        "quarter_turns": (geometry.quarter_turns != 0, 3 / 4),
        "integer_translation": ((geometry.integer_translation != 0).all(1), 1),
        "scale": (geometry.scale != 1, 1),
        "rotation": ((geometry.rotation != 0) | (geometry.later_rotation != 0), 1),
        "anisotropy": (geometry.anisotropy != 1, 1),
        "fractional_translation": ((geometry.fractional_translation != 0).all(1), 1),
        "brightness": (colour.brightness != 0, 1),
        "contrast": (colour.contrast != 1, 1),
        "luma_flip": (colour.luma_flip != 0, 1 / 2),
        "hue": (colour.hue != 0, 1),
        "saturation": (colour.saturation != 1, 1),
        "noise": ((draws.noise != 0).flatten(1).any(1), 1),
        "cutout": (draws.cutout.size != 0, 1),
        **{f"band {band}": (draws.bands[:, band] != 1, 1) for band in range(4)},
    }
    wrong = [
        name
        for name, (seen, part) in happened.items()
        if not _within_binomial_bounds(float(seen.float().mean()), part * strength, count)
    ]
    assert wrong == []


def test_the_drawn_numbers_have_the_published_spread() -> None:
    count = 20_000
    draws = ada.draw(torch.zeros(count, 1, 1, 1), ONE, 1, _chance(3), ada.FULL)
    assert draws.geometry is not None and draws.colour is not None
    assert draws.bands is not None and draws.noise is not None
    geometry, colour = draws.geometry, draws.colour
    deviations = {
        "integer_translation": (geometry.integer_translation, 0.125 / math.sqrt(3)),  # uniform
        "scale": (geometry.scale.log2(), 0.2),
        "rotation": (geometry.rotation, math.pi / math.sqrt(3)),
        "later_rotation": (geometry.later_rotation, math.pi / math.sqrt(3)),
        "anisotropy": (geometry.anisotropy.log2(), 0.2),
        "fractional_translation": (geometry.fractional_translation, 0.125),
        "brightness": (colour.brightness, 0.2),
        "contrast": (colour.contrast.log2(), 0.5),
        "hue": (colour.hue, math.pi / math.sqrt(3)),
        "saturation": (colour.saturation.log2(), 1.0),
        "bands": (draws.bands.log2(), 1.0),
        "noise": (draws.noise, 0.1),  # E[level^2] E[normal^2] = 0.1^2
    }
    found = {name: float(values.std()) for name, (values, _) in deviations.items()}
    assert found == pytest.approx({name: std for name, (_, std) in deviations.items()}, rel=0.04)
    assert max(abs(float(values.mean())) / std for values, std in deviations.values()) < 4 / math.sqrt(count)
    # The level of the noise is one number for an image, half-normal, so that the noise is no normal one.
    assert float((draws.noise**4).mean()) / 0.1**4 == pytest.approx(9.0, rel=0.25)


@pytest.mark.parametrize(("taps", "moments"), [(SYM2, 2), (SYM6, 6)])
def test_the_wavelets_are_orthonormal_with_all_their_vanishing_moments(taps: tuple[float, ...], moments: int) -> None:
    values = np.array(taps)
    assert len(values) == 2 * moments
    assert values.sum() == pytest.approx(math.sqrt(2), abs=1e-10)
    products = [float(values[2 * shift :] @ values[: len(values) - 2 * shift]) for shift in range(moments)]
    assert products == pytest.approx([1.0] + [0.0] * (moments - 1), abs=1e-10)
    places = np.arange(len(values)) - (len(values) - 1) / 2
    highpass = values * (-1.0) ** np.arange(len(values))
    assert [float(highpass @ places**power) for power in range(moments)] == pytest.approx([0.0] * moments, abs=1e-7)


def test_reduction_undoes_enlargement() -> None:
    images = _images(dtype=torch.float64)
    assert torch.allclose(downsample(upsample(images)), images, atol=1e-10)


def test_whole_pixels_are_moved_exactly() -> None:
    images = _images(2, 1)
    moved = _geometry(images, integer_translation=torch.tensor([[3.2, -1.8], [0.0, 4.0]]) / 32)
    assert torch.allclose(moved[0, :, :-2, 3:], images[0, :, 2:, :-3], atol=1e-5)  # right and up
    assert torch.allclose(moved[1, :, 4:], images[1, :, :-4], atol=1e-5)
    assert torch.allclose(moved[1, :, :4], images[1, :, 1:5].flip(1), atol=1e-5)  # reflected at the edge


def _blob(x: float, y: float, side: int = 32) -> Tensor:
    """A Gaussian of standard deviation 2 pixels, at (x, y) from the centre, y downwards."""
    places = torch.arange(side) - (side - 1) / 2
    return (-((places[None, :] - x) ** 2 + (places[:, None] - y) ** 2) / 8).exp()[None, None]


@pytest.mark.parametrize(
    ("values", "x", "y"),
    [
        ({"x_flip": 1.0}, -6.0, 4.0),
        ({"quarter_turns": 1.0}, 4.0, -6.0),  # anticlockwise, as seen
        ({"quarter_turns": 2.0}, -6.0, -4.0),
        ({"rotation": math.pi / 2}, 4.0, -6.0),
        ({"later_rotation": math.pi}, -6.0, -4.0),
        ({"rotation": 0.3}, 6 * math.cos(0.3) + 4 * math.sin(0.3), 4 * math.cos(0.3) - 6 * math.sin(0.3)),
        ({"fractional_translation": [0.05, -0.1]}, 6 + 1.6, 4 - 3.2),
        ({"rotation": 0.9, "later_rotation": -0.9, "x_flip": 1.0}, -6.0, 4.0),
    ],
)
def test_a_smooth_blob_goes_where_the_closed_form_says(values: dict[str, Any], x: float, y: float) -> None:
    moved = _geometry(_blob(6.0, 4.0), **{name: torch.tensor([value]) for name, value in values.items()})
    # Bilinear look-up at half pixels flattens this blob by 1/64 at most.  The weight of sym6 lies 0.1 taps off the
    # half pixel that is allowed for: twice 0.1 taps are 0.1 pixels, at a slope of at most 0.3 along each axis.
    # Half a pixel amiss would be 0.15.
    assert float((moved - _blob(x, y)).abs().max()) < 0.05


def test_scaling_enlarges_and_anisotropy_widens() -> None:
    places = torch.arange(64) - 31.5
    for values, width, height in (
        ({"scale": 1.5}, 1.5, 1.5),
        ({"scale": 0.7}, 0.7, 0.7),
        ({"anisotropy": 1.4}, 1.4, 1 / 1.4),
    ):
        blob = (-(places[None, :] ** 2 + places[:, None] ** 2) / 32)[None, None].exp()
        expected = (-((places[None, :] / width) ** 2 + (places[:, None] / height) ** 2) / 32)[None, None].exp()
        found = _geometry(blob, **{name: torch.tensor([value]) for name, value in values.items()})
        assert float((found - expected).abs().max()) < 0.02


def test_an_image_is_transformed_alike_whatever_its_companions() -> None:
    images = _images(6)
    draws = ada.draw(images, ONE, 3, _chance(4), ada.BGC)
    assert draws.geometry is not None and draws.colour is not None
    together = ada.apply(images, draws, 3)
    for index in range(6):
        part = slice(index, index + 1)
        alone = ada.Draws(
            type(draws.geometry)(*(value[part] for value in draws.geometry)),
            Colour(*(value[part] for value in draws.colour)),
            None,
            None,
            None,
        )
        assert torch.allclose(ada.apply(images[part], alone, 3), together[part], atol=1e-4)


def _official_colour_matrix(drawn: Colour, index: int) -> Tensor:
    """The 4x4 matrices of figure 20, multiplied one after the other."""
    brightness, contrast, luma_flip, hue, saturation = (float(value[index]) for value in drawn)
    v = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64) / math.sqrt(3)
    projector, identity = torch.outer(v, v), torch.eye(4, dtype=torch.float64)
    matrix = identity.clone()
    matrix[:3, 3] = brightness
    matrix = torch.diag(torch.tensor([contrast, contrast, contrast, 1.0], dtype=torch.float64)) @ matrix
    matrix = (identity - 2 * luma_flip * projector) @ matrix
    cross = torch.tensor(
        [[0.0, -1, 1, 0], [1, 0, -1, 0], [-1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.float64
    ) / math.sqrt(3)
    matrix = torch.linalg.matrix_exp(hue * cross) @ matrix
    return (projector + saturation * (identity - projector)) @ matrix


def test_colours_equal_the_product_of_the_published_matrices() -> None:
    images = _images(16, dtype=torch.float64)
    drawn = ada.draw(images, torch.tensor(0.7), 3, _chance(5), ada.COLOUR).colour
    assert drawn is not None
    found = recolour(images, drawn)
    for index, image in enumerate(images):
        matrix = _official_colour_matrix(drawn, index)[:3]
        expected = torch.einsum("ij,jhw->ihw", matrix[:, :3], image) + matrix[:, 3, None, None]
        assert torch.allclose(found[index], expected, atol=1e-9)


def test_grey_images_are_coloured_like_the_luma_of_their_replicas() -> None:
    grey = _images(16, 1)
    drawn = ada.draw(grey, torch.tensor(0.7), 1, _chance(6), ada.COLOUR).colour
    assert drawn is not None
    replica = recolour(grey.expand(-1, 3, -1, -1), drawn)
    assert torch.allclose(recolour(grey, drawn), replica.mean(1, keepdim=True), atol=1e-5)


def test_colour_refuses_two_channels() -> None:
    with pytest.raises(ValueError, match="found 2 image channels"):
        ada.augment(_images(2, 2), ONE, 2, _chance())


def test_the_filter_bank_adds_up_to_the_identity_and_separates_the_bands() -> None:
    bank = filter_bank()
    assert bank.shape == (4, 43)
    assert np.allclose(bank.sum(0), np.eye(43)[21], atol=1e-12)
    assert np.allclose(bank, bank[:, ::-1])
    frequencies = np.linspace(0, np.pi, 1025)
    response = bank @ np.cos(np.outer(np.arange(-21, 22), frequencies))
    assert response.min() > -1e-9
    for band, (low, high) in enumerate([(0, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1)]):
        middle = np.argmin(np.abs(frequencies - np.pi * (low + high) / 2))
        assert response[:, middle].argmax() == band


def test_band_gains_follow_the_published_steps() -> None:
    drawn = torch.tensor([[0.5, 2.0, 1.0, 3.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    power = torch.tensor([10.0, 1, 1, 1], dtype=torch.float64) / 13
    gains = torch.ones(4, dtype=torch.float64)
    for band in range(4):
        step = torch.ones(4, dtype=torch.float64)
        step[band] = drawn[0, band]
        gains = gains * step / (power * step.square()).sum().sqrt()
    assert torch.allclose(band_gains(drawn)[0], gains)
    assert torch.equal(band_gains(drawn)[1], torch.ones(4, dtype=torch.float64))


def test_a_constant_has_the_lowest_band_and_a_chequerboard_the_highest() -> None:
    chequerboard = 1 - 2.0 * (torch.arange(32)[:, None] + torch.arange(32)).remainder(2)
    images = torch.stack([torch.full((32, 32), 0.5), chequerboard])[:, None]
    drawn = torch.tensor([[0.5, 2.0, 4.0, 3.0]]).expand(2, -1)
    gains = band_gains(drawn)[0]
    filtered = filter_bands(images, drawn)
    # Once along each axis.
    assert torch.allclose(filtered[0], images[0] * gains[0] ** 2, atol=1e-5)
    assert torch.allclose(filtered[1], images[1] * gains[3] ** 2, atol=1e-5)


def test_cutout_zeroes_its_square_and_nothing_else() -> None:
    images = torch.ones(3, 2, 16, 16)
    centre = torch.tensor([[0.25, 0.5], [1.0, 0.0], [0.5, 0.5]])
    expected = torch.ones(3, 2, 16, 16)
    expected[0, :, 4:12, 0:8] = 0
    expected[1, :, 0:4, 12:16] = 0
    assert torch.equal(cut_out(images, Cutout(centre, torch.tensor([0.5, 0.5, 0.0]))), expected)
