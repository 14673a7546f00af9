"""Train a classifier, judged on groups that it never saw: `prepare` opens and checks all, `work` trains and writes."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.options import flatten
from sonoforge.training import run_folder
from sonoforge.training.classifier.initial_weights import Backbone, choose_weights, load_backbone, weights_digest
from sonoforge.training.classifier.network import answer, pixel_views
from sonoforge.training.classifier.scan_views import check_learnable
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.training import ClassifierJob, Trained
from sonoforge.training.classifier.trust import assess_held_out
from sonoforge.training.copies.matches import Match
from sonoforge.training.crossval.arms import (
    classes_with_generators,
    file_stem,
    final_name,
    find_arm,
    for_classes,
    settings_of_arm,
)
from sonoforge.training.crossval.balancing import GeneratorJob, generator_bytes
from sonoforge.training.crossval.final_model import HeldOut, Provenance, record_model, train_final
from sonoforge.training.crossval.fold_task import MadeFrom, check_images, keep_plan, made_from, open_training
from sonoforge.training.crossval.folds import predictions_of
from sonoforge.training.crossval.preparation import NOWHERE
from sonoforge.training.crossval.settings import GENERATOR_BUDGETS
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.second_opinion import check_plans, find_second_views, foretell
from sonoforge.training.data.split_plan import FILE, SplitPlan, read_plan
from sonoforge.training.data.splits import check_sealed, leaked_images, make_plan
from sonoforge.training.devices import find_device
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.reports.conclusions import doubts
from sonoforge.training.settings.crossval import TrainConfig
from sonoforge.training.statistics.predictions import write_predictions
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)

HELD_OUT = "held-out.csv"
"""The answers to the held-out images in the run folder, as in ``predictions.csv``; its folds are two halves."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A training that can start: what it needs is open and checked, and nothing is written."""

    config: TrainConfig  # with the arm that suits the images
    name: str  # of the run folder, after its number
    cache: ImageCache
    settings: ClassifierSettings
    generator: GanSettings
    backbone: Backbone  # initial weights; without tensors if the run is finished
    views: list[Match]  # see `find_second_views`
    plan: SplitPlan  # its first fold is held out
    disk: str = ""  # what is written, and how much is free

    @property
    def made_from(self) -> MadeFrom:
        """Everything that determines the classifier."""
        return made_from(self.plan, self.config.arm, self.settings, self.backbone.digest, asdict(self.generator))

    @property
    def sides(self) -> SplitPlan:
        """The plan with all images to train on as its second fold."""
        return replace(self.plan, folds=2, fold_of=tuple(min(fold, 1) for fold in self.plan.fold_of))

    def describe(self) -> str:
        """Say what would run, in a few lines."""
        if not self.disk:
            return "to train: nothing, it is done"
        count, tested = len(self.cache.hashes), len(self.plan.test(0))
        trained = (
            f"{self.config.arm} on {count - tested} images of {self.cache.dataset.name}, judged on {tested} others"
        )
        lines = [f"to train: {trained}", f"initial weights: {self.backbone.source}"]
        return "\n".join([*lines, *foretell(self.cache, [self.sides]), f"disk: {self.disk}"])


def prepare(config: TrainConfig) -> Prepared:
    """Open the images, find the run to resume, and check everything that the training needs.

    Raises:
        SonoforgeError: Something is missing or does not fit. No run folder was made.
    """
    budget = config.classifier.with_budget("sealed")
    config = replace(config, arm=final_name(config.arm, "--arm"), classifier=budget)
    find_device(config.device)
    settings = settings_of_arm(find_arm(config.arm), budget.settings())
    source = ImageSource(config.data, config.images, config.seed, config.storage.open(), settings.preprocessing)
    cache = load_images(source._replace(groups_from=config.groups_from))
    (arm,) = for_classes("--arm", (config.arm,), cache.dataset.classes, cache.class_counts)
    config, generator = replace(config, arm=arm), GanSettings(**GENERATOR_BUDGETS[budget.budget])
    out, name = Path(config.out), f"train-{file_stem(arm)}-{cache.dataset.name}"
    folder = (run_folder.find_run(out, name, flatten(config)) if config.resume else None) or NOWHERE
    check_images(folder, cache)
    network = budget.network(settings)
    by_default = "shipped" if config.data == PHANTOM and network.is_default else None
    weights = choose_weights(budget.weights or by_default, cache, network)
    if run_folder.is_finished(folder):
        plan, kept = read_plan(folder / FILE), Backbone({}, weights, weights_digest(weights, network))
        return Prepared(config, name, cache, settings, generator, kept, [], plan)
    check_learnable(cache, settings)
    backbone, views = load_backbone(weights, cache, network), find_second_views(cache)
    together = [(view.first, view.second) for view in views]
    plan = make_plan(cache, "sealed", max(2, round(1 / config.holdout)), config.seed, together)
    images = LabelledImages.of_set(cache, plan.train(0), np.array(plan.groups))
    drawn, job = classes_with_generators(find_arm(arm), images.counts.tolist()), GeneratorJob(generator, 0, "cpu", out)
    disk = run_folder.check_disk(out, {"generators": sum(generator_bytes(images, label, job) for label in drawn)})
    return Prepared(config, name, cache, settings, generator, backbone, views, plan, disk)


def work(prepared: Prepared) -> tuple[Path, Record]:
    """Train, judge and calibrate one classifier in its run folder, which `export` reads; a finished run is read.

    Return the folder, and the content of its ``results.json``: ``doubts``, ``evaluation``, ``history``, ``held_out``.

    Raises:
        GateError: The training would see a held-out image, or what looks like one.
    """
    config = prepared.config
    folder = run_folder.open_run(Path(config.out), prepared.name, flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        finished = run_folder.is_finished(folder)
        if not finished:
            keep_plan(folder / FILE, prepared.plan)
        final = open_training(folder / "final", prepared.made_from, folder / "model")
        if not finished:
            _train(folder, final, prepared)
    return folder, run_folder.read_results(folder)


def _train(folder: Path, final: Path, prepared: Prepared) -> None:
    """Write the model and the results; ``final`` keeps the checkpoints."""
    config, cache, plan = prepared.config, prepared.cache, prepared.plan
    log.info("initial weights: %s", prepared.backbone.source)
    train, arm, device = plan.train(0), find_arm(config.arm), find_device(config.device)
    run_folder.write_environment(folder, str(device), config.seed, plan.fingerprint)
    check_sealed(plan, 0, "classifier", train, cache)
    check_plans(folder, cache, [prepared.sides], prepared.views)
    job = ClassifierJob(prepared.backbone, prepared.settings, config.seed, device, real=arm.real)
    images = LabelledImages.of_set(cache, train, np.array(plan.groups))
    trained = train_final(final, images, arm, job, prepared.generator)
    provenance = Provenance("", config.classifier.budget, job, prepared.generator)
    held_out = _predict_held_out(trained, cache, plan, config.arm, job)
    record = record_model(folder / "model", trained, cache, train, held_out, provenance)
    write_predictions(folder / HELD_OUT, [held_out.predictions], record.classes)
    found = doubts(record.evaluation, record.conformal["alpha"], record.training["weights"])
    results = {
        "doubts": [*map(str, found.values())],
        "evaluation": record.evaluation,
        "history": trained.history,
        "held_out": len(plan.test(0)),
        "trust": asdict(held_out.trust),
    }
    run_folder.write_results(folder, results)


def _predict_held_out(trained: Trained, cache: ImageCache, plan: SplitPlan, arm: str, job: ClassifierJob) -> HeldOut:
    """Answer for the images of the plan's first fold, in two halves that calibrate each other."""
    test = plan.test(0)
    views = pixel_views(cache.images[test], job.settings.mirror)
    answers = answer(trained.members, views, job.settings.frozen_blocks, job.device, look=job.settings.look)
    predictions = predictions_of(arm, plan, test, answers.probabilities, cache.dataset)
    return HeldOut(
        replace(predictions, folds=np.unique(predictions.groups, return_inverse=True)[1] % 2),
        near_duplicates=len(leaked_images(plan, 0, cache)),
        generator_reads=0,  # generators, too, are trained on the training images
        seed_accuracy={},
        trust=assess_held_out(cache.images[test], answers.embeddings, trained.trust),
    )
