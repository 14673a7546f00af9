"""Settings are chosen inside each training fold, and what that is worth on labels that tell nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.settings import ClassifierOptions, ClassifierSettings
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.choices import Choosing, check_arms_choose, check_not_given, read_choosing
from sonoforge.training.crossval.fold_task import FoldTask, made_from
from sonoforge.training.crossval.folds import generator_job
from sonoforge.training.crossval.nested_choice import NestedFolds, choose, nested_folds
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.gan.options import GanSettings

LABELS = (0,) * 12 + (1,) * 20 + (2,) * 16
EPOCHS = Choosing((("epochs", (3, 5)),), 2)
RATES = Choosing((("learning_rate", (1e-4, 1e-3)), ("epochs", (3, 5, 8))), 3)


def tasks(arms: tuple[str, ...], choosing: Choosing = RATES, final_arm: str | None = None) -> list[FoldTask]:
    """Four folds of 48 images in pairs, with nothing that only a training would need."""
    nothing = cast(Any, None)
    settings = ComparisonSettings(
        nothing, arms, "sealed", 4, (0,), "quick", "none", ClassifierSettings(), GanSettings(), "cpu", 1,
        choosing=choosing, final_arm=final_arm,
    )  # fmt: skip
    names, groups = tuple(map(str, range(len(LABELS)))), tuple(i // 2 for i in range(len(LABELS)))
    plan = SplitPlan("sealed", 0, 4, "", names, names, LABELS, groups, tuple(group % 4 for group in groups))
    return [
        FoldTask(
            Path("run"), plan, fold, arm, settings, nothing,
            made_from(plan, arm, settings.classifier, "", {}, choosing),
        )
        for arm in arms
        for fold in range(4)
    ]  # fmt: skip


def by_inner_fold(nested: NestedFolds) -> list[tuple[FoldTask, list[FoldTask]]]:
    """Each outer fold with the inner folds of its first candidate."""
    return [(task, nested.inner[key][0]) for key, task in nested.outer.items()]


# ---- the choice


def test_the_candidate_that_is_right_most_often_is_chosen_and_equals_by_cross_entropy() -> None:
    labels = np.array([0, 1, 1])
    weak, strong, wrong = [0.6, 0.4], [0.9, 0.1], [0.4, 0.6]
    answers = np.array(
        [
            [weak, weak[::-1], weak],  # two right
            [strong, strong[::-1], weak],  # two right, with more certainty
            [strong, strong[::-1], weak],  # the same again: the first of equals is chosen
            [wrong, strong[::-1], strong],  # one right
        ]
    )
    found = choose(labels, answers)
    assert found.accuracy == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1 / 3]) and found.best == 1
    assert found.cross_entropy[1] == pytest.approx(-np.mean(np.log([0.9, 0.9, 0.4])))
    assert choose(labels, answers[[3, 0]]).best == 1


def test_on_labels_that_tell_nothing_the_nested_choice_stays_at_chance_and_the_best_of_the_table_does_not() -> None:
    """Twenty candidates that guess between two classes, 100 images in ten folds, 400 times."""
    rng, images, candidates, repeats = np.random.default_rng(0), 100, 20, 400
    fold_of = np.arange(images) % 10
    nested, best = [], []
    for _ in range(repeats):
        labels = rng.integers(0, 2, images)
        first = rng.random((candidates, images))
        answers = np.stack([first, 1 - first], axis=2)
        right = answers.argmax(axis=2) == labels
        # Not nested: the candidate with the best accuracy on the very folds that are reported.
        best.append(right.mean(axis=1).max())
        chosen = [choose(labels[fold_of != fold], answers[:, fold_of != fold]).best for fold in range(10)]
        nested.append(np.mean([right[chosen[fold], image] for image, fold in enumerate(fold_of)]))
    error = 0.5 / np.sqrt(images * repeats)
    assert abs(np.mean(nested) - 0.5) < 4 * error
    # The largest of 20 binomial counts: its mean follows from its distribution function, that of one to the power 20.
    below = stats.binom.cdf(np.arange(images), images, 0.5) ** candidates
    assert np.mean(best) == pytest.approx((images - below.sum()) / images, abs=0.01)
    assert np.mean(best) > 0.58


# ---- the inner folds


def test_inner_folds_divide_the_training_images_by_group_and_leave_the_test_images_out() -> None:
    outer_folds = tasks(("real", "real@0.75"))
    nested = nested_folds(outer_folds)
    assert len(nested.tasks) == 8 * 3 * 6 and nested.final() is None
    for outer, inner in by_inner_fold(nested):
        assert sorted(np.concatenate([task.test for task in inner])) == outer.training.tolist()
        groups = np.array(outer.plan.groups)
        for task in inner:
            assert set(task.training) | set(task.test) == set(outer.training)
            assert not set(groups[task.training]) & set(groups[task.test])
            assert not (set(task.training) | set(task.test)) & set(outer.test)
            assert set(task.plan.left_out) == set(range(len(LABELS))) - set(outer.training)
            assert set(np.array(LABELS)[task.test]) == {0, 1, 2}
        seeds = {task.seed for task in inner}
        assert len(seeds) == 3 and outer.seed not in seeds
    assert len({task.path for task in nested.tasks}) == len(nested.tasks)


def test_every_candidate_is_tried_with_the_same_folds_and_seeds() -> None:
    nested = nested_folds(tasks(("weighted",)))
    for candidates in nested.inner.values():
        tried = [(own[0].classifier.learning_rate, own[0].classifier.epochs) for own in candidates]
        assert tried == [(rate, epochs) for rate in (1e-4, 1e-3) for epochs in (3, 5, 8)]
        assert all(own[0].classifier.class_weights for own in candidates)
        for of_one_fold in zip(*candidates, strict=True):
            assert len({(task.seed, task.plan.fold_of, task.fold) for task in of_one_fold}) == 1
            assert len({str(task.made_from) for task in of_one_fold}) == 6


def test_arms_share_the_generators_of_an_inner_fold_which_no_outer_fold_has() -> None:
    nested = nested_folds([*tasks(("gan",), final_arm="gan"), *tasks(("gan:2",))])
    folders = [generator_job(task).folder for task in nested.tasks]
    assert len(set(folders)) == 3 * (4 + 1)  # four folds and the final model
    assert not {generator_job(task).folder for task in nested.outer.values()} & set(folders)


def test_a_dose_is_chosen_for_the_arms_that_have_one() -> None:
    choosing = Choosing((("dose", (0.5, 2)), ("epochs", (3, 5))), 2)
    nested = nested_folds(tasks(("real", "gan", "gan@0.75", "mrmr-svm"), choosing, "gan"))
    found = {key: [own[0].chosen for own in candidates] for key, candidates in nested.inner.items()}
    assert found["real", 0, 0] == [{"epochs": 3}, {"epochs": 5}]
    both = [{"dose": dose, "epochs": epochs} for dose in (0.5, 2) for epochs in (3, 5)]
    assert found["gan", 0, 0] == found["gan@0.75", 0, 0] == found["gan", 0, None] == both
    assert not any(arm == "mrmr-svm" for arm, _, _ in found)
    for (arm, _, _), candidates in nested.inner.items():
        for tried, (task, *_) in zip(found[arm, 0, 0], candidates, strict=True):
            assert task.own_arm == replace(find_arm(arm), dose=tried.get("dose", 1.0))
            assert task.made_from.settings.get("arm", {}).get("dose") == tried.get("dose")
            assert task.classifier.epochs == tried["epochs"]
    outer = nested.outer["gan", 0, 0]
    choice = {"settings": both[2], "accuracy": [], "cross_entropy": [], "seconds": 0.0}
    chosen = replace(outer, choice=choice)
    assert (chosen.own_arm.dose, chosen.classifier.epochs) == (2, 3)


def test_a_dose_that_no_arm_has_or_that_one_names_is_refused() -> None:
    dose = Choosing((("dose", (0.5, 2)),), 3)
    check_arms_choose(dose, ("real", "gan"))
    for arms, message in (
        (("real", "weighted"), "none of the arms has dose .*: real,weighted"),
        (("real", "gan:2"), "dose .* the arm gan:2"),
    ):
        with pytest.raises(SonoforgeError, match=message):
            check_arms_choose(dose, arms)


def test_the_final_models_settings_are_chosen_on_all_images() -> None:
    nested = nested_folds(tasks(("real", "mrmr-svm"), final_arm="real"))
    ((final, inner),) = [own for own in by_inner_fold(nested) if own[0].plan.folds == 1]
    assert len(nested.outer) == 4 + 1  # a comparator has no such settings
    assert sorted(np.concatenate([task.test for task in inner])) == list(range(len(LABELS))) == final.training.tolist()


def test_a_class_of_too_few_groups_is_refused() -> None:
    with pytest.raises(SonoforgeError, match=r"real: fold 1 of 4 \(seed 0\): .* 4 groups .* 5 inner folds"):
        nested_folds(tasks(("real",), replace(RATES, inner_folds=5)))


# ---- the grid


def test_a_grid_is_read_as_it_is_typed() -> None:
    found = read_choosing(["learning-rate=0.0001", "1e-3", "epochs=3", "5"], 3)
    assert found == Choosing((("learning_rate", (1e-4, 1e-3)), ("epochs", (3, 5))), 3)
    assert found is not None and found.candidates(find_arm("real"))[1] == {"learning_rate": 1e-4, "epochs": 5}
    assert read_choosing((), 3) is None


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("learning-rates=1,2", r"NAME=VALUE,VALUE,.*epochs.* \(did you mean learning-rate\?\)"),
        ("0.1,0.2", "'0.1' is not NAME=VALUE"),
        ("gan-steps=1,2", "NAME=VALUE"),
        ("epochs=3", "epochs has only one value .* classifier.epochs"),
        ("epochs=3,5,ensemble-size=1", "ensemble-size has only one value"),
        ("epochs=3,5,3", "epochs=3,5,3"),
        ("epochs=3,5,epochs=8,9", "epochs is given twice"),
        ("epochs=3,2.5", "epochs must be a whole number, not '2.5'"),
        ("frozen-blocks=3,501", "frozen-blocks must be at most 500, not 501"),
        ("dose=1,200", "dose: '200' is not .* at most 100"),
        ("dose=1,x", "dose: 'x'"),
        ("dose=2", "dose has only one value .*gan:2"),
    ],
)
def test_what_cannot_be_chosen_is_refused(typed: str, message: str) -> None:
    with pytest.raises(SonoforgeError, match=f"^--set crossval.choose: .*{message}"):
        read_choosing(typed.split(","), 3)


def test_a_setting_is_either_given_or_chosen() -> None:
    check_not_given(EPOCHS, ClassifierOptions(learning_rate=0.1))
    with pytest.raises(SonoforgeError, match=r"epochs .*classifier\.epochs=4"):
        check_not_given(EPOCHS, ClassifierOptions(epochs=4))
