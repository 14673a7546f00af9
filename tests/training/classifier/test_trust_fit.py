"""The Gaussian, the neighbours and the limits of trust, against covariances and plain recounts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import read_trust
from sonoforge.runtime.images.scan_checks import ROWS, upright_score
from sonoforge.runtime.inference.trust import NeighbourReference, mahalanobis_distances, neighbour_distances
from sonoforge.training.classifier.trust import (
    HeldOutTrust,
    TrainingSigns,
    assess_held_out,
    describe_causes,
    fit_neighbours,
    fit_reference,
    fit_trust,
    left_out_distances,
    record_trust,
    tail_limits,
)
from sonoforge.training.statistics.decision import choose_abstention
from sonoforge.training.statistics.predictions import Predictions


def fading(count: int, side: int = 56) -> np.ndarray:
    rng = np.random.default_rng(0)
    depth = np.linspace(1, 0.2, side)[None, :, None, None]
    return np.clip(depth * rng.uniform(50, 250, (count, side, side, 1)), 0, 255).astype(np.uint8).repeat(3, axis=3)


def test_training_images_are_nearer_to_themselves_than_others_are() -> None:
    rng = np.random.default_rng(1)
    own, others = (rng.normal(centre, 1, (60, 50)).astype(np.float32) for centre in (1.5, -1.5))
    reference = fit_neighbours(own)
    assert reference.points.shape == (60, 32)
    assert reference.axes.dtype == reference.points.dtype == np.float16
    assert neighbour_distances(own, reference).max() < neighbour_distances(others, reference).min()


def test_turned_images_are_told_from_upright_ones() -> None:
    pixels = fading(40)
    fitted = fit_trust(pixels[:30], np.random.default_rng(2).normal(size=(30, 8)).astype(np.float32))
    assert fitted.upright.shape == (ROWS,)
    embeddings = np.ones((10, 8), np.float32)
    upright = assess_held_out(pixels[30:], embeddings, fitted)
    turned = assess_held_out(pixels[30:, ::-1], embeddings, fitted)
    assert min(upright.upright) > 0.5
    assert turned.upright == pytest.approx([-score for score in upright.upright])


def answers(count: int, rng: np.random.Generator) -> Predictions:
    """Of two classes, most of them right."""
    labels = rng.integers(0, 2, count)
    right = rng.uniform(0.3, 1, count)
    return Predictions(
        arm="real", protocol="sealed", seed=0, files=tuple(map(str, range(count))), groups=np.arange(count),
        folds=np.arange(count) % 10, labels=labels,
        probabilities=np.where(labels[:, None] == [0, 1], right[:, None], 1 - right[:, None]),
    )  # fmt: skip


def found(judged: HeldOutTrust, part: Predictions) -> dict[str, Any]:
    """Limits and policy, as the figures of held-out answers have them."""
    median, threshold = tail_limits(np.array(judged.distances))
    abstention = choose_abstention(part, part.probabilities)
    return {"median": median, "threshold": threshold, "policy": {"always": False, **abstention._asdict()}}


def test_limits_are_those_of_the_held_out_images() -> None:
    rng = np.random.default_rng(3)
    held_out = answers(400, rng)
    distances, near = rng.uniform(20, 60, 400), rng.uniform(0.1, 0.5, 400)
    judged = HeldOutTrust(distances.tolist(), near.tolist(), [1.0] * 400, rng.uniform(0, 0.4, 400).tolist())
    looks = TrainingSigns(
        np.linspace(1, -1, ROWS), 0.04, rng.uniform(0.1, 0.5, 300), rng.uniform(0.1, 0.2, 300), "other"
    )
    record = record_trust(judged, held_out, looks, found(judged, held_out))
    _, checks = read_trust({"method": "ppca-mahalanobis", **record})  # the runtime's reader accepts it
    assert (near > checks.neighbours.threshold).mean() == pytest.approx(0.05, abs=2 / 400)
    assert record["median"] == np.median(distances)
    assert checks.foreign == pytest.approx(record["median"] + 4.5 * (record["threshold"] - record["median"]))
    assert checks.contact == max(judged.dark)
    assert "400 images" in checks.source
    assert 0 < checks.policy.least_probability < 1
    assert checks.white == 0.04
    assert checks.grain == pytest.approx(np.median(looks.grain) / 5)
    uneven = looks._replace(grain=rng.uniform(-0.1, 0.5, 300))  # of another kind of images: nothing to tell by
    assert record_trust(judged, held_out, uneven, found(judged, held_out))["checks"]["grain"] is None
    assert checks.upright == tuple(looks.upright)


def test_of_a_small_set_the_shipped_network_s_own_distances_count() -> None:
    """Those of folds may be shorter than what the network that is shipped has from image to image."""
    rng = np.random.default_rng(5)
    embeddings = rng.normal(size=(40, 16)).astype(np.float32)
    fitted = fit_neighbours(embeddings)
    own = left_out_distances(fitted)
    for i in range(40):  # each against a reference without it, by the runtime's function
        others = NeighbourReference(fitted.mean, fitted.axes, np.delete(fitted.points, i, axis=0))
        assert own[i] == pytest.approx(float(neighbour_distances(embeddings[[i]], others)[0]), rel=2e-2)
    median, limit = tail_limits(own)
    assert median == np.median(own)
    assert limit == np.sort(own)[38], "the 39th of 40: ceil(.95 x 41)"
    assert tail_limits(own[:18])[1] == own[:18].max()


def test_images_without_a_top_are_never_called_upside_down() -> None:
    """Weights fitted to pictures of one brightness, turned at random, tell nothing of the next ones."""
    rng = np.random.default_rng(4)
    speckle = rng.integers(40, 220, (200, 32, 32, 3), np.uint8)
    first, second = (rng.normal(size=(100, 8)).astype(np.float32) for _ in range(2))
    fitted = fit_trust(speckle[:100], first)
    judged = assess_held_out(speckle[100:], second, fitted)
    assert 0.3 < np.mean(np.array(judged.upright) < 0) < 0.7
    held_out = answers(100, rng)
    looks = TrainingSigns(fitted.upright, 0.04, rng.uniform(0.1, 0.5, 100), np.full(100, 0.01), "other")
    _, checks = read_trust(
        {"method": "ppca-mahalanobis", **record_trust(judged, held_out, looks, found(judged, held_out))}
    )
    assert not np.any(upright_score(speckle, checks.upright) < 0)
    assert "upside down" not in {row["flag"] for row in describe_causes(held_out, judged)}
    kept = replace(judged, upright=[1.0] * 95 + [-1.0] * 5)
    assert "upside down" in {row["flag"] for row in describe_causes(held_out, kept)}


def embeddings(scale: float = 1.0, steepest: float = 5.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(4)
    spread = np.geomspace(steepest, 0.5, 200)
    return (scale * (3 + rng.normal(size=(120, 200)) * spread)).astype(np.float32)


def under_full_covariance(own: NDArray[np.float32], axes: int) -> NDArray[np.float64]:
    """Return the distances under the leading axes' variances and the mean variance of the rest."""
    values, vectors = np.linalg.eigh(np.cov(own.astype(np.float64).T))
    rest, leading = values[:-axes].mean(), vectors[:, -axes:]
    modelled = leading @ np.diag(values[-axes:] - rest) @ leading.T + rest * np.eye(own.shape[1])
    centred = own - own.mean(axis=0, dtype=np.float64)
    return np.sqrt(np.einsum("nd,de,ne->n", centred, np.linalg.inv(modelled), centred))


def test_axes_take_half_precision_and_distances_agree_with_the_full_covariance() -> None:
    own = embeddings()
    reference = fit_reference(own, components=16)
    assert reference.components.dtype == np.float16
    assert mahalanobis_distances(own, reference) == pytest.approx(under_full_covariance(own, 16), rel=3e-3)


@pytest.mark.parametrize(("scale", "steepest"), [(1e8, 5.0), (1.0, 1e4)])
def test_axes_that_half_precision_would_spoil_stay_single(scale: float, steepest: float) -> None:
    own = embeddings(scale, steepest)
    reference = fit_reference(own, components=16)
    assert reference.components.dtype == np.float32
    assert mahalanobis_distances(own, reference) == pytest.approx(under_full_covariance(own, 16), rel=3e-3)


def test_axes_without_spread_stay_finite() -> None:
    reference = fit_reference(np.repeat(embeddings()[:1], 8, axis=0))
    assert reference.components.dtype == np.float32
    assert np.isfinite(reference.components).all()
