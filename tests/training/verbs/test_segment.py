"""``sonoforge segment``: generators, pairs, U-Nets, tables and page; resumption; what is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from disc_volumes import SIDE, write_volumes
from program import Finished, refused, sonoforge, succeed, words

pytestmark = pytest.mark.skipif(find_spec("monai") is None, reason="monai is not installed")

QUICK = words(f"--set unet.image_size={SIDE} --set unet.steps=12 --set unet.batch=8 --set unet.width=8 --device cpu")
QUICK += words("--set unet.learning_rate=0.003 --set gan.kimg=0.032 --set gan.batch=8 --set gan.width=4")
QUICK += words("--set metrics.features=pixels --set metrics.repeats=5")
ARMS = ("real", "augmented", "generated", "both:2")
RECIPES = ("dcgan", "spade:small-data")


class Run:
    """A finished run on volumes of discs and rings."""

    def __init__(self, root: Path) -> None:
        self.data = write_volumes(root / "heart volumes", splits=True)
        self.command = [
            "segment",
            "--data",
            self.data,
            *QUICK,
            "--arms",
            ",".join(ARMS),
            "--recipes",
            ",".join(RECIPES),
        ]
        self.command += ["--jobs", "1", "--out", root / "runs", "--set", f"cache.folder={root / 'cache'}"]
        self.done: Finished = succeed(*self.command)
        self.folder = Path(self.done.json["run"])
        (self.results,) = self.done.json["sets"]

    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(row["arm"], row["recipe"]): row for row in self.results["rows"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("segment"))


def test_every_arm_is_tested_on_the_published_test_patients_alone(run: Run) -> None:
    assert set(run.rows()) == {
        ("real", ""), ("augmented", ""),
        *((arm, recipe) for arm in ("generated", "both:2") for recipe in RECIPES),
    }  # fmt: skip
    assert (run.results["cases"], run.results["patients"]) == (2, 2)
    own = run.folder / "heart volumes"
    plan = json.loads((own / "splits.json").read_text())
    assert plan["protocol"] == "official"
    with (run.folder / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"p04", "p09"} and len(rows) == 2 * 2 * 6
    assert {row["unit"] for row in rows} == {"mm"}
    said = (run.folder / "log.txt").read_text()
    for arm, pairs in (("real", (32, 0)), ("generated dcgan", (0, 32)), ("both:2 dcgan", (32, 64))):
        assert f"{arm}, fold 1 of 1, seed 0: a U-Net of {pairs[0]} real and {pairs[1]} generated pairs" in said


def test_generators_have_figures_pairs_and_costs(run: Run) -> None:
    generators = {own["recipe"]: own for own in run.results["generators"]}
    assert set(generators) == set(RECIPES)
    for own in generators.values():
        assert {"kid", "fid"} <= set(own["metrics"]) and own["images"] == 32 and own["kimg"] == pytest.approx(0.032)
        assert own["seconds_per_epoch"] > 0 and own["weights"] > 1000
    folder = run.folder / "heart volumes" / "gan" / "seed0-fold00"
    with np.load(folder / "spade_small-data" / "pairs.npz") as pairs:
        assert pairs["images"].shape == (64, SIDE, SIDE, 1) and pairs["maps"].max() == 2
        bent = pairs["maps"]
    real = sorted(run.data.glob("heart/*_mask_disc.png"))
    assert (bent == 1).any((1, 2)).mean() == pytest.approx(0.75, abs=0.02), "a quarter of the real maps is empty"
    assert not any(
        ((bent[:, None] == 1)[:, 0] == (np.asarray(Image.open(path)) > 0)).all((1, 2)).any() for path in real[1:4]
    )


def test_the_page_says_what_the_tables_say(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    for row in run.results["rows"]:
        assert f"{row['dice']['value']:.3f}".replace("-", "−") in page
    for sentence in run.results["verdict"]:
        assert sentence.partition(" (")[0].partition(";")[0] in page
    assert "research use, not a medical device" in page.lower() and "synthetic images" in page
    assert 'src="http' not in page
    sheet = Image.open(run.folder / "heart volumes" / "pictures" / "dcgan.png")
    assert "sonoforge:synthetic" in sheet.text  # type: ignore[attr-defined]
    assert not Image.open(run.folder / "heart volumes" / "pictures" / "real.png").text  # type: ignore[attr-defined]


def test_the_tables_follow_from_the_scores_alone(run: Run) -> None:
    (again,) = succeed("segment", "--from", run.folder / "cases.csv").json["sets"]
    for own, row in zip(run.results["rows"], again["rows"], strict=True):
        assert (own["arm"], own["recipe"]) == (row["arm"], row["recipe"])
        assert own["dice"] == pytest.approx(row["dice"], abs=1e-5)
    assert "--from cannot be combined" in refused("segment", "--from", run.folder / "cases.csv", "--seeds", "2")


def test_a_patient_on_both_sides_is_refused_before_anything_is_trained(run: Run, tmp_path: Path) -> None:
    leaking = tmp_path / "leaking"
    shutil.copytree(run.data, leaking)
    table = leaking / "groups.csv"
    table.write_text(table.read_text().replace("p00_slice01.png,p00,", "p00_slice01.png,p04,"))
    done = sonoforge("segment", "--data", leaking, *QUICK, "--arms", "real", "--out", tmp_path / "runs", "--quiet")
    assert done.code == 1 and "heart/p00_slice01.png matches test image" in done.err
    assert not (tmp_path / "runs").exists()


def test_at_full_budget_each_gan_has_its_own_size_and_what_was_tuned_for_it(run: Run, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    (tuned / "config.yaml").write_text("gan.preset: few-cores\n")
    best = {"trial": 3, "kid": 0.1, "kimg": 9.0, "learning-rate": 0.0005, "batch": 4, "norm": None}
    (tuned / "results.json").write_text(json.dumps({"studies": {"dcgan": {"best": best}}}))
    command = [*run.command, *words("--arms generated --set unet.steps=1 --set gan.kimg=0.008 --budget full")]
    command += ["--set", f"segment.tuned={tuned}", "--out", tmp_path / "runs"]
    assert "has dcgan:few-cores, but must have recipes of this run" in refused(*command)
    done = succeed(*command, "--recipes", "dcgan:few-cores,lsgan")
    said = (Path(done.json["run"]) / "log.txt").read_text()
    assert "dcgan:few-cores 0.008 thousand images, batches of 4 at 64 x 64, base width 4, tuned" in said
    assert "lsgan 0.008 thousand images, batches of 8 at 64 x 64, base width 4; tuned: chosen on" in said
    folder = Path(done.json["run"]) / "heart volumes" / "gan" / "seed0-fold00"
    own = json.loads((folder / "dcgan_few-cores" / "results.json").read_text())["settings"]
    assert (own["learning_rate"], own["batch"], own["image_size"]) == (0.0005, 4, 64)
    with np.load(folder / "dcgan_few-cores" / "pairs.npz") as pairs:
        assert pairs["images"].shape[1:3] == pairs["maps"].shape[1:] == (int(SIDE), int(SIDE))


def test_a_stand_in_for_spade_s_perceptual_network_is_named_in_log_page_and_results(
    run: Run, squeezenet_file: Path, tmp_path: Path
) -> None:
    command = [*run.command, *words("--recipes lsgan,spade --arms generated --set unet.steps=1 --set gan.kimg=0.008")]
    done = succeed(*command, "--set", f"gan.features={squeezenet_file}", "--out", tmp_path)
    folder = Path(done.json["run"])
    perceptual = {own["recipe"]: own["perceptual"] for own in done.json["sets"][0]["generators"]}
    assert perceptual["lsgan"] == "" and re.fullmatch(r"squeezenet1_1 \(sha256 \w+\), not vgg19", perceptual["spade"])
    for written in ("log.txt", "report.html"):
        assert f"base width 4, perceptual term through {perceptual['spade']}" in (folder / written).read_text()


def test_generators_start_from_a_run_on_other_scans_and_not_from_one_on_these(run: Run, tmp_path: Path) -> None:
    other = write_volumes(tmp_path / "other heart", patients=3, seed=4)
    start = words(f"--set gan.masks=true --class heart --recipe lsgan --set gan.image_size={SIDE} --set gan.width=4")
    start += [*words("--kimg 0.032 --set gan.batch=8 --set gan.metrics=none --out"), str(tmp_path)]
    command = [*run.command, *words("--recipes lsgan --arms both --set gan.learning_rate=1e-9"), "--out", tmp_path]
    trained = {}
    for name, data in (("other", other), ("own", run.data)):
        trained[name] = succeed("gan", "train", "--data", data, *start).json["run"]
    done = succeed(*command, "--set", f"gan.start_from={trained['other']}")
    (last,) = (Path(done.json["run"]) / "heart volumes" / "gan").rglob("step-*/generator.safetensors")
    (first,) = Path(trained["other"]).rglob("step-*/generator.safetensors")
    before, after = load_file(first), load_file(last)
    weights = [name for name, tensor in before.items() if tensor.ndim == 4]
    assert weights and all(np.allclose(before[name], after[name], atol=1e-6) for name in weights)
    refusal = sonoforge(*command, "--set", f"gan.start_from={trained['own']}")
    assert refusal.code == 1 and "was trained on 40 of these 40 images" in refusal.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arms", "reel"], "--arms: no arm 'reel'"),
        (["--arms", "real,real"], "--arms: real,real repeats a name"),
        (["--recipes", "dcgam"], "--recipes: 'dcgam' is not one of .*did you mean dcgan"),
        (["--recipes", "dcgan:small"], "preset: 'small'"),
        (["--recipes", "none"], "--recipes is none, but generated,both:2 need generated pairs"),
        (["--set", "segment.maps=wgan"], "segment.maps must be one of perturbed, real, not 'wgan'"),
        (["--recipes", "spade"], "no feature network; give --set gan.features=NET: vgg19, as in .* squeezenet1_1"),
        (["--recipes", "all", "--budget", "full"], "no feature network; give --set gan.features=NET: vgg19, as in"),
        (["--recipes", "spade", "--set", "gan.features=vgg.safetensors"], "vgg.safetensors: no such weights file; "),
    ],
)
def test_wrong_input_is_refused_in_one_line(run: Run, flags: list[str], message: str, tmp_path: Path) -> None:
    assert re.search(message, refused(*run.command, *flags, "--out", tmp_path))
    assert not list(tmp_path.iterdir())


def test_published_spade_is_refused_before_the_images_are_read_where_vgg_19_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    command = ["segment", "--data", tmp_path / "gone", *words("--recipes all --budget full --out"), tmp_path / "runs"]
    assert "vgg19, as in the paper (a download, or its file), or a stand-in: a .safetensors file" in refused(*command)
    done = sonoforge(*command, "--set", "gan.features=vgg19", "--quiet")
    said = r"/vgg19-\w+\.pth could not be downloaded .*; give --set gan.features=FILE.*a stand-in such as squeezenet1_1"
    assert done.code == 2 and re.search(said, done.err.splitlines()[-1])
    assert not (tmp_path / "runs").exists()


def test_a_set_without_masks_is_refused(pictures: Path, tmp_path: Path) -> None:
    assert "has no masks, such as NAME_mask.png" in refused("segment", "--data", pictures, "--out", tmp_path)
