"""The inception score against closed forms and against torch-fidelity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.inception import inception_score, recommended_splits


def _logits(count: int, classes: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def test_images_that_look_alike_score_one() -> None:
    row = np.random.default_rng(0).dirichlet(np.ones(20))
    assert inception_score(np.tile(row, (40, 1)), splits=1) == pytest.approx(1)
    assert inception_score(np.full((40, 20), 0.05), splits=4) == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_each_class_equally_often_and_without_doubt_scores_their_number(classes: int) -> None:
    found = inception_score(np.tile(np.eye(classes), (3, 1)), splits=1)
    assert found == pytest.approx(classes)


def test_two_classes_in_known_shares_score_their_entropy() -> None:
    table = np.eye(2)[np.repeat([0, 1], [30, 10])]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(table, splits=1) == pytest.approx(math.exp(entropy))


def test_a_set_cannot_score_more_than_its_number_of_images() -> None:
    assert [recommended_splits(images) for images in (50, 4999, 5000, 50_000)] == [1, 1, 10, 10]
    table = np.eye(1000)[:100]
    assert inception_score(table, splits=1) == pytest.approx(100)
    assert inception_score(table, splits=10) == pytest.approx(10)


def test_agrees_with_torch_fidelity() -> None:
    """Shuffled as ours, split by split."""
    import_torchvision()
    from torch_fidelity.metric_isc import isc_features_to_metric

    from sonoforge.runtime.seeds import derive_seed

    logits = _logits(95, 12, seed=3)
    order = np.random.default_rng(derive_seed(7, "inception score splits")).permutation(95)
    expected = isc_features_to_metric(logits[torch.from_numpy(order)], splits=10, shuffle=False)
    found = inception_score(logits.double().softmax(1).numpy(), splits=10, seed=7)
    assert found == pytest.approx(expected["inception_score_mean"], rel=1e-9)


def test_the_shuffle_depends_on_the_seed_alone() -> None:
    table = _logits(60, 8).double().softmax(1).numpy()
    first = inception_score(table, splits=5, seed=1)
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    assert inception_score(table, splits=5, seed=1) == first
    assert inception_score(table, splits=5, seed=2) != first
    sorted_by_class = table[table.argmax(1).argsort()]
    assert inception_score(sorted_by_class, splits=5) == pytest.approx(first, rel=0.2)


def test_what_cannot_be_scored_is_refused() -> None:
    table = np.full((19, 4), 0.25)
    with pytest.raises(SonoforgeError, match="19 images cannot be split into 10"):
        inception_score(table, splits=10)
    with pytest.raises(SonoforgeError, match="not finite"):
        inception_score(np.where(np.arange(4) == 1, np.nan, table), splits=1)
    with pytest.raises(ValueError, match="not probabilities"):
        inception_score(table * 2, splits=1)
    with pytest.raises(ValueError, match=r"\(N, K\)"):
        inception_score(table[0], splits=1)
