"""``sonoforge run``: images to evidence, to a verified bundle, to a report, in one command."""

import json
import logging
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from sonoforge.export.bundle.classifier import bundle_from_run
from sonoforge.export.verbs.settings import RunConfig
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, flatten, steps
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.verbs import verify
from sonoforge.runtime.verbs.settings import VerifyConfig
from sonoforge.training import run_folder
from sonoforge.training.classifier.training import Trained
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.crossval.arms import final_name, find_arm, for_classes, settings_of_arm
from sonoforge.training.crossval.balancing import job_of_arm
from sonoforge.training.crossval.choice_grid import of_classifier, with_dose
from sonoforge.training.crossval.comparison import Comparison, compare
from sonoforge.training.crossval.evidence import check_reads, read_folds, read_plans
from sonoforge.training.crossval.final_model import HeldOut, Provenance, open_final, record_model, train_final
from sonoforge.training.crossval.fold_task import check_finished, check_images
from sonoforge.training.crossval.settings import ComparisonSettings, image_source, resolve
from sonoforge.training.data.audit import audit
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.devices import find_device
from sonoforge.training.reports.run.page import REPORT, write_report
from sonoforge.training.reports.run.terminal import log_run
from sonoforge.training.reports.run.whole_run import WholeRun, read_run
from sonoforge.training.statistics.predictions import ANSWERS, read_predictions
from sonoforge.training.statistics.results import RunResults
from sonoforge.training.statistics.verdict import judge_guessing
from sonoforge.training.tracking.sending import connect, sending
from sonoforge.training.tracking.tracker import Tracker, send_history

log = logging.getLogger(__name__)


@contextmanager
def _chapter(title: str, seconds: dict[str, float]) -> Iterator[None]:
    log.info("== %s", title)
    started = time.perf_counter()
    yield
    seconds[title] = seconds.get(title, 0.0) + time.perf_counter() - started


def main(config: RunConfig) -> Outcome:
    """Do the main job in one run folder; finished parts of an interrupted run are kept with ``--resume``."""
    tracker = connect(config.log)
    config, settings = resolve(replace(config, final_arm=final_name(config.final_arm, "--final-arm")))
    if config.final_arm not in settings.arms:
        raise SonoforgeError(
            f"--final-arm: found {config.final_arm!r}, expected one of --arms ({', '.join(settings.arms)}), "
            "so that its figures are known"
        )
    seconds: dict[str, float] = {}
    with _chapter("data", seconds):
        source = image_source(config, settings)
        images = _Images(source, load_images(source))
        cache = images.cache
        arms = for_classes("--arms", settings.arms, cache.dataset.classes, cache.class_counts)
        config = replace(config, final_arm=arms[settings.arms.index(config.final_arm)])
        settings = replace(settings, arms=arms)
    values, data = flatten(config), cache.dataset.name
    folder = run_folder.open_run(Path(config.out), f"run-{data}", values, resume=config.resume)
    with run_folder.working_in(folder), sending(tracker, folder, "run", data, values):
        check_images(folder, cache)
        if run_folder.is_finished(folder):
            check_finished(folder, settings, cache)
            results = cast(RunResults, run_folder.read_results(folder))
            run = read_run(folder, cache, json.loads((folder / run_folder.AUDIT).read_text(encoding="utf-8")), results)
        else:
            run = _work(folder, config, settings, images, seconds, tracker)
            run_folder.write_results(folder, run.results)
        log_run(run)
        say("report: %s", folder / REPORT)
        say("bundle: %s", folder / "bundle")
        say("%s", NOTICE)
    example = cache.dataset.file(cache.dataset.items[0].path)
    paths = {"run": str(folder), "report": str(folder / REPORT), "bundle": str(folder / "bundle")}
    guesses = judge_guessing(run.arms[config.final_arm])
    following = steps(
        f"open {folder / REPORT} in a browser",
        f"sonoforge checklists {folder}",
        "" if guesses else f"sonoforge classify {shlex.quote(str(example))} --bundle {folder}",
    )
    return Outcome({**paths, **run.results}, following)


class _Images(NamedTuple):
    """All images, and where a worker opens them again."""

    source: ImageSource
    cache: ImageCache


def _work(
    folder: Path,
    config: RunConfig,
    settings: ComparisonSettings,
    images: _Images,
    seconds: dict[str, float],
    tracker: Tracker,
) -> WholeRun:
    cache = images.cache
    with _chapter("audit", seconds):
        audited = audit(cache)
        atomic.write_json(folder / run_folder.AUDIT, audited)
    with _chapter("cross-validation", seconds):
        comparison = compare(folder, *images, settings, config.final_arm, tracker)
    with _chapter("final model", seconds):
        final = open_final(folder, comparison.made_from[config.final_arm])
        if not (folder / "model" / "model.json").is_file():
            trained = _train_final_model(final, config, settings, cache, comparison)
            send_history(tracker, trained.history)
    with _chapter("export and parity", seconds):
        bundle_from_run(folder, folder / "bundle")
        manifest = open_bundle(folder / "bundle").manifest.raw
        verified = verify.main(VerifyConfig(bundle=str(folder / "bundle"))).result
        if not verified["ok"]:
            raise GateError(f"{folder / 'bundle'}: does not verify on this machine: {'; '.join(verified['problems'])}")
        tracker.artifact(folder / "bundle")
    results = RunResults(
        **comparison.results,
        parity=manifest["parity"]["formats"]["onnx"],
        verify=verified,
        bundle_files=manifest["files"],
        final_arm=config.final_arm,
        seconds=seconds,
    )
    with _chapter("report", seconds):
        run = read_run(folder, cache, audited, results)
        write_report(run)
    return run


def _train_final_model(
    final: Path, config: RunConfig, settings: ComparisonSettings, cache: ImageCache, comparison: Comparison
) -> Trained:
    """Train the final arm on all images, and calibrate it on the predictions of the cross-validation."""
    folder = final.parent
    everything = np.arange(len(cache.dataset.items))
    arm = with_dose(find_arm(config.final_arm), comparison.chosen)
    arm_settings = replace(settings_of_arm(arm, settings.classifier), **of_classifier(comparison.chosen))
    job = job_of_arm(arm, comparison.backbone, arm_settings, config.seed, find_device(config.device))
    images = LabelledImages.of_set(cache, everything, scan_groups(cache))
    trained = train_final(final, images, arm, job, settings.generator, comparison.maps)
    predictions, _ = read_predictions(folder / ANSWERS)
    held_out = next(own for own in predictions if (own.arm, own.seed) == (config.final_arm, config.seed))
    figures = comparison.results["arms"][config.final_arm]
    seeds, judged = figures["seeds"], figures["trust"]
    assert judged is not None  # noqa: S101 - comparators alone have none, and are no final arm
    reads = check_reads(read_folds(folder), read_plans(folder)) if arm.reads_generators else {}
    record_model(
        folder / "model",
        trained,
        cache,
        everything,
        HeldOut(
            held_out,
            near_duplicates=sum(comparison.results["split"]["test_images_with_near_duplicate_in_training"]),
            generator_reads=len({image for _, image in reads["generator"].same_content}) if "generator" in reads else 0,
            trust=HeldOutTrust(**judged),
            seed_accuracy={str(seed): value for seed, value in zip(seeds["seeds"], seeds["accuracy"], strict=True)},
        ),
        Provenance(
            name=config.name or f"mobilenetv2-{cache.dataset.name.lower()}",
            budget=settings.budget,
            job=job,
            generator=settings.generator,
            choosing=settings.choosing,
        ),
    )
    return trained
