"""``sonoforge train``: one classifier, calibrated and judged on groups that it never saw."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.options import Outcome, option
from sonoforge.runtime.inference.trust import distances
from sonoforge.training import run_folder
from sonoforge.training.classifier.arms import ARMS
from sonoforge.training.classifier.final_model import record_model, train_final
from sonoforge.training.classifier.fine_tuning import BUDGETS, answer, pixel_views
from sonoforge.training.classifier.weights import load_backbone
from sonoforge.training.data.load import load_images
from sonoforge.training.data.splits import check_sealed, make_plan
from sonoforge.training.devices import open_fabric
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.verbs import crossval

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge train --data BUSI/                           hold out a sixth of the groups, train on the rest
sonoforge train --data BUSI/ --arm classical --budget paper
sonoforge train --data scans/ --weights backbone.safetensors --resume
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``train``."""

    data: str = option("phantom", help="folder of images (BUSI layout or one folder a class), or phantom")
    arm: str = option("real", help="what to train on", choices=tuple(ARMS))
    holdout: float = option(
        0.16, help="share of the images, in whole groups, kept to judge and calibrate", limits=(0.05, 0.5)
    )
    budget: str = option(
        "quick", help="quick: early blocks frozen, CPU minutes; paper: as published", choices=tuple(BUDGETS)
    )
    weights: str = option("imagenet", help="first weights: imagenet (download), shipped, none or a .safetensors file")
    epochs: int | None = option(None, help="epochs, instead of the budget's", limits=(1, None))
    frozen_blocks: int | None = option(None, help="frozen leading blocks, of 19", limits=(0, 18))
    members: int | None = option(None, help="networks that answer together", limits=(1, 16))
    learning_rate: float | None = option(None, help="peak learning rate", limits=(1e-8, None))
    precision: str = option("fp32", help="arithmetic of the training", choices=("fp32", "bf16"))
    seed: int = option(0, help="seed of split and training", limits=(0, None))
    images: int = option(240, help="number of phantom images, with --data phantom", limits=(30, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    cache: str = option("", help="folder of decoded images (default: SONOFORGE_CACHE or ~/.cache/sonoforge)")
    out: str = option("runs", help="folder of the numbered run folders")
    resume: bool = option(False, help="continue the newest run with the same settings")


def main(config: Config) -> Outcome:
    """Train, judge and calibrate one classifier in a run folder that ``export`` reads."""
    shared = {field.name for field in dataclasses.fields(crossval.Config)} & set(vars(config))
    comparison = crossval.Config(arms=(config.arm,), **{key: getattr(config, key) for key in shared})
    setting = crossval.resolve_setting(comparison)
    cache = load_images(crossval.image_source(comparison))
    folder = run_folder.open_run(
        Path(config.out), f"train-{config.arm}-{cache.dataset.name}", dataclasses.asdict(config), resume=config.resume
    )
    with run_folder.log_to(folder):
        if run_folder.is_finished(folder):
            return Outcome({"run": str(folder), **run_folder.read_results(folder)}, f"sonoforge export {folder}")
        backbone = load_backbone(config.weights, cache.images, cache.hashes)
        log.info("first weights: %s", backbone.source)
        plan = make_plan(cache, "sealed", max(2, round(1 / config.holdout)), config.seed)
        device = open_fabric(config.device).device
        run_folder.write_environment(
            folder, run_folder.describe_environment(str(device), config.seed, plan.fingerprint)
        )
        train, test = plan.train(0), plan.test(0)
        check_sealed(plan, 0, "classifier", train, cache)
        trained = train_final(folder / "final", cache, train, config.arm, setting, backbone, config.seed)
        views = pixel_views(cache.images[test], setting.classifier.mirror)
        answers = answer(trained.members, views, setting.classifier.frozen_blocks, device)
        groups = np.array(plan.groups)[test]
        held_out = Predictions(
            *(config.arm, "sealed", config.seed, tuple(plan.files[i] for i in test), groups),
            # Calibration is cross-fitted between two halves of the held-out groups.
            *(np.unique(groups, return_inverse=True)[1] % 2, cache.dataset.labels[test], answers.probabilities),
        )
        record = record_model(
            *(folder / "model", trained, cache, train, plan, held_out),
            distances(answers.embeddings, trained.reference),
            crossval.describe_setting(comparison, setting, backbone, cache),
            f"mobilenetv2-{cache.dataset.name.lower()}",
        )
        results = {"evaluation": record.evaluation, "history": trained.history, "held_out": len(test)}
        run_folder.write_results(folder, results)
        accuracy, area = record.evaluation["accuracy"], record.evaluation["macro_auc"]
        log.info(
            "%d held-out images: accuracy %.3f [%.3f, %.3f], macro-AUC %.3f",
            *(len(test), accuracy["value"], accuracy["low"], accuracy["high"], area["value"]),
        )
    return Outcome({"run": str(folder), **results}, f"sonoforge export {folder}")
