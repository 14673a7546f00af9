"""``gan search``: a search killed in the middle and resumed, several processes, a cluster, its page, refusals."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_trainings import image_hashes
from processes import shorten
from program import Finished, refused, succeed, understood, words
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.architecture_search import trial
from sonoforge.training.architecture_search.space import best_settings
from sonoforge.training.architecture_search.strategies import trial_settings
from sonoforge.training.architecture_search.trial import Source, open_source, prepare_trial
from sonoforge.training.data.cache import default_folder
from sonoforge.training.gan.options import GanSettings

TRIALS = 4
SMALL = ["--class", "malignant", "--image-size", "32", "--kimg", "0.03", "--set", "gan.metric_features=pixels"]
SMALL += ["--recipes", "dcgan", "--trials", TRIALS, "--over", "width=2,4", "--over", "batch=4,8", "--device", "cpu"]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def searched(more_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A finished search and its folder."""
    out = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, {"sonoforge.training.gan.recorder.write_curves": None})
        done = succeed("gan", "search", "--data", more_pictures, *SMALL, "--jobs", "1", "--out", out)
    return Path(done.json["run"]), done


def test_the_page_says_that_the_best_is_optimistic_and_its_command_trains_with_the_same_settings(
    searched: tuple[Path, Finished],
) -> None:
    run, done = searched
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
    asked = understood(*shlex.split(found["command"])[1:])
    assert asked.code == 0, asked.err
    settings = json.loads(asked.out)
    for name in words("optimiser learning_rate discriminator_learning_rate beta1 batch norm width kimg"):
        assert settings[f"gan.{name}"] == trained["settings"][name], name
    (best_found,) = best_settings(run).values()
    assert best_found.keys() >= {"width", "batch", "learning-rate"}
    assert {name: str(value) for name, value in best_found.items()} == {name: best[name] for name in best_found}
    with Image.open(run / "report" / "trials-of-dcgan.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5, "something is drawn"


def test_trials_differ_in_their_seeds_and_are_measured_against_the_same_images(more_pictures: Path) -> None:
    settings = GanSettings(
        recipe="dcgan", class_name="malignant", image_size=32, kimg=0.1, held_out=0.2, metric_features="pixels",
        metrics=("kid", "fid"), batch=4, width=2,
    )  # fmt: skip
    opened = open_source(Source((str(more_pictures),), default_folder(), settings, "cpu", 0.2), 0)
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
    other = open_source(Source((str(more_pictures),), default_folder(), settings, "cpu", 0.2), 1)
    assert other.apart is not None and set(image_hashes(other.apart.pixels)) != apart, "the seed chooses them"


def test_a_machine_with_other_images_is_refused(more_pictures: Path) -> None:
    settings = GanSettings(recipe="dcgan", class_name="malignant", image_size=32)
    source = Source((str(more_pictures),), default_folder(), settings, "cpu", 0.0, fingerprint="0" * 64)
    with pytest.raises(SonoforgeError, match="differ from the images with which the search began"):
        open_source(source, 0)


def test_a_search_is_not_resumed_with_other_images(
    searched: tuple[Path, Finished], more_pictures: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(searched[0], tmp_path / searched[0].name))
    images = json.loads((run / "images.json").read_text())
    (run / "images.json").write_text(json.dumps({**images, "malignant/0.png": "0" * 64}))
    command = ["gan", "search", "--data", more_pictures, *SMALL, "--jobs", "1", "--out", tmp_path, "--resume"]
    assert "its images have changed" in refused(*command)


def test_a_trial_ends_when_it_diverges(more_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second trial, a loss is no longer a number."""
    real, calls = trial.engine.train_gan, 0

    def fails_later(*arguments: Any, **options: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise GateError(f"{arguments[1]}: loss not finite by step 3; there is no checkpoint yet")
        return real(*arguments, **options)

    monkeypatch.setattr(trial.engine, "train_gan", fails_later)
    options = words("--trials 2 --jobs 1 --kimg 0.1 --set search.second_held_out=0")
    done = succeed("gan", "search", "--data", more_pictures, *SMALL, *options, "--out", tmp_path).json
    complete, diverged = rows(Path(done["run"]))
    assert complete["state"] == "complete" and float(complete["kimg"]) == pytest.approx(0.1, abs=0.02)
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
        (
            ["--set", "gan.held_out=0.1"],
            "one in 10 of 38 images makes 4, but 8 are needed, some of each class; give a larger",
        ),
        (
            ["--set", "search.second_held_out=0.1"],
            "search.second_held_out: one in 10 of 48 images makes 5, but 8 are needed",
        ),
        (["--trials", "1"], "--trials must be at least 2"),
        (["--over", "lr=1:2"], "--over: 'lr' is not one of optimiser"),
        (["--over", "n-critic=2:3"], "--over: none of the recipes has n-critic"),
        (["--set", "gan.beta1=0.5"], "beta1 cannot be 0.5 with the optimiser rmsprop"),
        (["--recipes", "stylegan2", "--set", "gan.norm=batch"], "norm cannot be 'batch' with the stylegan2 networks"),
        (["--cluster", "local", "--device", "cuda:1"], "--device: cuda:1 cannot be combined"),
    ],
)
def test_a_search_refuses_bad_settings_in_one_line(
    more_pictures: Path, tmp_path: Path, options: list[Any], message: str
) -> None:
    assert message in refused("gan", "search", "--data", more_pictures, *SMALL, "--out", tmp_path / "runs", *options)
    assert not (tmp_path / "runs").exists()
