"""Tables: what a few labelled scans of a new clinic are worth, on each collection left out.

Patients are drawn whole until there are 20, 40 or 80 scans; the figures are those of the collection's other patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kept import ANSWERS, CLASSES, answers, table
from numpy.typing import NDArray

from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Rules
from sonoforge.training.statistics import decision
from sonoforge.training.statistics.calibration import Calibrated
from sonoforge.training.statistics.predictions import Predictions, pick, read_predictions

COUNTS = (20, 40, 80)
DRAWS = 50
AIM, ALPHA = 0.95, 0.1
NONE = "none: the default"

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Fitted = Callable[[Floats], tuple[Floats, Rules]]
"""From a scan's probabilities of equally frequent classes to better ones, and the rules for them."""


class LeftOut:
    """A collection, answered by a network and by rules that saw nothing of it."""

    def __init__(self, part: Predictions, by_fold: Sequence[Calibrated], classes: tuple[str, ...], name: str) -> None:
        own = np.array(part.collections) == name
        (equal,) = (fold.probabilities for fold in by_fold if np.array_equal(fold.test, own))
        others = np.flatnonzero(~own)
        self.name, self.equal = name, equal[own]
        self.labels, self.groups = part.labels[own], part.groups[own]
        self.rules = decision.choose_rules(part.labels[others], equal[others], classes, pick(part.collections, others))

    def draw(self, count: int, seed: int) -> tuple[Whole, Whole]:
        """Draw so many scans of whole patients (the last of them in part), and return the other patients' scans."""
        patients = np.random.default_rng([seed, count]).permutation(np.unique(self.groups))
        scans = [np.flatnonzero(self.groups == patient) for patient in patients[:count]]
        drawn = np.concatenate(scans)[:count]
        return drawn, np.flatnonzero(~np.isin(self.groups, self.groups[drawn]))

    def figures(self, equal: Floats, rules: Rules, chosen: Whole) -> dict[str, float]:
        """Measure the answers to some scans."""
        labels, decided = self.labels[chosen], adaptation.decide_all(equal, rules)
        found = adaptation.figures(decided, labels, rules, AIM)
        malignant = decided.sets[labels == 2, 2].mean()
        return {name: figure.mean() for name, figure in found.items()} | {"malignant in its set": float(malignant)}


def softmax(scores: Floats) -> Floats:
    """Return the softmax of each row (N, C)."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def logs(equal: Floats) -> Floats:
    """Return the logarithms, within what a network can mean."""
    found: Floats = np.log(np.maximum(equal, 1e-6))
    return found


def fit_softmax(inputs: Floats, labels: Whole, known: Floats, prior: tuple[Floats, Floats]) -> Floats:
    """Fit theta (K,) of softmax(inputs @ theta + known) by Newton's method.

    Args:
        inputs: (N, C, K).
        labels: (N,) classes.
        known: (C,) part of the logits that is not fitted, the logarithms of the class shares.
        prior: (K,) centre and (K,) strength of the ridge.
    """
    centre, strength = prior
    theta, truth = centre.copy(), np.eye(inputs.shape[1])[labels]
    for _ in range(100):
        q = softmax(inputs @ theta + known)
        mean = np.einsum("nc,nck->nk", q, inputs)
        slope = np.einsum("nc,nck->k", q - truth, inputs) + strength * (theta - centre)
        curve = np.einsum("nc,nck,ncl->kl", q, inputs, inputs) - mean.T @ mean + np.diag(strength)
        step = np.clip(np.linalg.solve(curve, slope), -1, 1)
        theta = theta - step
        if np.abs(step).max() < 1e-10:
            break
    return theta


def counted(equal: Floats, labels: Whole, start: Rules) -> Fitted:
    rules = start._replace(prevalence=adaptation.shares_by_counting(labels, equal.shape[1]))
    return lambda others: (others, rules)


def adapted(equal: Floats, labels: Whole, start: Rules) -> Fitted:
    rules = adaptation.fit_rules(equal, labels, start)
    return lambda others: (others, rules)


def offsets(ridge: float, scale: float = np.inf) -> Callable[[Floats, Whole, Rules], Fitted]:
    """Vector scaling with one scale for all classes, drawn to what the network says; without ``scale`` none."""

    def fit(equal: Floats, labels: Whole, start: Rules) -> Fitted:
        rules = start._replace(prevalence=adaptation.shares_by_counting(labels, 3))
        strength, centre = np.array([ridge] * 3 + [min(scale, 1e9)]), np.array([0.0, 0, 0, 1])

        def inputs(rows: Floats) -> Floats:
            own = logs(rows) - logs(rows).mean(axis=1, keepdims=True)
            return np.concatenate([np.broadcast_to(np.eye(3), (len(rows), 3, 3)), own[:, :, None]], axis=2)

        theta = fit_softmax(inputs(equal), labels, np.log(rules.prevalence), (centre, strength))
        return lambda others: (softmax(inputs(others) @ theta), rules)

    return fit


def slope_and_offset(logits: Floats) -> Floats:
    """Return the inputs (N, 2, 2) of a logistic regression on a logit (N,), as `fit_softmax` takes them."""
    nothing, one = np.zeros_like(logits), np.ones_like(logits)
    return np.stack([np.stack([nothing, logits], axis=1), np.stack([nothing, one], axis=1)], axis=2)


def hierarchical(equal: Floats, labels: Whole, start: Rules) -> Fitted:
    """Offset and slope of lesion against normal, and of malignant against benign among lesions."""
    rules = start._replace(prevalence=adaptation.shares_by_counting(labels, 3))
    normal, benign, malignant = rules.prevalence

    def inputs(rows: Floats) -> tuple[Floats, Floats]:
        own = logs(rows)
        lesion, malignant = np.logaddexp(own[:, 1], own[:, 2]) - own[:, 0], own[:, 2] - own[:, 1]
        return slope_and_offset(lesion), slope_and_offset(malignant)

    first, second = inputs(equal)
    lesion = labels > 0
    prior = np.array([1.0, 0]), np.array([30.0, 10])
    known = np.array([0, np.log((1 - normal) / normal / 2)])  # of equally frequent classes, two in three are lesions
    one = fit_softmax(first, lesion.astype(int), known, prior)
    known = np.array([0, np.log(malignant / benign)])
    two = fit_softmax(second[lesion], (labels[lesion] == 2).astype(int), known, prior)

    def apply(others: Floats) -> tuple[Floats, Rules]:
        a, b = inputs(others)
        is_lesion, is_malignant = softmax(a @ one), softmax(b @ two)
        return np.concatenate([is_lesion[:, :1], is_lesion[:, 1:] * is_malignant], axis=1), rules

    return apply


def least_ambiguous(equal: Floats, labels: Whole, start: Rules) -> Fitted:
    """Sets of least ambiguity (Sadinle, Lei, Wasserman, JASA 114, 2019): one threshold at the clinic's shares."""
    fitted = adaptation.fit_rules(equal, labels, start)
    here = adaptation.at_shares(equal, fitted.prevalence)[np.arange(len(labels)), labels]
    least = np.sort(here)[int(ALPHA * (len(here) + 1)) - 1]
    rules = fitted._replace(thresholds=np.full(3, least))
    return lambda others: (others, rules)


WAYS: dict[str, Callable[[Floats, Whole, Rules], Fitted]] = {
    "shares counted": counted,
    "**shares counted, sets and points fitted** (`adapt`)": adapted,
    "shares and offsets, ridge 3": offsets(3),
    "shares and offsets, ridge 10": offsets(10),
    "shares, offsets and a scale": offsets(10, 30),
    "shares; offset and slope of each question": hierarchical,
    "as `adapt`, one threshold for all sets": least_ambiguous,
}
HEADING = (
    *("accuracy", "balanced accuracy", "lesion: sensitivity", "lesion: specificity", "malignant: sensitivity"),
    *("malignant: specificity", "coverage of sets", "malignant in its set", "mean size of a set", "sets of one class"),
)


BOOTSTRAPS = 200
"""Bootstrap draws of whole groups behind an interval of shares that are estimated without labels."""

_STEPS = 2000
_STILL = 1e-5  # EM has arrived when no share moves by more
_LEAST_SHARE = 0.001
_AT_A_TIME = 2_000_000  # size of an array, of draws times scans


class Share(NamedTuple):
    """The estimated share of a class and its 95 % interval."""

    share: float
    low: float
    high: float


def likeliest_shares(equal: Floats, weights: Floats, start: Floats | None = None) -> Floats:
    """Return the class shares (R, C) that make R weightings of the scans likeliest, by EM.

    Saerens, Latinne, Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural
    Computation 14(1), 2002, section 3: it holds if each class looks the same in the clinic as it did to the network.

    Args:
        equal: (N, C) probabilities of equally frequent classes.
        weights: (R, N) of the scans, none negative; how often a bootstrap has drawn each.
        start: (C,) shares to begin with, none of them 0; equal ones by default.
    """
    count = equal.shape[1]
    shares = np.tile(np.full(count, 1 / count) if start is None else start, (len(weights), 1))
    totals = weights.sum(axis=1, keepdims=True)
    for _ in range(_STEPS):
        mixture = shares @ equal.T  # in place from here: with many scans, each such array takes 16 MB
        np.maximum(mixture, np.finfo(float).tiny, out=mixture)
        moved = shares * (np.divide(weights, mixture, out=mixture) @ equal) / totals
        moved /= moved.sum(axis=1, keepdims=True)
        arrived = float(np.abs(moved - shares).max()) < _STILL
        shares = moved
        if arrived:
            break
    return shares


def estimate_shares(equal: Floats, groups: Sequence[object]) -> list[Share]:
    """Estimate the share of each class with its 95 % bootstrap interval; deterministic.

    Args:
        equal: (N, C) probabilities of equally frequent classes, N > 0.
        groups: (N,) patient, or another group of scans that belong together; groups are drawn whole.
    """
    found = likeliest_shares(equal, np.ones((1, len(equal))))[0]
    start = np.maximum(found, _LEAST_SHARE)
    start /= start.sum()
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([number[group] for group in groups])
    generator = np.random.default_rng(0)
    even = np.full(len(number), 1 / len(number))
    at_a_time = max(1, _AT_A_TIME // len(equal))
    drawn = []
    for begin in range(0, BOOTSTRAPS, at_a_time):
        counts = generator.multinomial(len(number), even, size=min(at_a_time, BOOTSTRAPS - begin)).astype(np.int32)
        drawn.append(likeliest_shares(equal, counts[:, group_of].astype(float), start))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975), axis=0)
    rows = np.stack([found, np.minimum(low, found), np.maximum(high, found)], axis=1)
    return [Share(*map(float, row)) for row in rows]


def left_out(path: Path) -> list[LeftOut]:
    """Read the kept answers of networks that had one collection left out, of the first seed."""
    (part, *_), classes = read_predictions(path)
    by_fold = decision.equal_by_fold(part, np.ones(len(classes)))
    return [LeftOut(part, by_fold, classes, name) for name in dict.fromkeys(part.collections)]


def rows_of(own: LeftOut) -> list[list[str]]:
    """Measure every way with every number of labelled scans."""
    everything = np.arange(len(own.labels))
    truth = own.rules._replace(prevalence=adaptation.shares_by_counting(own.labels, 3))
    guessed = own.rules._replace(
        prevalence=np.array([one.share for one in estimate_shares(own.equal, own.groups.tolist())])
    )
    rows = [
        ["0", name, *cells([own.figures(own.equal, rules, everything)])]
        for name, rules in (
            (NONE, own.rules),
            ("shares estimated without labels", guessed),
            ("true shares given", truth),
        )
    ]
    for count in COUNTS:
        draws = [own.draw(count, seed) for seed in range(DRAWS)]
        for name, fit in WAYS.items():
            found = []
            for drawn, others in draws:
                apply = fit(own.equal[drawn], own.labels[drawn], own.rules)
                found.append(own.figures(*apply(own.equal[others]), others))
            rows.append([str(count), name, *cells(found)])
    return rows


def cells(found: list[dict[str, float]]) -> list[str]:
    """Write the mean over draws and, of several, the standard deviation."""
    written = []
    for name in HEADING:
        values = np.array([one.get(name, np.nan) for one in found])
        if np.isnan(values).all():
            written.append("-")
            continue
        spread = f" ± {np.nanstd(values):.2f}" if len(values) > 1 else ""
        written.append(f"{np.nanmean(values):.2f}{spread}")
    return written


def estimates(own: LeftOut, classes: tuple[str, ...]) -> list[list[str]]:
    """Compare the shares estimated without labels with the true ones."""
    found = estimate_shares(own.equal, own.groups.tolist())
    return [
        [own.name, name, f"{(own.labels == i).mean():.2f}", f"{one.share:.2f} [{one.low:.2f}, {one.high:.2f}]"]
        for i, (name, one) in enumerate(zip(classes, found, strict=True))
    ]


def adapt() -> str:
    """What labelled scans of a collection are worth to a network that has not seen it, and what none are."""
    collections = left_out(ANSWERS["left-out.csv.gz"])
    parts = [
        answers("left-out.csv.gz"),
        f"Networks of seed 0. Labelled scans drawn by patient, {DRAWS} draws: mean ± standard deviation over draws, on "
        "the collection's other patients. Thresholds of the default were set on the other collections; questions are "
        f"asked at a sensitivity of {AIM:g}, sets are to hold {1 - ALPHA:.0%} of each class. What was "
        "chosen here: what `adapt` fits, and the ten positive scans that a bundle's own operating point counts for.\n",
    ]
    heading = ["labelled scans", "fitted", *HEADING]
    parts += [f"## {own.name} left out\n\n{table(heading, rows_of(own))}" for own in collections]
    rows = [row for own in collections for row in estimates(own, CLASSES)]
    heading = ["left out", "class", "true share", "estimated without labels, 95 % by patient"]
    parts.append(f"## Shares estimated without labels\n\n{table(heading, rows)}")
    return "\n".join(parts)


TABLES = {"few-labels": adapt}
