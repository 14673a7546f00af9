"""``gan search --what cells``: both stages and their page, kills, resumption, several processes, Ray, and refusals."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from processes import shorten
from program import refused, succeed, understood, words
from sonoforge.models.ga_gan import parse

SMALL = words("--class malignant --set gan.conditioning=none --set gan.metric_features=pixels --device cpu")
SMALL += ["--kimg", "0.02", "--set", "gan.batch=5", "--set", "gan.width=2", "--image-size", "32"]
TEN = words(
    "--stages generator --set search.population=3 --set search.children=7 --set search.sample=2 --set "
    "search.mutation=0.2"
)
TEN += SMALL
CELLS = words("gan search --what cells --data")
CURVES = "sonoforge.training.gan.recorder.write_curves"
QUICK = {CURVES: None, "sonoforge.training.reports.search.write_report": None}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what takes most of such a short training's time, and changes nothing that is searched."""
    shorten(monkeypatch, QUICK)


def rows(run: Path, stage: str) -> list[dict[str, str]]:
    with (run / "trials.csv").open(encoding="utf-8") as file:
        return sorted((row for row in csv.DictReader(file) if row["study"] == stage), key=lambda row: int(row["trial"]))


def found(run: Path, stage: str = "generator") -> list[dict[str, str]]:
    """What must not depend on how often a search was killed, or on who trained."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(run, stage)]


def assert_each_child_was_trained_once(run: Path, stage: str, count: int) -> None:
    own = rows(run, stage)
    assert [int(row["trial"]) for row in own] == list(range(count))
    assert len({row["code"] for row in own}) == count
    folders = list((run / stage).iterdir())
    assert len(folders) == count
    for folder in folders:
        steps = [json.loads(line)["step"] for line in (folder / "stats.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps)), "no step is told twice"


@pytest.mark.slow
def test_both_stages_end_with_a_pair_a_page_and_the_command_that_trains_it(
    more_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, {CURVES: None})
    options = words("--set search.population=2 --set search.children=1 --set search.sample=2 --set search.pruner=none")
    options += ["--jobs", "1", *SMALL]
    done = succeed(*CELLS, more_pictures, *options, "--out", tmp_path).json
    run, stages = Path(done["run"]), done["studies"]
    for stage in ("generator", "discriminator"):
        assert_each_child_was_trained_once(run, stage, 3)
        own = rows(run, stage)
        best = min(own, key=lambda row: float(row["kid"]))
        assert stages[stage]["best"]["code"] == best["code"]
        assert stages[stage]["apart"]["metric_real"] == 10, "a fifth of 48, which no child has read"
        for row in own:
            code = parse(row["code"], stage)
            assert str(code) == row["code"]
            assert (row["parent"] == "") == (int(row["trial"]) < 2)
            assert row["heir_of"] == row["parent"]
    text = (run / "report.html").read_text()
    assert "8 held-out images" in text and "10 images that no trial has read" in text
    assert text.count("Genealogy") == 2 * 2, "of each stage, drawn and in words"
    assert "<script" not in text and 'http-equiv="refresh"' not in text
    assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, "it loads nothing from elsewhere"
    partners = {
        stage: [json.loads((run / row["run"] / "results.json").read_text())["settings"] for row in rows(run, stage)]
        for stage in ("generator", "discriminator")
    }
    fixed, best = "{4, 235-66-7, [3]}", stages["generator"]["best"]["code"]
    assert {own["discriminator_cell"] for own in partners["generator"]} == {fixed}, "the fixed one, at 32 pixels"
    assert {own["generator_cell"] for own in partners["discriminator"]} == {best}
    command = re.search(r"<pre>(.*?)</pre>", text, re.DOTALL)
    assert command is not None
    command_words = shlex.split(command[1].replace("&#39;", "'"))
    asked = understood(*command_words[1:])
    assert asked.code == 0, asked.err
    settings = json.loads(asked.out)
    assert settings["gan.generator_cell"] == stages["generator"]["best"]["code"]
    assert settings["gan.discriminator_cell"] == stages["discriminator"]["best"]["code"]
    assert settings["gan.width"] is None and settings["gan.kimg"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_cycles_inherit_the_weights_of_the_best(more_pictures: Path, tmp_path: Path) -> None:
    options = words("--stages discriminator --set search.strategy=cycles --set search.population=2 --jobs 1")
    options += ["--set", "search.children=2"]
    run = Path(succeed(*CELLS, more_pictures, *options, *SMALL, "--out", tmp_path).json["run"])
    own = rows(run, "discriminator")
    assert len(own) == 4 and all(row["parent"] == "" for row in own)
    best = min(own[:2], key=lambda row: float(row["kid"]))
    assert [row["heir_of"] for row in own] == ["", "", best["trial"], best["trial"]]
    log = (run / "log.txt").read_text()
    assert log.count("parameters taken from") == 2 * 2, "of both networks, for each child but the first two"


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_fresh_weights_are_nobody_s(more_pictures: Path, tmp_path: Path) -> None:
    options = words(
        "--stages generator --set search.population=2 --set search.children=1 --set search.weights=fresh --jobs 1"
    )
    run = Path(succeed(*CELLS, more_pictures, *options, *SMALL, "--out", tmp_path / "fresh").json["run"])
    assert [row["heir_of"] for row in rows(run, "generator")] == ["", "", ""]
    assert "parameters taken from" not in (run / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_as_published_classes_are_expanded_and_nothing_is_held_out(more_pictures: Path, tmp_path: Path) -> None:
    """In another feature space than Inception, with another activation and fewer and smaller trainings."""
    options = words("--stages generator --set search.population=2 --set search.children=0 --set search.sample=1")
    options += ["--set", "gan.activation=leaky-relu", "--set", "gan.expand_to=90", "--jobs", "1", *SMALL]
    done = succeed("gan", "search", "--what", "cells-paper", "--data", more_pictures, *options, "--out", tmp_path).json
    run = Path(done["run"])
    results = json.loads((run / rows(run, "generator")[0]["run"] / "results.json").read_text())
    assert (results["settings"]["activation"], results["settings"]["expand_to"]) == ("leaky-relu", 90)
    stats = (run / rows(run, "generator")[0]["run"] / "stats.jsonl").read_text().splitlines()
    last = json.loads(stats[-1])
    assert (last["metric_reference"], last["metric_real"]) == ("training", 90)
    assert done["studies"]["generator"]["best"]["fid"] == min(float(row["fid"]) for row in rows(run, "generator"))
    assert done["studies"]["generator"]["apart"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "gan.generator_cell=found"], "--set gan.generator_cell: the generator is searched"),
        (["--set", "gan.held_out=0"], "held_out must be above 0"),
        (["--set", "search.pruner=trend"], "--set search.pruner must be one of none, median, not 'trend'"),
        (["--stages", "generator", "--set", "gan.discriminator_cell={3, 19-6}"], "has operation 9"),
        (["--set", "search.strategy=ageing"], "--set search.strategy must be one of aging, cycles, not 'ageing'"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(
    options: list[str], message: str, more_pictures: Path, tmp_path: Path
) -> None:
    assert message in refused(*CELLS, more_pictures, *SMALL, *options, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_as_published_inception_s_weights_are_asked_for(more_pictures: Path, tmp_path: Path) -> None:
    line = refused("gan", "search", "--what", "cells-paper", "--data", more_pictures, "--out", tmp_path / "runs")
    assert "--set gan.metric_weights: --what cells-paper measures FID in Inception" in line
    assert not (tmp_path / "runs").exists()
