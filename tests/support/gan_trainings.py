"""Small generators for tests: images that a GAN learns in seconds, and trainings on them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor, equal

from sonoforge.training.gan.batches.training_set import make_training_set
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.settings import GanSettings

SETTINGS = GanSettings(
    recipe="dcgan", width=8, image_size=32, steps=12, batch=4, tick_steps=3, class_name="malignant", seed=5
)


def draw_discs(count: int = 10, size: int = 24, seed: int = 0) -> np.ndarray:
    """Grey discs of random position and size, (N, size, size, 1) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    discs = []
    for _ in range(count):
        centre_y, centre_x, radius = rng.uniform(0.3, 0.7) * size, rng.uniform(0.3, 0.7) * size, rng.uniform(3, 7)
        discs.append(np.where((y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2, 220, 40))
    return np.stack(discs).astype(np.uint8)[..., None]


def train(folder: Path, images: np.ndarray | None = None, device: str = "cpu", **changes: Any) -> Path:
    """Train on images of one class, with `SETTINGS` and these changes; other keywords go to `train_gan`."""
    options = {key: changes.pop(key) for key in ("resume", "stop", "show_progress") if key in changes}
    settings = dataclasses.replace(SETTINGS, **changes)
    prepared = make_training_set(
        draw_discs() if images is None else images,
        None,
        (settings.class_name,),
        settings.image_size or 32,
        settings.channels,
    )
    return train_gan(prepared, GanJob(settings, device), folder, **options)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of ``stats.jsonl``."""
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def read_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by file and name."""
    return {
        f"{path.stem}/{name}": value
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def assert_same_tensors(first: Path, second: Path) -> None:
    """Assert that two checkpoints hold the same files and, to the last bit, the same tensors."""
    left, right = read_tensors(first), read_tensors(second)
    assert {path.stem for path in first.glob("*.safetensors")} == {
        "generator", "discriminator", "average", "generator_optimiser", "discriminator_optimiser", "state",
    }  # fmt: skip
    assert left.keys() == right.keys()
    assert [name for name in left if not equal(left[name], right[name])] == []


class StopAt:
    """A ``stop`` for `train_gan` that ends the training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0
