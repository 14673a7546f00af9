"""What a bundle decides by, fitted to one clinic on a few labelled scans of it: prevalence, sets, operating points.

The network and its probabilities stay as they are.  Of what was tried on collections that a network had not seen
(``training/studies/few-labels/README.md``), this is the simplest that was never worse than the default: class shares by
counting, and thresholds that move from the bundle's to the clinic's as scans are added.  Scans of a clinic lie farther
from the training images than its limits of trust allow for; how far, is measured on its own, and needs no labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import FARTHEST, ClassifierManifest

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

PRIOR = 10.0
"""Positive scans that the bundle's own operating point counts for."""
UNSEEN = 0.5
"""Scans that each class is taken to have had beside those counted (Jeffreys' prior)."""
LEAST_OF_A_KIND = 5
"""Scans on either side of a question from which on its operating points move."""
OUTSIDE = 0.05
"""Share of a further patient's scans that may lie beyond the clinic's reach, as beyond each limit of the training."""
DRAWS = 2000
"""Bootstrap draws of whole groups behind an interval."""

_EDGE = 1e-6  # nearest a threshold is taken to 0 or 1
_ROUNDING = 1e-9


class Asked(NamedTuple):
    """A question and its operating points.

    Attributes:
        name: Of what is looked for.
        positive: (C,) classes that have it.
        among: (C,) classes that it is about.
        aims: (A,) sensitivities, rising.
        thresholds: (A,) of the score, for each aim.
    """

    name: str
    positive: Flags
    among: Flags
    aims: Floats
    thresholds: Floats


class Reach(NamedTuple):
    """How far out a clinic's scans lie.

    Attributes:
        limit: How many times as far from the training images as its limits of trust, 1..`FARTHEST`.
        scans: That it was measured on.
        before: Share of these beyond the training's limits.
        after: Share beyond the limit that the other patients' scans give.
    """

    limit: float
    scans: int
    before: float
    after: float


class Rules(NamedTuple):
    """What turns probabilities of equally frequent classes into answers.

    Attributes:
        prevalence: (C,) class shares; 1 in sum.
        thresholds: (C,) probability, at ``set_shares``, from which a class belongs to the set.
        set_shares: (C,) class shares at which that is compared.
        alpha: Error rate of the sets, for each class.
        questions: Asked behind the label.
    """

    prevalence: Floats
    thresholds: Floats
    set_shares: Floats
    alpha: float
    questions: tuple[Asked, ...]


class Decided(NamedTuple):
    """Answers to N scans: labels (N,), sets (N, C), and for each question whether it is beyond each point (N, A)."""

    labels: Whole
    sets: Flags
    beyond: tuple[Flags, ...]


class Interval(NamedTuple):
    """A figure and its 95 % bootstrap interval; not a number where no scan says anything of it."""

    value: float
    low: float
    high: float


class Compared(NamedTuple):
    """A figure before and after, and the change."""

    before: Interval
    after: Interval
    change: Interval


def rules_of(manifest: ClassifierManifest, prevalence: Mapping[str, float]) -> Rules:
    """Return what a bundle decides by at these class shares; its sets are those of the site it was adapted to."""
    alike = dict.fromkeys(manifest.classes, 1 / len(manifest.classes))
    sets_at = manifest.site.prevalence if manifest.site else alike
    questions = tuple(
        Asked(
            question.name,
            np.array([name in question.positive for name in manifest.classes]),
            np.array([name in question.among for name in manifest.classes]),
            np.array([point.aim for point in question.points]),
            np.array([point.threshold for point in question.points]),
        )
        for question in manifest.questions
    )
    return Rules(
        np.array([prevalence[name] for name in manifest.classes]),
        np.array([manifest.thresholds[name] for name in manifest.classes]),
        np.array([sets_at[name] for name in manifest.classes]),
        manifest.alpha,
        questions,
    )


def scores_of(probabilities: Floats, positive: Flags, among: Flags) -> Floats:
    """Return the probability (N,) of the positive classes (C,) among those that a question is about; 0 of none."""
    whole = probabilities[:, among].sum(axis=1)
    found: Floats = np.divide(probabilities[:, positive].sum(axis=1), whole, out=np.zeros(len(whole)), where=whole > 0)
    return found


def at_shares(equal: Floats, shares: Floats) -> Floats:
    """Return the probabilities (N, C) for class shares (C,), by Bayes' theorem."""
    weighted = equal * shares
    found: Floats = weighted / weighted.sum(axis=1, keepdims=True)
    return found


def decide_all(equal: Floats, rules: Rules) -> Decided:
    """Answer all scans (N, C), at all operating points."""
    labels = (equal * rules.prevalence).argmax(axis=1)
    sets = at_shares(equal, rules.set_shares) >= rules.thresholds
    sets[np.arange(len(equal)), labels] = True
    beyond = tuple(scores_of(equal, q.positive, q.among)[:, None] >= q.thresholds for q in rules.questions)
    return Decided(labels, sets, beyond)


def shares_by_counting(labels: Whole, classes: int) -> Floats:
    """Return the class shares (C,) of labelled scans; none is 0."""
    counts = np.bincount(labels, minlength=classes).astype(float) + UNSEEN
    shares: Floats = counts / counts.sum()
    return shares


def set_thresholds(here: Floats, labels: Whole, alpha: float) -> Floats:
    """Return the probability (C,) from which each class belongs to the set.

    Of a class with enough scans for the level asked, the order statistic of its own with the finite-sample correction
    (Vovk, Conditional validity of inductive conformal predictors, Machine Learning 92, 2013).  Of one with fewer, the
    smallest of its own, and no more than what all scans together give: of a class without any, that.

    Args:
        here: (N, C) probabilities at the clinic's shares, N > 0.
        labels: (N,) classes.
        alpha: Error rate.
    """
    together = _order_statistic(here[np.arange(len(labels)), labels], alpha)
    thresholds = np.full(here.shape[1], together)
    for c in np.unique(labels):
        own = here[labels == c, c]
        enough = alpha * (len(own) + 1) >= 1 - _ROUNDING
        thresholds[c] = _order_statistic(own, alpha) if enough else min(together, own.min())
    return thresholds


def _order_statistic(values: Floats, alpha: float) -> float:
    below = int(np.floor(alpha * (len(values) + 1) + _ROUNDING)) - 1
    return float(np.sort(values)[max(below, 0)])


def fit_rules(equal: Floats, labels: Whole, start: Rules) -> Rules:
    """Fit what a bundle decides by to a clinic.

    Args:
        equal: (N, C) probabilities of equally frequent classes for labelled scans, N > 0.
        labels: (N,) their classes.
        start: What the bundle decides by.
    """
    shares = shares_by_counting(labels, equal.shape[1])
    return Rules(
        shares,
        set_thresholds(at_shares(equal, shares), labels, start.alpha),
        shares,
        start.alpha,
        tuple(_fit_question(equal, labels, question) for question in start.questions),
    )


def moved(threshold: float, own: float, count: int) -> float:
    """Move a bundle's threshold towards a clinic's own, on logits; the own one counts n / (n + `PRIOR`)."""
    both = np.clip((threshold, own), _EDGE, 1 - _EDGE)
    logits = np.log(both / (1 - both))
    weight = count / (count + PRIOR)
    return float(1 / (1 + np.exp(-((1 - weight) * logits[0] + weight * logits[1]))))


def can_move(labels: Whole, question: Asked) -> bool:
    """Whether there are enough scans on either side of a question."""
    about = question.among[labels]
    positive = int((about & question.positive[labels]).sum())
    return min(positive, int(about.sum()) - positive) >= LEAST_OF_A_KIND


def _fit_question(equal: Floats, labels: Whole, question: Asked) -> Asked:
    if not can_move(labels, question):
        return question
    scores = np.sort(scores_of(equal, question.positive, question.among)[question.positive[labels]])
    # The largest threshold that a share ``aim`` of the positive scans reaches.
    own = scores[np.floor((1 - question.aims) * len(scores) + _ROUNDING).astype(int)]
    pairs = zip(question.thresholds.tolist(), own.tolist(), strict=True)
    return question._replace(thresholds=np.array([moved(*pair, len(scores)) for pair in pairs]))


def cross_fitted(equal: Floats, labels: Whole, groups: Whole, start: Rules) -> Decided:
    """Answer for each group (patient) of scans by what was fitted on all the others."""
    found = decide_all(equal, start)
    for group in np.unique(groups):
        own = groups == group
        here = decide_all(equal[own], fit_rules(equal[~own], labels[~own], start))
        found.labels[own], found.sets[own] = here.labels, here.sets
        for all_of_them, these in zip(found.beyond, here.beyond, strict=True):
            all_of_them[own] = these
    return found


def measure_reach(times: Floats, groups: Whole) -> Reach:
    """Measure how far out the scans of G groups lie: ``times`` (N,) of `trust.how_far`, ``groups`` (N,); 1 of none."""
    if not len(times):
        return Reach(1.0, 0, 0.0, 0.0)
    after = sum(
        float((times[own] > _limit(times[~own], groups[~own])).sum())
        for own in (groups == g for g in np.unique(groups))
    )
    return Reach(_limit(times, groups), len(times), float((times > 1).mean()), after / len(times))


def _limit(times: Floats, groups: Whole) -> float:
    """Return what a scan of a further group exceeds in `OUTSIDE` of all cases, 1..`FARTHEST`; the largest of too few.

    Each group counts alike, one in G + 1 (Lee, Barber, Willett, Distribution-free inference with hierarchical data,
    arXiv:2306.06342, 2023, section 3).
    """
    if not len(times):
        return 1.0
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(times)
    reached = np.cumsum(1 / sizes[group][order]) / (len(sizes) + 1)
    place = min(int(np.searchsorted(reached, 1 - OUTSIDE - _ROUNDING)), len(times) - 1)
    return float(np.clip(times[order][place], 1, FARTHEST))


def figures(decided: Decided, labels: Whole, rules: Rules, aim: float, weights: Floats) -> dict[str, Floats]:
    """Measure answers under R weightings of the scans.

    Args:
        decided: The answers.
        labels: (N,) true classes.
        rules: What asked them: the questions and their aims.
        aim: Sensitivity that the questions are asked at.
        weights: (R, N), none negative.

    Returns:
        Each figure (R,) by its name: accuracy, balanced accuracy, sensitivity and specificity of each question, share
        of scans whose set holds their class, mean size of a set, share of sets of one class.
    """

    def mean(values: NDArray[np.generic], chosen: Flags | None = None) -> Floats:
        own = weights if chosen is None else weights * chosen
        total = own.sum(axis=1)
        found: Floats = np.divide(own @ values.astype(float), total, out=np.full(len(total), np.nan), where=total > 0)
        return found

    right, sizes = decided.labels == labels, decided.sets.sum(axis=1)
    recalls = np.stack([mean(right, labels == c) for c in np.unique(labels)])
    known = ~np.isnan(recalls)
    found = {
        "accuracy": mean(right),
        "balanced accuracy": np.where(known, recalls, 0).sum(axis=0) / known.sum(axis=0),
    }
    for question, beyond in zip(rules.questions, decided.beyond, strict=True):
        called = beyond[:, int(np.argmin(np.abs(question.aims - aim)))]
        about, positive = question.among[labels], question.positive[labels]
        found[f"{question.name}: sensitivity"] = mean(called, about & positive)
        found[f"{question.name}: specificity"] = mean(~called, about & ~positive)
    return found | {
        "coverage of sets": mean(decided.sets[np.arange(len(labels)), labels]),
        "mean size of a set": mean(sizes),
        "sets of one class": mean(sizes == 1),
    }


def compare(
    before: Decided, after: Decided, labels: Whole, groups: Whole, asked: tuple[Rules, float]
) -> dict[str, Compared]:
    """Compare answers to the same scans; intervals by bootstrap of whole groups.

    Args:
        before: The answers to compare with.
        after: Those that may be better.
        labels: (N,) true classes.
        groups: (N,) patient of each scan.
        asked: The rules that hold the questions, and the sensitivity that they are asked at.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    count = int(group_of.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)[:, group_of]
    weights = np.concatenate([np.ones((1, len(labels))), drawn.astype(float)])
    both = [figures(decided, labels, *asked, weights) for decided in (before, after)]
    return {
        name: Compared(_interval(both[0][name]), _interval(both[1][name]), _interval(both[1][name] - both[0][name]))
        for name in both[0]
    }


def _interval(values: Floats) -> Interval:
    """Return the interval of a figure (1 + draws,): of all scans first, then of each draw."""
    if np.isnan(values[0]):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return Interval(float(values[0]), float(low), float(high))


def more_scans(change: Interval, count: int) -> int | None:
    """Return how many more scans would narrow the interval enough to leave out 0, should the change stay what it is.

    The width shrinks with the root of the number of scans; in tens, upwards.  0 where it is left out already; None
    where the change is 0.
    """
    if change.low > 0 or change.high < 0:
        return 0
    if change.value == 0:
        return None
    side = change.value - change.low if change.value > 0 else change.high - change.value
    more = count * (side / abs(change.value)) ** 2 - count
    return 10 * max(1, int(np.ceil(more / 10)))
