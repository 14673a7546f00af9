"""What a kept fold is refused for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.crossval.fold_task import MadeFrom, check_made_from


def test_a_setting_that_the_kept_fold_does_not_know_is_named() -> None:
    before = MadeFrom("plan", "weights", {"generator": {"recipe": "dcgan"}})
    now = MadeFrom("plan", "weights", {"generator": {"recipe": "dcgan", "activation": None}})
    with pytest.raises(SonoforgeError, match=r"with generator\.activation unknown, expected None; restore"):
        check_made_from(Path("fold.json"), before, now)
    check_made_from(Path("fold.json"), now, now)
