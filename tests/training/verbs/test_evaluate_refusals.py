"""What ``sonoforge evaluate`` does not measure, and the one line with which it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluations import FAST, ONE, Sets, draw_phantoms, evaluate, save_images
from program import refused
from scans import write_set
from sonoforge.training.settings.evaluation import METRICS

# What the images do not allow.


@pytest.mark.parametrize(
    ("count", "missing"),
    [
        (4, {"KID", "Precision", "Density", "MS-SSIM"}),
        pytest.param(8, {"Density"}, marks=pytest.mark.slow),
    ],
)
def test_what_few_images_do_not_allow_is_not_measured_and_said(
    sets: Sets, tmp_path: Path, count: int, missing: set[str]
) -> None:
    few = save_images(tmp_path / "few", draw_phantoms(count, 3))
    metrics = ",".join(name for name in METRICS if name != "copies")  # which any number of images allows
    found = evaluate(sets.real, few, *FAST, "--metrics", metrics)
    asked_for = {"Inception", "LPIPS"}  # what --features and --lpips would give
    assert {item["name"].split(",")[0].split()[0] for item in found["not_measured"]} - asked_for == missing
    assert all(item["why"] for item in found["not_measured"])
    assert found["metrics"]
    assert all(answer["answer"] in ("unknown", "partly", "no") for answer in found["verdicts"].values())


def test_too_few_groups_for_halves(sets: Sets, tmp_path: Path) -> None:
    for groups in (1, 2):
        tied = write_set(tmp_path / f"{groups}", {"a": 12, "b": 12})
        lines = [f"{name}/scan ({number}).png,{number % groups}" for name in "ab" for number in range(1, 13)]
        (tied / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    assert "24 real images in 1 groups" in refused("evaluate", tmp_path / "1", sets.fake, *ONE)
    found = evaluate(tmp_path / "2", sets.fake, *FAST, "--metrics", "fid,copies")
    assert (found["real"]["groups"], found["n"]) == (2, 12)
    assert [row["name"] for row in found["metrics"]] == ["fid"]
    assert [item["name"] for item in found["not_measured"]] == ["Copy test"]
    assert found["copies"] is None


def test_a_run_in_which_nothing_could_be_measured_leaves_no_folder(sets: Sets, tmp_path: Path) -> None:
    few = save_images(tmp_path / "few", draw_phantoms(4, 3))
    line = refused("evaluate", sets.real, few, *ONE, "--out", tmp_path / "runs")
    assert "nothing that was asked for can be measured; KID: 2 generated images" in line
    assert not [*(tmp_path / "runs").iterdir()]


# Mistakes: one line, exit code 2, and no run folder.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "REAL is missing"),
        (["{real}"], "FAKE is missing"),
        (["nowhere", "{fake}"], "nowhere: no such file or folder"),
        (["phantm", "{fake}"], "did you mean phantom?"),
        (["{real}", "nowhere"], "nowhere: no such file or folder"),
        (["{real}", "nowhere", "--checkpoint", "best"], "nowhere: no such file or folder"),
        (["{real}", "{fake}", "--count", "9"], "count: requires a run"),
        (["{real}", "{fake}", "--checkpoint", "best"], "checkpoint: requires a run"),
        (["{real}", "{fake}", "--metrics", "kdi"], "did you mean kid?"),
        (["{real}", "{fake}", "--features", "pixel"], "did you mean pixels?"),
        (["{real}", "{fake}", "--features", "pixels,pixels"], "give different feature spaces"),
        (["{real}", "{fake}", "--features", "bundle:nowhere"], "nowhere: no such bundle"),
        (
            ["{real}", "{fake}", "--features", "inception", "--set", "metrics.weights=nowhere"],
            "nowhere: no such weights file",
        ),
        (["{real}", "{fake}", "--set", "metrics.weights=w"], "0 of the feature spaces pixels take weights"),
        (
            ["{real}", "{fake}", "--features", "inception,vgg16-imagenet", "--set", "metrics.weights=w"],
            "measure each separately",
        ),
        (["{real}", "{fake}", "--lpips", "squeezenet"], "did you mean squeezenet1_1?"),
        (["{real}", "{fake}", "--metrics", "kid", "--lpips", "x"], "--lpips: requires lpips among --metrics"),
        (["{real}", "{fake}", "--metrics", "kid", "--held-out", "x"], "--held-out: requires copies among --metrics"),
        (["{real}", "{fake}", "--held-out", "nowhere"], "nowhere: no such file or folder"),
        (["{few}", "{fake}", "--held-out", "{few}"], "24 of 24 images repeat one of"),
        (["{real}", "{fake}", "--class", "malignan"], "did you mean malignant?"),
        (["{real}", "{fake}", "--set", "metrics.repeats=4"], "--set metrics.repeats must be at least 5, not 4"),
        (["{real}", "{fake}", "--device", "cuda:77"], "cuda:77"),
        (["{real}", "{fake}", "--feature", "pixels"], "did you mean --features?"),
    ],
)
def test_a_wrong_word_is_one_line(sets: Sets, tmp_path: Path, arguments: list[str], message: str) -> None:
    few = save_images(tmp_path / "few", draw_phantoms(24, 4)) if "{few}" in arguments else ""
    words = [word.format(real=sets.real, fake=sets.fake, few=few) for word in arguments]
    first = [] if "--features" in words else ["--features", "pixels"]
    assert message in refused("evaluate", *words, *first, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_images_that_say_they_were_generated_are_no_real_ones(sets: Sets, tmp_path: Path) -> None:
    shutil.copytree(sets.fake, tmp_path / "made")
    (tmp_path / "made" / "manifest.json").write_text(json.dumps({"synthetic": True, "class": ""}))
    line = refused("evaluate", tmp_path / "made", sets.fake, *ONE, "--out", tmp_path / "runs")
    assert "its manifest marks them as generated" in line
    line = refused("evaluate", sets.real, sets.fake, *FAST, "--held-out", tmp_path / "made", "--out", tmp_path / "runs")
    assert "REAL must be real images" in line
    assert not (tmp_path / "runs").exists()
