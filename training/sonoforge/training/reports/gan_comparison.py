"""Write tables and pictures of training runs measured at milestones, with published rows beside ours."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.gan.curves import write_sheets
from sonoforge.training.gan.milestones import Milestone
from sonoforge.training.reports.blocks import Table
from sonoforge.training.reports.charts import MARKERS, SERIES, png_bytes
from sonoforge.training.reports.terminal import plain_table
from sonoforge.training.reports.words import fill_in, read_said
from sonoforge.training.statistics.published import GPU_GB, Paper, PublishedGan
from sonoforge.training.statistics.wording import figure, share, times

TABLE = "compare.csv"
ALL_FIGURES = "compare-metrics.csv"
TABLES = "tables.md"
FIGURES = {"fid": "FID", "kid": "KID", "laplacian_swd": "SWD x 1000", "inception_score": "IS"}
FIGURES_OF_PAIRS = {"ms_ssim": "MS-SSIM of pairs", "lpips_pairs": "LPIPS of pairs"}
"""Figures that are only measured on request."""
SPREAD = "kid_spread"  # of ours the standard error of KID, of a claim what is printed after ±
COSTS = ("seconds_per_kimg", "hours", "memory_gib")
_ON_REQUEST = (*(f"{name}{part}" for name in FIGURES_OF_PAIRS for part in ("", "_floor", "_ratio")), SPREAD)
COLUMNS = (
    *("data", "recipe", "milestone", "epoch", "step", "kimg"),
    *(f"{name}{part}" for name in FIGURES for part in ("", "_floor", "_ratio")),
    *_ON_REQUEST,
    *("n", "reference", "real", "generated", "protocol_id", "diversity", "collapsed"),
    *(*COSTS, "device", "image_size", "batch", "images", "expand", "classes", "conditioning"),
    *("features", "source", "run"),
)

OURS = "ours"
CLAIM = "claim under another protocol, not comparable"
_COSTS = ("s/epoch", "s/kimg", "hours")

HOW_TO_READ = read_said("gan-comparison")
Row = dict[str, Any]
"""A measured milestone in `COLUMNS`; a figure that was not measured is left out."""


def columns_of(known: Collection[str]) -> tuple[str, ...]:
    """Return the columns of a table with these cells, including `FIGURES_OF_PAIRS` and `SPREAD` only if present."""
    return tuple(name for name in COLUMNS if name in known or name not in _ON_REQUEST)


def claimed_rows(paper: Paper | None) -> list[Row]:
    """Return the published rows in the table's columns; none without a paper."""
    same = ("data", "epoch", "fid", "kid", "kid_spread", "inception_score", "ms_ssim", "lpips_pairs")
    return [
        {
            **{name: getattr(row, name) for name in (*same, "seconds_per_kimg", "hours")},
            **{"recipe": row.network, "laplacian_swd": row.swd, "reference": CLAIM, "run": "not run here"},
            "source": ", ".join(filter(None, (row.source, row.table))),
        }
        for row in ((*paper.rows, *paper.others) if paper else ())
    ]


def log_race(folder: Path, rows: Sequence[Row], *, published: bool) -> Row:
    """Print the distances of our training runs and how to read them, and return the row with the lowest KID."""
    shown = [name for name in FIGURES if name != "inception_score"]
    cells = [(f"{row['recipe']}, {when(row)}", *_figures(row, shown)) for row in rows]
    say("%s", plain_table(("trained", *(FIGURES[name] for name in shown)), cells, range(1, len(shown) + 1)))
    for line in _how_to_read(rows):
        tell(line)
    best = min(rows, key=lambda row: float(row["kid"]))
    chosen = f"; the best of {len(rows)} on the images it is shown for, so optimistic" if len(rows) > 1 else ""
    tell(f"lowest KID {best['kid']:.4f}: {best['recipe']}, {when(best)}{chosen}")
    tell(f"in {folder}:")
    tell(f"tables, with seconds an epoch{' and published rows beside' * published}: {TABLES}; every figure: {TABLE}")
    tell(f"quality over epochs: {EPOCHS}")
    tell(f"samples: {SAMPLES}; principal components: {PCA}")
    return best


def markdown_tables(rows: Sequence[Row], paper: Paper | None) -> str:
    """Return a paper's tables as Markdown, ours above the published rows; without a paper, only ours."""
    asked = {name: title for name, title in FIGURES_OF_PAIRS.items() if any(name in row for row in rows)}
    shown = FIGURES | asked
    during = [[OURS, row["data"], row["recipe"], when(row), *_figures(row, shown)] for row in rows]
    ends = {row["recipe"]: row for row in rows}  # the last milestone that was measured
    costs = []
    for row in rows:
        took = [row["kimg"] / row["epoch"] * row["seconds_per_kimg"], *(row[name] for name in COSTS)]
        cells = ["-" if value is None else figure(value) for value in took]
        costs.append([OURS, row["data"], row["recipe"], row["device"], when(row), *cells])
    for claim in paper.rows if paper else ():
        if claim.epoch is not None:
            during.append(["claim", claim.data, claim.network, f"epoch {claim.epoch}", *_claimed_figures(claim, shown)])
        if claim.hours is not None:
            stated = [str(value or "-") for value in (claim.seconds_per_epoch, claim.seconds_per_kimg, claim.hours)]
            memory = f"about {GPU_GB} GB" if claim.epoch else "-"
            costs.append(["claim", claim.data, claim.network, "GPU", _claimed_when(claim), *stated, memory])
    others = [[OURS, row["data"], row["recipe"], when(row), *_figures(row, shown)] for row in ends.values()]
    # Of the published rows of a network, the last.
    for claim in [*{(row.data, row.network): row for row in paper.rows}.values(), *paper.others] if paper else ():
        others.append(["claim", claim.data, claim.network, _claimed_when(claim), *_claimed_figures(claim, shown)])
    headings = ["", "data", "network", "when", *shown.values()]
    titles = paper.titles if paper else ("", "", "")
    sections = [
        "# Generators on few images, measured as they train",
        "\n".join(f"- {line}" for line in _how_to_read(rows)),
        *_about_claims(paper),
        f"## During training{titles[0]}",
        Table("", headings, during).in_markdown(),
        f"## Time and memory{titles[1]}",
        Table("", ["", "data", "network", "device", "up to", *_COSTS, "memory, GiB"], costs).in_markdown(),
        *([f"## Beside other generators{titles[2]}", Table("", headings, others).in_markdown()] if paper else []),
    ]
    return "\n\n".join(sections) + "\n"


def _about_claims(paper: Paper | None) -> list[str]:
    if paper is None:
        return []
    own = (
        f"Rows marked *claim* are published ({paper.rows[0].source}; {paper.images}). Of how many generated images and "
        f"against which real ones, {paper.silent} not say, so no row of theirs is comparable with one of ours, and "
        "none is a target."
    )
    return [" ".join([own, *paper.unknown])]


def when(row: Row) -> str:
    """Return the milestone of a row in words."""
    return f"{100 * row['milestone']:.3g} %, epoch {row['epoch']:.4g}"


def _figures(row: Row, shown: Collection[str]) -> list[str]:
    cells = []
    for name in shown:
        ratio, spread = row.get(f"{name}_ratio"), row.get(SPREAD) if name == "kid" else None
        parts = [figure(row[name])] if name in row else ["-"]
        parts += [] if spread is None else [f"± {figure(spread)}"]
        cells.append(" ".join([*parts, *([] if ratio is None else [f"({times(ratio)})"])]))
    return cells


def _claimed_when(row: PublishedGan) -> str:
    return "not stated" if row.epoch is None else f"epoch {row.epoch}"


def _claimed_figures(row: PublishedGan, shown: Collection[str]) -> list[str]:
    # As printed there: two decimals, and four in the tables of other GANs.
    named = {"laplacian_swd": "swd"}
    values = {name: getattr(row, named.get(name, name)) for name in shown}
    spread = "" if row.kid_spread is None else f" ± {row.kid_spread:.2f}"
    return [
        "-" if value is None else f"{value:.{2 if round(value, 2) == value else 4}f}{spread if name == 'kid' else ''}"
        for name, value in values.items()
    ]


def _how_to_read(rows: Sequence[Row]) -> list[str]:
    one, ends = rows[0], list({row["recipe"]: row for row in rows}.values())
    # At the end of each training.
    shown = {row["recipe"]: row["kimg"] / row["milestone"] for row in ends}
    minutes = sorted(60 * row["hours"] / row["milestone"] for row in ends)
    facts = {
        **{"one": one, "rows": rows, "lengths": shown.values(), "times": minutes},
        "batches": _in_common(ends, "batch"),
        "classes": max(row["classes"] for row in ends),
        "conditioning": _in_common(ends, "conditioning"),
        "shown": figure(max(shown.values())),
        "each_shown": ", ".join(f"{recipe} {figure(kimg)}" for recipe, kimg in shown.items()),
        "minutes": f"{figure(minutes[0])} to {figure(minutes[-1])}",
    }
    return [own.says for own in fill_in(HOW_TO_READ, facts).values() if own.where]


def _in_common(ends: Sequence[Row], key: str) -> str:
    """Return what the recipes have in common, or what each has."""
    if len({row[key] for row in ends}) == 1:
        return str(ends[0][key])
    own: dict[Any, list[str]] = {}
    for row in ends:
        own.setdefault(row[key], []).append(row["recipe"])
    return ", ".join(f"{value} ({', '.join(recipes)})" for value, recipes in own.items())


SAMPLES = "samples-over-time.png"
PCA = "pca.png"
EPOCHS = "quality-over-epochs.png"
_POINT = 6.0  # area of a point of the PCA picture, points squared
_styled = mpl.rc_context({"font.size": 8})


class Shown(NamedTuple):
    """One milestone of one training run, for the pictures."""

    row: Row
    checkpoint: Path
    measured: Milestone

    def sheet(self, name: str) -> Path:
        """Return a sheet of its training run's samples."""
        return self.checkpoint.parent.parent / "samples" / name


@_styled
def write_epochs(path: Path, rows: Sequence[Row]) -> None:
    """Draw each recipe's KID, with its standard error, and FID over epochs (Ryspayeva and Salykova 2025, figure 1)."""
    canvas = Figure(figsize=(9, 3.8), layout="constrained")
    panels = canvas.subplots(1, 2, sharex=True)
    for index, recipe in enumerate(dict.fromkeys(row["recipe"] for row in rows)):
        own, (cycle, place) = [row for row in rows if row["recipe"] == recipe], divmod(index, len(SERIES))
        # No two of the first 18 lines are alike, nor of 36 with their markers.
        style: dict[str, Any] = {"label": recipe, "color": SERIES[place], "linestyle": ("-", "--", ":")[cycle % 3]}
        style |= {"marker": MARKERS[(place + cycle) % len(MARKERS)], "markersize": 4}
        epochs = [row["epoch"] for row in own]
        spread = [row.get(SPREAD, 0.0) for row in own]
        panels[0].errorbar(epochs, [row["kid"] for row in own], spread, capsize=2, **style)
        panels[1].plot(epochs, [row["fid"] for row in own], **style)
    for axis, name in zip(panels, ("KID", "FID"), strict=True):
        axis.set(xlabel="epochs", ylabel=name, xlim=(0, None), ylim=(0, None))
    canvas.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", frameon=False)
    _save(canvas, path, _describe(rows[0], "KID and FID"))


def _describe(one: Row, figures: str) -> str:
    against = "held-out" if one["reference"] != "training" else "training"
    side = f"{one['image_size']} x {one['image_size']}"
    return (
        f"{one['data']}, {one['images']} images at {side}; {figures} in {one['features']} against {one['real']} "
        f"{against} images"
    )


def write_samples(path: Path, shown: Sequence[Shown], side: int) -> None:
    """Draw real images with this side, then the same latents at each milestone of each training."""
    first = shown[0]
    about = f"synthetic images below; FID and KID in {first.row['features']}; research use, not a medical device"
    sheets = {f"real images; {about}": first.sheet("real.png")}
    for item in shown:
        row = item.row
        name = f"{row['recipe']}, {when(row)}: FID {figure(row['fid'])}, KID {figure(row['kid'])}"
        sheets[name] = item.sheet(f"step-{row['step']:08d}.png")
    write_sheets(path, sheets, side)


@_styled
def write_pca(path: Path, shown: Sequence[Shown]) -> None:
    """Draw real and generated images in the plane of the real ones' first two components, one panel per milestone."""
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
    write_bytes(path, png_bytes(canvas, json.dumps({"synthetic": True})))
