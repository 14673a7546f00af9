"""The comparison as a user runs it, killed as machines kill it, and read as a reviewer reads it."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from processes import start, wait_until
from program import refused, succeed, words
from scans import write_set
from small_run import CLASSIFIER, SMALL, SmallRun
from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.settings import ClassifierOptions
from sonoforge.training.crossval.balancing import ALL_CLASSES
from sonoforge.training.crossval.fold_task import fold_path, read_fold
from sonoforge.training.crossval.settings import ComparisonSettings, resolve
from sonoforge.training.data.split_plan import read_plan
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import make_plan
from sonoforge.training.reports.run.terminal import log_table
from sonoforge.training.statistics.calibration import apply_temperature, fit_temperature
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.verbs import crossval


@pytest.fixture
def uninterrupted(small_run: SmallRun) -> Path:
    """The folder of a run whose comparison is that of `SMALL`, one fold after the other."""
    return small_run.folder


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six scans."""
    return write_set(tmp_path_factory.mktemp("balanced") / "cells", {"one": 6, "two": 6})


def test_every_image_is_predicted_once_by_a_fold_that_did_not_read_it(uninterrupted: Path) -> None:
    parts, _ = read_predictions(uninterrupted / "predictions.csv")
    plan = json.loads((uninterrupted / "splits.json").read_text())
    content = dict(zip(plan["files"], plan["hashes"], strict=True))
    groups = dict(zip(plan["files"], plan["groups"], strict=True))
    assert [part.arm for part in parts] == ["real", "gan"]
    for part in parts:
        assert sorted(part.files) == sorted(plan["files"])
        assert np.allclose(part.probabilities.sum(axis=1), 1, atol=1e-6)
    folds = [read_fold(path) for path in sorted((uninterrupted / "folds").glob("*.json"))]
    assert len(folds) == 6
    for fold in folds:
        tested = {content[file] for file in fold.files}
        tested_groups = {groups[file] for file in fold.files}
        stages = {name: hashes for name, hashes in fold.reads.items() if name != "generated"}
        assert ("generator malignant" in stages) == (fold.arm == "gan")
        for stage, read in stages.items():
            assert read and not set(read) & tested, stage
            assert not {groups[f] for f in plan["files"] if content[f] in set(read)} & tested_groups, stage


def test_generated_images_balance_each_training_fold(uninterrupted: Path) -> None:
    plan = json.loads((uninterrupted / "splits.json").read_text())
    labels, fold_of = np.array(plan["labels"]), np.array(plan["fold_of"])
    for fold in range(3):
        counts = np.bincount(labels[fold_of != fold])
        result = json.loads((uninterrupted / "folds" / f"gan-seed0-fold{fold:02d}.json").read_text())
        assert result["added"] == int((counts.max() - counts).sum())
        assert len(result["reads"]["generated"]) == result["added"]
        assert set(result["reads"]) == {"classifier", "generated", "generator normal", "generator malignant"}


@pytest.mark.slow
def test_four_classes_get_images_of_one_conditional_generator_of_their_training_fold(tmp_path: Path) -> None:
    """The use of GA-GAN's images: a classifier with and without them, groups sealed; expansion is part of the fold."""
    counts = {"a": 4, "b": 4, "c": 6, "d": 8}
    data = write_set(tmp_path / "cells", counts)
    slides = [
        (f"{name}/scan ({number + 1}).png", f"{name}-{number // 2}")
        for name, count in counts.items()
        for number in range(count)
    ]
    (data / "groups.csv").write_text("file,group\n" + "".join(f"{file},{slide}\n" for file, slide in slides))
    conditional = words("--gan-recipe biggan --set gan.preset=small-data --set gan.width=2 --set gan.image_size=32")
    done = succeed(
        "crossval", "--data", data, "--arms", "real,gan-all:0.5", "--folds", "2", *CLASSIFIER,
        "--set", "classifier.epochs=1",
        "--set", "classifier.ensemble_size=1", *conditional,
        "--set", "gan.steps=2", "--set", "gan.batch=16", "--set", "gan.expand=2", "--device", "cpu", "--jobs", "1",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    run = Path(done.json["run"])
    assert done.json["classes"] == list(counts)
    plan = json.loads((run / "splits.json").read_text())
    labels, fold_of, hashes = (np.array(plan[name]) for name in ("labels", "fold_of", "hashes"))
    slide_of = dict(slides)
    for fold in range(2):
        inside = fold_of != fold
        own = np.bincount(labels[inside])
        result = read_fold(fold_path(run, "gan-all:0.5", 0, fold))
        assert result.added == np.sum(own.max() + round(0.5 * own.max()) - own), "1.5 times the largest class, each"
        (read,) = [hashes for name, hashes in result.reads.items() if name.startswith("generator ")]
        assert set(read) == set(hashes[inside]), "every class, and no image of the test fold"
        tested = {slide_of[file] for file, own_fold in zip(plan["files"], fold_of, strict=True) if own_fold == fold}
        trained = {slide_of[file] for file, own_fold in zip(plan["files"], fold_of, strict=True) if own_fold != fold}
        assert not tested & trained
        assert [path.name for path in (run / "gan" / f"seed0-fold{fold:02d}").iterdir()] == [ALL_CLASSES]
        checkpoint = gan_checkpoint.find_checkpoint(run / "gan" / f"seed0-fold{fold:02d}" / ALL_CLASSES)
        about = gan_checkpoint.describe(checkpoint)
        assert about.classes == list(counts) and about.settings["batch"] == 16, "of the expanded images"


def test_results_can_be_recomputed_from_the_predictions(uninterrupted: Path) -> None:
    results = json.loads((uninterrupted / "results.json").read_text())
    again = evaluate(*read_predictions(uninterrupted / "predictions.csv"))
    for arm, figures in again["arms"].items():
        assert results["arms"][arm]["confusion"] == figures["confusion"]
        assert results["arms"][arm]["sensitivity"] == figures["sensitivity"]
        assert results["arms"][arm]["macro_auc"]["value"] == figures["macro_auc"]["value"]
    assert results["split"]["test_images_with_near_duplicate_in_training"] == [0, 0, 0]


def test_killed_and_resumed_gives_the_predictions_of_an_uninterrupted_run(uninterrupted: Path, tmp_path: Path) -> None:
    """Begun by two processes and ended by one."""
    arguments = ["crossval", *SMALL, "--out", tmp_path / "runs"]
    victim = start(tmp_path / "log", *arguments, "--jobs", "2")
    # In the middle of the second arm, with a generator half trained.
    wait_until(lambda: len(list(tmp_path.glob("runs/*/folds/*.json"))) >= 4, victim)
    victim.kill()
    victim.join()
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "results.json").exists(), "the run ended before it could be killed"
    kept = {path: path.read_bytes() for path in run.glob("folds/*.json")}
    done = succeed(*arguments, "--jobs", "1", "--resume")
    assert "resuming" in done.err
    assert "macro-AUC" in done.said and "next: sonoforge run" in done.err
    assert done.json["run"] == str(run)
    for path, content in kept.items():
        assert path.read_bytes() == content
    assert (run / "predictions.csv").read_bytes() == (uninterrupted / "predictions.csv").read_bytes()


def test_wrong_arms_are_refused_and_a_mistyped_one_is_recognised() -> None:
    for arms, message in ((("real", "gna"), "did you mean gan"), (("real", "real"), "each arm once"), ((), "nothing")):
        with pytest.raises(SonoforgeError, match=message):
            resolve(crossval.CrossvalConfig(arms=arms))


@pytest.mark.parametrize("arguments", [["crossval", "--arms", "real,weighted"], ["train", "--arm", "weighted"]])
def test_an_arm_that_changes_nothing_is_refused_before_any_work(
    arguments: list[str], balanced: Path, tmp_path: Path
) -> None:
    said = refused(
        *arguments, "--data", balanced, "--out", tmp_path / "runs", "--set", f"cache.folder={balanced.parent / 'cache'}"
    )
    assert "weighted would weight the classes" in said and "(one 6, two 6)" in said
    assert not (tmp_path / "runs").exists()


def test_the_terminal_says_what_it_cannot_compute(caplog: pytest.LogCaptureFixture, uninterrupted: Path) -> None:
    results = json.loads((uninterrupted / "results.json").read_text())
    (row,) = results["comparisons"]
    row["sign_flip_test"] |= {"first_only": 0, "second_only": 0}
    for nothing in (float("nan"), None):  # as computed, and as read back from results.json
        row["minimum_detectable_difference"] = nothing
        with caplog.at_level("INFO"):
            caplog.clear()
            log_table(results)
        assert "nan" not in caplog.text.replace("malignant", "") and "None" not in caplog.text
        assert "cannot be computed: both arms classified exactly the same images correctly" in " ".join(
            caplog.text.split()
        )


def test_the_terminal_says_why_figures_come_out_too_good(caplog: pytest.LogCaptureFixture, uninterrupted: Path) -> None:
    def said(arm: str = "", **split: Any) -> str:
        results = json.loads((uninterrupted / "results.json").read_text())
        results["split"] |= split
        if arm:
            results |= {"arms": {arm: results["arms"]["real"]}, "comparisons": []}
        caplog.clear()
        log_table(results)
        messages = (" ".join(record.getMessage().split()) for record in caplog.records)
        return " ".join(text for text in messages if "come out too good" in text or "are optimistic" in text)

    caplog.set_level(logging.INFO, "sonoforge")
    assert said() == ""
    leaked = said(protocol="thesis", test_images_with_near_duplicate_in_training=[2, 0, 1])
    assert (
        "3 of 60 test images have a near-duplicate in training" in leaked
        and "generators were trained on all images" in leaked
    )
    assert "chosen on BUSI, which holds 780 of these 60 images: these figures are optimistic" in said(chosen_on=780)
    assert said("mrmr-svm", chosen_on=780) == ""  # no budget's settings were used
    assert "an empty one gives a class away" in said("edlcds-masks")


def resolved(generator: GanSettings | None = None, **classifier: Any) -> ComparisonSettings:
    config = crossval.CrossvalConfig(
        data=("BUSI",), classifier=ClassifierOptions(**classifier), generator=generator or GanSettings()
    )
    return resolve(config)


def test_flags_win_over_the_budget() -> None:
    quick = resolved()
    assert quick.classifier.frozen_blocks == 11 and (quick.generator.image_size, quick.generator.steps) == (64, 120)
    full = resolved(budget="full")
    assert (full.classifier.epochs, full.classifier.frozen_blocks, full.generator.image_size) == (20, 0, 224)
    thesis = resolved(budget="thesis")
    generator = thesis.generator
    assert (generator.recipe, generator.image_size, generator.channels) == ("dcgan-thesis", 224, "3")
    assert (generator.epochs, generator.steps, generator.batch) == (None, None, None)  # the recipe's own
    assert thesis.classifier.test_curves and not full.classifier.test_curves
    assert resolved(GanSettings(channels="1"), budget="thesis").generator.channels == "1"
    assert resolved(GanSettings(recipe="wgan-gp"), budget="thesis").generator.channels == "auto"
    changed = resolved(GanSettings(epochs=7), epochs=3)
    assert (changed.classifier.epochs, changed.generator.epochs, changed.generator.steps) == (3, 7, None)
    for preset, size in (("few-cores", 64), ("small-data", 256)):
        quick, full = (
            resolved(GanSettings(recipe="stylegan2", preset=preset), budget=name) for name in ("quick", "full")
        )
        assert (quick.generator.image_size, full.generator.image_size) == (64, size)
        assert make_plan(quick.generator, 702).batch == make_plan(full.generator, 702).batch == 16, "the preset's own"


def test_the_budget_is_chosen_by_whose_scanners_are_tested(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sonoforge")
    assert resolved().budget == "quick" and "for the scanners of these images" in caplog.text
    config = crossval.CrossvalConfig(data=("BUSI", "BrEaST"), protocol="leave-one-collection-out")
    settings = resolve(config)
    assert settings.asked["classifier.budget"] == settings.budget == "collections" and settings.classifier.teachers == 2
    assert (settings.generator.image_size, settings.generator.steps) == (64, 120)  # not its published length, by itself
    given = dataclasses.replace(config, classifier=ClassifierOptions(budget="quick"))
    assert resolve(given).budget == "quick"


def test_the_generator_is_told_what_gan_train_is_told(tmp_path: Path) -> None:
    told = {"augmentation": "diffaugment", "regularisers": "r1=0.5:2", "loss": "hinge"}
    small = [*SMALL, *words("--arms gan,duplicates --folds 2 --set classifier.epochs=1 --jobs 1 --protocol thesis")]
    small += [
        "--set",
        "gan.masks=true",
        *(word for name, value in told.items() for word in ("--set", f"gan.{name}={value}")),
    ]
    done = succeed("crossval", *small, "--out", tmp_path)
    run = Path(done.json["run"])
    # As published, there is one generator a class, trained on all of its images.
    assert sorted(path.name for path in (run / "gan").iterdir()) == ["seed0-all"]
    plan = json.loads((run / "splits.json").read_text())
    fold = json.loads((run / "folds" / "gan-seed0-fold00.json").read_text())
    assert len(fold["reads"]["generator malignant"]) == sum(label == 2 for label in plan["labels"])
    # And every training fold gets what the whole set lacks, as the thesis's 227 + 304 images; so does its placebo.
    lacks = np.bincount(plan["labels"]).max() - np.bincount(plan["labels"])
    for arm in ("gan", "duplicates"):
        assert done.json["arms"][arm]["generated_per_fold"] == [lacks.sum()] * 2
    recorded = json.loads((run / "gan" / "seed0-all" / "malignant" / "results.json").read_text())["settings"]
    expected = told | {"masks": True, "image_size": 32, "steps": 6, "batch": 4}
    for settings in (recorded, done.json["gan"]):
        assert {name: settings[name] for name in expected} == expected
    with Image.open(run / "samples" / "generated-malignant_mask.png") as masks:
        assert {level for _, level in masks.getcolors() or []} <= {0, 255}
    with Image.open(run / "samples" / "generated-malignant.png") as images:
        assert images.size == masks.size and images.mode == "RGB"


def test_masks_that_are_not_there_are_refused_before_anything_is_trained(balanced: Path, tmp_path: Path) -> None:
    arguments = [
        "--data",
        balanced,
        *words("--arms real,gan-all --set gan.masks=true --set classifier.weights=none --folds 2"),
    ]
    assert "has no masks, such as NAME_mask.png" in refused("crossval", *arguments, "--out", tmp_path)
    assert not list(tmp_path.rglob("fold*.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "gan.held_out=0.2"], "gan.held_out"),
        (["--gan-recipe", "stylegan2", "--set", "gan.start_from=."], "no checkpoint"),
        (["--set", "gan.loss=began"], "--set gan.loss: found 'began'"),
        (["--gan-recipe", "dcgann"], "--gan-recipe: found 'dcgann'"),
    ],
)
def test_wrong_generator_settings_are_refused_before_any_work(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    assert message in refused(
        "crossval", *arguments, "--out", tmp_path / "runs", "--set", f"cache.folder={tmp_path / 'cache'}"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_single_split_is_pooled_tabulated_and_repeated_by_seeds(tmp_path: Path) -> None:
    small = [*SMALL, *words("--arms real,weighted --set classifier.epochs=1 --jobs 1 --protocol single --seeds 2")]
    done = succeed("crossval", *[word for word in small if word not in ("--folds", "3")], "--out", tmp_path)
    run = Path(done.json["run"])
    parts, _ = read_predictions(run / "predictions.csv")
    plans = [read_plan(run / name) for name in ("splits.json", "splits-seed1.json")]
    assert [(part.arm, part.seed) for part in parts] == [(arm, s) for s in (0, 1) for arm in ("real", "weighted")]
    for part in parts:
        plan = plans[part.seed]
        assert part.files == tuple(plan.files[i] for i in plan.test(0)) and len(part.files) == len(plan.files) // 5
        # What is fitted on other images is fitted on the other half, of which no group is a part.
        assert not set(part.groups[part.parts == 0]) & set(part.groups[part.parts == 1])
    figures = done.json["arms"]["real"]
    assert figures["images"] == len(parts[0].files) and figures["fold_accuracy"]["sd"] is None
    assert figures["seeds"]["accuracy"] == [
        float((part.predicted == part.labels).mean()) for part in parts if part.arm == "real"
    ]
    assert done.err.rstrip().endswith("next: sonoforge run --data phantom --protocol single")
    kept = [read_fold(run / "folds" / f"real-seed{seed}-fold00.json") for seed in (0, 1)]
    assert figures["train_accuracy_by_seed"] == [[fold.train_accuracy] for fold in kept]
    assert (
        succeed("crossval", "--from", run / "predictions.csv").json["arms"]["real"]["accuracy"] == figures["accuracy"]
    )


def test_a_single_split_has_one_fold() -> None:
    with pytest.raises(SonoforgeError, match=r"--folds: 3 .* single"):
        resolve(crossval.CrossvalConfig(protocol="single", folds=3))
    assert resolve(crossval.CrossvalConfig(protocol="single")).folds == 1


def test_the_tables_of_a_single_split_fit_on_the_other_half_of_its_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(30), 2), np.arange(60) // 2 % 3
    files, folds = tuple(f"{i}.png" for i in range(60)), np.zeros(60, np.int64)
    parts = [
        Predictions(arm, "single", seed, files, groups, folds, labels, rng.dirichlet(np.eye(3)[label] + 1, 60))
        for seed in (0, 1)
        for label, arm in enumerate(("real", "weighted"))
    ]
    write_predictions(tmp_path / "predictions.csv", parts, ("a", "b", "c"))
    found = succeed("crossval", "--from", tmp_path / "predictions.csv").json["arms"]["real"]
    halves = groups % 2  # whole groups
    raw = parts[0].probabilities
    scaled = np.empty_like(raw)
    for half in (0, 1):
        other, own = halves != half, halves == half
        scaled[own] = apply_temperature(raw[own], fit_temperature(labels[other], raw[other]))
    assert found["brier_calibrated"] == pytest.approx(np.mean(np.sum((scaled - np.eye(3)[labels]) ** 2, axis=1)))
    assert found["fold_accuracy"]["sd"] is None and found["images"] == 60
    for changed, message in (
        ({"protocol": "thesis"}, "thesis: wrong number of folds, 1"),
        ({"groups": folds}, "two groups of images"),
    ):
        write_predictions(tmp_path / "wrong.csv", [dataclasses.replace(parts[0], **changed)], ("a", "b", "c"))
        assert message in refused("crossval", "--from", tmp_path / "wrong.csv")


def test_what_is_no_table_of_predictions_is_refused(tmp_path: Path) -> None:
    head = "file,group,fold,arm,protocol,seed,label,p_a,p_b\n"
    row, other = "1.png,0,0,real,sealed,0,a,0.9,0.1\n", "2.png,1,1,real,sealed,0,b,0.1,0.9\n"
    third = row.replace("1.png,0", "3.png,2")

    def arm(line: str) -> str:
        return line.replace("real", "gan")

    path = tmp_path / "predictions.csv"
    for content, message in (
        ("", "predictions.csv of crossval"),
        (head, "predictions.csv of crossval"),
        (head + "1.png,0\n", "predictions.csv of crossval"),
        (head + row.replace("0.9", "x"), "predictions.csv of crossval"),
        (head + row.replace(",a,", ",c,"), "predictions.csv of crossval"),
        (head + row + row.replace(",0,0,real", ",0,1,real"), "1.png is listed twice"),
        (head + row.replace("0.9", "0.7") + other, "1.png: probabilities sum to 0.8, not 1"),
        (head + row.replace("0.9", "0").replace("0.1", "0") + other, "sum to 0, not 1"),
        (head + row.replace("sealed", "sworn") + other, "'sworn' is not one of sealed, plain"),
        (head + row + other.replace("1,1,real", "1,99,real"), "numbered 0 to 1, not 0, 99"),
        (head + row + other.replace("1,1,real", "0,1,real"), "group 0 is in several folds"),
        (head + row + other + arm(row).replace(",a,", ",b,") + arm(other), "1.png: arm gan, seed 0 has another label"),
        (head + row + other + arm(row) + arm(other).replace(",1,1,", ",2,1,"), "2.png: arm gan, seed 0 has another"),
        (
            head + row + other + arm(row).replace(",0,0,", ",0,1,") + arm(other).replace(",1,1,", ",1,0,"),
            "images or folds",
        ),
        (head + row + other + third + arm(row) + arm(other), "arms real and gan, seed 0, have different images"),
        (head + row.replace("0.9", "nan") + other, "a probability is not between 0 and 1"),
        (head + row, "sealed: wrong number of folds, 1"),
    ):
        path.write_text(content)
        assert message in refused("crossval", "--from", path)
    assert "predictions.csv of crossval" in refused("crossval", "--from", tmp_path / "missing.csv")
    assert "--from cannot be combined" in refused("crossval", "--from", path, "--folds", "3")


def test_a_runs_table_is_what_its_folds_answered_and_another_is_called_unverified(
    uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run, ignore=shutil.ignore_patterns("gan", "bundle", "model", "samples"))
    table = run / "predictions.csv"
    kept = succeed("crossval", "--from", table)
    assert kept.json["doubt"] == "" and "unverified" not in kept.said
    alone = tmp_path / "answers.csv"
    shutil.copy(table, alone)
    given = succeed("crossval", "--from", alone)
    assert given.json["doubt"] == "unverified: as given" and given.said.count("unverified") > 2
    assert {key: value for key, value in given.json.items() if key != "doubt"} == {
        key: value for key, value in kept.json.items() if key != "doubt"
    }
    parts, classes = read_predictions(table)

    def forged(**changed: Any) -> str:
        write_predictions(table, [dataclasses.replace(part, **changed) for part in parts], classes)
        return refused("crossval", "--from", table)

    better = np.eye(len(classes))[parts[0].labels]
    assert "the probabilities are not those of" in forged(probabilities=better)
    assert "the groups are not the split plan" in forged(groups=np.arange(len(parts[0].labels)))
    assert "the protocol is plain, but sealed" in forged(protocol="plain")
    some = [part.reordered(np.flatnonzero(parts[0].predicted == part.labels)) for part in parts]  # the wrong ones gone
    write_predictions(table, some, classes)
    assert "in the plan alone" in refused("crossval", "--from", table)


def test_comparators_are_refused_where_they_do_not_apply(tmp_path: Path) -> None:
    arms = ["--arms", "real,edlcds", "--final-arm", "edlcds"]
    assert "comparator" in refused("run", *arms, "--out", tmp_path)
    assert "did you mean mrmr-svm" in refused("crossval", "--arms", "mrmr-svn", "--out", tmp_path)


@pytest.mark.slow
def test_a_comparator_runs_through_predictions_tables_and_report_as_any_arm(tmp_path: Path) -> None:
    """Of random weights; the networks' features are compared elsewhere."""
    torch.manual_seed(0)
    for name in ("mobilenet_v2", "squeezenet1_1"):
        state = getattr(import_torchvision().models, name)(weights=None).state_dict()
        save_file(state, tmp_path / f"{name}.safetensors")
    small = [*SMALL, "--arms", "mrmr-svm-mobilenet-only,real,edlcds-squeezenet-only", "--final-arm", "real"]
    small += [
        "--set",
        "classifier.epochs=1",
        "--jobs",
        "1",
        "--set",
        f"crossval.comparator_weights={tmp_path}",
        "--out",
        str(tmp_path / "runs"),
    ]
    done = succeed("run", *small)
    run = Path(done.json["run"])
    parts, _ = read_predictions(run / "predictions.csv")
    assert [part.arm for part in parts] == ["mrmr-svm-mobilenet-only", "real", "edlcds-squeezenet-only"]
    for part in parts:
        assert np.allclose(part.probabilities.sum(axis=1), 1) and len(set(part.files)) == 60
    for path in sorted((run / "folds").glob("mrmr*.json")):
        fold = read_fold(path)
        plan = read_plan(run / "splits.json")
        assert set(fold.reads["classifier"]) == {plan.hashes[i] for i in plan.train(fold.fold)}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "100 features that mRMR chose, a support vector machine" in page
    assert "a comparator has no trust to be judged" in page
    torch.manual_seed(1)
    state = import_torchvision().models.mobilenet_v2(weights=None).state_dict()
    save_file(state, tmp_path / "mobilenet_v2.safetensors")
    (run / "results.json").unlink()
    assert "initial weights mobilenet_v2 sha256" in refused("run", *small, "--resume")
