"""What a fold keeps, and what a kept fold is refused for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.crossval.fold_task import FoldResult, MadeFrom, check_made_from, read_fold


def test_a_fold_keeps_what_its_images_are_judged_by(tmp_path: Path) -> None:
    result = FoldResult(
        arm="real", protocol="sealed", seed=0, fold=0, files=["a.png"], probabilities=[[0.5, 0.5]], accuracy=1.0,
        train_accuracy=1.0, seconds=1.0, reads={}, made_from=MadeFrom("plan", "weights", {}),
        trust=HeldOutTrust([3.0], [0.25], [0.9], [0.0]), history=[{"epoch": 1}], added=2,
    )  # fmt: skip
    path = tmp_path / "fold.json"
    write_json(path, result)
    assert read_fold(path) == result
    write_json(path, replace(result, trust=None))
    assert read_fold(path) == replace(result, trust=None)


def test_a_setting_that_the_kept_fold_does_not_know_is_named() -> None:
    before = MadeFrom("plan", "weights", {"generator": {"recipe": "dcgan"}})
    now = MadeFrom("plan", "weights", {"generator": {"recipe": "dcgan", "activation": None}})
    with pytest.raises(SonoforgeError, match=r"with generator\.activation unknown, not None"):
        check_made_from(Path("fold.json"), before, now)
    check_made_from(Path("fold.json"), now, now)
