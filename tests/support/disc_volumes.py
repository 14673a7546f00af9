"""A set of volumes that a U-Net learns in seconds: a bright disc with a ring around it, on ground of its own."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32


def draw_pair(chance: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw an image (S, S) and its label map: 1 the disc, 2 the ring around it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    row, column, radius = chance.uniform((11, 11, 4), (21, 21, 7))
    distance = np.hypot(rows - row, columns - column)
    labels = np.where(distance < radius, 1, np.where(distance < radius + 3, 2, 0)).astype(np.uint8)
    levels = np.where(labels > 0, np.choose(labels, (0, 220, 150)), draw_ground(chance))
    return np.clip(levels + chance.normal(0, 6, (SIDE, SIDE)), 0, 255).astype(np.uint8), labels


def draw_ground(chance: np.random.Generator) -> NDArray[np.float64]:
    """Draw dark blocks (S, S) that make each image unlike all others, so that none is taken for a near-duplicate."""
    return np.kron(chance.uniform(10, 110, (8, 8)), np.ones((SIDE // 8, SIDE // 8)))


def write_volumes(
    root: Path,
    patients: int = 10,
    slices: int = 4,
    splits: bool = False,
    seed: int = 0,
    classes: Sequence[str] = ("heart",),
) -> Path:
    """Write folders with masks of both structures; the first slice of each volume shows none.

    Where there are ``splits``, every fifth patient is of the published test part; of several classes, the first has the
    first patients.
    """
    chance = np.random.default_rng(seed)
    for name in classes:
        (root / name).mkdir(parents=True)
    rows = []
    for patient in range(patients):
        kind = classes[patient * len(classes) // patients]
        for number in range(slices):
            pixels, labels = draw_pair(chance)
            if number == 0:
                pixels, labels = draw_ground(chance).astype(np.uint8), np.zeros_like(labels)
            name = f"p{patient:02d}_slice{number:02d}"
            Image.fromarray(pixels).save(root / kind / f"{name}.png")
            for label, structure in ((1, "disc"), (2, "ring")):
                Image.fromarray(((labels == label) * 255).astype(np.uint8)).save(
                    root / kind / f"{name}_mask_{structure}.png"
                )
            split = "test" if patient % 5 == 4 else "train"
            facts = [f"p{patient:02d}", str(number), "2", "1.5"] + ([split] if splits else [])
            rows.append([f"{kind}/{name}.png", f"p{patient:02d}", *facts])
    with (root / "groups.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "group", "volume", "slice", "mm_x", "mm_y"] + (["split"] if splits else []))
        writer.writerows(rows)
    return root
