"""Nearest neighbours, precision and recall, density and coverage: loops, closed forms, torch-fidelity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_rows import Rows, network_rows, other_library, rows
from sonoforge.runtime.distances import neighbours as module
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall

FIDELITY = other_library("torch_fidelity.metric_prc")


def _radius(rows_: Rows, index: int, k: int) -> float:
    """Distance to the k-th neighbour, by a sort of all the others."""
    return sorted(float(np.linalg.norm(rows_[index] - other)) for other in np.delete(rows_, index, 0))[k - 1]


def _share_near(points: Rows, centres: Rows, k: int) -> float:
    """Kynkaanniemi 2019, equation 1, as it is printed."""
    radii = [_radius(centres, index, k) for index in range(len(centres))]
    near = [
        any(np.linalg.norm(point - centre) <= radius for centre, radius in zip(centres, radii, strict=True))
        for point in points
    ]
    return float(np.mean(near))


def _density_coverage_by_hand(generated: Rows, real: Rows, k: int) -> tuple[float, float]:
    """Naeem 2020, section 3, as printed."""
    inside = np.zeros((len(generated), len(real)))
    for i in range(len(real)):
        radius = _radius(real, i, k)
        for j in range(len(generated)):
            inside[j, i] = np.linalg.norm(generated[j] - real[i]) <= radius
    return float(inside.sum() / (k * len(generated))), float(np.mean(inside.any(0)))


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 3), (23, 41, 1), (40, 12, 5)])
@pytest.mark.parametrize("block", [7, 4_000_000])
def test_all_four_equal_their_loops(monkeypatch: pytest.MonkeyPatch, n: int, m: int, k: int, block: int) -> None:
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", block)
    x, y = 0.4 + 0.8 * rows(n, 3, 0), rows(m, 3, 1)
    assert precision_recall(x, y, k) == pytest.approx((_share_near(x, y, k), _share_near(y, x, k)))
    assert density_coverage(x, y, k) == pytest.approx(_density_coverage_by_hand(x, y, k))


@pytest.mark.parametrize(("n", "m"), [(90, 90), (60, 95)])
def test_precision_and_recall_agree_with_torch_fidelity_on_features_of_a_network(n: int, m: int) -> None:
    x, y = network_rows(n, 64, 0, blur=3), network_rows(m, 64, 100)
    settings = {"prc_neighborhood": 3, "prc_batch_size": 10000, "save_cpu_ram": False, "verbose": False}
    theirs = FIDELITY.prc_features_to_metric(torch.from_numpy(x).double(), torch.from_numpy(y).double(), **settings)
    assert 0 < theirs["precision"] < 1
    assert 0 < theirs["recall"] < 1
    found = precision_recall(x, y)
    assert found == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-3)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (12, 30), (30, 12)])
def test_equal_distributions_give_the_expectations_of_the_paper(n: int, m: int) -> None:
    k, repeats = 4, 400
    found = np.array([density_coverage(rows(n, 5, 2 * i), rows(m, 5, 2 * i + 1), k) for i in range(repeats)])
    errors = found.std(0, ddof=1) / np.sqrt(repeats)
    # Naeem 2020, section 3: none of the n generated images is among the nearest k of a real one's neighbours.
    missed = np.prod([(m - i) / (m + n - i) for i in range(1, k + 1)])
    assert abs(found[:, 0].mean() - 1) < 4 * errors[0]
    assert abs(found[:, 1].mean() - (1 - missed)) < 4 * errors[1]


def test_equal_numbers_come_near_the_limit_of_coverage() -> None:
    found = np.mean([density_coverage(rows(400, 3, 2 * i), rows(400, 3, 2 * i + 1))[1] for i in range(10)])
    assert found == pytest.approx(1 - 2.0**-5, abs=0.01)


def test_a_set_lies_within_itself_and_not_within_a_far_one() -> None:
    x = network_rows(50, 64, 0)
    assert precision_recall(x, x) == (1, 1)
    density, coverage = density_coverage(x, x)
    # Each image is in its own ball and, rim included, in those of which it is one of the 5 neighbours.
    assert density == pytest.approx(6 / 5)
    assert coverage == 1
    assert precision_recall(x, x + 1000) == (0, 0)
    assert density_coverage(x, x + 1000) == (0, 0)


def test_one_odd_image_lifts_recall_and_not_coverage() -> None:
    """Of an outlier among the generated images, the ball takes in half of the space, and half of the real ones."""
    real, generated = rows(60, 4, 0), 0.05 * rows(60, 4, 1)
    with_outlier = np.concatenate([generated, [np.full(4, 30.0)]])
    assert precision_recall(generated, real).recall < 0.2
    assert precision_recall(with_outlier, real).recall > 0.4
    assert density_coverage(with_outlier, real).coverage == density_coverage(generated, real).coverage


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_equal_images_have_a_ball_of_no_size_that_holds_their_copies(offset: float) -> None:
    real = offset + np.concatenate([np.tile(rows(1, 8, 0), (6, 1)), 50 + rows(10, 8, 1)])
    found = density_coverage(np.tile(real[:1], (6, 1)), real, 5)
    assert found == pytest.approx((6 / 5, 6 / 16))
