"""The pieces of work of a segmentation experiment: which pairs a small training set has."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from disc_volumes import SIDE, write_volumes
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.load import ImageSource
from sonoforge.training.segmentation.experiment import FoldTask, open_labelled_set, plan_folds, training_images
from sonoforge.training.segmentation.options import Experiment


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FoldTask:
    root = tmp_path_factory.mktemp("small")
    data = write_volumes(root / "volumes")
    source = ImageSource((str(data),), 0, 0, root / "cache", Preprocessing(size=SIDE), fewest_classes=1)
    plan = plan_folds(open_labelled_set(source), "sealed", 5, 0)
    return FoldTask(Path("volumes"), source, plan, 0, 0, Experiment())


def chosen(task: FoldTask, pairs: int | None, seed: int = 0) -> set[int]:
    experiment = dataclasses.replace(task.experiment, pairs=pairs)
    return set(training_images(dataclasses.replace(task, seed=seed, experiment=experiment)).tolist())


def test_fewer_pairs_are_part_of_more_and_of_whole_patients(task: FoldTask) -> None:
    everything = chosen(task, None)
    sizes = [2, 4, 8, 12, 20, 32]
    sets = [chosen(task, pairs) for pairs in sizes]
    assert [len(own) for own in sets] == sizes and sets[-1] == everything
    assert all(fewer < more for fewer, more in itertools.pairwise(sets))
    for own, pairs in zip(sets, sizes, strict=True):
        patients = [task.plan.groups[index] for index in own]
        whole = [patient for patient in set(patients) if patients.count(patient) == 4]
        assert len(set(patients)) - len(whole) <= 1 and len(whole) == pairs // 4


def test_another_seed_draws_other_patients(task: FoldTask) -> None:
    assert chosen(task, 8) == chosen(task, 8)
    assert len({frozenset(chosen(task, 8, seed)) for seed in range(5)}) > 1
