"""``sonoforge gan`` as a user meets it, and as a power cut meets it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from gan_trainings import write_pictures
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import progress, run_folder

TRAIN = ["gan", "train", "--recipe", "dcgan", "--width", "8", "--class-name", "malignant", "--image-size", "32"]
TRAIN += ["--batch", "8", "--seed", "3", "--device", "cpu", "--metrics", "none"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 12)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    """Run the program in this process; return its JSON and its stderr."""
    capsys.readouterr()
    assert cli._run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    result: dict[str, Any] = json.loads(captured.out)
    return result, captured.err


def _start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _checkpoint_bytes(run: Path) -> dict[str, bytes]:
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_kill_9_and_resume_give_the_weights_of_an_uninterrupted_run(pictures: Path, tmp_path: Path) -> None:
    command = [*TRAIN, "--data", str(pictures), "--steps", "80", "--tick-steps", "10", "--out"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed, victim = _start(*command, str(whole)), _start(*command, str(killed))
    deadline = time.monotonic() + 120
    while len(list(killed.glob("*/checkpoints/step-*"))) < 2:
        assert victim.poll() is None, victim.communicate()
        assert time.monotonic() < deadline, "no second checkpoint within two minutes"
        time.sleep(0.002)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    (run,) = killed.iterdir()
    assert victim.returncode == -signal.SIGKILL
    assert not run_folder.is_finished(run), "the run was over before the kill: the test proves nothing"

    resumed = _start(*command, str(killed), "--resume")
    output = resumed.communicate(timeout=120), undisturbed.communicate(timeout=120)
    assert (resumed.returncode, undisturbed.returncode) == (0, 0), output
    assert f"resuming {run}" in output[0][1]
    assert "continuing from" in output[0][1]
    assert [path.name for path in killed.iterdir()] == [run.name]
    (other,) = whole.iterdir()
    weights = _checkpoint_bytes(other)
    assert len(weights) == 6
    assert _checkpoint_bytes(run) == weights
    steps = [json.loads(line)["step"] for line in (run / "stats.jsonl").read_text().splitlines()]
    assert steps == list(range(10, 81, 10))


@pytest.mark.skipif(os.name != "posix", reason="SIGINT to another process is POSIX")
def test_ctrl_c_closes_the_tick_saves_and_exits_0(pictures: Path, tmp_path: Path) -> None:
    command = [*TRAIN, "--data", str(pictures), "--steps", "2000", "--tick-steps", "1000", "--out", str(tmp_path)]
    training = _start(*command)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/samples/real.png")):  # written just before the loop
        assert training.poll() is None, training.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)
    training.send_signal(signal.SIGINT)
    _, text = training.communicate(timeout=120)
    assert training.returncode == 0, text
    assert "interrupted: closing the tick and saving" in text
    assert "--resume" in text
    (run,) = tmp_path.iterdir()
    assert not run_folder.is_finished(run)
    (checkpoint,) = (run / "checkpoints").iterdir()
    (row,) = (json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines())
    assert checkpoint.name == f"step-{row['step']:08d}"
    assert 0 < row["step"] < 1000


def test_a_time_budget_ends_a_training_that_can_be_continued(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TRAIN, "--data", str(pictures), "--steps", "40", "--tick-steps", "20", "--out", str(tmp_path)]
    stopped, text = _run(capsys, *arguments, "--minutes", "0.001")
    assert stopped["finished"] is False
    assert "to go on: the same command with --resume" in text
    finished, _ = _run(capsys, *arguments, "--resume")
    assert finished["run"] == stopped["run"]
    assert finished["finished"] is True
    assert finished["last_tick"]["step"] == 40


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    os.environ["SONOFORGE_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    assert cli._run([*TRAIN, "--data", str(pictures), "--steps", "4", "--out", str(out)]) == 0
    (run,) = out.iterdir()
    return run


def test_the_run_folder_describes_itself(trained: Path, pictures: Path) -> None:
    assert re.fullmatch(r"00000-gan-dcgan-.+-malignant", trained.name)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert (config["data"], config["steps"], config["seed"]) == (str(pictures), 4, 3)
    (environment,) = json.loads((trained / "environment.json").read_text())["runs"]
    assert {"versions", "device", "seed", "git_revision", "data_fingerprint", "python"} <= environment.keys()
    assert environment["versions"]["torch"]
    assert "4 steps of 8 images" in (trained / "log.txt").read_text()


def test_resume_of_a_finished_run_returns_it(trained: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TRAIN, "--data", str(pictures), "--steps", "4", "--out", str(trained.parent), "--resume"]
    result, text = _run(capsys, *arguments)
    assert result["run"] == str(trained)
    assert "already finished" in text


def test_without_resume_or_with_other_settings_a_new_run_starts(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TRAIN, "--data", str(pictures), "--out", str(tmp_path)]
    runs = [
        _run(capsys, *arguments, "--steps", "2"),
        _run(capsys, *arguments, "--steps", "2"),
        _run(capsys, *arguments, "--steps", "3", "--resume"),
    ]
    assert [Path(result["run"]).name[:5] for result, _ in runs] == ["00000", "00001", "00002"]
    assert "no earlier run with these settings" in runs[2][1]
    # Two equal commands: equal weights.
    assert _checkpoint_bytes(Path(runs[0][0]["run"])) == _checkpoint_bytes(Path(runs[1][0]["run"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class-name", "malignan"], "did you mean malignant"),
        (["--class-name", "malignant", "--image-size", "36"], "multiple of 8"),
        (["--class-name", "malignant", "--steps", "3", "--epochs", "2"], "epochs and steps, expected one of them"),
        (["--class-name", "malignant", "--device", "tpu"], "expected auto, cpu, cuda"),
        ([], "--class-name: missing, expected one of benign, malignant"),
    ],
)
def test_bad_settings_are_one_line_and_leave_no_folder(
    arguments: list[str], message: str, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(SonoforgeError, match=re.escape(message)) as error:
        cli._run(["gan", "train", "--data", str(pictures), "--out", str(tmp_path / "runs"), *arguments])
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_samples_say_that_they_are_synthetic(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "samples"
    arguments = ["gan", "sample", str(trained), "--count", "5", "--seed", "9", "--out", str(out)]
    result, _ = _run(capsys, *arguments)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["synthetic"] is True
    assert [entry["file"] for entry in manifest["images"]] == sorted(path.name for path in out.glob("*.png"))
    import hashlib

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
    _run(capsys, *arguments)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(SonoforgeError, match="holds other files"):
        cli._run(["gan", "sample", str(trained), "--count", "5", "--seed", "8", "--out", str(out)])


def test_samples_never_join_real_images(trained: Path, pictures: Path) -> None:
    with pytest.raises(SonoforgeError, match="holds other files"):
        cli._run(["gan", "sample", str(trained), "--count", "2", "--out", str(pictures / "malignant")])
    assert len(list((pictures / "malignant").iterdir())) == 12


def test_sampling_from_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="found no checkpoint"):
        cli._run(["gan", "sample", str(tmp_path)])


def test_the_table_of_recipes_gives_the_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    result, text = _run(capsys, "gan", "recipes")
    row = result["recipes"]["dcgan-thesis"]
    assert (row["generator_optimiser"], row["latent_size"]) == (["adam", 0.001, [0.5, 0.999]], 100)
    assert row["class_budgets"] == {"malignant": [4200, 150], "normal": [2500, 100]}
    assert all(name in text for name in ("dcgan-thesis", "wgan-gp", "began", "dgan-wp-tl-bce"))
    assert _run(capsys, "gan", "recipes", "--quiet")[1] == ""
    explained, text = _run(capsys, "gan", "recipes", "wgan-gp")
    assert list(explained["recipes"]) == ["wgan-gp"]
    assert "Gulrajani" in text


# Run folders.


def test_run_numbers_go_on_after_the_largest(tmp_path: Path) -> None:
    (tmp_path / "00041-other").mkdir()
    (tmp_path / "notes").mkdir()
    assert run_folder.create_run(tmp_path, "gan", {"seed": 1}).name == "00042-gan"


def test_the_newest_run_with_equal_settings_is_found(tmp_path: Path) -> None:
    first, second, _ = (run_folder.create_run(tmp_path, "gan", {"seed": seed}) for seed in (1, 1, 2))
    assert run_folder.find_run(tmp_path, "gan", {"seed": 1, "resume": True}) == second
    assert run_folder.find_run(tmp_path, "other", {"seed": 1}) is None
    assert run_folder.find_run(tmp_path / "none", "gan", {"seed": 1}) is None
    assert first != second


def test_log_txt_holds_messages_and_the_reason_of_a_stop(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError), run_folder.log_to(tmp_path):
        logging.getLogger("sonoforge.training.x").info("step 1")
        raise SonoforgeError("disk full")
    logging.getLogger("sonoforge.training.x").info("later")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO step 1" in text
    assert "ERROR stopped: SonoforgeError: disk full" in text
    assert "later" not in text


def test_the_bar_is_shown_and_log_lines_go_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    logger = logging.getLogger("sonoforge")
    logger.handlers[:] = [logging.StreamHandler()]
    logger.setLevel(logging.INFO)
    assert progress.is_interactive()
    with progress.progress_bar("training", 10, 4, show=True) as advance:
        advance(5, "D 1.0")
        logger.info("a line")
    text = terminal.getvalue()
    assert "training" in text
    assert "ETA" in text
    assert "5/10" in text.replace(" ", "")
    assert "a line" in text
    assert logger.handlers[0].stream is terminal  # type: ignore[attr-defined]
    logger.handlers[0].setLevel(logging.WARNING)  # --quiet
    assert not progress.is_interactive()
