"""What trust finds: foreign pictures, spoilt scans and errors, each judged by networks that had not seen the scan.

    python training/studies/trust/trust.py DATA WEIGHTS KEEP [FOLDS]

DATA holds BUSI and the other collections, WEIGHTS is an ImageNet MobileNetV2, KEEP a folder for the networks of the
sealed folds (seed 0, budget `quick` with one network), which are trained where they are missing: half an hour of one
core.  The figures of the README beside this file.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import foreign_images as foreign
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.stats import mannwhitneyu

from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.runtime.bundle.classification import TailLimits
from sonoforge.runtime.images import quality_metrics
from sonoforge.runtime.images.scan_checks import flatness
from sonoforge.runtime.inference.trust import POOR, tail_probability
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.initial_weights import load_backbone
from sonoforge.training.classifier.network import answer
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.classifier.training import ClassifierJob, train_classifier
from sonoforge.training.classifier.trust import (
    FLAT,
    FOREIGN,
    HeldOutTrust,
    assess_held_out,
    describe_causes,
    fit_trust,
)
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.second_opinion import find_second_views
from sonoforge.training.data.splits import make_plan
from sonoforge.training.statistics.calibration import area_under_risk, beyond, cuts, error_ratio
from sonoforge.training.statistics.predictions import Predictions

SETTINGS = dataclasses.replace(BUDGETS["quick"], ensemble_size=1, mirror=False)
QUALITY = ("sharpness", "contrast", "saturated")
_CPU = torch.device("cpu")
Floats = NDArray[np.float64]


def auroc(clean: Floats, others: Floats) -> float:
    """Chance that another picture has the higher value than a clean scan."""
    return float(mannwhitneyu(others, clean).statistic) / (len(clean) * len(others))


def main() -> None:
    data, weights, keep = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    folds = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    cache = open_cache(read_dataset(data / "BUSI"))
    plan = make_plan(cache, "sealed", 10, 0, [(view.first, view.second) for view in find_second_views(cache)])
    labels, backbone = cache.dataset.labels, load_backbone(weights, cache)
    pictures = {
        **foreign.foreign_images(data),
        **foreign.other_ultrasound(data, 0),
        **foreign.other_ultrasound(data, 1),
    }
    found: dict[str, list[Floats]] = {}
    views = [quality_metrics.measure(image, 400, 400) for image in cache.images]
    looks = np.c_[[[view[metric] for metric in QUALITY] for view in views], flatness(cache.images)]
    probabilities, order = np.zeros((len(labels), len(cache.dataset.classes))), []
    clean_errors, spoilt_errors = [], {}
    for fold in range(folds):
        train, test = plan.train(fold), plan.test(fold)
        file = keep / f"fold{fold}.safetensors"
        if not file.is_file():
            job = ClassifierJob(backbone, SETTINGS, derive_seed(0, "fold", fold), _CPU)
            save_file(
                train_classifier(LabelledImages.of_set(cache, train), None, job).members[0].state_dict(), str(file)
            )
        net = mobilenet_v2(len(cache.dataset.classes)).eval()
        net.load_state_dict(load_file(str(file)))
        own = answer([net], [cache.images[train]], 0, _CPU).embeddings
        fitted = fit_trust(cache.images[train], own)
        scans = np.asarray(cache.images[test])
        spoilt = {name: np.stack([spoil(scan) for scan in scans[::4]]) for name, spoil in foreign.SPOILT.items()}
        for name, pixels in {"held-out": scans, **pictures, **spoilt}.items():
            answers = answer([net], [pixels], 0, _CPU)
            judged = assess_held_out(pixels, answers.embeddings, fitted)
            seen = looks[test] if name == "held-out" else _looks(pixels)
            found.setdefault(name, []).append(np.c_[np.array(list(vars(judged).values())).T, seen])
            if name == "held-out":
                probabilities[test] = answers.probabilities
                order.append(test)
            if name in spoilt:
                errors = answers.probabilities.argmax(axis=1) != labels[test][::4]
                spoilt_errors.setdefault(name, []).append(errors)
        clean_errors.append((probabilities[test].argmax(axis=1) != labels[test])[::4])
    rows = {name: np.concatenate(parts) for name, parts in found.items()}
    _print_kinds(rows, FLAT * float(np.median(looks[:, -1])))
    judged_scans = np.concatenate(order)
    part = Predictions(
        arm="real", protocol="sealed", seed=0, files=tuple(plan.files[i] for i in judged_scans),
        groups=np.array(plan.groups)[judged_scans], folds=np.array(plan.fold_of)[judged_scans],
        labels=labels[judged_scans], probabilities=probabilities[judged_scans],
    )  # fmt: skip
    _print_errors(rows["held-out"], part)
    clean = np.concatenate(clean_errors).mean()
    for name, parts in spoilt_errors.items():
        print(f"{name:20} {np.concatenate(parts).mean():.3f} wrong, {clean:.3f} of the same scans clean")


def _looks(pixels: NDArray[np.uint8]) -> Floats:
    """Measure what needs no network: `QUALITY` and the flatness of grain, (N, 4)."""
    rows = [quality_metrics.measure(image, 400, 400) for image in pixels]
    return np.c_[[[row[metric] for metric in QUALITY] for row in rows], flatness(pixels)]


def _print_kinds(rows: dict[str, Floats], flat: float) -> None:
    """Print the AUROC of the score for each kind of picture, and the share with each cause."""
    clean = rows["held-out"]
    far, near = (TailLimits(float(np.median(c)), float(np.percentile(c, 95))) for c in (clean[:, 0], clean[:, 1]))
    contact, white = clean[:, 3].max(), clean[:, 6].max()
    lowest = np.percentile(clean[:, 4:6], 1, axis=0) * [*POOR.values()]
    foreign = far.median + FOREIGN * (far.threshold - far.median)
    scores = {}
    for name, r in rows.items():
        no_scan = (r[:, 0] > foreign) | ((r[:, 0] > far.threshold) & (r[:, 7] < flat))
        poor = (r[:, 3] > contact) | (r[:, 4:6] < lowest).any(axis=1) | (r[:, 6] > white)
        tails = np.array([min(tail_probability(d, far), tail_probability(k, near)) for d, k in r[:, :2]])
        scores[name] = np.where(poor, np.minimum(tails, 0.01), tails)
        unlike = (r[:, 0] > far.threshold) | (r[:, 1] > near.threshold)
        shares = {"not ultrasound": no_scan, "by distance": r[:, 0] > foreign, "known kind": ~unlike, "poor": poor}
        shares |= {"upside down": r[:, 2] < 0, "out of contact": r[:, 3] > contact, "white": r[:, 6] > white}
        area = auroc(-scores["held-out"], -scores[name])
        print(f"{name:20} AUROC {area:.3f}  " + ", ".join(f"{k} {v.mean():.3f}" for k, v in shares.items()))


def _print_errors(rows: Floats, part: Predictions) -> None:
    """Print the error rate of flagged scans and of the others, and the risk-coverage curve by probability."""
    for row in describe_causes(part, HeldOutTrust(*rows[:, :4].T.tolist())):
        print(row)
    wrong, sure = part.predicted != part.labels, part.probabilities.max(axis=1)
    lows = {f"{metric} low": beyond(-rows[:, i], part.folds, 99) for i, metric in enumerate(QUALITY[:2], start=4)}
    raised = {f"distance beyond {p} %": beyond(rows[:, 0], part.folds, p) for p in (80, 90, 97, 99)}
    for name, flag in {**lows, **raised}.items():
        ratio = error_ratio(wrong, flag, part.groups)
        print(
            f"{name:20} {flag.sum()} scans, {wrong[flag].mean():.3f} wrong, others {wrong[~flag].mean():.3f}, {ratio}"
        )
    print(f"area under risk {area_under_risk(wrong, sure):.4f}; -k {area_under_risk(wrong, -rows[:, 1]):.4f}")
    for cut in cuts(wrong, sure, part.groups):
        print(f"at most {cut['error']:.0%} wrong: abstain {cut['abstained']}")


if __name__ == "__main__":
    main()
