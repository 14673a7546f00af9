"""Kappa against published examples, scikit-learn, statsmodels and the asymptotic standard error."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from sonoforge.training.statistics.classification import agreement, cohen_kappa, fleiss_kappa

# Ten subjects, fourteen readers, five categories: counts of a textbook example whose kappa is 0.210.
COUNTS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def ratings(seed: int, readers: int, categories: int = 3, images: int = 80) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, categories, (images, 1))
    blind = rng.random((images, readers)) < 0.4
    found: NDArray[np.int64] = np.where(blind, rng.integers(0, categories, (images, readers)), truth)
    return found


def test_fleiss_kappa_of_the_textbook_example() -> None:
    table = np.array([np.repeat(range(5), row) for row in COUNTS])
    assert fleiss_kappa(table, np.ones((1, 10)))[0] == pytest.approx(0.210, abs=5e-4)


def test_cohen_kappa_is_that_of_scikit_learn() -> None:
    table = ratings(0, 2)
    weights = np.random.default_rng(1).integers(0, 4, (5, 80)).astype(float)
    expected = [metrics.cohen_kappa_score(*table.T, sample_weight=own) for own in weights]
    assert cohen_kappa(table, weights) == pytest.approx(expected)


def test_kappas_and_cohens_interval_are_those_of_statsmodels() -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    table = ratings(2, 4)
    assert agreement(table)["value"] == pytest.approx(inter_rater.fleiss_kappa(inter_rater.aggregate_raters(table)[0]))
    found = inter_rater.cohens_kappa(inter_rater.to_table(table[:, :2])[0])
    assert agreement(table[:, :2])["value"] == pytest.approx(found.kappa)


def test_cohens_interval_is_near_the_asymptotic_one() -> None:
    """Fleiss, Cohen & Everitt, Psychol. Bull. 72, 1969, equation 13."""
    table = ratings(3, 2, images=400)
    shares = metrics.confusion_matrix(*table.T) / 400
    observed, rows, columns = np.trace(shares), shares.sum(axis=1), shares.sum(axis=0)
    expected = rows @ columns
    kappa = (observed - expected) / (1 - expected)
    both = rows[None] + columns[:, None]  # the reader's own margin crosswise
    first = (np.diag(shares) * (1 - np.diag(both) * (1 - kappa)) ** 2).sum()
    off = shares * (columns[:, None] + rows[None]) ** 2
    second = (1 - kappa) ** 2 * (off.sum() - np.trace(off))
    error = np.sqrt((first + second - (kappa - expected * (1 - kappa)) ** 2) / 400) / (1 - expected)
    found = agreement(table)
    assert found["value"] == pytest.approx(kappa)
    assert (found["low"], found["high"]) == pytest.approx((kappa - 1.96 * error, kappa + 1.96 * error), abs=0.012)


def test_two_readers_of_two_categories_and_chance() -> None:
    rng = np.random.default_rng(0)
    blind = rng.integers(0, 2, (5000, 3))
    assert fleiss_kappa(blind, np.ones((1, 5000)))[0] == pytest.approx(0, abs=0.02)
    same = np.repeat(blind[:, :1], 3, axis=1)
    assert fleiss_kappa(same, np.ones((1, 5000)))[0] == pytest.approx(1)
    assert np.isnan(agreement(np.zeros((5, 3), np.int64))["value"])
