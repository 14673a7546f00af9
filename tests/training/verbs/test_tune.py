"""``gan search``: a search killed in the middle and resumed, several processes, a cluster, its page, refusals."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_trainings import image_hashes, write_pictures
from processes import Written, shorten, start
from program import Finished, refused, sonoforge, succeed, words
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.architecture_search import trial
from sonoforge.training.architecture_search.space import best_settings
from sonoforge.training.architecture_search.strategies import trial_settings
from sonoforge.training.architecture_search.trial import Source, open_source, prepare_trial
from sonoforge.training.data.cache import default_folder
from sonoforge.training.gan.options import GanSettings

TRIALS = 6
SMALL = ["--class", "malignant", "--image-size", "32", "--kimg", "0.05", "--set", "gan.metric_features=pixels"]
SMALL += ["--recipes", "dcgan", "--trials", TRIALS, "--over", "width=2,4", "--over", "batch=4,8", "--device", "cpu"]
QUICK = {  # what takes most of such a short training's time
    "sonoforge.training.gan.recorder.write_curves": None,
    "sonoforge.training.gan.ticks.frechet_distance": 1.0,
    "sonoforge.training.verbs.gan_search.Trials.write_page": None,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 48)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def without_times(run: Path) -> list[dict[str, str]]:
    own = [{name: value for name, value in row.items() if name != "seconds"} for row in rows(run)]
    return own


def assert_each_trial_was_done_once(run: Path, count: int = TRIALS) -> None:
    assert [int(row["trial"]) for row in rows(run)] == list(range(count))
    assert sorted(path.name for path in (run / "dcgan").iterdir()) == [f"trial-{i:04d}" for i in range(count)]
    for path in (run / "dcgan").iterdir():
        steps = [json.loads(line)["step"] for line in (path / "stats.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps)), "no step is told twice"


@pytest.fixture(scope="module")
def killed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished, dict[str, int]]:
    """A search that was killed in its fourth trial and resumed: its folder, its end, when others ended."""
    out = tmp_path_factory.mktemp("killed")
    command = ["gan", "search", "--data", pictures, *SMALL, "--jobs", "1", "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, QUICK)
        killed = Written("/dcgan/trial-0003/checkpoints/step-*")
        start(out / "log.txt", *command, returning=QUICK, signalled=killed).join()
        before = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/dcgan/*/trial.json")}
        done = succeed(*command, "--resume")
    return Path(done.json["run"]), done, before


def test_a_killed_search_resumes_without_doing_a_trial_twice(killed: tuple[Path, Finished, dict[str, int]]) -> None:
    run, _, before = killed
    assert [path.name for path in run.parent.iterdir() if path.is_dir()] == [run.name], "no second run folder"
    assert len(before) == 3
    assert {name: (run / "dcgan" / name / "trial.json").stat().st_mtime_ns for name in before} == before
    assert_each_trial_was_done_once(run)
    log = (run / "log.txt").read_text()
    begun = Counter(line.rpartition("rates ")[2] for line in log.splitlines() if " training dcgan on " in line)
    assert sum(begun.values()) == TRIALS + 1 or len(before) > 3, "only the trial that was under way was begun again"
    assert log.count("continuing from") == sum(begun.values()) - TRIALS
    (best,) = best_settings(run).values()
    lowest = min((row for row in rows(run) if row["state"] == "complete"), key=lambda row: float(row["kid"]))
    assert best.keys() >= {"width", "batch", "learning-rate"}
    assert {name: str(value) for name, value in best.items()} == {name: lowest[name] for name in best}


@pytest.mark.slow
def test_a_search_without_a_kill_tries_and_measures_the_same_to_the_last_digit(
    killed: tuple[Path, Finished, dict[str, int]], pictures: Path, tmp_path: Path
) -> None:
    run, done, _ = killed
    whole = succeed("gan", "search", "--data", pictures, *SMALL, "--jobs", "1", "--out", tmp_path).json
    assert without_times(Path(whole["run"])) == without_times(run)
    assert whole["studies"]["dcgan"]["apart"] == done.json["studies"]["dcgan"]["apart"]


def test_the_page_says_that_the_best_is_optimistic_and_its_command_trains_with_the_same_settings(
    killed: tuple[Path, Finished, dict[str, int]],
) -> None:
    run, done, _ = killed
    assert done.widest <= SCREEN and "best of dcgan: " in done.said
    found = done.json["studies"]["dcgan"]
    complete = [row for row in rows(run) if row["state"] == "complete"]
    best = min(complete, key=lambda row: float(row["kid"]))
    assert found["best"]["trial"] == int(best["trial"])
    assert found["apart"]["metric_reference"] == "held-out" and found["apart"]["metric_real"] == 10
    kept = [path.parent.name for path in (run / "dcgan").glob("*/checkpoints")]
    assert kept == [Path(best["run"]).name], "checkpoints of the best alone are kept"
    page = (run / "report.html").read_text()
    assert "The lowest KID is optimistic" in page and "8 held-out images" in page
    assert found["command"] in page.replace("&#34;", '"').replace("&#39;", "'")
    assert "<script" not in page
    assert set(re.findall(r"https?://[\w.]+", page)) <= {"http://www.w3.org"}, "it loads nothing from elsewhere"
    trained = json.loads((run / best["run"] / "results.json").read_text())
    asked = sonoforge(*shlex.split(found["command"])[1:], "--dry-run")
    assert asked.code == 0, asked.err
    settings = json.loads(asked.out)
    for name in (
        "optimiser",
        "learning_rate",
        "discriminator_learning_rate",
        "beta1",
        "batch",
        "norm",
        "width",
        "kimg",
    ):
        assert settings[f"gan.{name}"] == trained["settings"][name], name
    with Image.open(run / "history-dcgan.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5, "something is drawn"


@pytest.mark.slow
def test_two_processes_do_as_many_trials(pictures: Path, tmp_path: Path) -> None:
    many = ["--trials", "12", "--jobs", "2", "--set", "search.pruner=median"]
    done = succeed("gan", "search", "--data", pictures, *SMALL, *many, "--out", tmp_path).json
    assert_each_trial_was_done_once(Path(done["run"]), 12)
    states = Counter(row["state"] for row in rows(Path(done["run"])))
    assert states["complete"] >= 1 and states["pruned"] >= 1 and sum(states.values()) == 12


@pytest.mark.slow
def test_a_cluster_does_as_many_trials(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = ["gan", "search", "--data", pictures, *SMALL, "--jobs", "2", "--cluster", "local", "--out", tmp_path]
    assert_each_trial_was_done_once(Path(succeed(*command).json["run"]))


def test_trials_differ_in_their_seeds_and_are_measured_against_the_same_images(pictures: Path) -> None:
    settings = GanSettings(
        recipe="dcgan", class_name="malignant", image_size=32, kimg=0.1, held_out=0.2, metric_features="pixels",
        metrics=("kid", "fid"), batch=4, width=2,
    )  # fmt: skip
    opened = open_source(Source((str(pictures),), default_folder(), settings, "cpu", 0.2), 0)
    assert opened.apart is not None
    setups = [prepare_trial(opened, trial_settings(opened, "dcgan", number, {})) for number in (0, 1, 2)]
    assert len({setup.settings.seed for setup in setups}) == 3
    parts = []
    for setup in setups:
        assert setup.held_out is not None
        parts.append((image_hashes(setup.originals.pixels), image_hashes(setup.held_out.pixels)))
    assert parts[0] == parts[1] == parts[2]
    trained, held_out = map(set, parts[0])
    apart = set(image_hashes(opened.apart.pixels))
    assert not trained & held_out and not trained & apart and not held_out & apart
    assert len(trained) + len(held_out) + len(apart) == 48
    other = open_source(Source((str(pictures),), default_folder(), settings, "cpu", 0.2), 1)
    assert other.apart is not None and set(image_hashes(other.apart.pixels)) != apart, "the seed chooses them"


def test_a_machine_with_other_images_is_refused(pictures: Path) -> None:
    settings = GanSettings(recipe="dcgan", class_name="malignant", image_size=32)
    source = Source((str(pictures),), default_folder(), settings, "cpu", 0.0, fingerprint="0" * 64)
    with pytest.raises(SonoforgeError, match="differ from the images with which the search began"):
        open_source(source, 0)


def test_a_trial_ends_with_its_time_or_when_it_diverges(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock strikes in the first trial; in the second, a loss is no longer a number."""
    real, calls = trial.train_gan, 0

    def fails_later(*arguments: Any, **options: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise GateError(f"{arguments[1]}: loss not finite by step 3; there is no checkpoint yet")
        return real(*arguments, **options)

    monkeypatch.setattr(trial, "train_gan", fails_later)
    options = words("--trials 2 --jobs 1 --set search.trial_minutes=0.001 --kimg 50 --set search.second_held_out=0")
    done = succeed("gan", "search", "--data", pictures, *SMALL, *options, "--out", tmp_path).json
    late, diverged = rows(Path(done["run"]))
    assert late["state"] == "out of time" and 0 < float(late["seconds"]) < 5 and float(late["kimg"]) < 50
    assert (diverged["state"], diverged["kid"]) == ("diverged", "")
    assert diverged["why"] == "loss not finite by step 3; there is no checkpoint yet"
    assert done["studies"]["dcgan"]["best"]["trial"] == 0 and done["studies"]["dcgan"]["apart"] == {}
    assert "No images were set apart" in (Path(done["run"]) / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipes", "dcgan,dcgan"], "--recipes: dcgan,dcgan"),
        (["--recipes", "dcgn"], "recipe: 'dcgn' is not one of"),
        (["--set", "gan.held_out=0"], "held_out must be above 0"),
        (["--set", "gan.held_out=0.1"], "one in 10 of 38 images is 4, fewer than 8"),
        (["--trials", "1"], "--trials must be at least 2"),
        (["--over", "lr=1:2"], "--over: 'lr' is not one of optimiser"),
        (["--over", "n-critic=2:3"], "--over: none of the recipes has n-critic"),
        (["--set", "gan.beta1=0.5"], "beta1 cannot be 0.5 with the optimiser rmsprop"),
        (["--recipes", "stylegan2", "--set", "gan.norm=batch"], "norm cannot be 'batch' with the stylegan2 networks"),
        (["--cluster", "local", "--device", "cuda:1"], "--device: cuda:1 cannot be combined"),
    ],
)
def test_a_search_refuses_bad_settings_in_one_line(
    pictures: Path, tmp_path: Path, options: list[Any], message: str
) -> None:
    assert message in refused("gan", "search", "--data", pictures, *SMALL, "--out", tmp_path / "runs", *options)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_search_is_not_resumed_with_other_images(
    killed: tuple[Path, Finished, dict[str, int]], pictures: Path
) -> None:
    run, _, _ = killed
    images = json.loads((run / "images.json").read_text())
    (run / "images.json").write_text(json.dumps({**images, "malignant/0.png": "0" * 64}))
    try:
        command = ["gan", "search", "--data", pictures, *SMALL, "--jobs", "1", "--out", run.parent, "--resume"]
        assert "its images have changed" in refused(*command)
    finally:
        (run / "images.json").write_text(json.dumps(images))
