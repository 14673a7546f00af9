"""The training side of a whole run: audit, cross-validation, and the final model on all images."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sonoforge.runtime import atomic
from sonoforge.training import run_folder
from sonoforge.training.classifier.training import Trained
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.crossval.arms import find_arm, settings_of_arm
from sonoforge.training.crossval.balancing import job_of_arm
from sonoforge.training.crossval.choices import of_classifier, with_dose
from sonoforge.training.crossval.comparison import Comparison, compare
from sonoforge.training.crossval.evidence import check_reads, read_folds, read_plans
from sonoforge.training.crossval.final_model import HeldOut, Provenance, open_final, record_model, train_final
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.audit import audit
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.devices import find_device
from sonoforge.training.statistics.predictions import ANSWERS, read_predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.tracking import Tracker, send_history

log = logging.getLogger(__name__)


@contextlib.contextmanager
def chapter(title: str, seconds: dict[str, float]) -> Iterator[None]:
    """Log a part of the run, and add its duration to ``seconds``."""
    log.info("== %s", title)
    started = time.perf_counter()
    yield
    seconds[title] = seconds.get(title, 0.0) + time.perf_counter() - started


def train_run(
    folder: Path,
    cache: ImageCache,
    settings: ComparisonSettings,
    name: str,
    seconds: dict[str, float],
    tracker: Tracker,
) -> tuple[Record, Record]:
    """Record the images, compare the arms and train ``settings.final_arm`` on all images, in a run folder.

    What an earlier call finished there is kept.  Writes ``audit.json``, what `compare` writes, and ``model/``, which
    `export` turns into a bundle.

    Args:
        folder: The run folder.
        cache: All images.
        settings: Of the comparison, with a final arm.
        name: Of the model.
        seconds: Filled with the duration of each chapter.
        tracker: Receives the figures of the folds and of the final training.
    """
    with chapter("audit", seconds):
        audited = audit(cache)
        atomic.write_json(folder / run_folder.AUDIT, audited)
    with chapter("cross-validation", seconds):
        comparison = compare(folder, cache, settings, tracker)
    with chapter("final model", seconds):
        assert settings.final_arm is not None  # noqa: S101 - see above
        final = open_final(folder, comparison.made_from[settings.final_arm])
        if not (folder / "model" / "model.json").is_file():
            trained = _train_final_model(final, name, settings, cache, comparison)
            send_history(tracker, trained.history)
    return audited, comparison.results


def _train_final_model(
    final: Path, name: str, settings: ComparisonSettings, cache: ImageCache, comparison: Comparison
) -> Trained:
    """Train the final arm on all images, and calibrate it on the predictions of the cross-validation."""
    folder, seed = final.parent, settings.seeds[0]
    everything = np.arange(len(cache.dataset.items))
    arm = with_dose(find_arm(settings.final_arm or ""), comparison.chosen)
    own = dataclasses.replace(settings_of_arm(arm, settings.classifier), **of_classifier(comparison.chosen))
    job = job_of_arm(arm, comparison.backbone, own, seed, find_device(settings.device))
    images = LabelledImages.of_set(cache, everything, scan_groups(cache))
    trained = train_final(final, images, arm, job, settings.generator, comparison.maps)
    predictions, _ = read_predictions(folder / ANSWERS)
    figures = comparison.results["arms"][settings.final_arm or ""]
    seeds, judged = figures["seeds"], figures["trust"]
    assert judged is not None  # noqa: S101 - only comparators have none, and they cannot be a final arm
    reads = check_reads(read_folds(folder), read_plans(folder)) if arm.reads_generators else {}
    held_out = HeldOut(
        next(part for part in predictions if (part.arm, part.seed) == (settings.final_arm, seed)),
        near_duplicates=sum(comparison.results["split"]["test_images_with_near_duplicate_in_training"]),
        generator_reads=len({image for _, image in reads["generator"].same_content}) if "generator" in reads else 0,
        trust=HeldOutTrust(**judged),
        seed_accuracy={str(seed): value for seed, value in zip(seeds["seeds"], seeds["accuracy"], strict=True)},
    )
    provenance = Provenance(name, settings.budget, job, settings.generator, settings.choosing)
    record_model(folder / "model", trained, cache, everything, held_out, provenance)
    return trained
