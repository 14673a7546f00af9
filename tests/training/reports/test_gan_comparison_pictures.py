"""The pictures of trainings measured at milestones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sonoforge.training.gan.milestones import Milestone
from sonoforge.training.reports import gan_comparison as pictures


def test_the_row_of_real_images_is_spread_over_the_set_whose_neighbours_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[list[int]] = []
    monkeypatch.setattr(pictures, "show_row", lambda _, pixels, title: rows.append(pixels[:, 0, 0, 0].tolist()))
    monkeypatch.setattr(pictures, "load_generator", lambda _: SimpleNamespace(classes=0))
    monkeypatch.setattr(pictures, "sample", lambda *_: np.full((8, 4, 4, 1), 255, np.uint8))
    row: dict[str, Any] = {"recipe": "dcgan", "milestone": 1, "epoch": 3, "fid": 31.8, "kid": 0.06}
    row["features"] = "pixels"
    measured = Milestone(protocol={}, protocol_id="", metrics=[], not_measured=[], pca={})
    real = np.tile(np.arange(80, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 1))
    pictures.write_samples(tmp_path / "samples.png", [pictures.Shown(row, tmp_path, measured)], real)
    assert rows == [[0, 11, 22, 33, 45, 56, 67, 79], [255] * 8]


def test_a_generator_of_several_classes_shows_each_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "load_generator", lambda _: SimpleNamespace(classes=3))
    monkeypatch.setattr(
        pictures,
        "sample",
        lambda _, count, seed, label: np.array([[[[10 * label + i]]] for i in range(count)], np.uint8),
    )
    assert pictures._drawn(Path("run"))[:, 0, 0, 0].tolist() == [0, 10, 20, 1, 11, 21, 2, 12]
