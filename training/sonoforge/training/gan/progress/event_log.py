"""The same statistics and grids for TensorBoard: ``tensorboard --logdir RUN/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from sonoforge.training.data.pixels import Pixels, grid_picture

FOLDER = "tensorboard"


def open_event_log(folder: Path, step: int) -> SummaryWriter:
    """Open the log of a training; what a killed run wrote after this step is hidden."""
    return SummaryWriter(str(folder / FOLDER), purge_step=step)


def write_events(writer: SummaryWriter, row: Mapping[str, Any], samples: Pixels) -> None:
    """Write one tick: every number of its row, and its grid of samples (N, S, S, C) uint8."""
    step = int(row["step"])
    for name, value in row.items():
        if name != "step" and isinstance(value, int | float):
            writer.add_scalar(name, float(value), step)
    writer.add_image("samples", grid_picture(samples), step, dataformats="HWC")
    writer.flush()
