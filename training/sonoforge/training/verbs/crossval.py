"""``sonoforge crossval``: does a trained generator help?  k folds, every arm on the same folds and seeds."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sonoforge.runtime.cli.options import Outcome, option
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training import run_folder
from sonoforge.training.classifier.arms import ARMS
from sonoforge.training.classifier.fine_tuning import BUDGETS, ClassifierSettings
from sonoforge.training.classifier.folds import (
    FoldTask,
    remove_features,
    run_fold,
    train_shared_generators,
    write_features,
)
from sonoforge.training.classifier.weights import Backbone, load_backbone
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.splits import SplitPlan, leaked_images, make_plan, save_plan
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan.job import open_job
from sonoforge.training.gan.recipes import find_recipe
from sonoforge.training.gan.settings import GanSettings, compose
from sonoforge.training.progress import is_interactive, progress_bar
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.predictions import Predictions, write_predictions
from sonoforge.training.statistics.results import ArmResult
from sonoforge.training.tasks import default_jobs, run_tasks

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge crossval --data BUSI/                        sealed 10 folds, real images against real + GAN
sonoforge crossval --data BUSI/ --arms real,gan,duplicates,classical --seeds 3
sonoforge crossval --data BUSI/ --protocol thesis --budget paper --device cuda
sonoforge crossval --data BUSI/ --resume               continue a run that was interrupted
"""

# Quick generators are small on purpose: what a CPU can train ten times over in minutes.  Every table says so.
GAN_BUDGETS: dict[str, GanSettings] = {
    "quick": GanSettings(image_size=64, steps=120, batch=32),
    "paper": GanSettings(),
}


@dataclass(frozen=True)
class Config:
    """Settings of ``crossval``."""

    data: str = option("phantom", help="folder of images (BUSI layout or one folder a class), or phantom")
    protocol: str = option("sealed", help="sealed: no leakage; thesis: as published", choices=("sealed", "thesis"))
    arms: tuple[str, ...] = option(("real", "gan"), help="comma-separated arms; the first is the baseline")
    folds: int | None = option(None, help="number of folds (default: 10; phantom: 5)", limits=(2, 100))
    seed: int = option(0, help="seed of split and training", limits=(0, None))
    seeds: int = option(1, help="repeat everything with this many seeds", limits=(1, 100))
    budget: str = option(
        "quick", help="quick: early blocks frozen, CPU minutes; paper: as published", choices=tuple(BUDGETS)
    )
    weights: str | None = option(
        None,
        help="first weights: imagenet, shipped, none or a .safetensors file (default: imagenet; phantom: shipped)",
    )
    epochs: int | None = option(None, help="classifier epochs, instead of the budget's", limits=(1, None))
    frozen_blocks: int | None = option(None, help="frozen leading blocks, of 19", limits=(0, 18))
    members: int | None = option(None, help="networks that answer together", limits=(1, 16))
    learning_rate: float | None = option(None, help="classifier's peak learning rate", limits=(1e-8, None))
    precision: str = option("fp32", help="arithmetic of the classifier's training", choices=("fp32", "bf16"))
    gan_recipe: str = option("dcgan-thesis", help="row of sonoforge gan recipes")
    gan_size: int | None = option(None, help="side in pixels of the generator's images", limits=(16, 1024))
    gan_epochs: int | None = option(None, help="generator epochs", limits=(1, None))
    gan_steps: int | None = option(None, help="generator steps, instead of epochs", limits=(1, None))
    gan_batch: int | None = option(None, help="generator batch", limits=(2, None))
    gan_features: str = option(
        "", help="network of perceptual term and of --gan-checkpoint: .safetensors file or vgg16", metavar="NET"
    )
    gan_checkpoint: str = option(
        "last",
        help="last, or best: lowest KID on a tenth of the training fold that the generator does not see",
        choices=("last", "best"),
    )
    images: int = option(240, help="number of phantom images, with --data phantom", limits=(30, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    jobs: int | None = option(None, help="folds run at a time (default: one a core; 1 on a GPU)", limits=(1, 64))
    cache: str = option("", help="folder of decoded images (default: SONOFORGE_CACHE or ~/.cache/sonoforge)")
    out: str = option("runs", help="folder of the numbered run folders")
    resume: bool = option(False, help="continue the newest run with the same settings")


ConfigType = TypeVar("ConfigType", bound=Config)

PHANTOM_DEFAULTS: dict[str, Any] = {"folds": 5, "weights": "shipped", "epochs": 6, "members": 1, "gan_steps": 60}
"""What the built-in demonstration sets where the user said nothing: it ends in minutes and needs no network."""

DATA_DEFAULTS: dict[str, Any] = {"folds": 10, "weights": "imagenet"}


def resolve_defaults(config: ConfigType) -> ConfigType:
    """Fill in what the user left open and what depends on the data."""
    defaults = dict(PHANTOM_DEFAULTS if config.data == "phantom" else DATA_DEFAULTS)
    if config.gan_epochs is not None or config.budget == "paper":
        defaults.pop("gan_steps", None)
    if config.budget == "paper":
        defaults.pop("epochs", None)
        defaults.pop("members", None)
    return dataclasses.replace(config, **{k: v for k, v in defaults.items() if getattr(config, k) is None})


HELD_OUT = 0.1  # of a training fold, for choosing the generator's checkpoint


class Setting(NamedTuple):
    """The resolved settings of one comparison."""

    arms: tuple[str, ...]
    classifier: ClassifierSettings
    gan: GanSettings
    gan_features: str
    seeds: tuple[int, ...]
    device: str
    jobs: int | None


def resolve_setting(config: Config) -> Setting:
    """Fill in from the budget what the user left open.

    Raises:
        SonoforgeError: An unknown arm, no arm, or a device that is not there.
    """
    for arm in config.arms:
        if arm not in ARMS:
            raise SonoforgeError(
                f"--arms: found {arm!r}, expected some of {', '.join(ARMS)}{did_you_mean(arm, list(ARMS))}"
            )
    open_fabric(config.device)  # a device that is not there should not wait for the data to be found out
    if not config.arms or len(set(config.arms)) != len(config.arms):
        raise SonoforgeError(f"--arms: found {','.join(config.arms) or 'nothing'}, expected each arm once")
    classifier = dataclasses.replace(
        BUDGETS[config.budget],
        precision=config.precision,
        **_given(
            epochs=config.epochs,
            frozen_blocks=config.frozen_blocks,
            members=config.members,
            learning_rate=config.learning_rate,
        ),
    )
    gan = GAN_BUDGETS[config.budget]
    if config.gan_epochs is not None:
        gan = dataclasses.replace(gan, steps=None)
    gan = dataclasses.replace(
        gan,
        recipe=config.gan_recipe,
        **_given(image_size=config.gan_size, epochs=config.gan_epochs, steps=config.gan_steps, batch=config.gan_batch),
    )
    if config.gan_features:
        gan = dataclasses.replace(gan, features=config.gan_features)
    if config.gan_checkpoint == "best":
        # An ImageNet network, never the shipped bundle: that one was trained on images that are test images here.
        if not config.gan_features:
            raise SonoforgeError("--gan-checkpoint best: KID needs a network; give --gan-features FILE or vgg16")
        gan = dataclasses.replace(gan, metrics=("kid",), held_out=HELD_OUT)
    gan = dataclasses.replace(gan, image_size=gan.image_size or find_recipe(gan.recipe).image_size)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    compose(gan)  # parts that do not go together should not wait for the folds either, nor a missing network
    open_job(gan, config.device)
    return Setting(tuple(config.arms), classifier, gan, config.gan_features, seeds, config.device, config.jobs)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def cross_validate(
    folder: Path,
    source: ImageSource,
    cache: ImageCache,
    plans: Sequence[SplitPlan],
    setting: Setting,
    backbone: Backbone,
) -> dict[str, Any]:
    """Run every arm over every fold and seed, each finished fold kept; write predictions.csv and return the results.

    Writes ``folds/`` (one JSON a fold, see `folds.run_fold`), ``gan/`` (the generators), ``samples/`` (real and
    generated images), ``predictions.csv``.  What is already there from an interrupted run of the same settings is
    not computed again.

    Args:
        folder: Run folder.
        source: Where the images come from, for the processes that run the folds.
        cache: The same images, opened.
        plans: One split plan a seed.
        setting: See `resolve_setting`.
        backbone: Initial weights.

    Returns:
        `tables.evaluate` with ``learning_curves``, ``train_accuracy``, ``seconds`` and ``split`` added.
    """
    device = open_fabric(setting.device).device
    jobs = setting.jobs or default_jobs(device)
    tasks = [
        FoldTask(
            *(folder, source, plan, fold, arm, setting.classifier),
            *(setting.gan, setting.gan_features, setting.device, backbone),
        )
        for plan in plans
        for arm in setting.arms
        for fold in range(plan.folds)
    ]
    waiting = [task for task in tasks if not task.path.is_file()]
    if waiting:
        log.info("%d folds to run, %d at a time on %s", len(waiting), min(jobs, len(waiting)), device)
        write_features(waiting, jobs)
        train_shared_generators(waiting)
    with progress_bar("folds", len(tasks), len(tasks) - len(waiting), show=is_interactive()) as advance:
        for done, result in enumerate(run_tasks(run_fold, waiting, jobs), len(tasks) - len(waiting) + 1):
            log.info(
                "%s: fold %d of %d (seed %d): accuracy %.3f on %d images, %.0f s",
                *(result["arm"], result["fold"] + 1, plans[0].folds, result["seed"], result["accuracy"]),
                *(len(result["files"]), result["seconds"]),
            )
            advance(done, f"{result['arm']} fold {result['fold'] + 1}")
    remove_features(folder)
    results = [json.loads(task.path.read_text(encoding="utf-8")) for task in tasks]
    classes = cache.dataset.classes
    predictions = [_pool(arm, plan, results) for plan in plans for arm in setting.arms]
    write_predictions(folder / "predictions.csv", predictions, classes)
    evaluation = tables.evaluate(predictions, classes)
    arms = {}
    for arm, figures in evaluation["arms"].items():
        own = [r for r in results if r["arm"] == arm and r["seed"] == plans[0].seed]
        arms[arm] = ArmResult(
            **figures,
            title=ARMS[arm].title,
            train_accuracy=float(np.mean([r["train_accuracy"] for r in own])),
            learning_curves=[r["history"] for r in own],
            seconds=float(sum(r["seconds"] for r in own)),
            generated_per_fold=[r["added"] for r in own],
            distances=[d for r in own for d in r["distances"]],
        )
    return {"arms": arms, "comparisons": evaluation["comparisons"], "split": _describe_split(plans[0], cache)}


def _pool(arm: str, plan: SplitPlan, results: Sequence[dict[str, Any]]) -> Predictions:
    """Put the folds' predictions back into the order of the data set."""
    width = len(results[0]["probabilities"][0])
    probabilities = np.full((len(plan.files), width), np.nan)
    for result in results:
        if result["arm"] == arm and result["seed"] == plan.seed:
            probabilities[plan.test(result["fold"])] = result["probabilities"]
    return Predictions(
        arm,
        plan.protocol,
        plan.seed,
        plan.files,
        np.array(plan.groups),
        np.array(plan.fold_of),
        np.array(plan.labels),
        probabilities,
    )


def _describe_split(plan: SplitPlan, cache: ImageCache) -> dict[str, Any]:
    leaked = [len(leaked_images(plan, fold, cache)) for fold in range(plan.folds)]
    return {
        "protocol": plan.protocol,
        "folds": plan.folds,
        "images": len(plan.files),
        "groups": len(set(plan.groups)),
        "fold_sizes": [len(plan.test(fold)) for fold in range(plan.folds)],
        "test_images_with_a_twin_in_training": leaked,
        "fingerprint": plan.fingerprint,
    }


def open_plans(folder: Path, cache: ImageCache, config: Config, seeds: Sequence[int]) -> list[SplitPlan]:
    """Make one split plan a seed and write the first as ``splits.json``, the others beside it."""
    plans = [make_plan(cache, config.protocol, config.folds or 10, seed) for seed in seeds]
    for index, plan in enumerate(plans):
        save_plan(folder / ("splits.json" if index == 0 else f"splits-seed{plan.seed}.json"), plan)
    return plans


def image_source(config: Config) -> ImageSource:
    """Where ``--data`` points to."""
    return ImageSource(config.data, config.images, config.seed, config.cache)


class Comparison(NamedTuple):
    """A finished comparison: its results, and the first weights and split plans that it used."""

    results: dict[str, Any]
    backbone: Backbone
    plans: list[SplitPlan]


def compare_arms(folder: Path, config: Config, setting: Setting, source: ImageSource, cache: ImageCache) -> Comparison:
    """Load the first weights, deal the folds, write down the environment, and cross-validate in the run folder."""
    backbone = load_backbone(config.weights or "imagenet", cache.images, cache.hashes)
    log.info("first weights: %s", backbone.source)
    plans = open_plans(folder, cache, config, setting.seeds)
    device = str(open_fabric(config.device).device)
    run_folder.write_environment(folder, run_folder.describe_environment(device, config.seed, plans[0].fingerprint))
    results = describe_setting(config, setting, backbone, cache)
    results |= cross_validate(folder, source, cache, plans, setting, backbone)
    return Comparison(results, backbone, plans)


def main(config: Config) -> Outcome:
    """Run the comparison in a run folder and write its tables."""
    config = resolve_defaults(config)
    setting = resolve_setting(config)
    source = image_source(config)
    cache = load_images(source)
    folder = run_folder.open_run(
        Path(config.out), f"crossval-{cache.dataset.name}", dataclasses.asdict(config), resume=config.resume
    )
    with run_folder.log_to(folder):
        if run_folder.is_finished(folder):
            results = run_folder.read_results(folder)
        else:
            results = compare_arms(folder, config, setting, source, cache).results
            run_folder.write_results(folder, results)
        log_table(results)
    return Outcome({"run": str(folder), **results}, f"sonoforge run --data {config.data}")


def describe_setting(config: Config, setting: Setting, backbone: Backbone, cache: ImageCache) -> dict[str, Any]:
    """What the tables must say about how they were made."""
    return {
        "data": cache.dataset.name,
        "classes": list(cache.dataset.classes),
        "class_counts": np.bincount(cache.dataset.labels, minlength=len(cache.dataset.classes)).tolist(),
        "protocol": config.protocol,
        "budget": config.budget,
        "classifier": dataclasses.asdict(setting.classifier),
        "gan": open_job(setting.gan).record(),
        "weights": backbone.source,
    }


def log_table(results: dict[str, Any]) -> None:
    """Log the table of arms and their paired comparison."""
    log.info("")
    log.info("%-38s %9s %17s %9s %9s", "arm", "accuracy", "95 % interval", "bal. acc.", "macro-AUC")
    for figures in results["arms"].values():
        accuracy = figures["accuracy"]
        log.info(
            "%-38s %9.3f   [%.3f, %.3f] %9.3f %9.3f",
            *(figures["title"], accuracy["value"], accuracy["low"], accuracy["high"]),
            *(figures["balanced_accuracy"]["value"], figures["macro_auc"]["value"]),
        )
    for row in results["comparisons"]:
        change = row["accuracy_difference"]
        log.info(
            "%s - %s: accuracy %+.3f [%+.3f, %+.3f], McNemar exact p %.3f; %d images can show differences from %.3f up",
            *(row["second"], row["first"], change["value"], change["low"], change["high"]),
            *(row["mcnemar"]["p_value"], results["split"]["images"], row["minimum_detectable_difference"]),
        )
