"""``sonoforge gan compare``: milestones kept and measured, resumption, tables with the published rows."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image
from torch import equal

from gan_trainings import SETTINGS, draw_discs
from processes import shorten
from program import Finished, refused, succeed, words
from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.training import run_folder
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.minutes import Pace
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import prepare
from sonoforge.training.gan.training_set import make_training_set
from sonoforge.training.jobs import race
from sonoforge.training.jobs.race import _of_classes
from sonoforge.training.reports.gan_comparison import markdown_tables
from sonoforge.training.statistics.published import (
    PAPERS,
    find_paper,
)

SMALL = words(
    "--image-size 32 --set gan.batch=4 --set gan.width=8 --set gan.steps=10 --set gan.tick_steps=2 --device cpu"
)
SMALL += ["--set", "metrics.features=pixels", "--set", "metrics.repeats=5", "--class", "malignant"]


def test_published_rows_are_those_of_the_paper_that_compares_most_of_the_recipes() -> None:
    cytology = PAPERS["ga-gan"]
    assert [row.network.casefold() for row in cytology.rows[1:]] == list(cytology.recipes[:-1]), "each has a row"
    assert find_paper(("stylegan2", "stylegan3-t")) is PAPERS["stylegan"]
    assert find_paper(cytology.recipes) is cytology
    assert find_paper(("stylegan2", "wgan", "wgan-gp")) is cytology
    assert find_paper(("dgan-wp-tl-wgangp", "dgan-wp-tl-bce")) is PAPERS["dgan-wp-tl"]
    assert find_paper(("stylegan2", "dgan-wp-tl-bce")) is PAPERS["stylegan"]
    assert find_paper(("lsgan", "biggan")) is None, "nobody's"


@pytest.mark.slow
def test_milestones_are_kept_and_measured(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["gan", "compare", "--data", pictures, *SMALL, "--recipes", "dcgan,lsgan"]
    monkeypatch.setattr(race, "find_paper", lambda _: PAPERS["stylegan"])
    command += ["--milestones", "0.25,0.5,1", "--out", tmp_path]
    done = succeed(*command).json
    run = Path(done["run"])
    assert done["finished"]
    rows = _ours(run)
    claims = [row for row in csv.DictReader((run / "compare.csv").open()) if row["run"] == "not run here"]
    assert len(claims) == len(PAPERS["stylegan"].rows) + len(PAPERS["stylegan"].others)
    # 10 steps of 4 images; a quarter is 2.5 steps, rounded to the even 2; 12 images are an epoch.
    assert [(row["recipe"], row["milestone"], row["step"], row["epoch"]) for row in rows] == [
        (recipe, share, step, epoch)
        for recipe in ("dcgan", "lsgan")
        for share, step, epoch in (("0.25", "2", "0.667"), ("0.5", "5", "1.667"), ("1.0", "10", "3.333"))
    ]
    for recipe in ("dcgan", "lsgan"):
        kept = gan_checkpoint.list_checkpoints(run / recipe / "checkpoints")
        assert {gan_checkpoint.describe(path).step for path in kept} >= {2, 5, 10}
    assert {(row["reference"], row["features"], row["real"], row["generated"]) for row in rows} == {
        ("training", "pixels", "12", "12")
    }
    for row in rows:
        ticks = [json.loads(line) for line in (run / row["run"] / "stats.jsonl").read_text().splitlines()]
        own = [tick for tick in ticks if tick["step"] <= int(row["step"])]
        steps = [tick["step"] for tick in own]
        taken = [after - at for at, after in zip([0, *steps[:-1]], steps, strict=True)]
        seconds = sum(number * tick["seconds_per_step"] for number, tick in zip(taken, own, strict=True))
        assert float(row["hours"]) == pytest.approx(seconds / 3600)
        assert float(row["seconds_per_kimg"]) == pytest.approx(seconds / (int(row["step"]) * 4 / 1000))
        assert float(row["kid_spread"]) > 0
    # The figures are those of evaluate, by the same checkpoint.
    again = succeed(
        "evaluate", pictures, run / "lsgan", "--checkpoint", "5", "--class", "malignant", "--features", "pixels",
        "--set", "metrics.repeats=5", "--metrics", "kid,fid,swd", "--count", "12",
        "--out", tmp_path / "e",
    ).json["metrics"]  # fmt: skip
    compared = {metric["name"]: metric["value"] for metric in again}
    for name in ("kid", "fid", "laplacian_swd"):
        assert float(rows[4][name]) == pytest.approx(compared[name], rel=1e-6), name
    text = (run / "tables.md").read_text()
    assert text.count("| claim |") == 2 * len(PAPERS["stylegan"].rows) + 4 + len(PAPERS["stylegan"].others)
    assert text.count("| ours |") == 6 + 6 + 2
    assert "| claim | BUSI | StyleGAN3 | epoch 1000 | 140.67 | 0.06 ± 0.01 | 3.21 |" in text
    assert "| claim | CBIS-DDSM | StyleGAN2 | GPU | epoch 100 | 74.0 | 145.4 | 2.05 | about 10 GB |" in text
    took = [float(row["seconds_per_kimg"]) * 12 / 1000 for row in rows]  # of an epoch of 12 images
    costs = text.partition("## Time and memory")[2].partition("\n## ")[0]
    said = [line.split(" | ")[5] for line in costs.splitlines() if line.startswith("| ours |")]
    assert [float(cell) for cell in said] == pytest.approx(took, rel=0.01)
    for name in ("samples-over-time.png", "pca.png", "quality-over-epochs.png"):
        with Image.open(run / name) as picture:
            assert "synthetic" in picture.text["Description"]  # type: ignore[attr-defined]


def test_a_pause_at_a_milestone_keeps_it_and_does_not_change_the_training(tmp_path: Path) -> None:
    images = make_training_set(draw_discs(), None, ("malignant",), 32)
    settings = dataclasses.replace(SETTINGS, steps=10)
    training = prepare(settings, images, "cpu")
    whole = train_gan(training, tmp_path / "whole")
    paused = dataclasses.replace(training, milestones=(2, 4, 10))
    pauses = [train_gan(paused, tmp_path / "paused", resume=True) for _ in range(3)]
    assert [path.name for path in pauses] == ["step-00000002", "step-00000004", "step-00000010"]
    assert run_folder.is_finished(tmp_path / "paused")
    one, other = (gan_checkpoint.load_state(path, "average") for path in (whole, pauses[-1]))
    assert one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    assert set(pauses) <= set(gan_checkpoint.list_checkpoints(pauses[-1].parent))


def _ours(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "compare.csv").open()))
    return [row for row in rows if row["source"] == "ours"]


@pytest.mark.slow
def test_a_recipe_too_slow_for_all_milestones_has_those_that_its_steps_allow(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(race, "measure_pace", lambda minutes, *given: Pace(20 * minutes, 0.0))
    command = ["gan", "compare", "--data", pictures, "--class", "malignant", "--size", "32"]
    command += ["--recipes", "dcgan,lsgan", "--set", "gan.batch=4", "--set", "gan.width=8"]
    command += ["--minutes", "1", "--milestones", "0.05,0.1,0.4,0.6,0.9,1"]
    done = succeed(*command, "--set", "metrics.features=pixels", "--set", "metrics.repeats=5", "--out", tmp_path)
    assert [(row["recipe"], row["milestone"], row["step"]) for row in done.json["rows"]] == [
        (recipe, milestone, step) for recipe in ("dcgan", "lsgan") for milestone, step in ((0.4, 1), (0.6, 2), (1.0, 3))
    ]
    assert "only 3 steps in these minutes, so 3 milestones of 6" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--milestones", "0.5,0.1,1"], "--milestones: 0.5,0.1,1 are not ascending shares"),
        (["--milestones", "0.5"], "that end with 1"),
        (["--milestones", "0.01,0.02,1"], "10 steps are too few for 3 shares"),
        (["--recipes", "dcgan,dcgan"], "give different recipes"),
        (["--recipes", "stylegan"], "did you mean"),
        (["--recipes", "dcgan,dcgan:many-cores"], "preset: 'many-cores' is not one of paper, few-cores"),
        (["--recipes", "dcgan,lsgan", "--set", "gan.generator_cell=fixed"], "which have no cells"),
        (["--minutes", "1"], "--minutes cannot be combined with gan.steps"),
        (["--grid", "perceptual-wait=0,1"], "did you mean perceptual-weight?"),
        (["--grid", "perceptual-weight=0,a"], "--grid: perceptual-weight must be a number, not 'a'"),
        (["--grid", "perceptual-weight=0,1", "--grid", "perceptual-weight=2"], "each once"),
        (["--grid", "perceptual-weight=0,1"], "give --set gan.features=NET"),
        (["--lpips", "vgg16"], "--lpips requires lpips among --metrics"),
        (["--metrics", "kid,fid,lpips", "--lpips", "vgg16.safetensors"], "vgg16.safetensors: no such weights file"),
        (["--metrics", "kid,swd"], "--metrics must include kid and fid"),
        (
            ["--recipes", "dcgan,lsgan", "--set", "gan.preset=small-data"],
            "preset: 'small-data' is not one of paper",
        ),
    ],
)
def test_a_comparison_refuses_bad_settings_in_one_line(
    pictures: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in refused("gan", "compare", "--data", pictures, *SMALL, "--out", tmp_path / "runs", *options)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_without_a_class_each_recipe_draws_all_of_them_in_their_shares(pictures: Path, tmp_path: Path) -> None:
    """The comparison of Berezsky and Liashchynskyi 2024: GA-GAN alone is told the class (section 6)."""
    command = ["gan", "compare", "--data", pictures, *SMALL, "--class", "", "--recipes", "began,ga-gan"]
    command += words("--set gan.steps=3 --set gan.tick_steps=3 --milestones 1 --set gan.expand=2 --set metrics.count=9")
    command += ["--set", "gan.width=2", "--set", "gan.generator_cell={3, 22-6, []}"]
    done = succeed(*command, "--set", "gan.latent_size=8", "--out", tmp_path).json
    run = Path(done["run"])
    checkpoints = {
        name: gan_checkpoint.list_checkpoints(run / name / "checkpoints")[-1] for name in ("began", "ga-gan")
    }
    about = [gan_checkpoint.describe(path) for path in checkpoints.values()]
    assert [(own.classes, own.class_name) for own in about] == [([], "all"), (["benign", "malignant"], "")]
    assert [own.composition["conditioning"] for own in about] == ["none", "projection"]
    cells = [gan_checkpoint.describe(path).composition["generator"].get("cell") for path in checkpoints.values()]
    assert cells == [None, "{3, 22-6, []}"], "began has none"
    rows = _ours(run)
    assert {(row["real"], row["generated"]) for row in rows} == {("24", "9")}
    assert all(row["inception_score"] == "" for row in rows), "pixels are no Inception network"
    text = (run / "tables.md").read_text()
    assert text == markdown_tables(done["rows"], PAPERS["ga-gan"])
    assert "48 images at 32 x 32, 2 for each by affine distortion, batches of 4;" in text
    assert "draws all 2 classes; conditioning: none (began), projection (ga-gan)" in text
    assert "is shown 0.0120 thousand real images, the same budget for all" in text, "3 steps of 4"
    longer = [dict(row, kimg=row["kimg"] * (1 + number)) for number, row in enumerate(done["rows"])]
    alone = markdown_tables(longer, None)
    assert "the budgets differ (thousands of real images shown: began 0.0120, ga-gan 0.0240)" in alone
    assert "claim" not in alone
    scored = markdown_tables([dict(row, inception_score=1.5) for row in done["rows"]], None)
    assert "IS (Inception Score) sees no real image, and 9 images score 9 at most" in scored
    assert "| claim | Zenodo 7890874 | GA-GAN | not stated | 3.39 | - | - | 3.95 |" in text
    assert "| claim | Zenodo 7890874 | BEGAN | not stated | 15.32 | - | - | - |" in text
    assert "IS (Inception Score) is measured only in the feature space inception" in text
    assert "StyleGAN" not in text


def test_a_conditioning_that_is_given_is_of_every_recipe_that_can_take_it() -> None:
    given = GanSettings(conditioning="projection")
    found = {name: _of_classes(dataclasses.replace(given, recipe=name)).conditioning for name in ("dcgan", "began")}
    assert found == {"dcgan": "projection", "began": "concatenation"}
    assert _of_classes(GanSettings(recipe="dcgan", class_name="benign")).class_name == "benign"


@pytest.fixture(scope="module")
def losses(pictures: Path, squeezenet_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """Two recipes times two perceptual weights."""
    command: list[object] = ["gan", "compare", "--data", pictures, *SMALL, "--set", "gan.steps=2", "--milestones", "1"]
    command += words("--recipes dgan-wp-tl-bce,lsgan --grid perceptual-weight=0,5")
    command += ["--set", f"gan.features={squeezenet_file}"]
    command += ["--metrics", "kid,fid,swd,ms-ssim,lpips", "--lpips", squeezenet_file]
    command += ["--out", tmp_path_factory.mktemp("losses")]
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, {"sonoforge.training.gan.recorder.write_curves": None})
        done = succeed(*command)
    return Path(done.json["run"]), done


def test_a_grid_is_one_table_of_all_its_trainings(losses: tuple[Path, Finished]) -> None:
    run, done = losses
    assert "the best of 4 on the images it is shown for, so optimistic" in done.said.replace("\n", " ")
    assert "SWD x 1000" in done.said and done.widest <= SCREEN
    rows = _ours(run)
    assert [row["recipe"] for row in rows] == [
        f"{recipe} perceptual-weight={weight}" for recipe in ("dgan-wp-tl-bce", "lsgan") for weight in (0, 5)
    ]
    assert len({row["protocol_id"] for row in rows}) == 1
    weights = [json.loads((run / row["run"] / "results.json").read_text())["settings"] for row in rows]
    assert [(own["recipe"], own["perceptual_weight"]) for own in weights] == [
        *(("dgan-wp-tl-bce", 0), ("dgan-wp-tl-bce", 5), ("lsgan", 0), ("lsgan", 5))
    ]
    (claim,) = (row for row in csv.DictReader((run / "compare.csv").open()) if row["run"] == "not run here")
    assert [float(claim[name]) for name in ("kid", "fid", "lpips_pairs", "ms_ssim")] == [0.14, 179.42, 0.49, 0.18]
    text = (run / "tables.md").read_text()
    assert "| claim | BUSI | DGAN-WP-TL | not stated | 179.42 | 0.14 | - | - | 0.18 | 0.49 |" in text
    assert "the loss of WGAN-GP and a perceptual weight of 5" in text


def test_every_figure_of_a_grid_is_one_of_evaluate(
    losses: tuple[Path, Finished], pictures: Path, squeezenet_file: Path, tmp_path: Path
) -> None:
    """12 real images against 12 drawn from seed 0."""
    row = _ours(losses[0])[3]
    again = succeed(
        "evaluate", pictures, losses[0] / row["run"], "--class", "malignant", "--features", "pixels",
        "--set", "metrics.repeats=5", "--lpips", squeezenet_file, "--metrics", "kid,fid,swd,ms-ssim,lpips",
        "--count", "12", "--out", tmp_path,
    ).json["metrics"]  # fmt: skip
    for own in again:
        if own["name"] in row:
            assert float(row[own["name"]]) == pytest.approx(own["value"], rel=1e-6), own["name"]
            assert float(row[f"{own['name']}_floor"]) == pytest.approx(own["floor"], rel=1e-6), own["name"]
    every = list(csv.DictReader((losses[0] / "compare-metrics.csv").open()))
    assert {own["name"] for own in every} >= {own["name"] for own in again} >= {"lpips_pairs", "ms_ssim"}
