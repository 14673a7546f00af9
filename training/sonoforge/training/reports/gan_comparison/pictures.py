"""The pictures of trainings measured at milestones: quality over time, samples, principal components."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sonoforge.runtime.atomic import write_bytes
from sonoforge.training.data.pixels import Pixels, grid_picture
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.milestones import Milestone
from sonoforge.training.reports.charts import MARKERS, SERIES
from sonoforge.training.reports.gan_comparison.tables import SPREAD, Row, when
from sonoforge.training.statistics.wording import figure, share

SHOWN = 8  # samples of each training
SAMPLES = "samples-over-time.png"
PCA = "pca.png"
CURVES = "quality-over-time.png"
EPOCHS = "quality-over-epochs.png"
_APART = 3.0  # lengths of trainings, from which on the curves' minutes are on a logarithmic axis
_POINT = 6.0  # area of a point of the PCA picture, points squared
_styled = mpl.rc_context({"font.size": 8})


class Shown(NamedTuple):
    """One milestone of one training, as the pictures need it."""

    row: Row
    checkpoint: Path
    measured: Milestone


@_styled
def write_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draw each recipe's KID, as a multiple of what real images score among themselves, over minutes of training."""
    canvas = Figure(figsize=(7, 4.2), layout="constrained")
    axis = canvas.add_subplot()
    for own, style in _by_recipe(rows):
        axis.plot([60 * row["hours"] for row in own], [row["kid_ratio"] for row in own], **style)
    axis.axhline(1, color="0.4", linewidth=0.8)
    axis.annotate(
        "cannot be told from real images",
        (0, 1),
        (2, 2),
        xycoords=axis.get_yaxis_transform(),
        textcoords="offset points",
        color="0.4",
    )
    axis.set_yscale("log")
    lengths = [row["hours"] for row in {row["recipe"]: row for row in rows}.values()]
    if max(lengths) > _APART * min(lengths):  # short trainings beside long ones would be a dash at the left
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.set_xlim(left=0)
    axis.set_xlabel(f"minutes of training ({rows[0]['device']})")
    axis.set_ylabel("KID / KID of real images (log)")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(canvas, path, _describe(rows[0], "KID"))


@_styled
def write_epochs(path: Path, rows: Sequence[Row]) -> None:
    """Draw each recipe's KID, with its standard error, and FID over epochs (Ryspayeva and Salykova 2025, figure 1)."""
    canvas = Figure(figsize=(9, 3.8), layout="constrained")
    panels = canvas.subplots(1, 2, sharex=True)
    for own, style in _by_recipe(rows):
        epochs = [row["epoch"] for row in own]
        spread = [row.get(SPREAD, 0.0) for row in own]
        panels[0].errorbar(epochs, [row["kid"] for row in own], spread, capsize=2, **style)
        panels[1].plot(epochs, [row["fid"] for row in own], **style)
    for axis, name in zip(panels, ("KID", "FID"), strict=True):
        axis.set(xlabel="epochs", ylabel=name, xlim=(0, None), ylim=(0, None))
    canvas.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", frameon=False)
    _save(canvas, path, _describe(rows[0], "KID and FID"))


def _by_recipe(rows: Sequence[Row]) -> Iterator[tuple[list[Row], dict[str, Any]]]:
    """Yield each recipe's rows, and how its line is drawn: no two of the first 18 alike, nor of 36 with markers."""
    for number, recipe in enumerate(dict.fromkeys(row["recipe"] for row in rows)):
        cycle, place = divmod(number, len(SERIES))
        yield (
            [row for row in rows if row["recipe"] == recipe],
            {
                "label": recipe,
                "color": SERIES[place],
                "marker": MARKERS[(place + cycle) % len(MARKERS)],
                "linestyle": ("-", "--", ":")[cycle % 3],
                "markersize": 4,
            },
        )


def _describe(one: Row, figures: str) -> str:
    against = "held-out" if one["reference"] != "training" else "training"
    side = f"{one['image_size']} x {one['image_size']}"
    return (
        f"{one['data']}, {one['images']} images at {side}; {figures} in {one['features']} against {one['real']} "
        f"{against} images"
    )


@_styled
def write_samples(path: Path, shown: Sequence[Shown], real: Pixels) -> None:
    """Draw some real images, then the same latents at each milestone of each training; real: (N, S, S, C) uint8."""
    canvas = Figure(figsize=(9, 0.4 + 1.2 * (len(shown) + 1)), layout="constrained")
    axes = canvas.subplots(len(shown) + 1, 1)
    show_row(axes[0], real[evenly_spaced(len(real), SHOWN)], "real")
    for axis, (row, checkpoint, _) in zip(axes[1:], shown, strict=True):
        title = f"{row['recipe']}, {when(row)}: FID {figure(row['fid'])}, KID {figure(row['kid'])}"
        show_row(axis, _drawn(checkpoint), title)
    space = shown[0].row["features"]
    _save(
        canvas,
        path,
        f"Synthetic images below the row of real ones. FID and KID in {space}. Research use, not a medical device.",
    )


def show_row(axis: Any, pixels: Pixels, title: str) -> None:
    """Draw images (N, S, S, C) uint8 side by side, a white gap between them, under a title."""
    gap = max(1, pixels.shape[2] // 32)
    grid = grid_picture(np.pad(pixels, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255), columns=SHOWN)
    axis.imshow(np.broadcast_to(grid, (*grid.shape[:2], 3)))
    axis.set_title(title, loc="left", pad=2)
    axis.set_axis_off()


def _drawn(checkpoint: Path) -> Pixels:
    """Draw `SHOWN` images, those of several classes in turn."""
    generator = load_generator(checkpoint)
    classes = int(generator.classes)  # type: ignore[arg-type]
    if not classes:
        return sample(generator, SHOWN, 0)
    own = [sample(generator, -(-SHOWN // classes), 0, label) for label in range(classes)]
    return np.stack(own, axis=1).reshape(-1, *own[0].shape[1:])[:SHOWN]


@_styled
def write_pca(path: Path, shown: Sequence[Shown]) -> None:
    """Draw real and generated images in the plane of the real ones' first two components, a panel a milestone."""
    recipes = list(dict.fromkeys(item.row["recipe"] for item in shown))
    most = max(sum(item.row["recipe"] == recipe for item in shown) for recipe in recipes)
    canvas = Figure(figsize=(3 * most, 0.5 + 2.8 * len(recipes)), layout="constrained")
    panels = canvas.subplots(len(recipes), most, squeeze=False, sharex="row", sharey="row")
    for across, recipe in zip(panels, recipes, strict=True):
        own = [item for item in shown if item.row["recipe"] == recipe]
        for axis in across[len(own) :]:
            axis.set_axis_off()
        for axis, (row, _, measured) in zip(across, own, strict=False):
            for name, marker, colour in (("real", "o", SERIES[0]), ("fake", "^", SERIES[1])):
                points = np.array(measured["pca"][name])
                label = "real" if name == "real" else "generated (synthetic)"
                axis.scatter(*points.T, _POINT, marker=marker, color=colour, alpha=0.6, label=label)
            axis.set_title(f"{row['recipe']}, {when(row)}")
            parts = enumerate(measured["pca"]["explained"], 1)
            first, second = [f"component {i}: {share(part)} of real variance" for i, part in parts]
            axis.set_xlabel(first)
            axis.set_ylabel(second if axis is across[0] else "")
    canvas.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    _save(canvas, path, shown[0].measured["pca"]["protocol"])


def _save(canvas: Figure, path: Path, title: str) -> None:
    canvas.suptitle(title, fontsize=8)
    stream = io.BytesIO()
    canvas.savefig(stream, format="png", dpi=150, metadata={"Description": json.dumps({"synthetic": True})})
    write_bytes(path, stream.getvalue())
