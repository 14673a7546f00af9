"""``sonoforge evaluate`` as a user meets it: the run folder, the JSON, the comparison."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import bundle_factory as factory
from evaluations import COPIES, FAKES, ONE, REAL, Sets, evaluate
from program import refused, succeed, words
from sonoforge.training.reports.evaluation import PICTURES


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def command(sets: Sets, bundle: Path, squeezenet_file: Path) -> list[object]:
    """All that can be measured without a download, with the copies among the images."""
    spaces = ["--features", f"bundle:{bundle},pixels", "--set", "metrics.repeats=5", "--device", "cpu"]
    return [sets.real, sets.copying, *spaces, "--lpips", squeezenet_file, "--held-out", sets.held_out]


@pytest.fixture(scope="module")
def whole(command: list[object]) -> dict[str, Any]:
    return evaluate(*command)


# What a run leaves.


def test_the_run_folder_is_complete(whole: dict[str, Any], command: list[object], sets: Sets) -> None:
    folder = Path(whole["run"])
    assert folder.name.startswith("00000-evaluate-copying")
    pictures = {f"{name}.png" for name in set(PICTURES) - {"curves"}}
    files = {"config.yaml", "environment.json", "log.txt", "results.json", "metrics.csv", "report.html"}
    assert {path.name for path in folder.iterdir()} == files | pictures
    for name in pictures:
        with Image.open(folder / name) as image:
            image.load()
            assert min(image.size) > 100
    assert yaml.safe_load((folder / "config.yaml").read_text())["fake"] == str(sets.copying)
    assert json.loads((folder / "environment.json").read_text())["runs"][0]["device"] == "cpu"
    assert "Research use, not a medical device." in (folder / "log.txt").read_text()
    assert whole["report"] == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    assert whole["protocol_id"] in page
    assert page.count("data:image/") + page.count("<svg") >= len(pictures)


def test_json_is_what_the_run_folder_holds(whole: dict[str, Any]) -> None:
    results = json.loads((Path(whole["run"]) / "results.json").read_text())
    assert {name: value for name, value in whole.items() if name not in ("run", "report")} == results
    with (Path(whole["run"]) / "metrics.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [(row["name"], row["space"], row["value"]) for row in table] == [
        (row["name"], row["space"], str(row["value"])) for row in results["metrics"]
    ]


def test_every_row_has_value_matched_floor_ratio_space_and_protocol(whole: dict[str, Any]) -> None:
    names = [(row["name"], row["space"].split()[0]) for row in whole["metrics"]]
    embedded = ["kid", "fid", "precision", "recall", "density", "coverage", "sliced_wasserstein"]
    pyramid = ["laplacian_swd", "laplacian_swd_64", "laplacian_swd_32", "laplacian_swd_16", "ms_ssim"]
    expected = {(name, space) for name in embedded for space in ("bundle", "pixels")}
    expected |= {(name, "pixels") for name in (*pyramid, "spectrum", "spectrum_fine")} | {("inception_score", "bundle")}
    expected |= {("nearest_lpips", "squeezenet1_1"), ("lpips_pairs", "squeezenet1_1")}
    assert set(names) == expected
    assert len(names) == len(expected)
    assert [item["name"] for item in whole["not_measured"]] == ["Inception Score in pixels"]
    for row in whole["metrics"]:
        for name in ("value", "matched", "matched_low", "matched_high", "floor", "floor_low", "floor_high"):
            assert np.isfinite(row[name]), row
        assert row["ratio"] is None or row["ratio"] > 0 or row["name"] == "kid"
        assert row["repeats"] == 5
        assert row["n"] == whole["n"] == FAKES // 2
    kinds = [space["space"] for space in whole["protocol"]["spaces"]]
    assert kinds == ["bundle", "pixels"]
    assert whole["real"]["images"] == REAL
    assert whole["real"]["groups"] < REAL
    assert whole["fake"] == {
        "source": whole["fake"]["source"],
        "class": whole["fake"]["class"],
        "images": FAKES,
        "synthetic": False,
    }


def test_planted_copies_are_named_with_their_originals(whole: dict[str, Any], sets: Sets) -> None:
    copies = whole["copies"]
    assert copies["calibration"].startswith("held-out")
    pairs = dict(zip(copies["flagged"], copies["nearest"], strict=True))
    assert {name: pairs.get(name) for name in sets.copied} == sets.copied
    assert len(pairs) - COPIES <= 0.1 * FAKES
    assert copies["copies"] == len(pairs)
    assert copies["p_value"] < 1e-6
    assert whole["verdicts"]["copied"]["answer"] == "yes"


# Comparisons.


@pytest.fixture(scope="module")
def plain(sets: Sets) -> dict[str, Any]:
    """One plain evaluation, with the next command that it names; its images lie near what looks like a run."""
    shutil.copytree(sets.fake, "inner/fake")
    Path("stats.jsonl").touch()
    done = succeed("evaluate", sets.real, "inner/fake", *ONE)
    (line,) = [line for line in done.err.splitlines() if line.startswith("next: ")]
    return {**done.json, "next": line}


def test_fakes_of_one_number_have_one_protocol(plain: dict[str, Any], sets: Sets) -> None:
    assert evaluate(sets.real, sets.blurred, *ONE)["protocol_id"] == plain["protocol_id"]


# Where generated images may be.


def test_a_run_of_gan_train_is_sampled_and_its_curves_shown(sets: Sets) -> None:
    train = ["gan", "train", "--recipe", "lsgan", "--data", sets.real, "--class", "malignant"]
    train += words("--image-size 32 --set gan.width=4 --set gan.batch=4 --steps 4 --set gan.tick_steps=2")
    succeed(*train, "--device", "cpu", "--set", "gan.metrics=none", "--out", "trained")
    (trained,) = Path("trained").iterdir()
    found = evaluate(sets.real, trained, *ONE)
    malignant = len([file for file in (sets.real / "malignant").iterdir() if "_mask" not in file.stem])
    assert found["fake"]["synthetic"] is True
    assert found["fake"]["class"] == found["real"]["class"] == "malignant"
    assert found["fake"]["images"] == found["real"]["images"] == malignant
    assert found["protocol"]["image size"] == 32
    assert (Path(found["run"]) / "curves.png").is_file()
    (checkpoint, *_) = sorted((trained / "checkpoints").iterdir())
    more = evaluate(sets.real, checkpoint, *ONE, "--count", "60")
    assert more["fake"]["images"] == 60
    assert (Path(more["run"]) / "curves.png").is_file()
    assert "cannot be REAL; give real images" in refused("evaluate", trained, sets.fake, *ONE)
