"""Train the model to export on all images, and calibrate it on images that it did not see."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import quality_metrics as image_quality
from sonoforge.runtime.images import scan_metrics
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.scan_checks import coloured_share, flatness
from sonoforge.runtime.inference.adaptation import Rules, at_shares
from sonoforge.training.classifier.model_folder import HASH_PREFIX, ModelArrays, ModelRecord, save_model
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.classifier.trained_on import collection_names, sketch_views, write_signatures
from sonoforge.training.classifier.training import ClassifierJob, Trained, count_learned, train_classifier
from sonoforge.training.classifier.trust import (
    HeldOutTrust,
    TrainingSigns,
    describe_causes,
    left_out_distances,
    record_trust,
    tail_limits,
)
from sonoforge.training.crossval.arms import Arm, find_arm, settings_of_arm
from sonoforge.training.crossval.balancing import GeneratorJob, balance
from sonoforge.training.crossval.choices import Choosing, count_chosen_on, describe_choice, of_classifier, with_dose
from sonoforge.training.crossval.evidence import check_reads, read_folds, read_plans
from sonoforge.training.crossval.fold_task import Indices, fold_path, open_training
from sonoforge.training.crossval.folds import pool_trust
from sonoforge.training.crossval.preparation import Prepared
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.load import find_simulated
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.devices import deterministic_kernels, find_device
from sonoforge.training.evaluation.spaces import kind_of
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.phantom.dataset import generate_phantom_set
from sonoforge.training.progress import in_threads
from sonoforge.training.statistics import decision
from sonoforge.training.statistics.calibration import own_answers
from sonoforge.training.statistics.classification import accuracy
from sonoforge.training.statistics.predictions import ANSWERS, Predictions, read_predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.tables import describe_arm

log = logging.getLogger(__name__)

INTENDED_USE = (
    "Research on computer-aided reading of {data} images: sorting single still images into {classes}. Not for "
    "diagnosis, triage or any decision about a patient; not cleared by any authority."
)
SIMULATED = "simulated breast ultrasound"
PARITY_IMAGES = 128
GOLDEN_IMAGES = 6
_MOST = 256  # images: the 5th percentile then rests on 13, in a few seconds
_LEAST_SIDE = 2 / 3  # of the network's view: below it, enlarging changes one label in ten (``runtime/docs/quality.md``)


def scan_bands(cache: ImageCache, indices: Indices, preprocessing: Preprocessing) -> dict[str, Any]:
    """Return ``quality.scan`` of a manifest: 5th and 95th percentile of each metric that has values.

    Measure up to 256 evenly spaced training images in their own pixels, read again from their files.
    """
    chosen = indices[evenly_spaced(len(indices), _MOST)]

    def measure(index: int) -> dict[str, float]:
        scan = preprocessing.seen(read_image(cache.dataset.file(cache.dataset.items[index].path)))
        return scan_metrics.measure(grey_levels(scan))

    rows = in_threads(measure, chosen.tolist())
    return {"count": len(rows), "bands": _ranges(rows, 5)}


def _ranges(rows: Sequence[Mapping[str, float]], percent: float) -> Record:
    """Return both percentiles of each metric that has finite values."""
    found = {}
    for name in rows[0]:
        values = [row[name] for row in rows if np.isfinite(row[name])]
        if values:
            low, high = np.percentile(values, (percent, 100 - percent)).tolist()
            found[name] = {"low": low, "high": high}
    return found


@dataclass(frozen=True)
class HeldOut:
    """Answers to images that the model was not trained on."""

    predictions: Predictions
    near_duplicates: int  # images with a near-duplicate in their model's training
    generator_reads: int  # images that a generator of their model's training read
    seed_accuracy: dict[str, float]  # by seed; empty if the training was not repeated
    trust: HeldOutTrust  # in the order of the predictions


@dataclass(frozen=True)
class Provenance:
    """How a model was made, and its name."""

    name: str  # empty: the network's and the data set's
    budget: str
    job: ClassifierJob
    generator: GanSettings
    choosing: Choosing | None = None  # the grid of settings chosen inside the folds, and on all images for this model


def train_final(folder: Path, images: LabelledImages, arm: Arm, job: ClassifierJob, generator: GanSettings) -> Trained:
    """Train an arm on all the given images, continuing from ``folder`` if it was interrupted."""
    added = balance(arm, images, GeneratorJob(generator, job.seed, str(job.device), folder / "gan"))
    epochs = job.settings.for_images(count_learned(images, added, job)).epochs
    with deterministic_kernels(job.device), progress_bar("final model", epochs) as advance:
        return train_classifier(
            images,
            added,
            job,
            checkpoint=folder / "checkpoint.pt",
            on_epoch=lambda row: advance(int(row["epoch"]), f"loss {row['loss']:.3f}"),
        )


def quality_reference(cache: ImageCache, indices: Indices) -> tuple[Record, float]:
    """Return the 1st and 99th percentile of every quality metric over training images, and their largest ``saturated``.

    A resolution is only low if it is also below `_LEAST_SIDE` of the network's input, which would average it away.
    """
    sizes = cache.boxes[:, 2:] - cache.boxes[:, :2]
    rows = [image_quality.measure(cache.images[i], int(sizes[i][0]), int(sizes[i][1])) for i in indices]
    ranges = _ranges(rows, 1)
    ranges["resolution"]["low"] = min(ranges["resolution"]["low"], _LEAST_SIDE * cache.images.shape[1])
    return ranges, max(row["saturated"] for row in rows)


def record_model(
    folder: Path, trained: Trained, cache: ImageCache, indices: Indices, held_out: HeldOut, provenance: Provenance
) -> ModelRecord:
    """Calibrate on held-out predictions, and write the model folder that ``export`` reads."""
    classes, settings = cache.dataset.classes, provenance.job.settings
    training = _describe_training(cache, indices, trained, held_out.predictions, provenance)
    ranges, white = quality_reference(cache, indices)
    grain = np.concatenate([flatness(cache.images[[i]]) for i in indices])
    colour = max(float(coloured_share(cache.images[[i]])[0]) for i in indices)
    near, kind = left_out_distances(trained.trust.neighbours), kind_of(cache.images, indices)
    signs = TrainingSigns(trained.trust.upright, white, grain, near, kind, colour)
    figures = held_out_figures(held_out, classes, trained.added.tolist(), settings.class_weights)
    measured = {"budget": provenance.budget, "train_accuracy": trained.train_accuracy}
    record = ModelRecord(
        name=provenance.name or f"{provenance.job.backbone.network.short}-{cache.dataset.name.lower()}",
        version="1.0.0",
        classes=classes,
        **{name: figures[name] for name in ("temperature", "decision", "conformal")},
        trust=record_trust(held_out.trust, held_out.predictions, signs, figures["trust"]),
        quality={**ranges, "scan": scan_bands(cache, indices, settings.preprocessing)},
        training=training,
        evaluation=figures["evaluation"] | measured,
        crop=settings.crop,
        image_size=settings.preprocessing.size,
        look=settings.look,
        intended_use=INTENDED_USE.format(
            data=SIMULATED if training["simulated"] == training["data_images"] else cache.dataset.name,
            classes=" / ".join(classes),
        ),
    )
    chosen = indices[evenly_spaced(len(indices), PARITY_IMAGES)]
    # Golden vectors are simulated scans: a bundle carries no patient's image.
    phantoms = generate_phantom_set(GOLDEN_IMAGES, 0, cache.images.shape[1])
    trust, neighbour = asdict(trained.trust.gaussian), asdict(trained.trust.neighbours)
    reference = {f"trust_{name}": values for name, values in trust.items()}
    arrays = ModelArrays(
        reference | {f"neighbour_{n}": values for n, values in neighbour.items()} | sketch_views(cache, indices),
        parity_pixels=np.asarray(cache.images[chosen]),
        golden_pixels=np.stack([np.repeat(image.pixels[:, :, None], 3, axis=2) for image in phantoms]),
    )
    provenance.job.backbone.network.keep_code(folder)
    save_model(folder, trained.members, record, arrays, write_signatures(cache, indices))
    return record


def held_out_figures(
    held_out: HeldOut, classes: Sequence[str], added: Sequence[int], class_weights: bool
) -> dict[str, Any]:
    """Compute what `ModelRecord` states of held-out answers: fields of it, of ``trust`` the limits and ``policy``.

    ``added`` (C,) counts what each class was filled with in training, unless ``class_weights`` weighted classes.  The
    budget and the accuracy in training are not in ``evaluation``.
    """
    answers = held_out.predictions
    counts = np.maximum(np.bincount(answers.labels, minlength=len(added)), 1)
    repeats = 1 / counts if class_weights else 1 + np.array(added) / counts  # images, or weight, for each real one
    by_fold, equal = decision.equal_by_fold(answers, repeats), decision.equal_in_bundle(answers, repeats)
    decided = decision.decide_by_fold(answers, classes, by_fold)
    measured = decision.measure_decision(answers, classes, own_answers(by_fold), decided)
    rules = decision.choose_rules(answers.labels, equal, classes, answers.collections)
    median, threshold = tail_limits(np.array(held_out.trust.distances))
    abstention = decision.choose_abstention(answers, at_shares(equal, rules.prevalence))
    evaluation = {
        **describe_arm(answers, classes),
        "protocol": answers.protocol,
        "folds": len(np.unique(answers.folds)),
        "arm": answers.arm,
        "near_duplicates": held_out.near_duplicates,
        "generator_reads": held_out.generator_reads,
        "seed_accuracy": held_out.seed_accuracy,
        "flags": describe_causes(answers, held_out.trust, decided),
        "decision": measured,
    }
    return {
        "evaluation": evaluation,
        "temperature": evaluation["temperature"],
        "decision": decision.record_decision(answers, classes, repeats, rules, decided),
        "conformal": prediction_sets(rules, measured, classes),
        "trust": {"median": median, "threshold": threshold, "policy": {"always": False, **abstention._asdict()}},
    }


def prediction_sets(rules: Rules, measured: Mapping[str, Record], classes: Sequence[str]) -> Record:
    """Record the thresholds of sets, with coverage and size as measured with the other folds' thresholds."""
    each = list(measured.values())
    covered = {name: [one["coverage"][name]["value"] for one in each if name in one["coverage"]] for name in classes}
    return {
        "alpha": rules.alpha,
        "thresholds": dict(zip(classes, rules.thresholds.tolist(), strict=True)),
        "measured_coverage": {name: float(np.mean(shares)) for name, shares in covered.items() if shares},
        "mean_set_size": float(np.mean([one["mean_set_size"] for one in each])),
    }


def _describe_training(
    cache: ImageCache, indices: Indices, trained: Trained, held_out: Predictions, provenance: Provenance
) -> Record:
    labels, settings = cache.dataset.labels[indices], provenance.job.settings
    arm, added, network = find_arm(held_out.arm), trained.added.tolist(), provenance.job.backbone.network
    known = count_chosen_on(provenance.budget, cache)
    return {
        "data": cache.dataset.name,
        "data_images": len(cache.dataset.items),
        "simulated": len(find_simulated(cache.dataset)),
        "count": len(indices),
        "collections": collection_names(cache.dataset),
        "about": dict(cache.dataset.about),
        "class_counts": {name: int((labels == label).sum()) for label, name in enumerate(cache.dataset.classes)},
        "groups": len(np.unique(scan_groups(cache)[indices])),
        "given_groups": len({item.group for item in cache.dataset.items} - {None}),
        "added": dict(zip(cache.dataset.classes, added, strict=True)),
        "generator": asdict(provenance.generator) if arm.reads_generators and sum(added) else {},
        "choice": describe_choice(
            provenance.budget, _chosen(arm, provenance), known, len(cache.hashes), (held_out.seed,), provenance.choosing
        ),
        "fingerprint": cache.fingerprint,
        "arm": held_out.arm,
        "title": arm.title,
        "budget": provenance.budget,
        "epochs": len(trained.history),
        "frozen_blocks": settings.frozen_blocks,
        "ensemble_size": settings.ensemble_size,
        "teachers": settings.teachers,
        "settings": _chosen(arm, provenance),
        "mirror": settings.mirror,
        "weights": provenance.job.backbone.source,
        **({} if network.is_default else {"backbone": network.recorded, "blocks": network.blocks}),
        "seed": held_out.seed,
        "images": sorted({cache.hashes[i][:HASH_PREFIX] for i in indices}),
    }


def _chosen(arm: Arm, provenance: Provenance) -> dict[str, Any]:
    """Return the settings without the augmentation that an arm stands for."""
    settings = asdict(provenance.job.settings)
    if arm.augmentation:
        settings["augmentation"] = BUDGETS[provenance.budget].augmentation
    return settings


@contextlib.contextmanager
def chapter(title: str, seconds: dict[str, float]) -> Iterator[None]:
    """Log a part of the run, and add its duration to ``seconds``."""
    log.info("== %s", title)
    started = time.perf_counter()
    yield
    seconds[title] = seconds.get(title, 0.0) + time.perf_counter() - started


def train_final_model(folder: Path, prepared: Prepared, results: Record, arm: str, name: str) -> None:
    """Train an arm of a finished comparison on all images, and calibrate it on the comparison's answers.

    Write ``model/`` into its run folder, which `export` turns into a bundle called ``name``, unless it is there.

    Raises:
        SonoforgeError: The comparison has no such arm, or chose the arm's settings inside its folds alone.
    """
    settings, cache, seed = prepared.settings, prepared.cache, prepared.settings.seeds[0]
    made = next((task.made_from for task in prepared.tasks if task.arm == arm), None)
    if made is None:
        raise SonoforgeError(f"{folder}: compared {', '.join(settings.arms)}, not {arm}; choose one of these")
    choice = results.get("choice", {}).get("final") if arm == settings.final_arm else None
    if "choosing" in made.settings and choice is None:
        raise SonoforgeError(f"{folder}: no settings were chosen on all images; give sonoforge run --final-arm {arm}")
    chosen = choice["settings"] if choice else {}
    final = open_training(folder / "final", made, folder / "model")
    if (folder / "model" / "model.json").is_file():
        return
    everything = np.arange(len(cache.dataset.items))
    own_arm = with_dose(find_arm(arm), chosen)
    own = dataclasses.replace(settings_of_arm(own_arm, settings.classifier), **of_classifier(chosen))
    job = ClassifierJob(prepared.backbone, own, seed, find_device(settings.device), real=own_arm.real)
    images = LabelledImages.of_set(cache, everything, scan_groups(cache))
    trained = train_final(final, images, own_arm, job, settings.generator)
    split = results["split"]["test_images_with_near_duplicate_in_training"]
    held_out = cross_validated(folder, arm, seed, sum(split))
    provenance = Provenance(name, settings.budget, job, settings.generator, settings.choosing)
    record_model(folder / "model", trained, cache, everything, held_out, provenance)


def cross_validated(folder: Path, arm: str, seed: int, near_duplicates: int) -> HeldOut:
    """Return an arm's answers of a comparison's first seed, from ``predictions.csv`` and the folds.

    ``near_duplicates`` counts test images with one in training, which these do not tell.  Raise `SonoforgeError` if
    there are no such answers.
    """
    own = {part.seed: part for part in read_predictions(folder / ANSWERS)[0] if part.arm == arm}
    if seed not in own:
        raise SonoforgeError(f"{folder / ANSWERS}: has no answers of arm {arm}, seed {seed}; give the whole run again")
    folds, part = read_folds(folder), own[seed]
    trust = pool_trust(part, [folds[fold_path(folder, arm, seed, fold)] for fold in np.unique(part.folds).tolist()])
    assert trust is not None  # noqa: S101 - only comparators have none, and they cannot be a final arm
    reads = check_reads(folds, read_plans(folder)) if find_arm(arm).reads_generators else {}
    return HeldOut(
        part,
        near_duplicates,
        generator_reads=len({image for _, image in reads["generator"].same_content}) if "generator" in reads else 0,
        seed_accuracy={str(each): accuracy(one.labels, one.probabilities) for each, one in own.items()},
        trust=trust,
    )
