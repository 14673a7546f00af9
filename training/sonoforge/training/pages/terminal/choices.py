"""What ``crossval`` and ``run`` print of settings that were chosen inside the folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sonoforge.runtime.cli.answer import say
from sonoforge.training.crossval.arms import title_of
from sonoforge.training.crossval.choice_grid import name_values
from sonoforge.training.statistics.results import ChoiceResult


def count_chosen(choice: ChoiceResult, arm: str) -> list[tuple[dict[str, float], int, float]]:
    """Return each candidate with the number of folds that chose it and its mean accuracy on their inner folds."""
    folds = [fold for seed in choice["folds"][arm] for fold in seed]
    chosen = Counter(name_values(fold["settings"]) for fold in folds)
    return [
        (own, chosen[name_values(own)], sum(fold["accuracy"][place] for fold in folds) / len(folds))
        for place, own in enumerate(choice["candidates"][arm])
    ]


def describe_chosen(choice: ChoiceResult, arm: str) -> str:
    """Return ``learning rate 0.0005 in 7 of 10 folds, learning rate 0.001 in 3``, the most frequent first."""
    counted = sorted(count_chosen(choice, arm), key=lambda row: -row[1])
    all_folds = sum(count for _, count, _ in counted)
    parts = [f"{name_values(own)} in {count}" for own, count, _ in counted if count]
    return ", ".join([f"{parts[0]} of {all_folds} folds", *parts[1:]])


def describe_cost(choice: ChoiceResult) -> str:
    """Say how many inner folds were trained, and how long that took without their generators."""
    return (
        f"{choice['trainings']} trainings on {choice['inner_folds']} inner folds of each training fold, "
        f"{choice['seconds']:.0f} s of training classifiers"
    )


def log_choices(choice: ChoiceResult | None, arms: Sequence[str]) -> None:
    """Print what was chosen in how many folds of each arm, and what it cost; nothing without a choice."""
    if choice is None:
        return
    say("")
    for arm in arms:
        if arm in choice["folds"]:
            say("%s: chosen inside each fold: %s", title_of(arm), describe_chosen(choice, arm))
    if "final" in choice:
        say("final model: chosen on inner folds of all images: %s", name_values(choice["final"]["settings"]))
    say("no test image had a part in the choice; it cost %s", describe_cost(choice))
