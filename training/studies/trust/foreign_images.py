"""Pictures that a breast-ultrasound network has no business answering for, and spoilt scans, as the network sees them.

Photographs are tiles of the two that scikit-learn carries (CC BY 2.0); the medical collections lie beside the checkout.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sonoforge.runtime.images.decoding import as_image
from sonoforge.runtime.images.preprocessing import IMAGENET

Pixels = NDArray[np.uint8]
COUNT = 60
"""Pictures of each kind."""
_SIDE = IMAGENET.size


def foreign_images(data: Path) -> dict[str, Pixels]:
    """Return (`COUNT`, S, S, 3) of each kind that is no ultrasound scan; ``data`` holds MIAS, IDRiD, Herlev, ACDC."""
    return {
        "photographs": _stack(_photographs(np.random.default_rng(1))),
        "grey photographs": _stack(picture.convert("L") for picture in _photographs(np.random.default_rng(2))),
        "mammograms": _read(data / "MIAS", "mdb*.png", COUNT),
        "fundus photographs": _read(data / "IDRiD", "**/*.jpg", COUNT),
        "cells": _read(data / "Herlev", "**/*.jpg", COUNT),
        "cardiac MRI": _stack(_slices(data / "ACDC")),
        "noise": _stack(_noise(np.random.default_rng(3))),
        "uniform frames": _stack(Image.new("L", (300, 300), round(level)) for level in np.linspace(0, 255, COUNT)),
    }


def other_ultrasound(data: Path, half: int) -> dict[str, Pixels]:
    """Return (2 `COUNT`, S, S, 3) breast ultrasound of other hospitals and machines; the halves share no image."""
    return {
        f"{name}, half {half + 1}": _read(data / name, "*/*.jpg", 4 * COUNT)[half::2] for name in ("BUS-BRA", "BrEaST")
    }


def _blur(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(6)))


def _gain(factor: float) -> Callable[[Pixels], Pixels]:
    return lambda image: np.clip(image * factor, 0, 255).astype(np.uint8)


def _half_off(image: Pixels) -> Pixels:
    """Lose contact on the left 60 % of the probe: only the bright near field remains there."""
    lost = image.copy()
    width, depth = round(0.6 * _SIDE), np.arange(_SIDE)[:, None, None]
    lost[:, :width] = (image[:, :width] * np.exp(-np.maximum(depth - 0.08 * _SIDE, 0) / (0.04 * _SIDE))).astype(
        np.uint8
    )
    return lost


SPOILT: dict[str, Callable[[Pixels], Pixels]] = {
    "heavy blur": _blur,
    "gain x 3": _gain(3.0),
    "gain x 0.2": _gain(0.2),
    "upside down": lambda image: image[::-1],
    "out of contact": _half_off,
}
"""What is done to clean held-out scans (S, S, 3); the blur has a standard deviation of 6 of 224 pixels."""


def _read(folder: Path, pattern: str, count: int) -> Pixels:
    files = sorted(path for path in folder.glob(pattern) if "_mask" not in path.name)
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)]
    return np.stack([IMAGENET.resize(as_image(path)) for path in chosen])


def _stack(pictures: Iterator[Image.Image]) -> Pixels:
    return np.stack([IMAGENET.resize(picture.convert("RGB")) for picture in pictures])


def _photographs(rng: np.random.Generator) -> Iterator[Image.Image]:
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    for index in range(COUNT):
        photograph = photographs[index % 2]
        side = int(rng.integers(160, 420))
        top, left = (int(rng.integers(0, size - side + 1)) for size in photograph.shape[:2])
        yield Image.fromarray(photograph[top : top + side, left : left + side])


def _noise(rng: np.random.Generator) -> Iterator[Image.Image]:
    for index in range(COUNT):
        grain = (1, 2, 4)[index % 3]  # pixels of 224
        field = rng.normal(rng.uniform(60, 190), rng.uniform(20, 70), (_SIDE // grain, _SIDE // grain))
        yield Image.fromarray(np.clip(field, 0, 255).astype(np.uint8)).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)


def _slices(folder: Path) -> Iterator[Image.Image]:
    """Yield the middle slice of each of the first volumes; a plain reader of 8-bit NIfTI-1, little-endian."""
    files = sorted(path for path in folder.glob("training/*/*.nii.gz") if "_gt" not in path.name)[:COUNT]
    for path in files:
        content = gzip.decompress(path.read_bytes())
        width, height, depth = np.frombuffer(content, "<i2", 3, 42).tolist()
        start = int(np.frombuffer(content, "<f4", 1, 108)[0])
        volume = np.frombuffer(content, np.uint8, width * height * depth, start).reshape(depth, height, width)
        yield Image.fromarray(volume[depth // 2])
