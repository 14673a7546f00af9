"""Change training images at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels = NDArray[np.uint8]
VARIANTS = {"none": 1, "flip": 2, "classical": 6, "trivial": 6}
"""Kinds of augmentation, and how many variants of an image to cache for frozen blocks."""
IN_WORDS = {
    "none": "",
    "flip": "left-right flips",
    "classical": "flips, zoom, shift, brightness and contrast",
    "trivial": "flips and TrivialAugment",
}

_EVEN = (128, 128, 128)


@dataclass(frozen=True)
class Change:
    """One random change for images of one size: first of places, then of grey levels."""

    flip: bool
    # Pillow's (a, b, c, d, e, f): output (x, y) shows input (a x + b y + c, d x + e y + f); None: unchanged.
    affine: tuple[float, ...] | None = None
    look: Callable[[Image.Image], Image.Image] | None = None
    look_may_move: bool = False  # whether ``look`` may also move pixels, as in TrivialAugment

    def place(self, pixels: Pixels) -> Pixels:
        """Move an image (S, S, 3) or a mask (S, S) without changing its levels, with black outside."""
        flipped = pixels[:, ::-1] if self.flip else pixels
        if self.affine is None:
            return flipped
        image = Image.fromarray(np.ascontiguousarray(flipped))
        return np.asarray(image.transform(image.size, Image.Transform.AFFINE, self.affine, Image.Resampling.BILINEAR))

    def place_mask(self, mask: Pixels) -> Pixels:
        """Move a mask (S, S) as `apply` moves its image.

        A uniform picture shows whether ``look`` moves pixels: only then does black come in from outside.
        """
        placed = np.ascontiguousarray(self.place(mask))
        if self.look is None or not self.look_may_move:
            return placed
        even = Image.new("RGB", (placed.shape[1], placed.shape[0]), _EVEN)
        return np.asarray(self.look(Image.fromarray(placed))) if np.ptp(np.asarray(self.look(even))) else placed

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the changed image, (S, S, 3)."""
        placed = self.place(pixels)
        return placed if self.look is None else np.asarray(self.look(Image.fromarray(np.ascontiguousarray(placed))))


def augment(pixels: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a randomly changed copy of one image, uint8 (S, S, 3); see `draw_change`."""
    return draw_change(kind, pixels.shape[0], rng).apply(pixels)


def draw_change(kind: str, side: int, rng: np.random.Generator) -> Change:
    """Draw a random change of an image (side, side, 3).

    ``classical`` flips left-right, zooms by 0.85..1.15, shifts by up to 8 % and changes brightness and contrast by up
    to 15 %; but never flips up-down, because shadow and enhancement are below a lesion.  ``trivial`` flips left-right
    and then applies one of TrivialAugment's operations at a random strength (Müller & Hutter, ICCV 2021, wide space),
    which turn by up to 135 degrees, shear, shift or change grey levels, all in `Change.look`.
    """
    flip = bool(rng.random() < 0.5)
    if kind == "none":
        return Change(flip=False)
    if kind == "trivial":
        return Change(flip, look=_draw_trivial(rng), look_may_move=True)
    if kind == "classical":
        return Change(flip, _draw_zoom(side, rng), _draw_contrast(rng))
    return Change(flip)


def _draw_zoom(side: int, rng: np.random.Generator) -> tuple[float, ...]:
    zoom = rng.uniform(0.85, 1.15)
    shift_x, shift_y = rng.uniform(-0.08, 0.08, 2) * side
    offset = (side - 1) / 2 * (1 - 1 / zoom)
    return (1 / zoom, 0.0, offset + shift_x, 0.0, 1 / zoom, offset + shift_y)


def _draw_contrast(rng: np.random.Generator) -> Callable[[Image.Image], Image.Image]:
    brightness, contrast = rng.uniform(0.85, 1.15, 2)
    return lambda image: ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(brightness)).enhance(contrast)


def _draw_trivial(rng: np.random.Generator) -> Callable[[Image.Image], Image.Image]:
    """Draw a seed for torchvision's TrivialAugmentWide, which draws from torch's generator."""
    seed = int(rng.integers(2**63))

    def look(image: Image.Image) -> Image.Image:
        import torch  # noqa: PLC0415 - with torchvision, a second or two that no other kind needs

        from sonoforge.models.mobilenetv2 import import_torchvision  # noqa: PLC0415

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            changed: Image.Image = import_torchvision().transforms.TrivialAugmentWide()(image)
        return changed

    return look
