"""``sonoforge gan sweep``: recipes times perceptual weights, trained alike, in one table and one picture.

With its defaults it is the table of Ryspayeva and Salykova 2025: both losses of DGAN-WP-TL times five weights of the
perceptual term.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from sonoforge.runtime.atomic import write_bytes, write_text
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.pixels import Pixels, grid_picture
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.gan.batches.training_set import TrainingSet, read_training_set
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.job import GanJob, open_job
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.setup import set_up
from sonoforge.training.progress import is_shown
from sonoforge.training.verbs.gan_train import finishing_on_interrupt
from sonoforge.training.verbs.settings.gan_sweep import Config

log = logging.getLogger(__name__)


TABLE = "sweep.csv"
PICTURE = "sweep.png"
SHOWN = 8  # samples of each training in the picture
COLUMNS = (
    *("recipe", "perceptual_weight", "steps", "kimg", "kid", "kid_standard_error", "fid", "diversity", "distance"),
    *("collapsed", "best_kid", "best_step", "seconds_per_kimg", "images", "features", "metric_reference"),
    *("metric_real", "metric_generated", "run"),
)


class Training(NamedTuple):
    """One training of the sweep."""

    recipe: str
    weight: float
    job: GanJob
    images: TrainingSet


def main(config: Config) -> Outcome:
    """Train each combination, and write the table and the picture anew after each."""
    if not config.gan.features:
        raise SonoforgeError("--features: missing; KID and FID need a feature network: a .safetensors file or vgg16")
    shared = open_job(dataclasses.replace(config.gan, metrics=("kid", "fid")), config.device)
    cache_folder = config.storage.open()
    read: dict[tuple[int, bool], TrainingSet] = {}
    trainings = []
    for recipe, weight in itertools.product(config.recipes, _weights(config.weights)):
        settings = dataclasses.replace(shared.settings, recipe=recipe, perceptual_weight=weight)
        composed = compose(settings)
        key = (settings.image_size or composed.image_size, composed.conditioning == "none")
        if key not in read:
            groups = bool(settings.held_out)
            read[key] = read_training_set(config.data, settings, groups=groups, cache_folder=cache_folder)
        trainings.append(Training(recipe, weight, dataclasses.replace(shared, settings=settings), read[key]))
        set_up(read[key], trainings[-1].job)  # refuses bad settings before a folder is made
    name = f"gan-sweep-{trainings[0].images.name}-{config.gan.class_name}".lower()
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume)
    rows: list[dict[str, Any]] = []
    with run_folder.log_to(folder), finishing_on_interrupt() as interrupted:
        for number, (recipe, weight, job, images) in enumerate(trainings):
            log.info("== %d of %d: %s, perceptual weight %g", number + 1, len(trainings), recipe, weight)
            own = folder / f"{recipe}-{weight:g}"
            train_gan(images, job, own, resume=True, show_progress=is_shown(), stop=interrupted)
            if not run_folder.is_finished(own):
                log.info("stopped before its end; to go on: the same command with --resume")
                return Outcome({"run": str(folder), "finished": False, "rows": rows}, "sonoforge gan sweep --resume")
            rows.append(_row(recipe, weight, own))
            _write_table(folder / TABLE, rows)
            _write_picture(folder / PICTURE, folder, rows, trainings[0].images)
        best = min(rows, key=lambda row: row["kid"])
        say("lowest KID %.4f: %s, perceptual weight %g", best["kid"], best["recipe"], best["perceptual_weight"])
        say("table: %s   picture: %s", folder / TABLE, folder / PICTURE)
    run_folder.write_results(folder, {"rows": rows})
    result = {"run": str(folder), "finished": True, "table": str(folder / TABLE), "picture": str(folder / PICTURE)}
    which = "best" if best["best_step"] is not None else "last"
    return Outcome({**result, "rows": rows}, f"sonoforge gan sample {folder / best['run']} --checkpoint {which}")


def _weights(texts: Sequence[str]) -> list[float]:
    try:
        weights = [float(text) for text in texts]
    except ValueError:
        weights = [-1.0]
    if not weights or min(weights) < 0:
        raise SonoforgeError(f"--weights: found {','.join(texts)}, expected numbers from 0 up, such as 0.5,3,5")
    return weights


def _row(recipe: str, weight: float, own: Path) -> dict[str, Any]:
    results = run_folder.read_results(own)
    rows = read_stats(own, results["last_tick"]["step"])
    last = rows[-1]
    figures = {name: last[name] for name in COLUMNS if name in last}
    return {
        "recipe": recipe,
        "perceptual_weight": weight,
        **figures,
        "steps": last["step"],
        "best_kid": results["best_kid"],
        "best_step": results["best_step"],
        "seconds_per_kimg": float(np.mean([row["seconds_per_kimg"] for row in rows])),
        "images": results["images"],
        "features": results["features"],
        "run": own.name,
    }


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def _write_picture(path: Path, folder: Path, rows: list[dict[str, Any]], real: TrainingSet) -> None:
    """Above: KID over the training.  Below: for each training, the same latents at its end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mpl.rc_context({"font.size": 8}))
        figure = Figure(figsize=(9, 2.6 + 0.95 * (len(rows) + 1)), layout="constrained")
        ratios = [2.4, *[0.95] * (len(rows) + 1)]
        axes = figure.subplots(len(rows) + 2, 1, gridspec_kw={"height_ratios": ratios})
        for row in rows:
            curve = read_stats(folder / row["run"], row["steps"])
            label = f"{row['recipe']} {row['perceptual_weight']:g}"
            axes[0].plot([tick["kimg"] for tick in curve], [tick["kid"] for tick in curve], marker=".", label=label)
        axes[0].set(xlabel="thousands of real images shown", ylabel=f"KID\n({rows[0]['features'].split(' ')[0]})")
        axes[0].legend(fontsize=6, ncols=2)
        spread = evenly_spaced(len(real), SHOWN)
        _show(axes[1], real.pixels[spread, ..., : real.image_channels], "real")
        for axis, row in zip(axes[2:], rows, strict=True):
            title = f"{row['recipe']}, weight {row['perceptual_weight']:g}: KID {row['kid']:.3f}, FID {row['fid']:.1f}"
            _show(axis, sample(load_generator(folder / row["run"]), SHOWN, 0), title)
        figure.suptitle("Synthetic images below the row of real ones. Research use, not a medical device.", fontsize=8)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150, metadata={"Description": json.dumps({"synthetic": True})})
    write_bytes(path, stream.getvalue())


def _show(axis: Any, pixels: Pixels, title: str) -> None:
    grid = grid_picture(pixels, columns=SHOWN)
    axis.imshow(np.broadcast_to(grid, (*grid.shape[:2], 3)))
    axis.set_title(title, loc="left", pad=2)
    axis.set_axis_off()
