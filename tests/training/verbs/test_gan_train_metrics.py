"""``sonoforge gan train`` with metrics and held-out images, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_trainings import read_rows
from program import refused, succeed, words
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import ticks


@pytest.fixture(autouse=True)
def _few_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "GENERATED", 40)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of coarse noise, each picture a scan of its own."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, count in (("benign", 12), ("malignant", 40)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 255, (12, 12), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


TRAIN = words("gan train --recipe dcgan --set gan.width=8 --size 32 --set gan.batch=8 --device cpu")
TRAIN += ["--set", "gan.metric_features=pixels"]
SHORT = ["--class", "malignant", "--steps", "8", "--set", "gan.tick_steps=2"]


def test_a_training_is_measured_from_the_command_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_checkpoint, "COLLAPSE_FRACTION", 0.0)  # eight steps make no diverse samples
    arguments = [*TRAIN, *SHORT, "--data", pictures, "--out", tmp_path, "--set", "gan.held_out=0.2"]
    arguments += ["--set", "gan.metrics=kid,fid"]
    assert succeed(*arguments, "--minutes", "0.001").json["finished"] is False
    done = succeed(*arguments, "--resume")
    run, best = Path(done.json["run"]), done.json["best_step"]
    rows = [row for row in read_rows(run) if row["step"] % 2 == 0]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert all(row["metric_reference"] == "held-out" and row["metric_real"] == 8 and "fid" in row for row in rows)
    assert "KID and FID in the feature space pixels" in done.err
    assert "40 generated images against 8 held-out images" in done.err
    assert best in {row["step"] for row in read_rows(run) if "kid" in row}
    assert "--checkpoint best" in done.err
    sampled = succeed("gan", "sample", run, "--checkpoint", "best", "--count", "2").json
    assert f"step-{best:08d}" in sampled["target"]
    quick = words("--class malignant --features pixels --metrics kid --set metrics.repeats=5")
    said = succeed("evaluate", pictures, run, *quick, "--checkpoint", "best", "--out", tmp_path / "e").said
    assert "chosen by its KID" in said


def test_too_few_images_are_said_loudly_or_refused(pictures: Path, tmp_path: Path) -> None:
    arguments = [*TRAIN, *SHORT, "--data", pictures, "--out", tmp_path]
    done = succeed(*arguments)
    assert "nothing is held out, so the metrics are measured against the training images" in done.err
    assert [done.json[name] for name in ("metric_reference", "held_out", "images")] == ["training", 0, 40]
    message = refused(*arguments, "--set", "gan.held_out=0.1")
    assert "one in 10 of 40 images is 4" in message and "held_out 0" in message
    assert len(list(tmp_path.iterdir())) == 1, "refused before a folder is made"
    silent = succeed(*arguments, "--set", "gan.metrics=none")
    assert "held out" not in silent.err
    assert (silent.json["best_by"], silent.json["metric_reference"]) == ("distance", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--set", "gan.metrics=kidd"],
            "--set gan.metrics must be one of kid, fid, none, not 'kidd' (did you mean kid?)",
        ),
        (["--set", "gan.metric_features=incepton"], "did you mean inception"),
        (
            ["--set", "gan.metric_features=", "--set", "gan.metric_weights=x.pth"],
            "--set gan.metric_weights: x.pth requires metric_features",
        ),
        (["--set", "gan.held_out=0.7"], "--set gan.held_out must be at most 0.5, not 0.7"),
    ],
)
def test_bad_settings_are_one_line_and_leave_no_folder(
    arguments: list[str], message: str, pictures: Path, tmp_path: Path
) -> None:
    assert message in refused(*TRAIN, *SHORT, "--data", pictures, "--out", tmp_path / "runs", *arguments)
    assert not (tmp_path / "runs").exists()
