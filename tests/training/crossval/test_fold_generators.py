"""Which generators a comparison trains, each once; what a fold keeps, and what a kept one is refused for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.crossval.fold_task import FoldResult, FoldTask, MadeFrom, check_made_from, read_fold
from sonoforge.training.crossval.folds import check_generators, generator_job, needed_generators, seen_by_generators
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.gan.options import GanSettings

LABELS = (0,) * 8 + (1,) * 20 + (2,) * 12
CACHE = cast(ImageCache, SimpleNamespace(dataset=SimpleNamespace(classes=("a", "b", "c"))))


def tasks(arms: tuple[str, ...], protocol: str = "sealed", seeds: int = 2) -> list[FoldTask]:
    """Four folds of 40 images in pairs, with nothing that only a training would need."""
    nothing = cast(Any, None)
    count = len(LABELS)
    settings = ComparisonSettings(
        nothing, arms, protocol, 4, tuple(range(seeds)), "quick", "none", ClassifierSettings(), GanSettings(), "cpu", 1
    )
    groups = tuple(i // 2 for i in range(count))
    names = tuple(map(str, range(count)))
    found = []
    for seed in range(seeds):
        plan = SplitPlan(protocol, seed, 4, "", names, names, LABELS, groups, tuple((g + seed) % 4 for g in groups))
        found += [
            FoldTask(Path("run"), plan, fold, arm, settings, nothing, nothing) for arm in arms for fold in range(4)
        ]
    return found


def classes(found: list[FoldTask]) -> Counter[int]:
    return Counter(label for _, label in needed_generators(found))


def test_doses_share_the_generators_of_their_fold_and_seeds_share_none() -> None:
    assert classes(tasks(("real", "duplicates", "untrained", "weighted"))) == {}
    once = {0: 8, 2: 8}  # four folds, two seeds
    assert classes(tasks(("real", "gan"))) == once
    assert classes(tasks(("real", "gan", "gan:0.5", "gan:4"))) == once
    all_classes = {0: 8, 1: 8, 2: 8}
    assert classes(tasks(("gan", "gan-all", "generated:2", "shuffled"))) == all_classes


def test_a_share_has_generators_that_read_it_alone() -> None:
    found = tasks(("gan", "gan@0.5", "gan:2@0.5"), seeds=1)
    assert classes(found) == {0: 8, 2: 8}  # four folds, two shares
    whole, part = found[0], found[4]
    assert set(part.training) < set(whole.training) == set(seen_by_generators(whole))
    assert np.array_equal(seen_by_generators(part), part.training)
    assert not set(whole.training) & set(whole.plan.test(0))
    assert generator_job(part).folder == Path("run/gan/seed0-fold00-share0.5")


def test_a_conditional_generator_is_trained_once_a_fold() -> None:
    found = tasks(("gan", "gan-all", "generated"), seeds=1)
    settings = replace(found[0].settings, generator=GanSettings(recipe="dcgan", conditioning="projection"))
    assert len(needed_generators([replace(task, settings=settings) for task in found])) == 4


def test_as_published_each_class_has_one_generator_of_all_images_for_each_seed() -> None:
    found = tasks(("gan", "gan:2"), "thesis")
    assert classes(found) == {0: 2, 2: 2}
    assert len(seen_by_generators(found[0])) == len(LABELS)
    plain = tasks(("gan", "gan:2"), "plain")
    assert classes(plain) == {0: 8, 2: 8}
    assert not set(seen_by_generators(plain[0])) & set(plain[0].plan.test(0))


def test_a_generator_of_one_image_is_refused_before_anything_is_trained() -> None:
    found = tasks(("real", "gan"), seeds=1)
    check_generators(found, CACHE)
    first = found[4]
    alone = replace(
        first, plan=replace(first.plan, labels=(0, *(1,) * 20, *(2,) * 19), fold_of=(1, *first.plan.fold_of[1:]))
    )
    with pytest.raises(SonoforgeError, match=r"gan: fold 1 of 4 \(seed 0\): its generator of a has 1 "):
        check_generators([alone], CACHE)


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
