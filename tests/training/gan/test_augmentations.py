"""ADA and DiffAugment against official numbers and closed forms; masks, seeds and gradients of every augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import golden_arrays
from sonoforge.training.gan import ada
from sonoforge.training.gan import augmentations as diffaugment
from sonoforge.training.gan.ada import SYM6, Colour, recolour, sample_bilinear, transform
from sonoforge.training.gan.augmentations import AUGMENTATIONS

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(count: int = 4, channels: int = 3, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, channels, side, side, generator=_chance(99), dtype=dtype) * 2 - 1


def _within_binomial_bounds(found: float, share: float, count: int) -> bool:
    """Within four standard deviations."""
    return abs(found - share) <= 4 * math.sqrt(share * (1 - share) / count)


BLITTING = ("x_flip", "quarter_turns", "integer_translation")
GEOMETRIC = ("scale", "rotation", "anisotropy", "fractional_translation")
COLOUR = Colour._fields
BGC = (*BLITTING, *GEOMETRIC, *COLOUR)
OFFICIAL = "xflip rotate90 xint scale rotate aniso xfrac brightness contrast lumaflip hue saturation"
GOLDEN_NAMES = dict(zip(OFFICIAL.split(" "), BGC, strict=True))
GOLDEN_GROUPS = {"b": BLITTING, "g": GEOMETRIC, "c": COLOUR, "bgc": BGC, "bgc_gray": BGC}


def _geometry(images: Tensor, **values: Tensor) -> Tensor:
    neutral, _ = ada.draw(images, ZERO, _chance())
    return transform(images, neutral._replace(**values))


def _golden_error(name: str, key: str, transforms: tuple[str, ...], percentile: float) -> float:
    """Every transformation at one percentile, as the golden data have it."""
    arrays = golden_arrays(name)
    expected, images = arrays[f"out/{key}/p{percentile}"], arrays["in/images_u8"].float() / 127.5 - 1
    count, channels = expected.shape[:2]
    images = images[:count, :channels]
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
    geometry, colour = (
        group._replace(
            **{own: torch.full_like(getattr(group, own), values[own]) for own in transforms if hasattr(group, own)}
        )
        for group in ada.draw(images, ZERO, _chance())
    )
    return float((recolour(transform(images, geometry), colour) - expected).abs().max())  # type: ignore[arg-type]


@pytest.mark.parametrize("percentile", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("group", GOLDEN_GROUPS)
def test_ada_groups_equal_the_official_pipeline(group: str, percentile: float) -> None:
    assert _golden_error("ada_groups", group, GOLDEN_GROUPS[group], percentile) <= 1e-4


@pytest.mark.parametrize("percentile", [0.2, 0.8])
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_each_ada_transformation_equals_the_official_one(name: str, percentile: float) -> None:
    assert _golden_error("ada_single", name, (GOLDEN_NAMES[name],), percentile) <= 1e-4


def test_each_transformation_happens_with_probability_p() -> None:
    count, strength = 4000, 0.4
    geometry, colour = ada.draw(torch.zeros(count, 1, 4, 4), torch.tensor(strength), _chance(2))
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
    }
    wrong = [
        name
        for name, (seen, part) in happened.items()
        if not _within_binomial_bounds(float(seen.float().mean()), part * strength, count)
    ]
    assert wrong == []


def test_the_drawn_numbers_have_the_published_spread() -> None:
    count = 20_000
    geometry, colour = ada.draw(torch.zeros(count, 1, 1, 1), ONE, _chance(3))
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
    }
    found = {name: float(values.std()) for name, (values, _) in deviations.items()}
    assert found == pytest.approx({name: std for name, (_, std) in deviations.items()}, rel=0.04)
    assert max(abs(float(values.mean())) / std for values, std in deviations.values()) < 4 / math.sqrt(count)


def test_the_wavelet_is_orthonormal_with_all_its_vanishing_moments() -> None:
    values = np.array(SYM6)
    assert values.sum() == pytest.approx(math.sqrt(2), abs=1e-10)
    products = [float(values[2 * shift :] @ values[: len(values) - 2 * shift]) for shift in range(6)]
    assert products == pytest.approx([1.0] + [0.0] * 5, abs=1e-10)
    places = np.arange(len(values)) - (len(values) - 1) / 2
    highpass = values * (-1.0) ** np.arange(len(values))
    assert [float(highpass @ places**power) for power in range(6)] == pytest.approx([0.0] * 6, abs=1e-7)


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
    _, drawn = ada.draw(images, torch.tensor(0.7), _chance(5))
    found = recolour(images, drawn)
    for index, image in enumerate(images):
        matrix = _official_colour_matrix(drawn, index)[:3]
        expected = torch.einsum("ij,jhw->ihw", matrix[:, :3], image) + matrix[:, 3, None, None]
        assert torch.allclose(found[index], expected, atol=1e-9)


def test_grey_images_are_coloured_like_the_luma_of_their_replicas() -> None:
    grey = _images(16, 1)
    _, drawn = ada.draw(grey, torch.tensor(0.7), _chance(6))
    replica = recolour(grey.expand(-1, 3, -1, -1), drawn)
    assert torch.allclose(recolour(grey, drawn), replica.mean(1, keepdim=True), atol=1e-5)


# The adaptive strength.


def _state(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(values.get(name, start)) for name, start in ada.START.items()}


def test_p_moves_towards_the_target_by_hand_computed_steps() -> None:
    state = _state()
    strengths = []
    # r_t: 1, 0.75, 0.5, 1, 0, 0: up, up, down, up, down, down (and no lower than 0).
    for scores in (
        [2.0, 0.1, 3.0, 1.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -9.0],
        [0.5, 0.5, 0.5, -0.5],
        [1.0],
        [1.0, -1.0],
        [5.0, -0.1],
    ):
        state = ada.observe(state, torch.tensor(scores))
        state = ada.adapt(state, 50_000)
        strengths.append(float(state["strength"]))
    assert strengths == pytest.approx([0.1, 0.2, 0.1, 0.2, 0.1, 0.0], abs=1e-6)
    state = ada.adapt(ada.observe(state, torch.tensor([-1.0])), 50_000)
    assert float(state["strength"]) == 0.0


def test_p_rises_from_zero_to_one_in_500_000_images_and_no_further() -> None:
    state, batch = _state(), 2500
    moves = 500_000 // (batch * ada.INTERVAL)
    for _ in range(moves - 1):
        state = ada.adapt(ada.observe(state, torch.ones(2)), batch * ada.INTERVAL)
    assert float(state["strength"]) == pytest.approx(1 - 1 / moves, abs=1e-5)
    for _ in range(3):
        state = ada.adapt(ada.observe(state, torch.ones(2)), batch * ada.INTERVAL)
    assert float(state["strength"]) == 1.0


# DiffAugment.


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


def test_diffaugment_draws_from_the_published_ranges() -> None:
    """On images that tell each part's numbers."""
    count, side = 4000, 16
    bright = diffaugment.diffaugment(torch.zeros(count, 1, side, side), ONE, 1, _chance(13), ("colour",))
    shifts = bright[:, 0, 0, 0]
    assert float(shifts.min()) == pytest.approx(-0.5, abs=0.01)
    assert float(shifts.max()) == pytest.approx(0.5, abs=0.01)

    # Luma -1 on the left and 1 on the right, and chroma (0.5, -0.5, 0) everywhere: differences tell the factors.
    images = torch.ones(count, 3, side, side)
    images[..., : side // 2] = -1
    images += torch.tensor([0.5, -0.5, 0.0])[:, None, None]
    coloured = diffaugment.diffaugment(images, ONE, 3, _chance(14), ("colour",))
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
    moved = diffaugment.diffaugment(point, ONE, 1, _chance(15), ("translation",)).flatten(1).argmax(1)
    for offset in (moved % side - 16, moved // side - 16):
        assert sorted(offset.unique().tolist()) == list(range(-4, 5))
        assert bool((torch.bincount(offset + 4) - count / 9).abs().max() < 4 * math.sqrt(count / 9))
    holes = diffaugment.diffaugment(torch.ones(count, 1, side, side), ONE, 1, _chance(16), ("cutout",)) == 0
    heights = holes.any(3).sum(2)
    assert int(heights.max()) == side // 2
    assert int(heights.min()) == side // 4  # its centre on the edge
    widths = holes.any(2).sum(2)
    assert torch.equal(holes.sum((2, 3)), heights * widths)


# Every augmentation.


def test_masks_move_with_their_images_and_keep_their_values() -> None:
    images = _images(8, 1).expand(-1, 2, -1, -1)
    augmented = ada.augment(images, ONE, 1, _chance(8))
    geometry, _ = ada.draw(images, ONE, _chance(8))
    assert torch.equal(augmented[:, 1:], transform(images[:, 1:], geometry))
    assert not torch.equal(augmented[:, :1], augmented[:, 1:]), "only the image has other colours"


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_every_augmentation_keeps_shape_and_repeats_itself_from_a_seed(name: str) -> None:
    images = _images(4, 4)
    augment = AUGMENTATIONS[name].apply
    first, again, other = (augment(images, torch.tensor(0.8), 3, _chance(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    if AUGMENTATIONS[name].adaptive:
        assert torch.equal(augment(images, ZERO, 3, _chance()), images), "bit for bit"


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_gradients_reach_every_image_and_twice(name: str) -> None:
    """As R1 on augmented images, and a path length through them, need it; by deterministic kernels alone."""
    images = _images(4, 2).requires_grad_(True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        augmented = AUGMENTATIONS[name].apply(images, torch.tensor(0.8), 1, _chance(9))
        (gradient,) = torch.autograd.grad(augmented.pow(3).sum(), images, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), images)
    finally:
        torch.use_deterministic_algorithms(before)
    assert bool((gradient.abs().amax((1, 2, 3)) > 0).all())
    assert bool((second.abs().amax((1, 2, 3)) > 0).all())
    assert bool(second.isfinite().all())


def _check_twice(function: Callable[[Tensor], Tensor], images: Tensor) -> None:
    images.requires_grad_(True)
    assert torch.autograd.gradcheck(function, (images,))
    assert torch.autograd.gradgradcheck(function, (images,))


def test_the_bilinear_look_up_is_differentiable_twice() -> None:
    grid = torch.rand(1, 4, 3, 2, generator=_chance(10), dtype=torch.float64) * 2.4 - 1.2
    _check_twice(lambda images: sample_bilinear(images, grid).pow(2), _images(1, 2, 5, torch.float64))


def test_ada_is_differentiable_twice() -> None:
    _check_twice(lambda images: ada.augment(images, ONE, 1, _chance(11)).pow(2), _images(1, 2, 6, torch.float64))
