"""``sonoforge gan`` as a user meets it, and as a power cut meets it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from gan_trainings import measured_pace, read_rows
from processes import Written, start
from program import refused, sonoforge, succeed, words
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import minutes, ticks

KID = words("--class malignant --set gan.metrics=kid")
TRAIN = ["gan", "train", "--recipe", "dcgan", "--set", "gan.width=8", "--class", "malignant", "--image-size", "32"]
TRAIN += ["--set", "gan.batch=8", "--seed", "3", "--device", "cpu", "--set", "gan.metrics=none"]


def _checkpoint_bytes(run: Path) -> dict[str, bytes]:
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


@pytest.mark.skipif(os.name != "posix", reason="SIGINT to another process is POSIX")
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_ctrl_c_and_sigterm_close_the_tick_save_and_exit_0(
    pictures: Path, tmp_path: Path, numbers: list[signal.Signals]
) -> None:
    """SIGTERM twice: ``timeout`` signals the program, and then its group."""
    out, log = tmp_path / "runs", tmp_path / "log"
    command = [*TRAIN, "--data", pictures, "--steps", "2000", "--set", "gan.tick_steps=4", "--out", out]
    training = start(log, *command, signalled=Written("/checkpoints/step-00000004", tuple(numbers)))
    training.join(300)
    text = log.read_text()
    assert training.exitcode == 0, text
    assert "interrupted: closing the tick and saving" in text
    assert "--resume" in text
    (run,) = out.iterdir()
    assert not run_folder.is_finished(run)
    checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir())
    steps = [json.loads(line)["step"] for line in (run / "stats.jsonl").read_text().splitlines()]
    assert steps[0] == 4 and 4 <= steps[-1] <= 5, "one step more at most"
    assert checkpoints[-1] == f"step-{steps[-1]:08d}"


def test_a_time_budget_ends_a_training_that_can_be_continued(pictures: Path, tmp_path: Path) -> None:
    arguments = [*TRAIN, "--data", pictures, "--steps", "20", "--set", "gan.tick_steps=10", "--out", tmp_path]
    stopped = succeed(*arguments, "--minutes", "0.001")
    assert stopped.json["finished"] is False
    assert "stopped before its end" in stopped.err
    (following,) = [line for line in stopped.err.splitlines() if line.startswith("next: ")]
    assert following == "next: " + shlex.join(
        ["sonoforge", *map(str, ["gan", "train", "--resume", *arguments[2:], "--minutes", "0.001", "--json"])]
    )
    finished = succeed(*arguments, "--resume").json
    assert finished["run"] == stopped.json["run"]
    assert finished["finished"] is True
    assert finished["last_tick"]["step"] == 20


def test_minutes_alone_are_the_length_of_a_whole_training(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pace, measured once, tells the steps, so a schedule reaches its end; fewer minutes are another run."""
    monkeypatch.setattr(minutes, "LEAST_STEPS", 1)
    monkeypatch.setattr(minutes, "LEAST_IMAGES", 1)
    arguments = [*TRAIN, "--data", pictures, "--set", "gan.schedule=linear-decay", "--out", tmp_path]
    done = succeed(*arguments, "--minutes", "0.01")
    assert done.json["finished"] is True
    assert "/pace/" not in done.said, "what is too short to learn need not be said to collapse"
    run = Path(done.json["run"])
    steps = done.json["last_tick"]["step"]
    assert 1 <= steps <= 60 * 0.01 / measured_pace(run) + 1
    again = succeed(*arguments, "--minutes", "0.01", "--resume")
    assert again.json["run"] == str(run) and again.json["last_tick"]["step"] == steps
    assert succeed(*arguments, "--minutes", "0.005", "--resume").json["run"] != str(run)


def test_minutes_choose_what_was_left_open_and_a_resumed_run_keeps_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preset, size, batch and length are in the checkpoint, as if they had been given."""
    monkeypatch.setattr(minutes, "LEAST_STEPS", 1)
    monkeypatch.setattr(minutes, "LEAST_IMAGES", 1)
    arguments = ["gan", "train", "--data", pictures, "--class", "malignant", "--set", "gan.metric_features=pixels"]
    arguments += ["--device", "cpu", "--out", tmp_path, "--minutes", "0.1"]
    began = time.monotonic()
    done = succeed(*arguments, "--set", "gan.batch=5")
    took = time.monotonic() - began
    settings = done.json["settings"]
    assert done.json["finished"] and settings["batch"] == 5 and settings["recipe"] == "dcgan"
    assert settings["image_size"] in (32, 64) and settings["preset"] in ("few-cores", "paper")
    assert f"at {settings['image_size']}x{settings['image_size']}, batches of 5, {settings['steps']} steps" in done.err
    assert took < 1.3 * 6 + 20, "a start of some seconds aside"
    again = succeed(*arguments, "--set", "gan.batch=5", "--resume").json
    assert again["run"] == done.json["run"] and again["settings"] == settings


def test_minutes_in_which_nothing_is_learned_are_refused_and_leave_nothing(pictures: Path, tmp_path: Path) -> None:
    arguments = ["--class", "malignant", "--set", "gan.metrics=none", "--out", tmp_path, "--device", "cpu"]
    line = refused("gan", "train", "--data", pictures, *arguments, "--recipe", "stylegan2", "--minutes", "0.001")
    assert line.startswith("sonoforge: error: --minutes: 0.001 is too short for stylegan2")
    assert "give --minutes" in line and "leave --recipe to be chosen" in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return Path(succeed(*TRAIN, "--data", pictures, "--steps", "4", "--out", out).json["run"])


def test_the_run_folder_describes_itself(trained: Path, pictures: Path) -> None:
    assert re.fullmatch(r"00000-gan-dcgan-.+-malignant", trained.name)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert (config["data"], config["gan.steps"], config["gan.seed"]) == ([str(pictures)], 4, 3)
    (environment,) = json.loads((trained / "environment.json").read_text())["runs"]
    assert {"versions", "device", "seed", "git_revision", "data_fingerprint", "python"} <= environment.keys()
    assert environment["versions"]["torch"]
    assert "4 steps of 8 images" in (trained / "log.txt").read_text()


def test_resume_of_a_finished_run_returns_it(trained: Path, pictures: Path) -> None:
    done = succeed(*TRAIN, "--data", pictures, "--steps", "4", "--out", trained.parent, "--resume")
    assert done.json["run"] == str(trained)
    assert "already finished" in done.err


def test_without_resume_or_with_other_settings_a_new_run_starts(pictures: Path, tmp_path: Path) -> None:
    arguments = [*TRAIN, "--data", pictures, "--out", tmp_path]
    runs = [succeed(*arguments, "--steps", *more) for more in (["2"], ["2"], ["1", "--resume"])]
    assert [Path(done.json["run"]).name[:5] for done in runs] == ["00000", "00001", "00002"]
    assert "no earlier run with these settings" in runs[2].err
    # Two equal commands: equal weights.
    assert _checkpoint_bytes(Path(runs[0].json["run"])) == _checkpoint_bytes(Path(runs[1].json["run"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "malignan"], "did you mean malignant"),
        (["--class", "malignant", "--set", "gan.image_size=36"], "multiple of 8"),
        (["--class", "malignant", "--steps", "3", "--set", "gan.epochs=2"], "epochs cannot be combined with steps"),
        (["--class", "malignant", "--device", "tpu"], "must be auto, cpu, cuda"),
        ([], "--class: missing; give one of benign, malignant"),
        (["--set", "gan.metrics=kidd"], "must be one of kid, fid, none, not 'kidd' (did you mean kid?)"),
        ([*KID, "--set", "gan.metric_features=incepton"], "did you mean inception"),
        (
            [*KID, "--set", "gan.metric_features=", "--set", "gan.metric_weights=x.pth"],
            "gan.metric_weights: x.pth requires metric_features",
        ),
        (["--set", "gan.held_out=0.7"], "--set gan.held_out must be at most 0.5, not 0.7"),
    ],
)
def test_bad_settings_are_one_line_and_leave_no_folder(
    arguments: list[str], message: str, pictures: Path, tmp_path: Path
) -> None:
    command = ["gan", "train", "--set", "gan.metrics=none", "--data", pictures, "--out", tmp_path / "runs"]
    assert message in refused(*command, *arguments)
    assert not (tmp_path / "runs").exists()


def test_samples_say_that_they_are_synthetic(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples"
    arguments = ["gan", "sample", trained, "--count", "5", "--out", out]
    result = succeed(*arguments, "--seed", "9").json
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["synthetic"] is True
    assert [entry["file"] for entry in manifest["images"]] == sorted(path.name for path in out.glob("*.png"))
    generator = trained / "checkpoints" / "step-00000004" / "average.safetensors"
    digest = hashlib.sha256(generator.read_bytes()).hexdigest()
    for entry in manifest["images"]:
        content = (out / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        with Image.open(io.BytesIO(content)) as image:
            assert (image.size, image.mode) == ((32, 32), "L")
            text = image.text  # type: ignore[attr-defined]
        assert text["sonoforge:synthetic"] == "true"
        assert text["sonoforge:generator_sha256"] == digest == result["generator_sha256"]
        assert (text["sonoforge:seed"], text["sonoforge:recipe"]) == ("9", "dcgan")
        assert text["sonoforge:index"] == str(entry["index"])
    # The same again is allowed and gives the same files; another seed into the same folder is not.
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    succeed(*arguments, "--seed", "9")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert "holds other files" in refused(*arguments, "--seed", "8")


def test_samples_never_join_real_images(trained: Path, pictures: Path) -> None:
    assert "holds other files" in refused("gan", "sample", trained, "--count", "2", "--out", pictures / "malignant")
    assert len(list((pictures / "malignant").iterdir())) == 12


def test_sampling_from_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    assert "holds no checkpoint" in refused("gan", "sample", tmp_path)


def test_the_table_of_recipes_gives_the_published_numbers() -> None:
    table = succeed("settings", "--recipes", "all")
    row = table.json["recipes"]["dcgan-thesis"]
    assert (row["generator_optimiser"], row["latent_size"]) == (["adam", 0.001, [0.5, 0.999]], 100)
    assert row["class_budgets"] == {"malignant": [4200, 150, "iterations"], "normal": [2500, 100, "iterations"]}
    assert all(name in table.said for name in ("dcgan-thesis", "wgan-gp", "began", "dgan-wp-tl-bce"))
    assert (quiet := sonoforge("settings", "--recipes", "all", "--quiet")).err == "" and quiet.out == table.said
    explained = succeed("settings", "--recipes", "wgan-gp")
    assert list(explained.json["recipes"]) == ["wgan-gp"]
    assert "Gulrajani" in explained.said


# Metrics.


MEASURED = words("gan train --recipe dcgan --set gan.width=4 --size 32 --set gan.batch=8 --class malignant --steps 8")
MEASURED += words("--set gan.tick_steps=2 --set gan.metric_features=pixels --device cpu")


def test_a_training_is_measured_from_the_command_line(
    more_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "GENERATED", 40)
    monkeypatch.setattr(gan_checkpoint, "COLLAPSE_FRACTION", 0.0)  # eight steps make no diverse samples
    arguments = [*MEASURED, "--data", more_pictures, "--out", tmp_path, "--set", "gan.held_out=0.2"]
    arguments += ["--set", "gan.metrics=kid,fid"]
    assert succeed(*arguments, "--minutes", "0.001").json["finished"] is False
    done = succeed(*arguments, "--resume")
    run, best = Path(done.json["run"]), done.json["best_step"]
    rows = [row for row in read_rows(run) if row["step"] % 2 == 0]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert all(row["metric_reference"] == "held-out" and row["metric_real"] == 10 and "fid" in row for row in rows)
    assert "KID and FID in the feature space pixels" in done.err
    assert "40 generated images against 10 held-out images" in done.err
    assert best in {row["step"] for row in read_rows(run) if "kid" in row}
    assert "--checkpoint best" in done.err
    sampled = succeed("gan", "sample", run, "--checkpoint", "best", "--count", "2").json
    assert f"step-{best:08d}" in sampled["target"]
    quick = words("--class malignant --features pixels --metrics kid --set metrics.repeats=5")
    said = succeed("evaluate", more_pictures, run, *quick, "--checkpoint", "best", "--out", tmp_path / "e").said
    assert "chosen by its KID" in said


def test_too_few_images_are_said_loudly_or_refused(more_pictures: Path, tmp_path: Path) -> None:
    arguments = [*MEASURED, "--data", more_pictures, "--out", tmp_path]
    done = succeed(*arguments)
    assert "nothing is held out, so the metrics are measured against the training images" in done.err
    assert [done.json[name] for name in ("metric_reference", "held_out", "images")] == ["training", 0, 48]
    message = refused(*arguments, "--set", "gan.held_out=0.1")
    assert "one in 10 of 48 images makes 5" in message and "0, to measure" in message
    assert len(list(tmp_path.iterdir())) == 1, "refused before a folder is made"
    silent = succeed(*arguments, "--set", "gan.metrics=none")
    assert "held out" not in silent.err
    assert (silent.json["best_by"], silent.json["metric_reference"]) == ("distance", None)


# Run folders.


def test_a_kill_while_a_run_folder_is_made_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The description is written before the folder has its name, so that --resume finds every folder that is there."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run_folder.create_run(tmp_path, "gan", {"seed": 1})
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    folder = run_folder.create_run(tmp_path, "gan", {"seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == [folder.name] == ["00000-gan"]
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_run_numbers_go_on_after_the_largest_and_the_newest_with_equal_settings_is_found(tmp_path: Path) -> None:
    (tmp_path / "00041-other").mkdir()
    (tmp_path / "notes").mkdir()
    first, second, _ = (run_folder.create_run(tmp_path, "gan", {"seed": seed}) for seed in (1, 1, 2))
    assert first.name == "00042-gan"
    assert run_folder.find_run(tmp_path, "gan", {"seed": 1, "resume": True}) == second
    assert run_folder.find_run(tmp_path, "other", {"seed": 1}) is None
    assert run_folder.find_run(tmp_path / "none", "gan", {"seed": 1}) is None
    assert first != second


def test_a_run_of_a_data_set_with_a_long_name_is_made_and_found(tmp_path: Path) -> None:
    names = ["crossval-" + "d" * 245, "crossval-" + "d" * 244 + "e", "train-real-" + "\u00fc" * 120]
    made = {name: run_folder.create_run(tmp_path, name, {"seed": 1}) for name in names}
    assert {name: run_folder.find_run(tmp_path, name, {"seed": 1}) for name in names} == made
    assert len(set(made.values())) == len(names)


def test_log_txt_holds_messages_and_the_reason_of_a_stop(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError), run_folder.log_to(tmp_path), run_folder.log_to(tmp_path):
        logging.getLogger("sonoforge.training.x").info("step 1")
        raise SonoforgeError("disk full")
    logging.getLogger("sonoforge.training.x").info("later")
    text = (tmp_path / "log.txt").read_text()
    assert text.count("INFO step 1") == 1, "once, of a log within a log"
    assert "ERROR stopped: SonoforgeError: disk full" in text
    assert "later" not in text
