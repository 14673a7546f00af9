"""What a kept fold is refused for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.settings import BUDGETS
from sonoforge.training.crossval.made_from import MadeFrom, check_made_from


def test_a_setting_that_the_kept_fold_does_not_know_is_named() -> None:
    """Made before the setting existed: what it was then, nobody can tell."""
    before = MadeFrom("plan", "weights", {"generator": {"recipe": "dcgan"}})
    now = MadeFrom("plan", "weights", {"generator": {"recipe": "dcgan", "activation": None}})
    with pytest.raises(SonoforgeError, match=r"with generator\.activation unknown, expected None; restore"):
        check_made_from(Path("fold.json"), before, now)
    check_made_from(Path("fold.json"), now, now)


def test_a_fold_from_before_the_optimiser_was_recorded_is_one_of_adamw_and_one_cycle() -> None:
    """What that version did is known: it had nothing else."""
    budget = dataclasses.asdict(BUDGETS["full"])
    earlier = {key: value for key, value in budget.items() if key not in ("optimiser", "schedule", "test_curves")}
    before = MadeFrom("plan", "weights", {"classifier": earlier})
    check_made_from(Path("fold.json"), before, MadeFrom("plan", "weights", {"classifier": budget}))
    for change in ({"optimiser": "adam"}, {"schedule": "constant"}, {"test_curves": True}):
        now = MadeFrom("plan", "weights", {"classifier": budget | change})
        with pytest.raises(SonoforgeError, match=rf"classifier\.{next(iter(change))} \S+, expected"):
            check_made_from(Path("fold.json"), before, now)
