"""Draw the pictures of a training run: ``metrics.png``, its curves, and ``samples-over-time.png``, its samples."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from sonoforge.runtime.atomic import replacing, write_bytes
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.training.evaluation import COLLAPSE_FRACTION

PICTURE, OVER_TIME = "metrics.png", "samples-over-time.png"
# Shares of a training run at which samples are shown: figure 14 of the MSc thesis (S. H., Middlesex University, 2024).
_MOMENTS = (500 / 4200, 1500 / 4200, 3500 / 4200, 1.0)
_SHOWN = 8  # images in a row: a sheet of generated images has 8 rows and columns
_SMALLEST, _LARGEST, _CAPTION = 64, 160, 14  # pixels: sides of its images, height of a line of text

Row = Mapping[str, Any]


def draw_curves(rows: Sequence[Row], best_step: int | None) -> Figure:
    """Draw a training run's figures over thousands of real images shown, one panel each.

    These are KID with a band of one standard error and FID, if measured; then diversity, with the floor that the best
    checkpoint must reach, and the losses.
    """
    panels = [*[name for name in ("kid", "fid") if any(name in row for row in rows)], "diversity", "losses"]
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8.5, 1.75 * len(panels) + 0.5), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for name, axis in zip(panels, axes, strict=True):
            if name == "diversity":
                axis.plot(_column(rows, "kimg"), _column(rows, "diversity"), marker=".", color="tab:blue")
                axis.axhline(1.0, color="grey", linewidth=0.8, label="real images")
                floor = {"linestyle": "--", "label": "floor of the best checkpoint"}
                axis.axhline(COLLAPSE_FRACTION, color="tab:red", linewidth=0.8, **floor)
                axis.set(ylabel="diversity", ylim=(0, None))
            elif name == "losses":
                for network in ("discriminator", "generator"):
                    if f"{network}_loss" in rows[0]:  # flow matching has no discriminator
                        axis.plot(_column(rows, "kimg"), _column(rows, f"{network}_loss"), label=network)
                axis.set_ylabel("loss")
            else:
                _draw_distance(axis, rows, name)
            for row in rows:
                if row["step"] == best_step:
                    axis.axvline(row["kimg"], color="tab:green", linestyle=":", label=f"best: step {best_step}")
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        axes[-1].set_xlabel("thousands of real images shown")
        pace = rows[-1]["step"] / rows[-1]["kimg"]  # generator updates; of a recipe with one batch an epoch, epochs
        axes[0].secondary_xaxis("top", functions=(lambda kimg: kimg * pace, lambda step: step / pace)).set_xlabel(
            "step"
        )
        return figure


def _draw_distance(axis: Axes, rows: Sequence[Row], name: str) -> None:
    measured = [row for row in rows if name in row]
    kimg, values = _column(measured, "kimg"), _column(measured, name)
    axis.plot(kimg, values, marker=".", color="tab:blue")
    if name == "kid":
        errors = _column(measured, "kid_standard_error")
        axis.fill_between(kimg, values - errors, values + errors, alpha=0.25, linewidth=0, label="± 1 standard error")
    vetoed = _column(measured, "diversity") < COLLAPSE_FRACTION
    if vetoed.any():
        axis.plot(kimg[vetoed], values[vetoed], "x", color="tab:red", label="diversity below its floor")
    last = measured[-1]
    axis.set_ylabel(name.upper())
    title = f"{last['metric_generated']} generated against {last['metric_real']} {last['metric_reference']} images"
    axis.set_title(f"{title}; {last['metric_features']}", loc="left", fontsize=7)


def _column(rows: Sequence[Row], name: str) -> Any:
    return np.array([row[name] for row in rows], np.float64)


def write_curves(path: Path, rows: Sequence[Row], best_step: int | None) -> None:
    """Write `draw_curves` as a PNG."""
    with replacing(path) as file:
        draw_curves(rows, best_step).savefig(file, format="png", dpi=150)


def write_over_time(path: Path, samples: Path, rows: Sequence[Row], real_side: int) -> None:
    """Write real images, and below them samples of the same latents at four moments of a training run, as a PNG.

    ``samples`` has the sheets of the ticks, ``step-00000120.png``, and of real images, ``real.png``, with sides of
    ``real_side`` pixels.
    """
    last = rows[-1]["step"]
    steps = [min((row["step"] for row in rows), key=lambda step: abs(step - share * last)) for share in _MOMENTS]
    names = {"real images": "real.png"} | {f"generated at step {step}": f"step-{step:08d}.png" for step in steps}
    write_sheets(path, {name: samples / file for name, file in names.items()}, real_side)


def write_sheets(path: Path, sheets: Mapping[str, Path], real_side: int) -> None:
    """Write the first images of sheets of a training run's ``samples`` under their names, as a PNG.

    Images of ``real.png`` have sides of ``real_side`` pixels; other sheets have 8 columns.
    """
    shown = min(max(real_side, _SMALLEST), _LARGEST)
    picture = Image.new("RGB", (shown * _SHOWN, (shown + _CAPTION) * len(sheets)), "white")
    draw = ImageDraw.Draw(picture)
    for place, (name, file) in enumerate(sheets.items()):
        top = place * (shown + _CAPTION)
        draw.text((2, top + 1), name, fill="black")
        with Image.open(file) as sheet:
            side = real_side if file.name == "real.png" else sheet.width // _SHOWN  # smaller while networks grow
            for number in range(min(_SHOWN, sheet.height // side)):  # the first of each row: all classes have some
                own = sheet.crop((0, number * side, side, (number + 1) * side)).convert("RGB").resize((shown, shown))
                picture.paste(own, (number * shown, top + _CAPTION))
    about = PngInfo()
    about.add_text("Description", json.dumps({"synthetic": True}))
    write_bytes(path, encoded(picture, pnginfo=about))
