"""The pictures of trainings measured at milestones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sonoforge.training.data.pixels import write_grid
from sonoforge.training.gan.milestones import Milestone
from sonoforge.training.reports import gan_comparison as pictures


def test_each_milestones_sheet_stands_below_the_real_images(tmp_path: Path) -> None:
    measured = Milestone(protocol={}, protocol_id="", metrics=[], not_measured=[], pca={})
    shown = []
    for number, (recipe, side) in enumerate((("dcgan", 32), ("lsgan", 16))):
        samples = tmp_path / recipe / "samples"
        write_grid(np.full((12, 32, 32, 1), 200, np.uint8), samples / "real.png")
        for step in (2, 4):
            write_grid(np.full((64, side, side, 1), 20 * number + step, np.uint8), samples / f"step-{step:08d}.png")
            row: dict[str, Any] = {"recipe": recipe, "milestone": step / 4, "epoch": 3, "fid": 31.8, "kid": 0.06}
            row |= {"features": "pixels", "step": step}
            shown.append(pictures.Shown(row, tmp_path / recipe / "checkpoints" / f"step-{step:08d}", measured))
    pictures.write_samples(tmp_path / "samples.png", shown, 32)
    with Image.open(tmp_path / "samples.png") as picture:
        rows = np.asarray(picture)[..., 0].reshape(5, -1, picture.width)
    assert rows[:, -16, 16].tolist() == [200, 2, 4, 22, 24] and (rows[:, :14] < 255).any((1, 2)).all()
