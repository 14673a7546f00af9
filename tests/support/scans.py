"""Pictures for tests: each seed is another 'scan' with its own layers and texture, all share dark depths."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage


@functools.cache
def draw_scan(seed: int, side: int = 128) -> NDArray[np.uint8]:
    """Return one (side, side) uint8 picture with texture at several scales; not to be changed."""
    generator = np.random.default_rng(seed)
    field = sum(
        weight * ndimage.gaussian_filter(generator.normal(size=(side, side)), scale) * scale
        for weight, scale in ((1.0, side / 64), (1.5, side / 24), (1.0, side / 8))
    )
    depth = np.linspace(1.0, 0.3, side)[:, None]
    picture = np.clip((110 + 60 * field / field.std()) * depth, 0, 255).astype(np.uint8)
    picture.setflags(write=False)
    return picture


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_set(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """Write a data set of different scans: class_name/scan (N).png."""
    seed = first_seed
    for name, count in counts.items():
        for number in range(1, count + 1):
            save(root / name / f"scan ({number}).png", draw_scan(seed))
            seed += 1
    return root
