"""``sonoforge gan sweep``: recipes times perceptual weights, trained and measured alike, in one table and one picture.

With its defaults it is the table of Ryspayeva and Salykova 2025: both losses of DGAN-WP-TL times five weights of the
perceptual term, each with KID, FID, LPIPS and MS-SSIM between generated images, and SWD; their best row stands beside
ours as a claim.  The figures are those of `sonoforge evaluate`, against images that no generator saw, each with the
floor that real images score against each other.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.devices import find_device
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.measure import Yardstick, measure_sets, open_spaces
from sonoforge.training.evaluation.own_images import generated_set, real_set
from sonoforge.training.evaluation.protocol import protocol_id
from sonoforge.training.evaluation.results import MetricRow
from sonoforge.training.gan.batches.training_set import TrainingSet, read_training_set
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.job import open_job
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.setup import TrainingSetup, set_up
from sonoforge.training.metrics.lpips import Lpips, open_lpips
from sonoforge.training.metrics.spaces import Space
from sonoforge.training.metrics.suited_space import choose_space
from sonoforge.training.pages.sweep import (
    ALL_FIGURES,
    COLUMNS,
    FIGURES,
    PICTURE,
    TABLE,
    claims,
    describe_table,
    write_picture,
    write_table,
)
from sonoforge.training.progress import is_shown
from sonoforge.training.verbs.gan_train import UNFINISHED, finishing_on_interrupt
from sonoforge.training.verbs.settings.gan import GanSweepConfig

log = logging.getLogger(__name__)


EVALUATION = "evaluation.json"
METRICS = ("kid", "fid", "swd", "ms-ssim", "lpips")


def main(config: GanSweepConfig) -> Outcome:
    """Train each combination and measure it; write the tables and the picture anew after each."""
    cache_folder = config.storage.open()
    lpips = _open_lpips(config)
    job = open_job(dataclasses.replace(config.gan, metrics=("kid",)), config.device)
    combined = _combine(config, job.settings, cache_folder)
    spaces = _spaces(config, combined[0][1])
    job = dataclasses.replace(job, space=spaces[0])  # KID as the training goes, for the curves
    trainings = [set_up(images, dataclasses.replace(job, settings=settings)) for settings, images in combined]
    yardstick = Yardstick(METRICS, spaces, lpips, config.repeats, config.gan.seed, cache_folder)
    reals = [real_set(setup) for setup in trainings]
    name = f"gan-sweep-{combined[0][1].name}-{config.gan.class_name}".lower()
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume)
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    with run_folder.working_in(folder), finishing_on_interrupt() as interrupted:
        for number, (training, real) in enumerate(zip(trainings, reals, strict=True)):
            recipe, weight = training.settings.recipe, training.recipe.perceptual_weight
            log.info("== %d of %d: %s, perceptual weight %g", number + 1, len(trainings), recipe, weight)
            own = folder / f"{recipe}-{weight:g}"
            train_gan(combined[number][1], training.job, own, resume=True, show_progress=is_shown(), stop=interrupted)
            if not run_folder.is_finished(own):
                log.info(UNFINISHED)
                return Outcome({"run": str(folder), "finished": False, "rows": rows}, "sonoforge gan sweep --resume")
            count = config.count or len(training.originals)
            evaluation = _evaluate(own, real, yardstick, count, config.device)
            rows.append(_row(training, own, evaluation))
            figures += [{"recipe": recipe, "perceptual_weight": weight, **row} for row in evaluation["metrics"]]
            write_table(folder / TABLE, COLUMNS, [*rows, *claims(rows)])
            write_table(folder / ALL_FIGURES, tuple(figures[0]), figures)
            write_picture(folder / PICTURE, folder, rows, combined[0][1])
        best = min(rows, key=lambda row: row["kid"])
        say("%s", describe_table(rows))
        several = "" if len(rows) == 1 else f"; the best of {len(rows)} on the images it is shown for, so optimistic"
        lowest = "lowest KID %.4f: %s, perceptual weight %g%s"
        say(lowest, best["kid"], best["recipe"], best["perceptual_weight"], several)
        say("table: %s   all figures: %s   picture: %s", folder / TABLE, folder / ALL_FIGURES, folder / PICTURE)
    result = {"rows": rows, "claims": claims(rows), "figures": figures}
    run_folder.write_results(folder, result)
    paths = {"run": str(folder), "finished": True, "table": str(folder / TABLE), "picture": str(folder / PICTURE)}
    which = "best" if best["best_step"] is not None else "last"
    return Outcome({**paths, **result}, f"sonoforge gan sample {folder / best['run']} --checkpoint {which}")


def _open_lpips(config: GanSweepConfig) -> Lpips | None:
    if config.lpips:
        return open_lpips(config.lpips, config.lpips_heads or None, str(find_device(config.device)))
    if config.lpips_heads:
        raise SonoforgeError("--lpips-heads: found without --lpips; give its network as well")
    log.warning("LPIPS is not measured: give its network, --lpips")
    return None


def _combine(
    config: GanSweepConfig, shared: GanSettings, cache_folder: Path | None
) -> list[tuple[GanSettings, TrainingSet]]:
    """List every combination with its images, each set read once."""
    read: dict[tuple[int, bool], TrainingSet] = {}
    combined = []
    for recipe, weight in itertools.product(config.recipes, _weights(config.weights)):
        settings = dataclasses.replace(shared, recipe=recipe, perceptual_weight=weight)
        composed = compose(settings)
        key = (settings.image_size or composed.image_size, composed.conditioning == "none")
        if key not in read:
            read[key] = read_training_set(config.data, settings, groups=True, cache_folder=cache_folder)
        combined.append((settings, read[key]))
    return combined


def _spaces(config: GanSweepConfig, images: TrainingSet) -> list[Space]:
    choices = config.metric_features
    if not choices:
        originals = images.pixels[..., : images.image_channels] if images.originals is None else images.originals
        choices = (choose_space(list(originals), images.name, "--metric-features"),)
    device = str(find_device(config.device))
    return open_spaces(choices, config.metric_weights, device, ("--metric-features", "--metric-weights"))


def _evaluate(own: Path, real: ImageSet, yardstick: Yardstick, count: int, device: str) -> dict[str, Any]:
    """Measure a finished training's last checkpoint, or read what an earlier call measured under this protocol."""
    protocol = yardstick.protocol(real, count)
    path = own / EVALUATION
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["protocol_id"] == protocol_id(protocol):
            return found
    fake = generated_set(own, real, count, yardstick.seed, device)
    rows, not_measured, _ = measure_sets(yardstick, real, fake)
    evaluation = {"protocol": protocol, "protocol_id": protocol_id(protocol), "metrics": rows}
    write_json(path, {**evaluation, "not_measured": not_measured})
    return {**evaluation, "not_measured": not_measured}


def _weights(texts: Sequence[str]) -> list[float]:
    try:
        weights = [float(text) for text in texts]
    except ValueError:
        weights = [-1.0]
    if not weights or min(weights) < 0:
        raise SonoforgeError(f"--weights: found {','.join(texts)}, expected numbers from 0 up, such as 0.5,3,5")
    return weights


def _row(training: TrainingSetup, own: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    results = run_folder.read_results(own)
    ticks = read_stats(own, results["last_tick"]["step"])
    last = ticks[-1]
    first: dict[str, MetricRow] = {}
    for row in evaluation["metrics"]:
        first.setdefault(row["name"], row)  # of several feature spaces, the first
    measured: dict[str, Any] = {}
    for name in FIGURES:
        if name in first:
            found = first[name]
            measured |= {name: found["value"], f"{name}_floor": found["floor"], f"{name}_ratio": found["ratio"]}
    protocol = evaluation["protocol"]
    return {
        "recipe": training.settings.recipe,
        "perceptual_weight": training.recipe.perceptual_weight,
        **measured,
        **{name: last[name] for name in ("kimg", "diversity", "distance", "collapsed") if name in last},
        "steps": last["step"],
        "n": protocol["matched"],
        "reference": "training" if training.held_out is None else "held-out",
        "real": protocol["number of real images"],
        "generated": protocol["number of generated images"],
        "protocol_id": evaluation["protocol_id"],
        "best_kid": results["best_kid"],
        "best_step": results["best_step"],
        "seconds_per_kimg": float(np.mean([row["seconds_per_kimg"] for row in ticks])),
        "images": results["images"],
        "features": first["kid"]["space"],
        "run": own.name,
    }
