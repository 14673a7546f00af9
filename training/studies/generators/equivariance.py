"""EQ-T and EQ-R: how exactly a generator's details follow a translation or rotation of its input.

Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen, Aila, "Alias-Free Generative Adversarial Networks", NeurIPS 2021
(StyleGAN3), section 3 and appendix E.  The image made of the transformed input is compared with the transformed image
of the untransformed input; the figure is a peak signal-to-noise ratio in dB:

    10 log10(peak^2 / mean squared difference),    peak = 2, the range of images in [-1, 1],

with the mean over images, channels and those pixels that no border has influenced.  Larger is better.  The paper's
networks for unaligned faces of 256 pixels have EQ-T 63.0 (T) and 66.7 (R), and EQ-R 13.1 (T) and 40.5 (R); StyleGAN2
with such an input and no noise has 15.8 and 10.8.

    python training/studies/generators/equivariance.py RUN [--samples 64] [--label 0]

The transforms, drawn anew for each image:

* EQ-T: translations by whole pixels, at most an eighth of the side along each axis; nothing is resampled.
* Fractional EQ-T: the same, not rounded.  The image is resampled with Lanczos' windowed sinc, which passes the
  highest frequencies only in part; this limits the figure of a sharp image.
* EQ-R: rotations about the centre by any angle.  A rotated grid holds other frequencies in its corners than the
  image's own.  So both images are cut off at the frequencies that both grids hold: the rotated image as it is
  resampled, the other one without rotating it ("pseudo-rotation").
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.generator import draw_latents, load_generator

PEAK = 2.0
LARGEST_SHIFT = 1 / 8  # of the side
BATCH = 8  # images at a time
LANCZOS = 3  # zeros of the sinc on each side
SMALLEST = 32  # side in pixels; of smaller images the rotation's filters leave too few pixels untouched
FINE = 4  # points a pixel along each axis at which a rotated image is computed before its frequencies are cut off

# Latents (N, Z) and matrices (N, 3, 3) to images (N, C, S, S): a matrix takes places in the image to places of the
# generator's input, both measured in sides of the image from its centre.
Render = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Equivariance:
    """A figure and how it was measured."""

    decibels: float  # infinite for equal images
    standard_error: float  # of the decibels, from the spread of the images' squared differences
    samples: int  # number of images
    protocol: str  # transforms and filter


def render_transformed(generator: nn.Module, label: int | None = None) -> Render:
    """Return a function that generates images of a transformed input, as StyleGAN3 can.

    Raises:
        SonoforgeError: The generator's input cannot be transformed.
    """
    modules = dict(generator.named_modules())
    source = modules.get("synthesis.input")
    if source is None or not isinstance(getattr(source, "transform", None), Tensor):
        raise SonoforgeError(
            f"equivariance: this generator ({type(generator).__module__}) has no transform of its input; give StyleGAN3"
        )

    @torch.no_grad()
    def render(latents: Tensor, matrices: Tensor) -> Tensor:
        labels = None if label is None else torch.full((len(latents),), label, device=latents.device)
        before = source.transform
        try:
            source.transform = matrices.to(before)
            images: Tensor = generator(latents, labels)
        finally:
            source.transform = before
        return images

    return render


def translation_equivariance(render: Render, latents: Tensor, seed: int, *, fractional: bool = False) -> Equivariance:
    """Measure EQ-T on latents (M, Z), with translations by whole or ``fractional`` pixels."""
    chance = np.random.default_rng(derive_seed(seed, "equivariance translation"))
    errors = []
    for part in latents.split(BATCH):
        images = render(part, _identities(part))
        side = images.shape[3]
        shifts = chance.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (len(part), 2)) * side
        if not fractional:
            shifts = np.rint(shifts)
        matrices = _identities(part)
        matrices[:, :2, 2] = torch.from_numpy(-shifts / side)
        for image, moved, (x, y) in zip(images, render(part, matrices), shifts, strict=True):
            expected, valid = translate(image.double(), float(x), float(y))
            errors.append(_mean_square(moved.double() - expected, valid))
    kind = f"any fractions, resampled with a Lanczos {LANCZOS} filter" if fractional else "by whole pixels"
    return _summarise(errors, f"EQ-T, translations up to 1/8 of the side, {kind}")


def rotation_equivariance(render: Render, latents: Tensor, seed: int) -> Equivariance:
    """Measure EQ-R on latents (M, Z).

    Raises:
        SonoforgeError: Images of fewer than 32 pixels a side.
    """
    chance = np.random.default_rng(derive_seed(seed, "equivariance rotation"))
    errors = []
    for part in latents.split(BATCH):
        angles = chance.uniform(0, 2 * math.pi, len(part))
        matrices = _identities(part)
        cosine, sine = torch.from_numpy(np.cos(angles)), torch.from_numpy(np.sin(angles))
        matrices[:, :2, :2] = torch.stack([cosine, sine, -sine, cosine], dim=1).view(-1, 2, 2)
        images = render(part, _identities(part))
        if images.shape[3] < SMALLEST:
            raise SonoforgeError(f"EQ-R: images of {images.shape[3]} pixels are too small; at least {SMALLEST} needed")
        for image, turned, angle in zip(images, render(part, matrices), angles, strict=True):
            expected = rotate(image.double(), float(angle))
            difference = pseudo_rotate(turned.double(), float(angle)) - expected
            errors.append(_mean_square(difference, valid_after_rotation(image.shape[1], float(angle))))
    return _summarise(errors, f"EQ-R, any angle, cut off at both grids' frequencies with Lanczos {LANCZOS} filters")


def translate(image: Tensor, x: float, y: float) -> tuple[Tensor, Tensor]:
    """Move an image (C, S, S) right by x and down by y pixels, fractions by Lanczos' filter.

    Returns:
        (C, S, S), and (S, S) bool: where the filter lay inside the image.
    """
    side = image.shape[1]
    places = torch.arange(side, dtype=image.dtype, device=image.device)
    horizontal, vertical = (_lanczos(places[:, None] - shift - places) for shift in (x, y))
    valid = []
    for shift in (x, y):
        reach = 1 if shift == round(shift) else LANCZOS
        valid.append((places - shift >= reach - 1) & (places - shift <= side - reach))
    moved = _unit_rows(vertical) @ image @ _unit_rows(horizontal).t()
    return moved, valid[1][:, None] & valid[0]


def rotate(image: Tensor, angle: float) -> Tensor:
    """Rotate an image (C, S, S) about its centre, in radians from x to y, cutting off what its new grid cannot hold.

    The result (C, S, S) is valid where `valid_after_rotation`.
    """
    side = image.shape[1]
    where = ((torch.arange(side * FINE, dtype=image.dtype, device=image.device) + 0.5) / FINE) - side / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    # The place of each fine point in the image, in pixels from the first.
    across = cosine * where + sine * where[:, None] + (side - 1) / 2
    down = -sine * where + cosine * where[:, None] + (side - 1) / 2
    columns, column_weights = _neighbours(across, side)
    rows, row_weights = _neighbours(down, side)
    fine = torch.zeros(len(image), *across.shape, dtype=image.dtype, device=image.device)
    for row, row_weight in zip(rows, row_weights, strict=True):
        for column, column_weight in zip(columns, column_weights, strict=True):
            fine += image[:, row, column] * (row_weight * column_weight)
    taps = _fine_taps(image)
    kernel = (taps[:, None] * taps)[None, None]
    return conv2d(fine[:, None], kernel, stride=FINE, padding=(len(taps) - FINE) // 2)[:, 0]


def pseudo_rotate(image: Tensor, angle: float) -> Tensor:
    """Cut off the frequencies that `rotate` cuts off at this angle, without rotating the image (C, S, S)."""
    taps = _fine_taps(image)
    own = (taps[:, None] * taps)[None, None] * FINE**2
    fine = conv_transpose2d(image[:, None], own, stride=FINE, padding=(len(taps) - FINE) // 2)
    # The filter of the grid before the rotation, turned with it, on fine points.
    reach = math.ceil(LANCZOS * math.sqrt(2) * FINE)
    where = (torch.arange(2 * reach, dtype=image.dtype, device=image.device) + 0.5 - reach) / FINE
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = _lanczos(cosine * where + sine * where[:, None]) * _lanczos(-sine * where + cosine * where[:, None])
    return conv2d(fine, (turned / turned.sum())[None, None], stride=FINE, padding=reach - FINE // 2)[:, 0]


def valid_after_rotation(side: int, angle: float) -> Tensor:
    """Return where both filters lie inside both images, (S, S) bool."""
    reach = LANCZOS * (1 + abs(math.cos(angle)) + abs(math.sin(angle)))
    where = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    places = (where, where[:, None], cosine * where + sine * where[:, None], -sine * where + cosine * where[:, None])
    inside = torch.ones(side, side, dtype=torch.bool)
    for place in places:
        inside = inside & (place.abs() <= (side - 1) / 2 - reach)
    return inside


def _neighbours(places: Tensor, side: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the indices of the pixels within the filter's reach of each place, clipped to the image, and weights."""
    first = places.floor().long() - LANCZOS + 1
    indices = [first + index for index in range(2 * LANCZOS)]
    weights = [_lanczos(places - index) for index in indices]
    total = torch.stack(weights).sum(0)
    return [index.clamp(0, side - 1) for index in indices], [weight / total for weight in weights]


def _fine_taps(image: Tensor) -> Tensor:
    """Return Lanczos' filter on fine points, of sum 1."""
    count = 2 * LANCZOS * FINE
    taps = _lanczos((torch.arange(count, dtype=image.dtype, device=image.device) + 0.5) / FINE - LANCZOS)
    return taps / taps.sum()


def _lanczos(distance: Tensor) -> Tensor:
    """Return the sinc, windowed by its middle lobe stretched to the filter's reach."""
    return torch.sinc(distance) * torch.sinc(distance / LANCZOS) * (distance.abs() < LANCZOS)


def _unit_rows(weights: Tensor) -> Tensor:
    """Scale rows to sum 1; rows outside the image are 0."""
    total = weights.sum(1, keepdim=True)
    return torch.where(total.abs() > 0.5, weights / total, torch.zeros_like(weights))


def _identities(latents: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(len(latents), 1, 1)


def _mean_square(difference: Tensor, valid: Tensor) -> float:
    return float(difference[:, valid.to(difference.device)].square().mean())


def _summarise(errors: list[float], protocol: str) -> Equivariance:
    values: NDArray[np.float64] = np.asarray(errors)
    mean = float(values.mean())
    if mean == 0:
        return Equivariance(math.inf, 0.0, len(values), protocol)
    spread = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Equivariance(10 * math.log10(PEAK**2 / mean), 10 / math.log(10) * spread / mean, len(values), protocol)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="run folder of gan train")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--label", type=int, help="of a class-conditional generator")
    asked = parser.parse_args()
    generator = load_generator(asked.run)
    render, latents = (
        render_transformed(generator, asked.label),
        draw_latents(generator, asked.samples, 0, "equivariance"),
    )
    for found in (
        translation_equivariance(render, latents, 0),
        translation_equivariance(render, latents, 0, fractional=True),
        rotation_equivariance(render, latents, 0),
    ):
        print(f"{found.protocol}: {found.decibels:.1f} dB (+- {found.standard_error:.1f}), {found.samples} images")


if __name__ == "__main__":
    main()
