"""Change training images at random."""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels = NDArray[np.uint8]
VARIANTS = {"none": 1, "flip": 2, "classical": 6, "trivial": 6, "clinic": 6}
"""Kinds of augmentation, and how many variants of an image to cache for frozen blocks."""
IN_WORDS = {
    "none": "",
    "flip": "left-right flips",
    "classical": "flips, zoom, shift, brightness and contrast",
    "trivial": "flips and TrivialAugment",
    "clinic": "flips and TrivialAugment, beside teachers also what a clinic's machine and export may do",
}

_EVEN = (128, 128, 128)
_VISIBLE = 64  # grey level from which a change of gain is a full one: black stays black


@dataclass(frozen=True)
class Change:
    """One random change for images of one size: first of places, then of grey levels, then of either."""

    flip: bool
    # Pillow's (a, b, c, d, e, f): output (x, y) shows input (a x + b y + c, d x + e y + f); None: unchanged.
    affine: tuple[float, ...] | None = None
    look: Callable[[Image.Image], Image.Image] | None = None
    trivial: Callable[[Image.Image], Image.Image] | None = None  # may move pixels, or change their levels

    def place(self, pixels: Pixels) -> Pixels:
        """Move an image (S, S, 3) or a mask (S, S) without changing its levels, with black outside."""
        flipped = pixels[:, ::-1] if self.flip else pixels
        if self.affine is None:
            return flipped
        image = Image.fromarray(np.ascontiguousarray(flipped))
        return np.asarray(image.transform(image.size, Image.Transform.AFFINE, self.affine, Image.Resampling.BILINEAR))

    def place_mask(self, mask: Pixels) -> Pixels:
        """Move a mask (S, S) as `apply` moves its image.

        A uniform picture shows whether ``trivial`` moves pixels: only then does black come in from outside.
        """
        placed = np.ascontiguousarray(self.place(mask))
        if self.trivial is None:
            return placed
        even = Image.new("RGB", (placed.shape[1], placed.shape[0]), _EVEN)
        return np.asarray(self.trivial(Image.fromarray(placed))) if np.ptp(np.asarray(self.trivial(even))) else placed

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the changed image, (S, S, 3)."""
        image = Image.fromarray(np.ascontiguousarray(self.place(pixels)))
        for change in filter(None, (self.look, self.trivial)):
            image = change(image)
        return np.asarray(image)


def augment(pixels: Pixels, kind: str, rng: np.random.Generator, *, taught: bool = False) -> Pixels:
    """Return a randomly changed copy of one image, uint8 (S, S, 3); see `draw_change`."""
    return draw_change(kind, pixels.shape[0], rng, taught=taught).apply(pixels)


def draw_change(kind: str, side: int, rng: np.random.Generator, *, taught: bool = False) -> Change:
    """Draw a random change of an image (side, side, 3), also for a network that is ``taught`` by others' answers.

    ``classical`` flips left-right, zooms by 0.85..1.15, shifts by up to 8 % and changes brightness and contrast by up
    to 15 %; but never flips up-down, because shadow and enhancement are below a lesion.  ``trivial`` flips left-right
    and then applies one of TrivialAugment's operations at a random strength (Müller & Hutter, ICCV 2021, wide space),
    which turn by up to 135 degrees, shear, shift or change grey levels, all in `Change.trivial`.  ``clinic`` is the
    same for labels; a network that is taught sees scans as clinics send them: squeezed into a frame, in other gain
    curves, noisy, in few pixels, with marks, compressed.  Teachers still answer, where labels mislead (BUS-BRA left
    out: AUC .83 from labels, .88 from teachers; ``training/studies/other-scanners``).
    """
    flip = bool(rng.random() < 0.5)
    if kind == "none":
        return Change(flip=False)
    if kind == "clinic" and taught:
        framed, sent = _draw_frame(side, rng), functools.partial(_as_sent, seed=int(rng.integers(2**63)))
        return Change(flip, framed, sent, _draw_trivial(rng))
    if kind in ("trivial", "clinic"):
        return Change(flip, trivial=_draw_trivial(rng))
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


def _draw_frame(side: int, rng: np.random.Generator) -> tuple[float, ...] | None:
    """Squeeze one image in five into a black frame, with other proportions."""
    if rng.random() >= 0.2:
        return None
    width, height = side * rng.uniform(0.55, 1, 2)
    left, top = rng.uniform(0, (side - width, side - height))
    return (side / width, 0.0, -left * side / width, 0.0, side / height, -top * side / height)


def _as_sent(image: Image.Image, seed: int) -> Image.Image:
    """Change an image as a clinic's machine and export may: each of six ways by itself, with a chance of its own."""
    from sonoforge.training.phantom.dataset import draw_marks  # noqa: PLC0415 - needs SciPy, and --help reads this

    rng, side = np.random.default_rng(seed), image.width
    gain, curve, noise, pixels, marks, compression = rng.random(6) < (0.4, 0.4, 0.2, 0.3, 0.3, 0.15)
    levels = np.asarray(image, np.float64)
    visible = np.minimum(levels / _VISIBLE, 1)
    if gain:  # by depth
        slope, bend, wave, phase = rng.uniform((-60, -42, -24, -1), (60, 42, 24, 1))
        depth = np.linspace(-1, 1, side)[:, None, None]
        levels = levels + visible * (slope * depth + bend * (depth**2 - 1 / 3) + wave * np.sin(np.pi * (depth + phase)))
    if curve:  # dynamic range and gamma
        low, high, power = rng.uniform((-0.1, 0.7, -0.6), (0.25, 1.25, 0.6))
        levels = 255 * np.clip((levels / 255 - low) / (high - low), 0, 1) ** np.exp(power)
    if noise:
        levels = levels + visible * rng.normal(0, rng.uniform(2, 20), (side, side, 1))
    drawn = np.clip(levels, 0, 255).astype(np.uint8)
    if marks:
        draw_marks(drawn, np.zeros((side, side), np.bool_), rng)
    image = Image.fromarray(drawn)
    if pixels:
        across, down = side * np.exp(rng.uniform(np.log(0.25), np.log(0.9)) + rng.uniform(-0.15, 0.15, 2))
        ways = (Image.Resampling.NEAREST, Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
        there, back = (ways[way] for way in rng.integers(len(ways), size=2))
        image = image.resize((round(across), round(down)), there).resize((side, side), back)
    if compression:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(15, 80)))
        image = Image.open(buffer)
    return image


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
