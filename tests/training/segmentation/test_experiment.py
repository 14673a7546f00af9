"""Sets opened for segmentation: cases, millimetres, splits, small training sets, and what is refused."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from disc_volumes import SIDE, write_volumes
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.split_plan import read_plan, save_plan
from sonoforge.training.data.splits import check_sealed
from sonoforge.training.gan.checkpoint import describe, find_checkpoint, load_state
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.segmentation import generating
from sonoforge.training.segmentation.experiment import (
    FoldTask,
    LabelledSet,
    generator_folder,
    open_labelled_set,
    plan_folds,
    tell_classes,
    training_part,
)
from sonoforge.training.segmentation.options import Experiment
from sonoforge.training.segmentation.pairs import to_levels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("volumes") / "volumes", splits=True)


def opened(folder: Path, cache: Path, size: int = SIDE) -> LabelledSet:
    return open_labelled_set(ImageSource((str(folder),), 0, 0, cache, Preprocessing(size=size)))


def edited(folder: Path, target: Path, column: str, line: int, value: str) -> Path:
    """Copy a set and change one cell of its groups.csv."""
    shutil.copytree(folder, target)
    with (target / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[line][column] = value
    with (target / "groups.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_the_slices_of_a_volume_are_one_case_with_its_millimetres(folder: Path, tmp_path: Path) -> None:
    images = opened(folder, tmp_path, size=16)
    assert images.structures == ("disc", "ring") and images.maps.shape == (40, 16, 16)
    assert [case.name for case in images.cases] == [f"p{patient:02d}" for patient in range(10)]
    assert images.cases[3].images.tolist() == [12, 13, 14, 15]
    # 32 pixels of 1.5 mm down and 2 mm across, on 16 pixels.
    assert images.cases[0].spacing == (3.0, 4.0) and images.cases[0].unit == "mm"
    assert not images.maps[::4].any() and images.maps[1].any()


def test_volumes_may_stand_in_metadata_csv(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    shutil.move(moved / "groups.csv", moved / "metadata.csv")
    before, now = opened(folder, tmp_path / "a"), opened(moved, tmp_path / "b")
    assert [case.name for case in now.cases] == [case.name for case in before.cases]
    assert [case.images.tolist() for case in now.cases] == [case.images.tolist() for case in before.cases]


def test_maps_are_those_of_the_mask_files(folder: Path, tmp_path: Path) -> None:
    images = opened(folder, tmp_path)
    disc, ring = (
        np.asarray(Image.open(folder / f"heart/p02_slice01_mask_{name}.png")) > 0 for name in ("disc", "ring")
    )
    assert (images.maps[9] == disc + 2 * ring).all()


def test_a_small_structure_survives_being_reduced_and_a_mask_of_numbers_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    small = np.zeros((SIDE, SIDE), np.uint8)
    small[5, 5] = 255  # a sixteenth of a pixel at a quarter of the side
    Image.fromarray(small).save(copy / "heart/p00_slice00_mask_disc.png")
    assert not opened(copy, tmp_path / "cache", size=8).maps[0].any()
    Image.fromarray(small // 255 * 2).save(copy / "heart/p00_slice00_mask_disc.png")
    with pytest.raises(SonoforgeError, match=r"p00_slice00_mask_disc.png: its brightest level is 2"):
        opened(copy, tmp_path / "other")


def test_folds_keep_patients_together_and_the_published_split_is_taken_where_there_is_one(
    folder: Path, tmp_path: Path
) -> None:
    images = opened(folder, tmp_path)
    sealed = plan_folds(images, "sealed", 5, 0)
    assert sealed.protocol == "sealed" and sealed.folds == 5
    for fold in range(5):
        tested = {sealed.files[index][:9] for index in sealed.test(fold)}
        assert not tested & {sealed.files[index][:9] for index in sealed.train(fold)}
    official = plan_folds(images, "auto", 5, 0)
    assert official.protocol == "official" and official.folds == 1
    assert {sealed.files[index][6:9] for index in official.test(0)} == {"p04", "p09"}
    assert len(official.train(0)) == 32
    check_sealed(official, 0, "U-Net", official.train(0), images.cache)
    save_plan(tmp_path / "splits.json", official)
    assert read_plan(tmp_path / "splits.json") == official


def test_a_published_split_that_divides_a_patient_is_refused(folder: Path, tmp_path: Path) -> None:
    leaking = edited(folder, tmp_path / "leaking", "split", 1, "test")  # p00 is of the training part
    images = opened(leaking, tmp_path / "cache")
    plan = plan_folds(images, "official", 5, 0)
    with pytest.raises(GateError, match=r"U-Net real would train on its test fold.*p00_slice01.*same given group"):
        check_sealed(plan, 0, "U-Net real", plan.train(0), images.cache)


def test_what_does_not_fit_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    images = opened(edited(folder, tmp_path / "half", "split", 0, ""), tmp_path / "cache")
    assert plan_folds(images, "auto", 5, 0).protocol == "sealed"
    with pytest.raises(SonoforgeError, match=r"column split .*nothing, test, train"):
        plan_folds(images, "official", 5, 0)
    with pytest.raises(SonoforgeError, match=r"mm_y, mm_x 1.5, far of heart/p00_slice00.png"):
        opened(edited(folder, tmp_path / "far", "mm_x", 0, "far"), tmp_path / "cache")


# ---- what recipes are told of the images


TINY = GanSettings(kimg=0.032, batch=8, width=4)
NOTHING, BOTH = "nothing outlined", "disc, ring"


def planned(data: str, recipe: str, folder: Path) -> FoldTask:
    """The training of a recipe on the published training part of a set, of two steps."""
    features = "squeezenet1_1" if recipe.startswith("projected") else ""
    generator = replace(TINY, features=features, width=8 if recipe == "flow" else TINY.width)
    experiment = Experiment(recipes=(recipe,), arms=("both:2",), generator=generator, image_size=SIDE, device="cpu")
    source = ImageSource((data,), 0, 0, folder / "cache", Preprocessing(size=SIDE), fewest_classes=1)
    images = open_labelled_set(source)
    folder.mkdir(exist_ok=True)
    return FoldTask(folder / images.name, source, plan_folds(images, "auto", 5, 0), 0, 0, experiment, recipe)


def told(task: FoldTask) -> list[str]:
    return tell_classes(task, *training_part(task, "a generator"))


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images in the same order, of two classes: the first five patients are of one."""
    return write_volumes(tmp_path_factory.mktemp("classes") / "volumes", splits=True, classes=("atrium", "ventricle"))


@pytest.mark.parametrize("recipe", ["biggan:six-gans", "ga-gan:small-data", "projected:small-data"])
def test_a_conditional_recipe_is_told_the_class_folders_or_else_which_structures_an_image_shows(
    recipe: str, folder: Path, two_classes: Path, tmp_path: Path
) -> None:
    assert told(planned(str(two_classes), recipe, tmp_path / "a")) == 16 * ["atrium"] + 16 * ["ventricle"]
    assert told(planned(str(folder), recipe, tmp_path / "b")) == 8 * [NOTHING, BOTH, BOTH, BOTH]


@pytest.mark.parametrize("recipe", ["dcgan", "stylegan1:small-data", "spade:small-data", "projected:label-maps"])
def test_other_recipes_are_told_nothing(recipe: str, two_classes: Path, tmp_path: Path) -> None:
    assert told(planned(str(two_classes), recipe, tmp_path)) == []


def test_a_column_of_a_table_gives_the_classes_too(folder: Path, tmp_path: Path) -> None:
    graded = tmp_path / "volumes"
    shutil.copytree(folder, graded)
    with (graded / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (graded / "grades.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("file", "grade"), *((row["file"], f"grade {int(row['group'][1:]) % 2}") for row in rows)])
    expected = Counter(f"grade {patient % 2}" for patient in range(10) if patient % 5 != 4 for _ in range(4))
    assert Counter(told(planned(f"{graded}:grade", "biggan:small-data", tmp_path / "run"))) == expected


def test_where_all_images_show_the_same_and_are_of_one_class_it_is_unconditional(folder: Path, tmp_path: Path) -> None:
    shown = tmp_path / "volumes"
    shutil.copytree(folder, shown)
    for path in shown.glob("heart/*_slice00_mask_*.png"):
        shutil.copy(str(path).replace("_slice00", "_slice01"), path)
    task = planned(str(shown), "biggan:small-data", tmp_path / "run")
    assert told(task) == []
    generating.train_generator(task)
    assert "biggan:small-data, fold 1 of 1, seed 0: told no classes" in (tmp_path / "run" / "log.txt").read_text()
    about = describe(find_checkpoint(generator_folder(task)))
    assert (about.classes, about.class_name, about.generator_options["classes"]) == ([], "volumes", 0)
    assert len(generating.draw_pairs(task, *training_part(task, "pairs"), 5)) == 5


@pytest.mark.parametrize("recipe", ["biggan:small-data", "dcgan", "spade:small-data"])
def test_classes_change_the_weights_and_pairs_of_a_conditional_recipe_and_no_others(
    recipe: str, folder: Path, two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps on the same images, told apart by their folders or by what they show; without conditioning, alike."""
    drawn, states, asked = [], [], []

    def sample_batches(*arguments: Any) -> Any:
        asked.append(arguments[3])
        return original(*arguments)

    original = generating.sample_batches
    monkeypatch.setattr(generating, "sample_batches", sample_batches)
    for number, data in enumerate((folder, two_classes)):
        task = planned(str(data), recipe, tmp_path / str(number))
        generating.train_generator(task)
        checkpoint = find_checkpoint(generator_folder(task))
        states.append([load_state(checkpoint, name) for name in ("generator", "discriminator")])
        drawn.append(generating.draw_pairs(task, *training_part(task, "pairs"), 64))
    conditional = recipe.startswith("biggan")
    for one, other in zip(*states, strict=True):
        same = all(torch.equal(one[name], other[name]) for name in one)
        assert one.keys() == other.keys() and same != conditional
    assert np.array_equal(drawn[0].images, drawn[1].images) != conditional
    if not conditional:
        assert set(asked) <= {None}
        return
    assert "embedding.weight" in states[0][0] and any("class_rows" in name for name in states[0][1])
    assert describe(find_checkpoint(generator_folder(task))).classes == ["atrium", "ventricle"]
    assert [Counter(labels) for labels in asked] == [{0: 48, 1: 16}, {0: 32, 1: 32}], "as in the training part"
    assert "told the classes atrium; ventricle" in (tmp_path / "1" / "log.txt").read_text()


def test_a_flow_draws_into_a_map_of_each_training_image_in_turn_and_is_told_that_images_class(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def sample_into(*arguments: Any) -> Any:
        asked.append(arguments)
        return original(*arguments)

    original = generating.sample_into
    monkeypatch.setattr(generating, "sample_into", sample_into)
    task = planned(str(two_classes), "flow", tmp_path)
    generating.train_generator(task)
    images, train = training_part(task, "pairs")
    pairs = generating.draw_pairs(task, images, train, 40)
    ((_, maps, count, _, labels),) = asked
    assert (count, labels) == (40, [*16 * [0], *16 * [1], *8 * [0]])
    own = images.maps[train][np.arange(40) % len(train)]
    assert [set(np.unique(one)) for one in pairs.maps] == [set(np.unique(one)) for one in own], "distorted, not emptied"
    assert np.array_equal(maps, to_levels(pairs.maps, len(images.structures)))
