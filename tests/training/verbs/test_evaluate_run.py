"""``sonoforge evaluate RUN``: a training by itself, its figures on the card of its bundle, and what is refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from program import refused, succeed, words
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.data.cache import content_hash
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training_set import hold_out, read_training_set
from sonoforge.training.reader_study.sheet import KEY, read_key

FAST = ["--features", "pixels", "--set", "metrics.repeats=5", "--device", "cpu"]
PICTURES, HELD_OUT = 48, 16  # a third, as 0.3 is rounded to one over a whole number


@pytest.fixture(scope="module")
def run(more_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = words("--recipe dcgan --set gan.width=4 --class malignant --image-size 32 --set gan.batch=8")
    options += ["--steps", "4", "--set", "gan.metrics=none", "--set", "gan.held_out=0.3", "--device", "cpu"]
    out = tmp_path_factory.mktemp("runs")
    return Path(succeed("gan", "train", "--data", more_pictures, *options, "--out", out).json["run"])


@pytest.fixture(scope="module")
def evaluated(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = succeed("evaluate", run, *FAST, "--out", tmp_path_factory.mktemp("evaluations")).json
    return found


def test_it_is_measured_against_what_it_held_out(evaluated: dict[str, Any]) -> None:
    assert evaluated["real"]["images"] == HELD_OUT
    assert evaluated["fake"]["images"] == PICTURES - HELD_OUT and evaluated["fake"]["synthetic"]
    assert evaluated["protocol"]["resize of real images"] == "as the training saw them, held out"
    copies, why = evaluated["copies"], {row["name"]: row["why"] for row in evaluated["not_measured"]}
    assert (copies is None) == ("Copy test" in why)
    with (Path(evaluated["run"]) / "metrics.csv").open(newline="") as file:
        assert {"kid", "coverage"} <= {row["name"] for row in csv.DictReader(file)}


def test_its_figures_go_onto_the_card_of_its_weights_alone(
    run: Path, evaluated: dict[str, Any], more_pictures: Path, tmp_path: Path
) -> None:
    bundle = Path(succeed("export", run, "--evidence", evaluated["run"], "--out", tmp_path / "bundle").json["bundle"])
    card = (bundle / "MODEL_CARD.md").read_text()
    rows = {row["name"]: row for row in evaluated["metrics"]}
    assert f"| KID | pixels | {rows['kid']['matched']:.3g} | {rows['kid']['floor']:.3g} |" in card
    assert f"{PICTURES - HELD_OUT} generated images against" in card and evaluated["protocol_id"] in card
    assert "its figures are not part of this bundle" not in card
    assert f"Figures as stated by {Path(evaluated['run']).name}." in card.split("\n## ")[0]
    again = words("--recipe dcgan --set gan.width=4 --class malignant --set gan.image_size=32 --steps 1")
    again += [
        *words("--set gan.batch=8 --set gan.metrics=none --device cpu --data"),
        more_pictures,
        "--out",
        tmp_path,
    ]
    other = succeed("gan", "train", *again).json["run"]
    assert "evaluated other weights" in refused("export", other, "--evidence", evaluated["run"])
    assert "holds no results.json" in refused("export", run, "--evidence", tmp_path)
    assert "--evidence: a generator takes one run" in refused("export", run, *["--evidence", evaluated["run"]] * 2)


def test_changed_images_are_noticed(run: Path, more_pictures: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    changed = Path(shutil.copytree(more_pictures, tmp_path / "pictures"))
    for path in changed.glob("malignant/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace(str(more_pictures), str(changed)))
    assert "no longer holds its training images" in refused("evaluate", moved, *FAST, "--out", tmp_path)
    (moved / "config.yaml").unlink()
    assert "config.yaml" in refused("evaluate", moved, *FAST, "--out", tmp_path)


def test_what_a_run_alone_does_not_take_is_refused(run: Path, more_pictures: Path, tmp_path: Path) -> None:
    assert "is not a run of sonoforge gan train" in refused("evaluate", more_pictures, "--out", tmp_path)
    assert "is not a run of" in refused("evaluate", more_pictures, "--reading-sheet", "6", "--out", tmp_path)
    assert "held out its own images" in refused("evaluate", run, "--held-out", more_pictures, "--out", tmp_path)
    assert "keeps its own" in refused("evaluate", run, "--image-size", "64", *FAST, "--out", tmp_path)
    assert not list(tmp_path.iterdir())


def test_readers_see_what_it_held_out_and_never_what_it_was_trained_on(
    run: Path, more_pictures: Path, tmp_path: Path
) -> None:
    found = succeed("evaluate", run, "--reading-sheet", "6", "--out", tmp_path).json
    entries = read_key(Path(found["run"]) / KEY)[0].entries
    assert found["images"] == 12 and {entry.kind for entry in entries} == {"real", "generated"}
    whole = read_training_set((str(more_pictures),), GanSettings(class_name="malignant", image_size=32), groups=True)
    held_out = hold_out(whole, 0.3, 0)[1]
    assert held_out is not None
    hidden = {content_hash(as_picture(image)) for image in held_out.pixels}
    assert {entry.content for entry in entries if entry.kind == "real"} < hidden
    assert not hidden & {entry.content for entry in entries if entry.kind == "generated"}
