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

from program import refused, succeed, words
from scans import write_set
from small_run import SMALL, SmallRun
from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.training.classifier.settings import ClassifierOptions
from sonoforge.training.crossval.fold_task import read_fold
from sonoforge.training.crossval.settings import ComparisonSettings, resolve
from sonoforge.training.data.split_plan import read_plan
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import make_plan
from sonoforge.training.reports.conclusions import doubts_about
from sonoforge.training.reports.run.terminal import log_comparison, log_table
from sonoforge.training.statistics.calibration import apply_temperature, fit_temperature
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions
from sonoforge.training.statistics.verdict import UNKNOWN
from sonoforge.training.verbs import crossval


def test_every_image_is_predicted_once_by_a_fold_that_did_not_read_it(small_run: SmallRun) -> None:
    parts, _ = read_predictions(small_run.folder / "predictions.csv")
    plan = json.loads((small_run.folder / "splits.json").read_text())
    content = dict(zip(plan["files"], plan["hashes"], strict=True))
    groups = dict(zip(plan["files"], plan["groups"], strict=True))
    assert [part.arm for part in parts] == ["real", "gan"]
    for part in parts:
        assert sorted(part.files) == sorted(plan["files"])
        assert np.allclose(part.probabilities.sum(axis=1), 1, atol=1e-6)
    folds = [read_fold(path) for path in sorted((small_run.folder / "folds").glob("*.json"))]
    assert len(folds) == 6
    for fold in folds:
        tested = {content[file] for file in fold.files}
        tested_groups = {groups[file] for file in fold.files}
        stages = {name: hashes for name, hashes in fold.reads.items() if name != "generated"}
        assert ("generator malignant" in stages) == (fold.arm == "gan")
        for stage, read in stages.items():
            assert read and not set(read) & tested, stage
            assert not {groups[f] for f in plan["files"] if content[f] in set(read)} & tested_groups, stage


def test_generated_images_balance_each_training_fold(small_run: SmallRun) -> None:
    plan = json.loads((small_run.folder / "splits.json").read_text())
    labels, fold_of = np.array(plan["labels"]), np.array(plan["fold_of"])
    for fold in range(3):
        counts = np.bincount(labels[fold_of != fold])
        result = json.loads((small_run.folder / "folds" / f"gan-seed0-fold{fold:02d}.json").read_text())
        assert result["added"] == int((counts.max() - counts).sum())
        assert len(result["reads"]["generated"]) == result["added"]
        assert set(result["reads"]) == {"classifier", "generated", "generator normal", "generator malignant"}


def test_the_terminal_says_why_figures_come_out_too_good_or_not_at_all(
    caplog: pytest.LogCaptureFixture, small_run: SmallRun
) -> None:
    def said(arm: str = "", row: dict[str, Any] | None = None, **split: Any) -> str:
        results = json.loads((small_run.folder / "results.json").read_text())
        results["split"] |= split
        if row:
            results["comparisons"][0] |= row | {"sign_flip_test": {"first_only": 0, "second_only": 0, "p_value": 1}}
        if arm:
            results |= {"arms": {arm: results["arms"]["real"]}, "comparisons": []}
        caplog.clear()
        log_table(results)
        messages = (" ".join(record.getMessage().split()) for record in caplog.records)
        wanted = ("come out too good", "are optimistic", "cannot be computed")
        return " ".join(text for text in messages if any(words in text for words in wanted))

    caplog.set_level(logging.INFO, "sonoforge")
    assert said() == ""
    leaked = said(protocol="thesis", test_images_with_near_duplicate_in_training=[2, 0, 1])
    assert (
        "3 of 60 test images have a near-duplicate in training" in leaked
        and "generators were trained on all images" in leaked
    )
    assert "chosen on BUSI, which holds 780 of these 60 images: these figures are optimistic" in said(chosen_on=780)
    assert said("mrmr-svm", chosen_on=780) == ""  # no budget's settings were used
    for nothing in (float("nan"), None):  # as computed, and as read back from results.json
        text = said(row={"minimum_detectable_difference": nothing})
        assert "cannot be computed: both arms classified exactly the same images correctly" in text


def test_who_may_guess_or_have_seen_the_images_is_told_before_any_figure(
    caplog: pytest.LogCaptureFixture, small_run: SmallRun
) -> None:
    results = json.loads((small_run.folder / "results.json").read_text())
    guessing = [own["title"] for own in results["arms"].values() if not own["guessing"]["better"]]
    assert guessing == [doubt.split(":")[0] for doubt in results["doubts"]]
    for own in results["arms"].values():
        own["guessing"]["better"] = True
    assert doubts_about(results) == []
    results["arms"]["gan"]["guessing"]["better"] = False
    results["weights"] = f"tuned.safetensors (sha256 0, {UNKNOWN})"
    caplog.set_level(logging.INFO, "sonoforge")
    log_comparison({**results, "doubts": doubts_about(results)})
    text = " ".join(" ".join(record.getMessage().split()) for record in caplog.records)
    assert text.index("may have seen the test images") < text.index("better than guessing") < text.index("macro-AUC")
    assert "sealed" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("crossval --arms real,gna", "did you mean gan"),
        ("crossval --arms real,real", "each arm once"),
        ("crossval --arms mrmr-svn", "did you mean mrmr-svm"),
        ("run --arms real,edlcds --final-arm edlcds", "comparator"),
        ("crossval --arms real,weighted", "weighted would weight the classes"),
        ("train --arm weighted", "(one 6, two 6)"),
        ("crossval --arms real,gan-all --set gan.masks=true --folds 2", "has no masks, such as NAME_mask.png"),
        ("crossval --protocol single --folds 3", "--folds: 3 "),
        ("crossval --set gan.held_out=0.2", "gan.held_out"),
        ("crossval --gan-recipe stylegan2 --set gan.start_from=.", "no checkpoint"),
        ("crossval --set gan.loss=began", "--set gan.loss cannot be 'began'"),
        ("crossval --gan-recipe dcgann", "--gan-recipe must be one of"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(arguments: str, message: str, tmp_path: Path) -> None:
    data = write_set(tmp_path / "cells", {"one": 6, "two": 6})
    rest = ["--data", data, "--set", "classifier.weights=none", "--out", tmp_path / "runs"]
    assert message in refused(*words(arguments), *rest)
    assert not list(tmp_path.rglob("fold*.json"))


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
    assert settings.asked["classifier.budget"] == settings.budget == "collections" and settings.classifier.teachers > 1
    assert (settings.generator.image_size, settings.generator.steps) == (64, 120)  # not its published length, by itself
    given = dataclasses.replace(config, classifier=ClassifierOptions(budget="quick"))
    assert resolve(given).budget == "quick"


def test_the_generator_is_told_what_gan_train_is_told(tmp_path: Path) -> None:
    told = {"augmentation": "diffaugment", "regularisers": "r1=0.5:2", "loss": "hinge"}
    small = [*SMALL, *words("--arms gan,duplicates --folds 2 --jobs 1 --protocol thesis")]
    small += words("--set classifier.epochs=1 --set classifier.ensemble_size=1")
    small += words(" ".join(f"--set gan.{name}={value}" for name, value in (told | {"masks": "true"}).items()))
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
        (
            head + row + other + arm(row).replace(",a,", ",b,") + arm(other),
            "seed 0 has another label for 1.png",
        ),
        (
            head + row + other + arm(row) + arm(other).replace(",1,1,", ",2,1,"),
            "seed 0 has another group for 2.png",
        ),
        (
            head + row + other + arm(row).replace(",0,0,", ",0,1,") + arm(other).replace(",1,1,", ",1,0,"),
            "other folds than arm real",
        ),
        (head + row + other + third + arm(row) + arm(other), "arm gan, seed 0 has other images than the first"),
        (head + row.replace("0.9", "nan") + other, "a probability is not between 0 and 1"),
        (head + row, "sealed: wrong number of folds, 1"),
    ):
        path.write_text(content)
        assert message in refused("crossval", "--from", path)
    assert "predictions.csv of crossval" in refused("crossval", "--from", tmp_path / "missing.csv")
    assert "--from cannot be combined" in refused("crossval", "--from", path, "--folds", "3")


def test_a_runs_table_is_what_its_folds_answered_and_another_is_called_unverified(
    small_run: SmallRun, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run.folder, run, ignore=shutil.ignore_patterns("gan", "bundle", "model", "samples"))
    table = run / "predictions.csv"
    kept = succeed("crossval", "--from", table)
    assert kept.json["doubt"].startswith("as stated by this run's plan and folds")
    assert "unverified" not in kept.said.lower()
    alone = tmp_path / "answers.csv"
    shutil.copy(table, alone)
    given = succeed("crossval", "--from", alone)
    assert given.json["doubt"].startswith("UNVERIFIED: ") and given.said.count("UNVERIFIED") > 2
    assert {key: value for key, value in given.json.items() if key != "doubt"} == {
        key: value for key, value in kept.json.items() if key != "doubt"
    }
    parts, classes = read_predictions(table)
    (run / "predictions.record.json").unlink()  # which would tell any edit

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


@pytest.mark.slow
def test_a_comparator_runs_through_predictions_tables_and_report_as_any_arm(tmp_path: Path) -> None:
    """Of random weights; the networks' features are compared elsewhere."""
    torch.manual_seed(0)
    for name in ("mobilenet_v2", "squeezenet1_1"):
        state = getattr(import_torchvision().models, name)(weights=None).state_dict()
        save_file(state, tmp_path / f"{name}.safetensors")
    small = [*SMALL, "--arms", "mrmr-svm-mobilenet-only,real,edlcds-squeezenet-only", "--final-arm", "real"]
    small += words(f"--set classifier.epochs=1 --jobs 1 --out {tmp_path}/runs")
    small += ["--set", f"crossval.comparator_weights={tmp_path}"]
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
