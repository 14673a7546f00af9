"""The comparison as a user runs it, killed as machines kill it, and read as a reviewer reads it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics.predictions import read_predictions
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.verbs import crossval

# The last blocks only, random weights, a few steps: it learns nothing, but does all that a real run does.
SMALL = ["--data", "phantom", "--images", "60", "--folds", "3", "--weights", "none", "--frozen-blocks", "17"]
SMALL += [
    "--epochs",
    "2",
    "--members",
    "2",
    "--gan-size",
    "16",
    "--gan-steps",
    "6",
    "--gan-batch",
    "4",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def command(out: Path, cache: str, *more: str) -> list[str]:
    program = [
        sys.executable,
        "-m",
        "sonoforge.runtime.cli.main",
        "crossval",
        *SMALL,
        "--out",
        str(out),
        "--cache",
        cache,
    ]
    return [*program, "--json", *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: str) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(out, cache), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "macro-AUC" in done.stderr and "next: sonoforge run" in done.stderr
    return Path(result["run"])


def test_every_image_is_predicted_once_by_a_fold_that_did_not_read_it(whole: Path) -> None:
    parts, _ = read_predictions(whole / "predictions.csv")
    plan = json.loads((whole / "splits.json").read_text())
    content = dict(zip(plan["files"], plan["hashes"], strict=True))
    groups = dict(zip(plan["files"], plan["groups"], strict=True))
    assert [part.arm for part in parts] == ["real", "gan"]
    for part in parts:
        assert sorted(part.files) == sorted(plan["files"])
        assert np.allclose(part.probabilities.sum(axis=1), 1, atol=1e-6)
    folds = [json.loads(path.read_text()) for path in sorted((whole / "folds").glob("*.json"))]
    assert len(folds) == 6
    for fold in folds:
        tested = {content[file] for file in fold["files"]}
        tested_groups = {groups[file] for file in fold["files"]}
        stages = [stage for stage in fold["reads"] if stage != "generated"]
        assert ("generator malignant" in stages) == (fold["arm"] == "gan")
        for stage in stages:
            read = set(fold["reads"][stage])
            assert read and not read & tested, stage
            assert not {groups[f] for f in plan["files"] if content[f] in read} & tested_groups, stage


def test_generated_images_balance_each_training_fold(whole: Path) -> None:
    plan = json.loads((whole / "splits.json").read_text())
    labels, fold_of = np.array(plan["labels"]), np.array(plan["fold_of"])
    for fold in range(3):
        counts = np.bincount(labels[fold_of != fold])
        result = json.loads((whole / "folds" / f"gan-seed0-fold{fold:02d}.json").read_text())
        assert result["added"] == int((counts.max() - counts).sum())
        assert len(result["reads"]["generated"]) == result["added"]


def test_results_can_be_recomputed_from_the_predictions(whole: Path) -> None:
    results = json.loads((whole / "results.json").read_text())
    again = evaluate(*read_predictions(whole / "predictions.csv"))
    for arm, figures in again["arms"].items():
        assert results["arms"][arm]["confusion"] == figures["confusion"]
        assert results["arms"][arm]["sensitivity"] == figures["sensitivity"]
        assert results["arms"][arm]["macro_auc"]["value"] == figures["macro_auc"]["value"]
    assert results["split"]["test_images_with_a_twin_in_training"] == [0, 0, 0]


def test_killed_and_resumed_gives_the_predictions_of_an_uninterrupted_run(
    whole: Path, tmp_path: Path, cache: str
) -> None:
    process = subprocess.Popen(command(tmp_path, cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        # In the middle of the second arm, with a generator half trained.
        if len(list(tmp_path.glob("*/folds/*.json"))) >= 4:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("*/results.json")), "the run ended before it could be killed"
    kept = {path: path.read_bytes() for path in tmp_path.glob("*/folds/*.json")}
    done = subprocess.run(command(tmp_path, cache, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    for path, content in kept.items():
        assert path.read_bytes() == content
    (run,) = tmp_path.iterdir()
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_a_finished_run_is_not_repeated(whole: Path, cache: str) -> None:
    before = (whole / "results.json").stat().st_mtime_ns
    done = subprocess.run(command(whole.parent, cache, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0 and "already finished" in done.stderr
    assert (whole / "results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arms", "message"),
    [(("real", "gna"), "did you mean gan"), (("real", "real"), "each arm once"), ((), "found nothing")],
)
def test_wrong_arms_are_refused(arms: tuple[str, ...], message: str) -> None:
    with pytest.raises(SonoforgeError, match=message):
        crossval.resolve_setting(crossval.Config(arms=arms))


def test_flags_win_over_the_budget() -> None:
    quick = crossval.resolve_setting(crossval.Config())
    assert quick.classifier.frozen_blocks == 11 and quick.gan.image_size == 64
    paper = crossval.resolve_setting(crossval.Config(budget="paper"))
    assert (paper.classifier.epochs, paper.classifier.frozen_blocks, paper.gan.image_size) == (20, 0, 224)
    changed = crossval.resolve_setting(crossval.Config(budget="quick", epochs=3, gan_epochs=7))
    assert (changed.classifier.epochs, changed.gan.epochs, changed.gan.steps) == (3, 7, None)


def test_thesis_protocol_trains_one_generator_a_class_on_all_images(tmp_path: Path, cache: str) -> None:
    done = subprocess.run(
        command(tmp_path, cache, "--protocol", "thesis", "--arms", "gan", "--folds", "2", "--epochs", "1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.iterdir()
    assert sorted(path.name for path in (run / "gan").iterdir()) == ["seed0-all"]
    plan = json.loads((run / "splits.json").read_text())
    of_class = sum(label == 2 for label in plan["labels"])
    fold = json.loads((run / "folds" / "gan-seed0-fold00.json").read_text())
    assert len(fold["reads"]["generator malignant"]) == of_class
