"""Fit a bundle's decisions to one clinic on a few labelled scans: class shares, prediction sets, operating points.

The network and its probabilities do not change.  Class shares are counted, and thresholds move from the bundle's
towards the clinic's own as scans are added. This is the simplest method that was never worse than the default on
collections that a network had not seen (``training/studies/few-labels/README.md``). The distance of a clinic's scans
from the training images, beyond the bundle's trust limits, is measured separately and needs no labels.
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
"""How many positive scans the bundle's own operating point counts as."""
UNSEEN = 0.5
"""Added to the count of each class (Jeffreys' prior)."""
LEAST_OF_A_KIND = 5
"""Scans needed on either side of a question before its operating points move; patients, before a change is judged."""
OUTSIDE = 0.05
"""Share of a new patient's scans that may be beyond the clinic's reach, as for each limit of the training."""
Z = 1.959963984540054
"""97.5 % of the normal distribution."""
PRIOR_GROUPS = 2
"""Two more errors, as in Agresti & Coull's interval (Am. Stat. 52, 1998); chosen by ``training/studies/intervals``."""

_EDGE = 1e-6  # thresholds stay this far from 0 and 1
_ROUNDING = 1e-9
_SMALLEST = 1e-300  # a mix of classes that none of a side fits is even


class Asked(NamedTuple):
    """A question and its operating points."""

    name: str
    positive: Flags  # (C,) classes for which the answer is yes
    among: Flags  # (C,) classes that the question is about
    aims: Floats  # (A,) sensitivities, rising
    thresholds: Floats  # (A,) of the score, one for each aim


class Reach(NamedTuple):
    """How far out a clinic's scans lie."""

    limit: float  # distance allowed, in multiples of the bundle's limits of trust, 1..`FARTHEST`
    scans: int  # scans measured
    before: float  # share of them beyond the bundle's limits
    after: float  # share of them beyond the limit fitted to the other patients


class Rules(NamedTuple):
    """Everything needed to turn probabilities of equally frequent classes into answers."""

    prevalence: Floats  # (C,) class shares; sum to 1
    thresholds: Floats  # (C,) probability, at ``set_shares``, from which a class belongs to the set
    set_shares: Floats  # (C,) class shares at which the thresholds apply
    alpha: float  # error rate of the sets, for each class
    questions: tuple[Asked, ...]  # asked behind the label


class Decided(NamedTuple):
    """Answers to N scans."""

    labels: Whole  # (N,)
    sets: Flags  # (N, C)
    beyond: tuple[Flags, ...]  # for each question, whether the score reaches each operating point (N, A)


class Interval(NamedTuple):
    """A figure with its 95 % interval; NaN if no scan counts towards it, the ends alone if too few patients do."""

    value: float
    low: float
    high: float


class Compared(NamedTuple):
    """A figure before and after, and the change."""

    before: float
    after: float
    change: Interval


class Figure(NamedTuple):
    """A mean over scans; of several kinds of scans, the mean of their means."""

    values: Floats  # (N,) of each scan
    kinds: list[Flags]  # (N,) each, none empty: the scans that count
    most: float = 1.0  # by which one scan can change it

    def mean(self) -> float:
        """Return the figure, NaN if no scan counts."""
        return float(np.mean([self.values[own].mean() for own in self.kinds])) if self.kinds else float("nan")


def rules_of(manifest: ClassifierManifest, prevalence: Mapping[str, float]) -> Rules:
    """Return a bundle's rules for these class shares; sets keep the shares of the site it was adapted to, if any."""
    classes = manifest.classes
    set_shares = manifest.site.prevalence if manifest.site else dict.fromkeys(classes, 1 / len(classes))
    questions = tuple(
        Asked(
            question.name,
            np.array([name in question.positive for name in classes]),
            np.array([name in question.among for name in classes]),
            np.array([point.aim for point in question.points]),
            np.array([point.threshold for point in question.points]),
        )
        for question in manifest.questions
    )
    shares, thresholds, at = (
        np.array([values[name] for name in classes]) for values in (prevalence, manifest.thresholds, set_shares)
    )
    return Rules(shares, thresholds, at, manifest.alpha, questions)


def scores_of(probabilities: Floats, positive: Flags, among: Flags) -> Floats:
    """Return the probability (N,) of the positive classes (C,) among those that a question is about; 0 if none."""
    whole = probabilities[:, among].sum(axis=1)
    return np.asarray(
        np.divide(probabilities[:, positive].sum(axis=1), whole, out=np.zeros(len(whole)), where=whole > 0)
    )


def threshold_at(equal: Floats, shares: Floats, question: Asked, threshold: float) -> float:
    """Return the threshold of a question for class shares (C,), given a scan's mix of classes (C,) on either side."""
    mix, sides = equal + _SMALLEST, (question.positive, question.among & ~question.positive)
    yes, no = ((mix * shares)[side].sum() / mix[side].sum() for side in sides)
    return float(threshold * yes / (threshold * yes + (1 - threshold) * no))


def at_shares(equal: Floats, shares: Floats) -> Floats:
    """Return the probabilities (N, C) for class shares (C,), by Bayes' theorem."""
    weighted = equal * shares
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))


def decide_all(equal: Floats, rules: Rules) -> Decided:
    """Answer all scans (N, C), at all operating points.

    A question about all classes also has a say in the set: unless its most sensitive point answers no, the set holds
    one of its positive classes, so that no lesion is calmly called normal.
    """
    labels = (equal * rules.prevalence).argmax(axis=1)
    sets = at_shares(equal, rules.set_shares) >= rules.thresholds
    sets[np.arange(len(equal)), labels] = True
    beyond = tuple(scores_of(equal, q.positive, q.among)[:, None] >= q.thresholds for q in rules.questions)
    for question, reached in zip(rules.questions, beyond, strict=True):
        if question.among.all():
            missing = reached[:, -1] & ~sets[:, question.positive].any(axis=1)
            sets[missing, np.where(question.positive, equal, 0)[missing].argmax(axis=1)] = True
    return Decided(labels, sets, beyond)


def shares_by_counting(labels: Whole, classes: int) -> Floats:
    """Return the class shares (C,) of labelled scans, all above 0."""
    counts = np.bincount(labels, minlength=classes).astype(float) + UNSEEN
    return np.asarray(counts / counts.sum())


def set_thresholds(here: Floats, labels: Whole, alpha: float) -> Floats:
    """Return the probability (C,) at which each class joins the set, from (N, C) at the clinic's shares, N > 0.

    A class with enough scans for ``alpha`` gets the order statistic of its own scans, with the finite-sample correction
    (Vovk, Conditional validity of inductive conformal predictors, Machine Learning 92, 2013).  A class with fewer gets
    the smallest value of its own scans, but no more than the order statistic of all scans together; a class without
    scans also gets the latter.
    """

    def order_statistic(values: Floats) -> float:
        below = int(np.floor(alpha * (len(values) + 1) + _ROUNDING)) - 1
        return float(np.sort(values)[max(below, 0)])

    together = order_statistic(here[np.arange(len(labels)), labels])
    thresholds = np.full(here.shape[1], together)
    for c in np.unique(labels):
        own = here[labels == c, c]
        enough = alpha * (len(own) + 1) >= 1 - _ROUNDING
        thresholds[c] = order_statistic(own) if enough else min(together, own.min())
    return thresholds


def fit_rules(equal: Floats, labels: Whole, start: Rules) -> Rules:
    """Fit a bundle's rules to labelled scans: probabilities of equally frequent classes (N, C), N > 0, labels (N,)."""
    shares = shares_by_counting(labels, equal.shape[1])
    questions = []
    for question in start.questions:
        thresholds = question.thresholds
        if can_move(labels, question):
            scores = np.sort(scores_of(equal, question.positive, question.among)[question.positive[labels]])
            # The largest threshold that a share ``aim`` of the positive scans reaches.
            own = scores[np.floor((1 - question.aims) * len(scores) + _ROUNDING).astype(int)]
            pairs = zip(thresholds.tolist(), own.tolist(), strict=True)
            thresholds = np.array([moved(*pair, len(scores)) for pair in pairs])
        questions.append(question._replace(thresholds=thresholds))
    sets = set_thresholds(at_shares(equal, shares), labels, start.alpha)
    return Rules(shares, sets, shares, start.alpha, tuple(questions))


def moved(threshold: float, own: float, count: int) -> float:
    """Move a bundle's threshold towards a clinic's own, on logits; the clinic's has weight n / (n + `PRIOR`)."""
    both = np.clip((threshold, own), _EDGE, 1 - _EDGE)
    logits = np.log(both / (1 - both))
    weight = count / (count + PRIOR)
    return float(1 / (1 + np.exp(-((1 - weight) * logits[0] + weight * logits[1]))))


def can_move(labels: Whole, question: Asked) -> bool:
    """Whether there are enough scans on either side of a question to move its operating points."""
    about = question.among[labels]
    positive = int((about & question.positive[labels]).sum())
    return min(positive, int(about.sum()) - positive) >= LEAST_OF_A_KIND


def cross_fitted(equal: Floats, labels: Whole, groups: Whole, start: Rules) -> Decided:
    """Answer each group (patient) of scans with rules fitted on all the others."""
    found = decide_all(equal, start)
    for group in np.unique(groups):
        own = groups == group
        here = decide_all(equal[own], fit_rules(equal[~own], labels[~own], start))
        found.labels[own], found.sets[own] = here.labels, here.sets
        for all_of_them, these in zip(found.beyond, here.beyond, strict=True):
            all_of_them[own] = these
    return found


def measure_reach(times: Floats, groups: Whole) -> Reach:
    """Measure how far out the scans of G groups are, from `trust.how_far` distances (N,); 1 without any."""
    if not len(times):
        return Reach(1.0, 0, 0.0, 0.0)
    after = sum(
        float((times[own] > _limit(times[~own], groups[~own])).sum())
        for own in (groups == g for g in np.unique(groups))
    )
    return Reach(_limit(times, groups), len(times), float((times > 1).mean()), after / len(times))


def _limit(times: Floats, groups: Whole) -> float:
    """Return the distance that a new group's scan exceeds in a share `OUTSIDE` of cases, within 1..`FARTHEST`.

    Each group counts equally, one in G + 1 (Lee, Barber, Willett, Distribution-free inference with hierarchical data,
    arXiv:2306.06342, 2023, section 3). With too few groups, return the largest distance.
    """
    if not len(times):
        return 1.0
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(times)
    reached = np.cumsum(1 / sizes[group][order]) / (len(sizes) + 1)
    place = min(int(np.searchsorted(reached, 1 - OUTSIDE - _ROUNDING)), len(times) - 1)
    return float(np.clip(times[order][place], 1, FARTHEST))


def figures(decided: Decided, labels: Whole, rules: Rules, aim: float) -> dict[str, Figure]:
    """Measure answers to N scans, with questions asked at the sensitivity ``aim``; return each figure by its name."""
    everything = np.ones(len(labels), dtype=bool)

    def figure(values: NDArray[np.generic], *kinds: Flags, most: float = 1.0) -> Figure:
        return Figure(values.astype(float), [own for own in kinds if own.any()], most)

    right, sizes = decided.labels == labels, decided.sets.sum(axis=1)
    found = {
        "accuracy": figure(right, everything),
        "balanced accuracy": figure(right, *(labels == c for c in np.unique(labels))),
    }
    for question, beyond in zip(rules.questions, decided.beyond, strict=True):
        called = beyond[:, int(np.argmin(np.abs(question.aims - aim)))]
        about, positive = question.among[labels], question.positive[labels]
        found[f"{question.name}: sensitivity"] = figure(called, about & positive)
        found[f"{question.name}: specificity"] = figure(~called, about & ~positive)
    return found | {
        "coverage of sets": figure(decided.sets[np.arange(len(labels)), labels], everything),
        "mean size of a set": figure(sizes, everything, most=decided.sets.shape[1] - 1),
        "sets of one class": figure(sizes == 1, everything),
    }


def compare(
    before: Decided, after: Decided, labels: Whole, groups: Whole, asked: tuple[Rules, float]
) -> dict[str, Compared]:
    """Compare two sets of answers to the same scans, of patients (N,).

    ``asked`` has the rules with the questions, and the sensitivity at which to ask them.
    """
    old, new = (figures(decided, labels, *asked) for decided in (before, after))
    return {name: Compared(one.mean(), new[name].mean(), _change(one, new[name], groups)) for name, one in old.items()}


def design_effect(values: Flags | Floats, groups: Whole) -> tuple[float, int]:
    """Return how many images in groups (N,) tell as much about their mean value as one independent image, at least 1.

    Return also how many groups have a value (N,) that is not the commonest of -1, 0 and 1.  The first is the variance
    of the mean as a ratio over groups, divided by that for independent images (Rao & Scott, Biometrics 48, 1992). If
    hardly any group has another value, that estimate is often far too small. `PRIOR_GROUPS` more such groups are
    therefore counted, with a correlation of one half, half-way to the largest effect that one chance for all groups
    allows: sum n^2 / sum n over the group sizes n. A single group counts as one image.
    """
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    images, count, alike = len(values), len(sizes), float((sizes**2).sum() / len(values))
    inside = np.bincount(inverse, weights=np.abs(values))
    telling, spread = min(int((inside > 0).sum()), int((inside < sizes).sum())), float(np.var(values)) * images**2
    if count == 1 or telling == 0 or spread == 0:
        return alike if count == 1 else (1 + alike) / 2, telling
    between = float(((np.bincount(inverse, weights=values) - np.mean(values) * sizes) ** 2).sum()) * count / (count - 1)
    effect = between * (images - 1) / spread
    return max(1.0, (telling * effect + PRIOR_GROUPS * (1 + alike) / 2) / (telling + PRIOR_GROUPS)), telling


def _change(before: Figure, after: Figure, groups: Whole) -> Interval:
    """Return the change of a figure with Bonett & Price's interval (J. Educ. Behav. Stat. 37, 2012) by patient (N,).

    It adds two scans that change by ``most``, one each way, to the effective number of scans (`design_effect`).  Unlike
    a bootstrap, it stays open where few scans or none have changed, as thresholds fitted on so few may yet change
    others (chosen by ``training/studies/intervals``).  With fewer than `LEAST_OF_A_KIND` patients, ends are NaN.
    """
    value, centres, variances = after.mean() - before.mean(), [], []
    if not before.kinds or min(len(np.unique(groups[own])) for own in before.kinds) < LEAST_OF_A_KIND:
        return Interval(value, float("nan"), float("nan"))
    for own in before.kinds:
        steps = (after.values - before.values)[own]
        count = len(steps) / design_effect(steps, groups[own])[0]
        centres.append(count * steps.mean() / (count + 2))
        square = (count * (steps**2).mean() + 2 * before.most**2) / (count + 2)
        variances.append((square - centres[-1] ** 2) / (count + 2))
    centre, half = np.mean(centres), Z * np.sqrt(np.sum(variances)) / len(variances)
    return Interval(value, float(min(centre - half, value)), float(max(centre + half, value)))
