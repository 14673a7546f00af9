"""Small generators for tests: images that a GAN learns in seconds, and trainings on them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, equal

from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.settings import Plan
from sonoforge.training.gan.training import options_of_generator, prepare
from sonoforge.training.gan.training_set import TrainingSet, join_masks, make_training_set

SETTINGS = GanSettings(
    recipe="dcgan", width=8, image_size=32, steps=12, batch=4, tick_steps=3, class_name="malignant", seed=5
)
MEASURED = dataclasses.replace(SETTINGS, tick_steps=4, held_out=0.25, metrics=("kid", "fid"), metric_features="pixels")


def draw_discs(count: int = 10, size: int = 24, seed: int = 0) -> np.ndarray:
    """Grey discs of random position and size, (N, size, size, 1) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    discs = []
    for _ in range(count):
        centre_y, centre_x, radius = rng.uniform(0.3, 0.7) * size, rng.uniform(0.3, 0.7) * size, rng.uniform(3, 7)
        discs.append(np.where((y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2, 220, 40))
    return np.stack(discs).astype(np.uint8)[..., None]


def write_pictures(folder: Path, count: int) -> Path:
    """Write two classes of noisy grey pictures, ``count`` each."""
    rng = np.random.default_rng(0)
    for name, level in (("benign", 90), ("malignant", 160)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = np.clip(rng.normal(level, 40, (40, 48)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def measured_pace(run: Path) -> float:
    """Return the seconds a step that a run of so many ``--minutes`` measured; its ticks all have as many steps."""
    last = max((run / "pace").glob("*-steps"), key=lambda pace: int(pace.name.partition("-")[0]))
    ticks = [json.loads(line) for line in (last / "stats.jsonl").read_text().splitlines()]
    return float(sum(tick["seconds_per_step"] for tick in ticks) / len(ticks))


def draw_disc(size: int, y: float, x: float, radius: float) -> np.ndarray:
    """Draw a white disc on black, (size, size) uint8."""
    rows, columns = np.mgrid[:size, :size]
    return ((rows - y) ** 2 + (columns - x) ** 2 < radius**2) * np.uint8(255)


def draw_masked_discs(count: int = 6, size: int = 32) -> TrainingSet:
    """White discs on black, off the centre, of two classes, with the same disc as mask."""
    rng = np.random.default_rng(0)
    discs = np.stack([draw_disc(size, *rng.uniform(0.35, 0.65, 2) * size, rng.uniform(4, 8)) for _ in range(count)])
    images = make_training_set(discs[..., None], np.arange(count) % 2, ("a", "b"), size, channels="1")
    return dataclasses.replace(images, pixels=join_masks(images.pixels, discs[:, None]))


def train(
    folder: Path,
    images: np.ndarray | TrainingSet | None = None,
    device: str = "cpu",
    base: GanSettings = SETTINGS,
    **changes: Any,
) -> Path:
    """Train on images of one class, with settings and these changes; other keywords go to `train_gan`."""
    options = {key: changes.pop(key) for key in ("resume", "stop", "show_progress") if key in changes}
    settings = dataclasses.replace(base, **changes)
    if not isinstance(images, TrainingSet):
        pixels, classes = draw_discs() if images is None else images, (settings.class_name,)
        images = make_training_set(pixels, None, classes, settings.image_size or 32, settings.channels)
    return train_gan(prepare(settings, images, device), folder, **options)


def draw_scans(count: int = 48, *, labelled: bool = False) -> TrainingSet:
    """Discs of random position and size in pairs of one scan each: image 2k + 1 is 2k, a little darker."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    pixels = []
    for _ in range(count // 2):
        centre, radius, level = rng.uniform(0.3, 0.7, 2) * 32, rng.uniform(4, 12), rng.uniform(150, 250)
        disc = np.where((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2, level, 40)
        pixels += [disc, disc - 10]
    labels = (np.arange(count) // 2 % 4 == 0).astype(np.int64)  # one scan in four is of class 1
    return make_training_set(
        np.stack(pixels).astype(np.uint8)[..., None],
        labels if labelled else None,
        ("benign", "malignant") if labelled else ("malignant",),
        32,
        groups=np.arange(count, dtype=np.int64) // 2,
    )


def train_measured(folder: Path, images: TrainingSet | None = None, **changes: Any) -> Path:
    """Train on `draw_scans`, a quarter held out, with KID and FID on pixels at every tick, and these changes."""
    return train(folder, draw_scans() if images is None else images, base=MEASURED, **changes)


def image_hashes(images: np.ndarray) -> list[str]:
    """Content hash of each image."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images]


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
    assert {path.stem for path in first.glob("*.safetensors")} - {"early"} == {
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


def options_of(recipe: Recipe, size: int, channels: int = 1, structures: int = 0, classes: int = 0) -> dict[str, Any]:
    """Return the arguments that build the recipe's generator for images of a size, in batches of 4."""
    pixels, labels = np.zeros((4, size, size, channels + structures), np.uint8), np.zeros(4, np.int64)
    names = tuple(f"class {number}" for number in range(max(1, classes)))
    images = TrainingSet(pixels, labels if classes else None, names, channels)
    return dict(options_of_generator(images, recipe, Plan(1, 4, size, 1)))
