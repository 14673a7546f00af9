"""``sonoforge train``: train one classifier, calibrated and judged on groups that it never saw."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.training import run_folder
from sonoforge.training.classifier.initial_weights import choose_weights, load_backbone, weights_digest
from sonoforge.training.classifier.network import answer, pixel_views
from sonoforge.training.classifier.training import ClassifierJob, Trained
from sonoforge.training.classifier.trust import assess_held_out
from sonoforge.training.crossval.arms import file_stem, final_name, find_arm, for_classes, settings_of_arm
from sonoforge.training.crossval.final_model import HeldOut, Provenance, open_final, record_model, train_final
from sonoforge.training.crossval.fold_task import check_images, keep_plan, made_from
from sonoforge.training.crossval.folds import predictions_of
from sonoforge.training.crossval.settings import GENERATOR_BUDGETS
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.second_opinion import check_plans, find_second_views
from sonoforge.training.data.split_plan import FILE, SplitPlan, read_plan
from sonoforge.training.data.splits import check_sealed, leaked_images, make_plan
from sonoforge.training.devices import find_device
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.settings.crossval import TrainConfig
from sonoforge.training.statistics.results import interval_text
from sonoforge.training.statistics.verdict import doubts

log = logging.getLogger(__name__)


def main(config: TrainConfig) -> Outcome:
    """Train, judge and calibrate one classifier in a run folder that ``export`` reads."""
    classifier = config.classifier.with_budget("sealed")
    config = replace(config, arm=final_name(config.arm, "--arm"), classifier=classifier)
    device = find_device(config.device)
    settings = settings_of_arm(find_arm(config.arm), classifier.settings())
    source = ImageSource(config.data, config.images, config.seed, config.storage.open(), settings.preprocessing)
    cache = load_images(source._replace(groups_from=config.groups_from))
    (name,) = for_classes("--arm", (config.arm,), cache.dataset.classes, cache.class_counts)
    config, arm = replace(config, arm=name), find_arm(name)
    slug = f"train-{file_stem(name)}-{cache.dataset.name}"
    folder = run_folder.open_run(Path(config.out), slug, flatten(config), resume=config.resume)
    generator = GanSettings(**GENERATOR_BUDGETS[classifier.budget])
    network = classifier.network(settings)
    by_default = "shipped" if config.data == PHANTOM and network.is_default else None
    weights = choose_weights(classifier.weights or by_default, cache, network)
    with run_folder.working_in(folder):
        check_images(folder, cache)
        if run_folder.is_finished(folder):
            plan, digest = read_plan(folder / FILE), weights_digest(weights, network)
            open_final(folder, made_from(plan, name, settings, digest, asdict(generator)))
            return Outcome({"run": str(folder), **run_folder.read_results(folder)}, f"sonoforge export {folder}")
        backbone = load_backbone(weights, cache, network)
        log.info("initial weights: %s", backbone.source)
        views = find_second_views(cache)
        together = [(view.first, view.second) for view in views]
        plan = make_plan(cache, "sealed", max(2, round(1 / config.holdout)), config.seed, together)
        keep_plan(folder / FILE, plan)
        final = open_final(folder, made_from(plan, name, settings, backbone.digest, asdict(generator)))
        run_folder.write_environment(
            folder, run_folder.describe_environment(str(device), config.seed, plan.fingerprint)
        )
        train = plan.train(0)
        check_sealed(plan, 0, "classifier", train, cache)
        sides = replace(plan, folds=2, fold_of=tuple(min(fold, 1) for fold in plan.fold_of))
        check_plans(folder, cache, [sides], views)
        job = ClassifierJob(backbone, settings, config.seed, device, real=arm.real)
        trained = train_final(final, LabelledImages.of_set(cache, train, np.array(plan.groups)), arm, job, generator)
        provenance = Provenance(f"{network.short}-{cache.dataset.name.lower()}", classifier.budget, job, generator)
        held_out = predict_held_out(trained, cache, plan, name, job)
        record = record_model(folder / "model", trained, cache, train, held_out, provenance)
        count = len(plan.test(0))
        results = {"evaluation": record.evaluation, "history": trained.history, "held_out": count}
        run_folder.write_results(folder, results)
        accuracy, area = interval_text(record.evaluation["accuracy"]), record.evaluation["macro_auc"]["value"]
        say("%d held-out images: accuracy %s, macro-AUC %.3f", count, accuracy, area)
        for doubt in doubts(record.evaluation, record.conformal["alpha"], backbone.source):
            say("%s", doubt.line)
    return Outcome({"run": str(folder), **results}, f"sonoforge export {folder}")


def predict_held_out(trained: Trained, cache: ImageCache, plan: SplitPlan, arm: str, job: ClassifierJob) -> HeldOut:
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
