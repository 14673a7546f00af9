"""Sentences of a run's report follow from its counts: each kind of run is planted, and others' sentences are absent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from scans import write_set
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.crossval.choices import CHOSEN, Choosing, describe_choice, describe_seeds
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.load import find_simulated
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.phantom.dataset import write_phantom_set
from sonoforge.training.reports.run import statements
from sonoforge.training.reports.run.statements import RunFacts
from sonoforge.training.statistics.verdict import UNKNOWN

SEALED = RunFacts(
    protocol="sealed", folds=5, images=90, tested=90, groups=70, classes=3, arms=("real", "gan"),
    filled=("normal", "malignant"), added=(20, 22, 20), simulated=0, given_groups=0, second_views=0,
    near_duplicates=0, generator_reads=0, weights="imagenet", passed=True,
)  # fmt: skip


def say(**changes: Any) -> str:
    """All sentences of a run that differs so from a sealed one."""
    facts = dataclasses.replace(SEALED, **changes)
    return " ".join([*facts.said.values(), statements.name_groups(facts)])


@pytest.mark.parametrize(
    ("changes", "said", "not_said"),
    [
        ({}, ["20 to 22 images of normal and malignant, drawn by a generator", "neither it nor a near-duplicate of it"],
         ["leak", "too good", "simulated", "given with the data"]),
        ({"passed": False}, ["checks against the run folder failed"], ["had seen neither"]),
        ({"weights": f"a.safetensors ({UNKNOWN})"},
         ["which may have seen it (protocol grouped, 5 folds)", "grouped 5-fold", "without splitting a group"],
         ["had seen neither", "sealed"]),
        ({"weights": UNKNOWN, "protocol": "official", "folds": 1, "tested": 30}, ["which may have seen it"],
         ["had seen neither"]),
        ({"weights": UNKNOWN, "passed": False}, ["checks against the run folder failed"],
         ["had seen neither", "sealed", "was trained on neither"]),
        ({"weights": UNKNOWN, "protocol": "thesis", "near_duplicates": 12}, ["12 of 90 test images", "too good"],
         ["was trained on neither"]),
        ({"arms": ("real",), "added": (), "filled": ()}, ["How well does a classifier that sorts 90 images"], ["GAN"]),
        ({"arms": ("real", "classical"), "added": (), "filled": ()}, ["How should a classifier"], ["GAN"]),
        ({"added": (0, 0, 0), "filled": ()}, ["How should a classifier"], ["GAN"]),
        ({"second_views": 2}, ["equal contents and possible second views of one lesion"], []),
        ({"given_groups": 70}, ["near-duplicates, equal contents and the 70 groups given with the data"], []),
        ({"simulated": 90}, ["The images are simulated ultrasound"], []),
        ({"simulated": 30}, ["30 of the 90 images are simulated ultrasound"], ["The images are simulated"]),
        ({"protocol": "thesis", "near_duplicates": 12, "generator_reads": 60},
         ["12 of 90 test images have a near-duplicate or an identical image in their own training set, and the "
          "generators read 60 of the 90 test images", "come out too good", "leakage alone may explain",
          "trained once, on all images"], ["had seen neither", "its training images only"]),
        ({"protocol": "thesis", "near_duplicates": 12, "arms": ("real",), "added": (), "filled": ()},
         ["12 of 90 test images", "come out too good"], ["generators read"]),
        ({"protocol": "thesis", "arms": ("real",), "added": (), "filled": ()},
         ["0 of 90 test images", "does not prevent it"], ["too good", "leakage alone"]),
        ({"protocol": "official", "folds": 1, "tested": 30},
         ["Each of the 30 test images of the split published with", "two halves of whole groups judge each other",
          "a part of 30 that is tested and one of 60 that is trained on, as published"],
         ["Each image was", "1 fold", "stratified", "regardless of groups"]),
        ({"protocol": "official", "folds": 1, "tested": 30, "passed": False},
         ["the published split: 30 of 90 images are tested", "checks against the run folder failed"],
         ["had seen neither"]),
    ],
)  # fmt: skip
def test_each_kind_of_run_says_what_it_did(changes: dict[str, Any], said: list[str], not_said: list[str]) -> None:
    text = say(**changes)
    for words in said:
        assert words in text
    for words in not_said:
        assert words not in text


def test_simulated_images_are_recognised_wherever_they_lie(tmp_path: Path) -> None:
    write_phantom_set(tmp_path / "breast scans", 6, 0, size=64)
    alone = read_dataset(tmp_path / "breast scans")
    assert find_simulated(alone) == set(range(6))
    (tmp_path / "breast scans" / "groups.csv").unlink()
    write_set(tmp_path / "breast scans", {"benign": 2})
    mixed = read_dataset(tmp_path / "breast scans")
    assert len(mixed.items) == 8
    assert {mixed.items[index].path for index in find_simulated(mixed)} == {item.path for item in alone.items}
    assert not find_simulated(read_dataset(write_set(tmp_path / "cells", {"a": 2, "b": 1})))


def test_what_was_chosen_where_is_said_for_every_budget() -> None:
    assert set(CHOSEN) == set(BUDGETS)
    for budget, settings in BUDGETS.items():
        said = describe_choice(budget, vars(settings), 0, 10, (0,))
        assert "BUSI" in said and "optimistic" not in said and "departs" not in said
    assert "36 images are BUSI's" not in describe_choice("full", vars(BUDGETS["full"]), 36, 36, (0,))
    some = describe_choice("full", vars(BUDGETS["full"]), 9, 36, (0,))
    assert "9 of these 36 images are BUSI's, so the figures are optimistic" in some
    turned = vars(dataclasses.replace(BUDGETS["quick"], augmentation="classical"))
    assert "(augmentation classical instead of flip);" in describe_choice("quick", turned, 0, 10, (0,))
    changed = vars(dataclasses.replace(BUDGETS["quick"], epochs=9, class_weights=True))
    assert "departs from the budget (epochs 9 instead of 5);" in describe_choice("quick", changed, 0, 10, (0,))
    nested = describe_choice("quick", changed, 0, 10, (0,), Choosing((("epochs", (3, 9)),), 4))
    assert (
        "departs" not in nested
        and "This run chose epochs (3 or 9) itself, inside each training fold, on 4 inner" in nested
    )


def test_rows_of_the_seed_that_settings_were_chosen_with_are_told_from_fresh_ones() -> None:
    chosen = "seed 0 is the one that the budget was chosen with"
    assert describe_seeds("quick", 780, (0, 1, 2)) == f"{chosen}; seeds 1 and 2 are fresh, but deal the same images"
    assert describe_seeds("quick", 780, (0,)) == chosen
    assert describe_seeds("quick", 780, (3,)) == "seed 3 is fresh, but deals the same images"
    assert describe_seeds("quick", 0, (0, 1)) == describe_seeds("full", 780, (0, 1)) == ""
    said = describe_choice("quick", vars(BUDGETS["quick"]), 780, 780, (0, 1))
    assert (
        "not measured. Seed 0 is the one that the budget was chosen with; seed 1 is fresh, but deals the same images."
        in said
    )


def test_the_training_is_described_as_it_was() -> None:
    said = {name: statements.describe_optimiser(dataclasses.asdict(budget)) for name, budget in BUDGETS.items()}
    assert said["thesis"] == "Adam with a constant learning rate of 0.001, no smoothing, averaging or flips"
    assert said["full"] == (
        "AdamW with one-cycle learning rates up to 0.0005, label smoothing 0.1, weights averaged with decay 0.99 and "
        "left-right flips"
    )


def test_the_budget_of_the_gan_is_called_what_it_is() -> None:
    def said(budget: str, **settings: Any) -> str:
        return statements.gan_budget(GanSettings(**settings).__dict__, budget, ["normal", "malignant"])

    assert said("quick", image_size=64, steps=120, batch=32).startswith("a small CPU budget: 64 px, 120 steps of 32")
    assert said("full").startswith("the published budget: 224 px")
    assert said("full", epochs=30).startswith("this run's own budget: 224 px, 30 epochs (published: 224 px, 2500")
    assert said("full", kimg=2.5, batch=16).startswith(
        "this run's own budget: 224 px, 2.5 thousand images shown, batches of 16 images (published: 224 px, 2500"
    )
    assert "published budget" not in said("full", learning_rate=2e-4)
    assert said("full", recipe="ga-gan") == "the published budget: 64 px, as many iterations as published"
    assert said("quick", recipe="ga-gan", epochs=2).endswith("(published: 64 px, 100 000 iterations)")
