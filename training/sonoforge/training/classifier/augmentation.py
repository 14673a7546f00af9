"""Random changes of a training image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels = NDArray[np.uint8]
VARIANTS = {"none": 1, "flip": 2, "classical": 6, "trivial": 6, "geometry": 6}
"""Kinds of augmentation, and how many variants of an image are cached where blocks are frozen."""


def augment(pixels: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a randomly changed copy of one image, uint8 (S, S, 3).

    ``classical`` flips left-right, zooms by 0.85..1.15, shifts by up to 8 % and changes brightness and
    contrast by up to 15 %; never up-down, because shadow and enhancement lie below a lesion.  ``trivial`` flips
    left-right and then applies one of TrivialAugment's operations at a random strength (Müller & Hutter, ICCV 2021,
    wide space), which turn by up to 135 degrees, shear, shift and change grey levels: the published recipe as it is.
    ``geometry`` flips left-right, turns by up to 12 degrees, shears by 0.1, zooms by 0.78..1.16, changes the sides'
    ratio by up to 43 %, shifts by up to 8 %, and changes gain and gamma: what another scanner, depth or hand does.
    """
    flip = bool(rng.random() < 0.5)
    if kind == "none":
        return pixels
    if kind == "flip":
        return pixels[:, ::-1] if flip else pixels
    if kind == "trivial":
        return _trivial(pixels[:, ::-1] if flip else pixels, rng)
    if kind == "geometry":
        return _geometry(pixels[:, ::-1] if flip else pixels, rng)
    side = pixels.shape[0]
    zoom = rng.uniform(0.85, 1.15)
    shift_x, shift_y = rng.uniform(-0.08, 0.08, 2) * side
    sign = -1.0 if flip else 1.0
    centre = (side - 1) / 2
    # Pillow maps output (x, y) to input (a x + b y + c, d x + e y + f).
    across = (sign / zoom, 0.0, centre - sign * centre / zoom + shift_x)
    down = (0.0, 1 / zoom, centre - centre / zoom + shift_y)
    image = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, across + down, Image.Resampling.BILINEAR
    )
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.85, 1.15))
    return np.asarray(image)


def _geometry(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """See `augment`; the affine map and its inverse are about the centre."""
    side = pixels.shape[0]
    zoom, aspect = np.exp(rng.uniform(-0.25, 0.15)), np.exp(rng.uniform(-0.18, 0.18))
    angle, shear = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.1, 0.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([zoom * aspect, zoom / aspect])
    inverse = np.linalg.inv(forward)
    centre = np.full(2, (side - 1) / 2)
    offset = centre - inverse @ (centre + rng.uniform(-0.08, 0.08, 2) * side)
    # Pillow maps output (x, y) to input (a x + b y + c, d x + e y + f).
    data = (*inverse[0], offset[0], *inverse[1], offset[1])
    image = Image.fromarray(np.ascontiguousarray(pixels)).transform(
        (side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    levels = np.arange(256) / 255
    if rng.random() < 0.8:
        levels = levels ** np.exp(rng.uniform(-0.35, 0.35))
    if rng.random() < 0.8:
        levels = levels * rng.uniform(0.75, 1.25) + rng.uniform(-0.05, 0.05)
    changed: Pixels = np.clip(np.rint(255 * levels), 0, 255).astype(np.uint8)[np.asarray(image)]
    return changed


def _trivial(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Apply torchvision's TrivialAugmentWide, which draws from torch's generator, with a seed drawn from ``rng``."""
    import torch  # noqa: PLC0415 - with torchvision, a second or two that no other kind needs

    from sonoforge.models.torchvision_import import import_torchvision  # noqa: PLC0415

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        changed = import_torchvision().transforms.TrivialAugmentWide()(Image.fromarray(np.ascontiguousarray(pixels)))
    return np.asarray(changed)
