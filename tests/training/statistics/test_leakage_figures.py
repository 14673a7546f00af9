"""The leaks as figures of answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics import classification
from sonoforge.training.statistics.between_runs import measure_leakage
from sonoforge.training.statistics.intervals import paired_bootstrap
from sonoforge.training.statistics.predictions import Predictions


def answers(protocol: str, seed: int) -> Predictions:
    rng = np.random.default_rng([seed, len(protocol)])
    groups = np.repeat(np.arange(60), np.arange(60) % 3 + 1)
    labels = groups % 3
    probabilities = rng.dirichlet(np.ones(3), len(groups)) + 0.4 * np.eye(3)[labels]
    files = tuple(f"{i}.png" for i in range(len(groups)))
    return Predictions("real", protocol, seed, files, groups, groups % 4, labels, probabilities / 1.4)


def test_one_seed_gives_the_paired_bootstrap_of_any_two_arms() -> None:
    first, second = answers("sealed", 0), answers("plain", 0)
    (step,) = measure_leakage({("real", "sealed"): [first], ("real", "plain"): [second]})["steps"]
    for name, figure in (("accuracy", classification.accuracies), ("macro_auc", classification.macro_aucs)):
        known = paired_bootstrap(figure, first.labels, first.probabilities, second.probabilities, first.groups)
        assert tuple(step[name].values()) == pytest.approx(tuple(known.values()))  # type: ignore[literal-required]


def test_images_with_and_without_others_in_their_group_make_up_the_whole() -> None:
    seeds = [{name: answers(name, seed) for name in ("sealed", "plain")} for seed in range(3)]
    found = measure_leakage({("real", name): [own[name] for own in seeds] for name in ("sealed", "plain")})
    (step,) = found["steps"]
    grouped = found["grouped"] / found["images"]
    assert (found["images"], found["grouped"], found["groups"], found["seeds"]) == (120, 100, 60, [0, 1, 2])
    parts = grouped * step["accuracy_of_grouped"]["value"] + (1 - grouped) * step["accuracy_of_single"]["value"]
    assert step["accuracy"]["value"] == pytest.approx(parts)


def test_other_images_are_refused() -> None:
    first, second = answers("sealed", 0), answers("plain", 0)
    other = dataclasses.replace(second, files=("else.png", *second.files[1:]))
    with pytest.raises(SonoforgeError, match=r"real under plain .*: 2 images"):
        measure_leakage({("real", "sealed"): [first], ("real", "plain"): [other]})
    with pytest.raises(SonoforgeError, match="real under plain: seeds"):
        measure_leakage({("real", "sealed"): [first], ("real", "plain"): [answers("plain", 1)]})
