"""What a run lacks is said in one line before its folder exists, with and without --dry-run."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from program import Finished, sonoforge, words
from scans import write_set
from small_run import CLASSIFIER, GENERATOR, SMALL, SmallRun
from sonoforge.export import whole_run
from sonoforge.runtime.cli import options
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.backbone import Network
from sonoforge.training.classifier.initial_weights import Backbone
from sonoforge.training.classifier.network import build_network, frozen_features, map_bytes
from sonoforge.training.classifier.settings import ClassifierOptions
from sonoforge.training.gan.checkpoint import KEPT
from sonoforge.training.jobs import comparing
from sonoforge.training.settings.crossval import CrossvalConfig
from sonoforge.training.statistics.predictions import read_predictions

VERBS = ("crossval", "run", "train")
COMPARISONS = ("crossval", "run")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans of one class and eight of the other."""
    return write_set(tmp_path_factory.mktemp("said") / "scans", {"benign": 8, "malignant": 4})


def command(verb: str, images: Path, out: Path, *own: object) -> Finished:
    common = ["--data", images, "--device", "cpu", *CLASSIFIER, "--out", out / "runs"]
    common += ["--set", f"cache.folder={images.parent / 'cache'}"]
    more = ["--jobs", 1, "--folds", 2, *GENERATOR] if verb in COMPARISONS else ["--set", "train.holdout=0.5"]
    return sonoforge(verb, *common, *more, *own)


def config_of(small_run: SmallRun) -> CrossvalConfig:
    given = options.parse(options.build_parser("", CrossvalConfig), [*map(str, SMALL)])
    own = [*given.pop(options.SET), f"cache.folder={small_run.cache}"]  # type: ignore[misc]
    config: CrossvalConfig = options.resolve_config(CrossvalConfig, given, None, own)
    return config


def lines_of_error(done: Finished) -> list[str]:
    return [line for line in done.err.splitlines() if line.startswith("sonoforge: error: ")]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["work", "dry-run"])
@pytest.mark.parametrize(
    ("verbs", "asked", "message"),
    [
        (VERBS, "--set classifier.weights=gone.safetensors", "gone.safetensors: no such weights file"),
        (VERBS, "--set classifier.weights=gone.zip", "gone.zip"),
        (("crossval", "run"), "--folds 5", "class malignant has too few images (4) for 5 folds"),
        (("train",), "--set train.holdout=0.2", "class malignant has too few images (4) for 5 folds"),
        (
            VERBS,
            "--budget collections --set classifier.frozen_blocks=0",
            "hierarchical requires normal and",
        ),
        (COMPARISONS, "--set gan.masks=true", "has no masks, such as NAME_mask.png"),
        (COMPARISONS, "--arms real,edlcds", "has no masks, such as NAME_mask.png"),
        (
            COMPARISONS,
            "--arms real,edlcds-squeezenet-only --set crossval.comparator_weights=squeezenet1_1=gone.safetensors",
            "gone.safetensors: no such weights file",
        ),
        (COMPARISONS, "--set gan.start_from=gone", "gone: neither a run folder of gan train nor one of its"),
        (COMPARISONS, "--set crossval.choose=learning-rate=0.1,0.2", "fewer than the 3 inner folds"),
        (("run",), "--final-arm classical", "'classical' must be one of --arms"),
        (("train",), "--arm gann", "did you mean gan"),
        (COMPARISONS, "--cluster 127.0.0.1:1", "--cluster 127.0.0.1:1: "),
        (VERBS, "--device cuda:9", "cuda:9 does not exist"),
    ],
)
def test_what_is_missing_is_refused_before_a_folder_exists(
    verbs: tuple[str, ...], asked: str, message: str, dry: tuple[str, ...], images: Path, tmp_path: Path
) -> None:
    for verb in verbs:
        done = command(verb, images, tmp_path, *words(asked), *dry)
        assert done.code == 2, done.err
        (line,) = lines_of_error(done)
        assert message in line and "unexpected" not in line
        assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_refused_with_figures(
    verb: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**7))
    for dry in ((), ("--dry-run",)):
        (line,) = lines_of_error(command(verb, images, tmp_path, *dry))
        assert "runs: this run writes about 0.1 GB; 0.01 GB are free; make room, or choose another --out" in line
    assert not any(tmp_path.iterdir())


def test_a_run_that_could_not_be_exported_is_not_begun(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    (line,) = lines_of_error(command("run", images, tmp_path))
    assert "onnxscript is not installed; run " in line
    assert command("crossval", images, tmp_path, "--dry-run").code == 0
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("arm", ["edlcds", "edlcds-segmented-squeezenet-only"])
def test_an_arm_that_segments_is_refused_without_its_extra(
    arm: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "monai" else found(name))
    (line,) = lines_of_error(command("crossval", images, tmp_path, "--arms", f"real,{arm}"))
    assert f"--arms {arm}: monai is not installed; run " in line and "segment" in line
    assert not any(tmp_path.iterdir())


def test_missing_weights_are_said_before_the_audit(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_run, "audit", None)
    assert "no such weights file" in command("run", images, tmp_path, *words("--set classifier.weights=no")).err


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_says_what_would_run_and_writes_nothing(verb: str, images: Path, tmp_path: Path) -> None:
    done = command(verb, images, tmp_path, "--dry-run")
    assert done.code == 0 and not any(tmp_path.iterdir())
    said = done.err.splitlines()
    trained, _, *rest, disk = said[said.index("initial weights: random initialisation (--weights none)") - 1 :]
    if verb == "train":
        assert trained == "to train: real on 6 images of scans, judged on 6 others" and not rest
    else:
        assert trained.startswith("to train: 4 of 4 classifiers (real, gan; 2 folds, sealed; seeds 0), 2 generators")
        assert ("the final model (real)" in trained) == (verb == "run")
        assert rest[0] == "images: benign 8, malignant 4; 12 groups" and rest[1].startswith("12 images in 12 groups")
    assert disk.startswith("disk: about 0.1 GB; ") and disk.endswith(" GB are free")
    assert json.loads(done.out)["out"] == str(tmp_path / "runs")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["work", "dry-run"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gan train --class gone --recipe dcgan", "gone"),
        ("gan train --class malignant --recipe dcgan --set gan.batch=64", "64"),
        ("gan train --class malignant --recipe dcgan --set gan.start_from=gone", "neither a run folder of gan train"),
        ("export gone", "gone: no such run folder or bundle"),
        ("export scans", "scans/model: no model.json"),
        ("export shipped", "give the new bundle a folder with --out FOLDER"),
        (
            "export shipped --out runs --formats litert",
            "litert_torch is not installed; run ",
        ),
    ],
)
def test_generators_and_bundles_are_refused_likewise(
    asked: str, message: str, dry: tuple[str, ...], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").symlink_to(images)
    monkeypatch.setenv("SONOFORGE_CACHE", str(images.parent / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no format's package
    data = ["--data", "scans", "--out", "runs", "--size", "32"] if asked.startswith("gan") else []
    done = sonoforge(*words(asked), *data, *dry)
    assert done.code == 2, done.err
    (line,) = lines_of_error(done)
    assert message in line and "unexpected" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_a_dry_run_of_gan_train_says_steps_and_bytes(images: Path, tmp_path: Path) -> None:
    asked = words("--class benign --recipe dcgan --size 32 --steps 5 --set gan.batch=4 --set gan.metrics=none")
    rest = ["--data", images, "--out", tmp_path / "runs", "--set", f"cache.folder={images.parent / 'cache'}"]
    done = sonoforge("gan", "train", *asked, *rest, "--dry-run")
    assert "to train: dcgan on 8 images of benign, 5 steps of 4\ndisk: about 0." in done.err
    assert not any(tmp_path.iterdir())


def test_a_resumed_training_is_named_and_its_own_checkpoints_count_as_room(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = words(
        "gan train --class benign --recipe dcgan --size 64 --steps 2 --set gan.batch=4 --set gan.metrics=none"
    )
    rest = [
        "--data",
        images,
        "--out",
        tmp_path / "runs",
        "--set",
        f"cache.folder={images.parent / 'cache'}",
        "--resume",
    ]
    dry = sonoforge(*asked, *rest, "--dry-run")
    assert dry.err.endswith("to resume: nothing\n"), dry.err
    assert sonoforge(*asked, *rest).code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    kept = sum(file.stat().st_size for file in (folder / "checkpoints").rglob("*"))
    longer = [word.replace("2", "9") if word == "2" else word for word in asked]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8 + kept * 11 // 10))
    dry = sonoforge(*longer, *rest, "--dry-run")
    assert dry.code == 0 and dry.err.endswith(f"to resume: {folder}\n"), dry.err
    dry = sonoforge(*longer, *rest[:-1], "--dry-run")
    assert "make room" in dry.err, "a new run has two checkpoints to keep"


@pytest.mark.slow
def test_a_final_model_of_a_finished_comparison_is_that_of_run(small_run: SmallRun, tmp_path: Path) -> None:
    """And is trained after `crossval` from the same folds."""
    config = dataclasses.replace(config_of(small_run), out=str(tmp_path), jobs=1)
    compared = comparing.work(comparing.prepare(config))
    comparing.train_final_model(compared, "real")
    read = [load_file(folder / "model" / "model.safetensors") for folder in (compared.folder, small_run.folder)]
    assert read[0].keys() == read[1].keys() and all(torch.equal(read[0][name], read[1][name]) for name in read[0])
    with pytest.raises(SonoforgeError, match="compared real, gan, not weighted"):
        comparing.train_final_model(compared, "weighted")
    answers = {
        (part.arm, part.seed): part.probabilities for part in read_predictions(compared.folder / "predictions.csv")[0]
    }
    kept, _ = read_predictions(small_run.folder / "predictions.csv")
    assert all(np.array_equal(answers[part.arm, part.seed], part.probabilities) for part in kept)


def test_a_dry_run_of_a_finished_run_says_that_nothing_is_left(small_run: SmallRun) -> None:
    rest = ["--jobs", "1", "--out", small_run.folder.parent, "--set", f"cache.folder={small_run.cache}", "--resume"]
    before = sorted(small_run.folder.rglob("*"))
    assert "to train: nothing, it is done" in sonoforge("run", *SMALL, *rest, "--dry-run").err
    assert sorted(small_run.folder.rglob("*")) == before


def test_the_bytes_are_those_that_are_written(small_run: SmallRun) -> None:
    device, settings = torch.device("cpu"), ClassifierOptions(budget="quick", image_size=96).settings()
    net = build_network(3, Backbone({}, "", ""), 0, device)
    maps = frozen_features(net, np.zeros((2, 96, 96, 3), np.uint8), settings, 0, 0, device)
    assert 2 * map_bytes(Network(side=96), settings) == maps.numpy().nbytes
    config = config_of(small_run)
    estimated = comparing.prepare(config).parts[""].disk
    files = [path.stat().st_size for path in small_run.folder.glob("gan/*/*/checkpoints/*/*.safetensors")]
    assert estimated["generators"] == pytest.approx(KEPT * sum(files), rel=0.05)
    assert estimated["features"] > 0
