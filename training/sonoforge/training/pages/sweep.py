"""The tables and the picture of a sweep of GAN trainings, the published row beside them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from sonoforge.runtime.atomic import write_bytes, write_text
from sonoforge.training.data.pixels import Pixels, grid_picture
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.statistics.wording import figure, times
from sonoforge.training.terminal import as_text

TABLE = "sweep.csv"
ALL_FIGURES = "sweep-metrics.csv"
PICTURE = "sweep.png"
SHOWN = 8  # samples of each training in the picture
_LINES = (".-", ".--", ".:", ".-.")  # of each recipe in turn: there are more trainings than colours
# Of the table, in the first feature space: a figure's name, and its heading.
FIGURES = {
    "kid": "KID",
    "fid": "FID",
    "lpips_pairs": "LPIPS, fake-fake",
    "ms_ssim": "MS-SSIM, fake-fake",
    "laplacian_swd": "SWD x 1000",
}
COLUMNS = (
    *("recipe", "perceptual_weight", "steps", "kimg"),
    *(f"{name}{part}" for name in FIGURES for part in ("", "_floor", "_ratio")),
    *("n", "reference", "real", "generated", "protocol_id", "diversity", "distance", "collapsed"),
    *("best_kid", "best_step", "seconds_per_kimg", "images", "features", "run"),
)
# The best row that the authors publish, on BUSI (Ryspayeva and Salykova, 2025, loss functions for DGAN-WP-TL).  Their
# networks, sizes, feature networks and reference images are not those of any row here.
CLAIM = "claim of Ryspayeva and Salykova, 2025, on BUSI, under another protocol"
CLAIMED: dict[str, Any] = {
    **{"recipe": "dgan-wp-tl-wgangp", "perceptual_weight": 5.0, "kid": 0.14, "fid": 179.42},
    **{"lpips_pairs": 0.49, "ms_ssim": 0.18, "reference": CLAIM, "run": "not run here"},
}


def claims(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the published row, beside trainings of what it is a claim about."""
    return [CLAIMED] if any(row["recipe"].startswith("dgan-wp-tl-") for row in rows) else []


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a CSV file; what a row does not have stays empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def describe_table(rows: list[dict[str, Any]]) -> str:
    """Return the table for a terminal, and how to read it."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for heading in ("recipe", "weight", *FIGURES.values()):
        table.add_column(heading)
    claimed = claims(rows)
    for row in (*rows, *claimed):
        cells = []
        for name in FIGURES:
            ratio = f" ({times(row[f'{name}_ratio'])})" if f"{name}_ratio" in row else ""
            cells.append(figure(row[name]) + ratio if name in row else "-")
        label = row["recipe"] + (", claimed *" if row in claimed else "")
        table.add_row(label, f"{row['perceptual_weight']:g}", *cells)
    one = rows[0]
    lines = [
        as_text(table),
        f"KID and FID in {one['features']}; {one['generated']} generated, {one['real']} {one['reference']} images",
        "in parentheses the ratio to what real images score against each other, "
        f"{one['n']} a side; up to 1 cannot be told from them",
    ]
    if claimed:
        lines.append(f"* {CLAIM}: not comparable with the rows above it")
    if len({row["protocol_id"] for row in rows}) > 1:
        lines.append("the trainings differ in image size, so their figures are not comparable with each other")
    return "\n".join(lines)


def write_picture(path: Path, folder: Path, rows: list[dict[str, Any]], real: TrainingSet) -> None:
    """Above: KID over the training.  Below: for each training, the same latents at its end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mpl.rc_context({"font.size": 8}))
        canvas = Figure(figsize=(9, 2.6 + 0.95 * (len(rows) + 1)), layout="constrained")
        ratios = [2.4, *[0.95] * (len(rows) + 1)]
        axes = canvas.subplots(len(rows) + 2, 1, gridspec_kw={"height_ratios": ratios})
        recipes = list(dict.fromkeys(row["recipe"] for row in rows))
        for row in rows:
            line = _LINES[recipes.index(row["recipe"]) % len(_LINES)]
            curve = read_stats(folder / row["run"], row["steps"])
            label = f"{row['recipe']} {row['perceptual_weight']:g}"
            axes[0].plot([tick["kimg"] for tick in curve], [tick["kid"] for tick in curve], line, label=label)
        axes[0].set(xlabel="thousands of real images shown", ylabel=f"KID\n({rows[0]['features'].split(' ')[0]})")
        axes[0].legend(fontsize=6, ncols=2, handlelength=3.5)
        spread = evenly_spaced(len(real), SHOWN)
        show_row(axes[1], real.pixels[spread, ..., : real.image_channels], "real")
        for axis, row in zip(axes[2:], rows, strict=True):
            title = f"{row['recipe']}, weight {row['perceptual_weight']:g}: KID {row['kid']:.3f}, FID {row['fid']:.1f}"
            show_row(axis, sample(load_generator(folder / row["run"]), SHOWN, 0), title)
        canvas.suptitle("Synthetic images below the row of real ones. Research use, not a medical device.", fontsize=8)
        stream = io.BytesIO()
        canvas.savefig(stream, format="png", dpi=150, metadata={"Description": json.dumps({"synthetic": True})})
    write_bytes(path, stream.getvalue())


def show_row(axis: Any, pixels: Pixels, title: str) -> None:
    """Draw images (N, S, S, C) uint8 side by side, a white gap between them, under a title."""
    gap = max(1, pixels.shape[2] // 32)
    grid = grid_picture(np.pad(pixels, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255), columns=SHOWN)
    axis.imshow(np.broadcast_to(grid, (*grid.shape[:2], 3)))
    axis.set_title(title, loc="left", pad=2)
    axis.set_axis_off()
