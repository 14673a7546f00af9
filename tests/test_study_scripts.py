"""Each benchmark that is run by hand runs to its end on little work: `test_NAME` runs ``training/studies/NAME.py``.

Their data here are simulated, so figures mean little; checked is what holds for such data, too.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import importlib
import itertools
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage
from sklearn.metrics import roc_auc_score

import planted_marks
from browser import needs_archive, needs_browser
from generator_checkpoints import small_checkpoint
from places import CHECKOUT, SUPPORT
from program import succeed, understood
from published_sets import cell
from published_sets import herlev as write_herlev
from scans import draw_scan, save
from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.runtime.bundle.reader import SHIPPED, SHIPPED_GENERATOR, open_bundle
from sonoforge.runtime.images.burned_in_marks import find_marks
from sonoforge.runtime.inference.generator import Generator
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.data.pixels import to_pixels
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import FOLDS
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample, sample_latent
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training_set import read_training_set
from sonoforge.training.phantom import CLASSES
from sonoforge.training.phantom.dataset import generate_phantom
from sonoforge.training.pretrained import import_torchvision
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions

STUDIES = CHECKOUT / "training" / "studies"
SIDE = 256
PATIENTS = 4
"""Of each class in a collection; of BUSI, which `trust` deals out, as many as it has folds."""


class Run(Protocol):
    """Run a script with arguments, and with other constants of its module; return what it prints."""

    def __call__(self, name: str, *arguments: object, **constants: object) -> str: ...


@pytest.fixture(autouse=True)
def _cache_and_threads(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script, which finds the test helpers that it needs by itself."""
    places = [place for place in sys.path if place != str(SUPPORT)]
    for path in SUPPORT.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)

    def load(name: str) -> ModuleType:
        folder, script = name.split("/")
        monkeypatch.setattr(sys, "path", [str(STUDIES / folder), *places])
        if not getattr(sys.modules.get(script), "__file__", "").startswith(str(STUDIES / folder)):
            monkeypatch.delitem(sys.modules, script, raising=False)
        return importlib.import_module(script)

    return load


@pytest.fixture
def run(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run in this process, since a new one takes seconds to import torch."""

    def run(name: str, *arguments: object, **constants: object) -> str:
        module = load(name)
        for constant, value in constants.items():
            monkeypatch.setattr(f"{module.__name__}.{constant}", value)
        monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
        assert not module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small collections, named as the real ones."""
    root = tmp_path_factory.mktemp("data")
    sets = (
        ("BUSI", FOLDS, "{1} ({0}).png"),
        ("BUS-BRA", PATIENTS, "bus_{0:04}-l.jpg"),
        ("BrEaST", PATIENTS, "case{0:03}.jpg"),
        ("BUS-UC", PATIENTS, "busuc_{0:03}.jpg"),
    )
    for seed, (collection, patients, name) in enumerate(sets):
        for number in range(patients * len(CLASSES)):
            kind = CLASSES[number % len(CLASSES)]
            scan = generate_phantom(number % len(CLASSES), number, seed, SIDE)[0]
            path = root / collection / kind / name.format(number, kind)
            save(path, scan.pixels)
            if collection == "BUSI" or scan.mask.any():
                save(path.with_name(f"{path.stem}_mask.png"), np.uint8(255) * scan.mask)
    for other in ("MIAS/mdb001.png", "IDRiD/fundus.jpg", "Herlev/cell.jpg"):
        save(root / other, scan.pixels)
    volume = root / "ACDC" / "training" / "patient001" / "patient001_frame01.nii.gz"
    volume.parent.mkdir(parents=True)
    header = bytearray(352)
    struct.pack_into("<3h", header, 42, SIDE, SIDE, 1)
    struct.pack_into("<f", header, 108, len(header))
    volume.write_bytes(gzip.compress(bytes(header) + scan.pixels.tobytes()))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random weights of MobileNetV2 and of SqueezeNet."""
    folder = tmp_path_factory.mktemp("weights")
    kinds, features = folder / "mobilenet.safetensors", folder / "squeezenet.safetensors"
    save_file(mobilenet_v2(1000).state_dict(), kinds)
    save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), features)
    return kinds, features


def scans(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.*g") if "_mask" not in path.name)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(line: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.?\d*", line)]


def test_every_script_is_run_here_and_on_the_page() -> None:
    scripts = {
        path.relative_to(STUDIES).with_suffix("").as_posix()
        for path in STUDIES.glob("*/*.py")
        if path.name != "tables.py" and "__main__" in path.read_text(encoding="utf-8")
    }
    assert scripts <= set(re.findall(r'"([\w-]+/\w+)(?:\.py)?"', Path(__file__).read_text(encoding="utf-8")))
    page = (STUDIES / "README.md").read_text(encoding="utf-8")
    assert scripts == set(re.findall(r"^\| `([\w-]+/\w+)` \|", page, re.MULTILINE))


def test_robustness(run: Run, data: Path, tmp_path: Path) -> None:
    external = ("--external", f"Rio:{data / 'BrEaST'}")
    folder = Path(succeed("validate", *external, "--out", tmp_path).json["run"])
    run("other-scanners/robustness", folder, *external, "--images", 4)
    (figures,) = json.loads((folder / "results.json").read_text())["collections"]
    found = figures["robustness"]
    assert len(found["disturbed"]) == 30
    for row in found["disturbed"]:
        assert row["change"]["value"] == pytest.approx(row["auc"]["value"] - found["auc"]["value"])


def test_equivariance(run: Run, tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "run", "stylegan3-t", 0, side=32)
    printed = run("generators/equivariance", tmp_path / "run", "--samples", 2)
    assert len(re.findall(r"EQ-[TR], .*: -?[\d.]+ dB", printed)) == 3


def test_eight_bits(run: Run, tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "run", "stylegan2", 2, side=32)
    succeed("export", tmp_path / "run", "--out", tmp_path / "b")
    before, size = Generator(tmp_path / "b").generate(2, class_name="a"), (tmp_path / "b/generator.onnx").stat().st_size
    run("generators/eight_bits", tmp_path / "b")
    assert (tmp_path / "b/generator.onnx").stat().st_size < size
    assert succeed("verify", tmp_path / "b").json["golden"]["max_abs_difference"] == {"generator.onnx": 0}
    after = Generator(tmp_path / "b").generate(2, class_name="a")
    assert 0 <= np.abs(after.astype(int) - before).max() <= 2
    assert "rounded to eight bits" in (tmp_path / "b/MODEL_CARD.md").read_text()


def test_autoencoder(run: Run, weights: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in range(8):
        save(tmp_path / f"data/{'ab'[seed % 2]}/{seed}.png", draw_scan(seed, 64))
    given = "--data", tmp_path / "data", "--features", weights[1], "--image-size", 32, "--held-out", 0
    run("generators/autoencoder", tmp_path / "coder", *given, "--steps", 4, BATCH=2)
    scans = read_training_set((str(given[1]),), GanSettings(recipe="flow", image_size=32)).pixels[..., :1]
    maps = load_generator(tmp_path / "coder").encode(torch.from_numpy(scans).permute(0, 3, 1, 2) / 127.5 - 1)
    assert torch.allclose(maps.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(maps.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    options = shlex.split(
        "--recipe flow --preset latent --set gan.batch=2 --set gan.metrics=none --image-size 32 --steps 2"
    )
    options += ["--set", f"gan.start_from={tmp_path / 'coder'}", "--out", str(tmp_path / "runs")]
    trained = Path(succeed("gan", "train", "--data", given[1], *options).json["run"])
    made, kept = (
        load_file(next(path.glob("checkpoints/*/discriminator.safetensors"))) for path in (tmp_path / "coder", trained)
    )
    assert made.keys() == kept.keys() - {"none"}, "the flow keeps the discriminator for its polish"
    assert all(torch.equal(value, kept[name]) for name, value in made.items())


def test_drawings(run: Run, data: Path, tmp_path: Path) -> None:
    """Copies are joined to the scans they were made of, what an untrained network draws is not."""
    options = ("--class", "benign", "--recipe", "dcgan", "--size", 64, "--steps", 1, "--out", tmp_path)
    trained = succeed("gan", "train", "--data", data / "BUSI", *options, "--set", "gan.width=8").json["run"]
    found = json.loads(run("near-duplicates/drawings", trained, "--count", 30, "--planted", 2))
    assert (found["training images"], found["joined"]["drawings"]) == (FOLDS, "0 of 30")
    assert found["planted, by kind"]["exact"] == 2


def test_looks(load: Callable[[str], ModuleType], run: Run, tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "styled", "stylegan2", 0, side=32)
    small_checkpoint(tmp_path / "plain", "dcgan", 2, side=32)
    run("generators/looks", tmp_path / "styled", tmp_path / "a", "--count", 3)
    run("generators/looks", tmp_path / "plain", tmp_path / "b", "--count", 3, "--class", "a")
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "a").iterdir()}
    assert sizes == {
        **{"truncation.png": (6 * 32, 3 * 32), "style-mixing.png": (4 * 32, 7 * 32)},
        **{"interpolation.png": (8 * 32, 3 * 32), "interpolation.gif": (32, 32)},
    }
    assert {path.name for path in (tmp_path / "b").iterdir()} == {*sizes} - {"style-mixing.png"}
    generator = load_generator(tmp_path / "styled")
    plain = sample(generator, 3, 0)[..., 0]
    for file in ("truncation.png", "interpolation.png"):
        sheet: Image.Image = Image.open(tmp_path / "a" / file)
        assert sheet.text["sonoforge:synthetic"] == "true"  # type: ignore[attr-defined]
        column = np.asarray(sheet)[:, :32].reshape(3, 32, 32).astype(int)
        assert np.abs(column - plain).max() <= 1, "psi 1, and where a strip begins"
    mixed = np.asarray(Image.open(tmp_path / "a" / "style-mixing.png")).astype(int)
    styles = generator.mapping(torch.cat([sample_latent(generator, 0, index) for index in range(5)]))  # type: ignore[operator]
    coarse = torch.cat([styles[1, :3], styles[3, 3:]])[None]  # of 8 styles; source 1, destination 3
    expected = to_pixels(generator.synthesis(coarse))[0, ..., 0].astype(int)  # type: ignore[operator]
    assert np.abs(mixed[32:64, 64:96] - expected).max() <= 1
    first, last = np.random.default_rng(0).normal(size=(2, 512))
    arc = load("generators/looks").between(first, last, np.linspace(0, 1, 9), "normal")
    unit = arc / np.linalg.norm(arc, axis=1, keepdims=True)
    np.testing.assert_allclose(arc[[0, -1]], [first, last], atol=1e-5)
    assert (unit[1:] * unit[:-1]).sum(1).std() < 0.01, "equal angles"


def test_learning_curve(run: Run, tmp_path: Path) -> None:
    """Answers whose error falls with the root of the number of images; of one arm as with twice as many."""
    rng, parts, labels = np.random.default_rng(0), [], np.arange(4000) % 2
    for share in (0.25, 0.5, 1.0):
        for arm, worth in (("real", 1), ("gan", 2)):
            wrong = rng.random(4000) < 0.2 * (worth * share) ** -0.5
            own = np.where((labels ^ wrong)[:, None] == [0, 1], 0.8, 0.2)
            files = tuple(f"{i}.png" for i in range(4000))
            name = arm if share == 1 else f"{arm}@{share}"
            parts.append(Predictions(name, "sealed", 0, files, np.arange(4000), np.arange(4000) % 5, labels, own))
    write_predictions(tmp_path / "predictions.csv", parts, ("a", "b"))
    curve, _ = json.loads(run("where-it-helps/learning_curve", tmp_path / "predictions.csv"))
    assert curve["exponent"]["value"] == pytest.approx(0.5, abs=0.1)
    (worth,) = curve["worth"]
    assert worth["ratio"]["low"] < 2 < worth["ratio"]["high"]


PRINTED = [  # scripts, their arguments, a pattern, and how often it stands in what they print
    ("speed/gan", "--size 32 --batch 4 --steps 1 --rounds 1", "ratio", 1),
    ("intervals/by_group", "--repeats 6", r"(?m)^\|", 2 + 3 * 4 * 2),
    ("intervals/few_groups", "--repeats 2", r"(?m)^\|", 2 + 3 * 2 * 2 * 6),
    ("intervals/adapt_changes", "--draws 1", r"(?m)^\|", 2 + 3 * 9),
    ("intervals/one_against_rest", "2", r"\| (0|50|100)\.0 \|", 2 * 7),
    ("marks/mark_shortcut", "{data} --count 1", "labels changed", 3 * 5),
    ("marks/scan_area", "{data} --count 4 --every 10", "4 screens", 4),
    ("marks/scan_kinds", "{data} --few 4", "overlay 1.0000", 4),
    ("image-quality/map_contrast", "{data}/BUSI --scans 4", "of 4 scans with both figures", 1),
    ("near-duplicates/planted", "{data}/BUSI --singles 6 --count 0", '"own limit": 8.0', 1),
    ("training-images/at_once", "{data}/BUSI --count 2 --others {data}/BrEaST", '"(exact|recognised)": 0', 2),
]
SLOW = [  # these start processes of their own, each of which imports torch
    ("speed/stylegan", "--size 32 --batch 8 --base 1024 --most 32 --steps 1 --rounds 1", "fast by slow", 1),
    ("repeatability/run", "--trainings 2 --processes 1 --busy 0 --batch 4 --steps 4 --size 32", "2 of 2 equal", 1),
]


@pytest.mark.parametrize(
    ("name", "arguments", "pattern", "times"), PRINTED + [pytest.param(*row, marks=pytest.mark.slow) for row in SLOW]
)
def test_it_prints_what_it_is_for(run: Run, data: Path, name: str, arguments: str, pattern: str, times: int) -> None:
    printed = run(name, *arguments.format(data=data).split())
    assert len(re.findall(pattern, printed)) == times, printed


# ---- generated images, and features


def test_picture_of_races(run: Run, tmp_path: Path) -> None:
    run("race/picture", tmp_path / "kid.png", STUDIES / "race" / "answers" / "minutes-2.csv")
    assert Image.open(tmp_path / "kid.png").width > 300


@pytest.mark.parametrize("count", [4, pytest.param(11, marks=pytest.mark.slow)])  # of arms; all by CI
def test_left_out_scanners(
    load: Callable[[str], ModuleType], run: Run, data: Path, weights: tuple[Path, Path], tmp_path: Path, count: int
) -> None:
    study = load("where-it-helps/left_out_scanners")
    named = ["none", "drawn", "style", "flow"] if count == 4 else list(study.ARMS)
    quick = dataclasses.replace(study.BUDGETS["collections"], frozen_blocks=13, image_size=64, precision="fp32")
    small = {"BUDGETS": {"collections": quick}, "NUMBER": 8, "STYLE_STEPS": 1, "STYLE_BATCH": 2, "LEAST_STEPS": 1}
    small["LABEL_MAPS"] = {"recipe": "projected", "preset": "label-maps", "width": 2}
    small["SPADE"] = {"recipe": "spade", "preset": "small-data", "width": 2, "batch": 2}
    asked = ["--leave-out", "BUSI", "--backbone", weights[0], "--features", weights[1], "--out", tmp_path / "out"]
    asked += ["--seeds", 0, "--epochs", 1, "--kimg", 0.01, "--cache", tmp_path / "cache", "--arms", ",".join(named)]
    folders = [data / name for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")]
    run("where-it-helps/left_out_scanners", *folders, *asked, **small)
    arms, _ = read_predictions(tmp_path / "out" / "predictions.csv")
    assert [arm.arm for arm in arms] == named and {len(arm.files) for arm in arms} == {len(scans(data / "BUSI"))}
    assert all(np.allclose(arm.probabilities.sum(axis=1), 1, atol=1e-5) for arm in arms)
    outlines = table(tmp_path / "out" / "outlines.csv")
    assert {row["arm"] for row in outlines} == {arm.arm for arm in arms}
    assert all(0 <= float(row["dice"]) <= 1 for row in outlines)
    assert not any("normal" in row["file"] for row in outlines)
    assert run("where-it-helps/left_out_scanners", *folders, *asked) == "", "what is done is not done again"
    with pytest.raises(SystemExit, match=r"was trained on 30 of these 30 images[^\n]*$"):
        asked += ["--start", adapted(data / "BUSI", tmp_path / "runs"), "--arms", "flow", "--seeds", 1]
        run("where-it-helps/left_out_scanners", *folders, *asked, **small)


def adapted(scans: Path, out: Path) -> Path:
    """The run of a flow that goes on from the shipped one with these scans, for a step."""
    options = "--recipe flow --preset latent --steps 1 --set gan.masks=true --set gan.metrics=none --set gan.batch=2"
    flags = ["--set", f"gan.start_from={SHIPPED_GENERATOR}", "--out", str(out)]
    return Path(succeed("gan", "train", "--data", str(scans), *shlex.split(options), *flags).json["run"])


def test_study(run: Run, data: Path, tmp_path: Path) -> None:
    for name in ("mobilenet_v2", "squeezenet1_1"):
        (tmp_path / f"{name}.safetensors").touch()
    listed = run("where-it-helps/run", data, tmp_path, "--out", tmp_path / "study", "--list").splitlines()
    calls = [shlex.split(line)[1:] for line in listed]
    programs = [call for call in calls if call[0] == "-m"]
    assert {Path(call[0]).stem for call in calls if call not in programs} == {
        *("autoencoder", "few_pairs", "generated_features", "left_out_scanners", "training_stages"),
    }
    for call in programs:
        understood(*call[2:])


@pytest.mark.skipif(find_spec("monai") is None, reason="monai is not installed")
def test_few_pairs(
    load: Callable[[str], ModuleType], run: Run, data: Path, weights: tuple[Path, Path], tmp_path: Path
) -> None:
    study = load("where-it-helps/few_pairs")
    small = {"SIDE": 32, "STEPS": 2, "WIDTH": 4}
    small["GENERATOR"] = dataclasses.replace(study.GENERATOR, kimg=0.008, batch=4, width=2)
    small["FLOW"] = dataclasses.replace(study.FLOW, kimg=0.004)
    asked = [
        "--elsewhere",
        data / "BUS-BRA",
        "--pairs",
        4,
        "--arms",
        "real,both",
        "--seeds",
        1,
        "--weights",
        weights[0],
    ]
    asked += ["--cache", tmp_path / "cache", "--out", tmp_path / "out"]
    printed = run("where-it-helps/few_pairs", data / "BUSI", *asked, **small)
    rows = table(tmp_path / "out" / "cases.csv")
    assert {(row["data"], row["arm"]) for row in rows} == {
        (name, arm) for name in ("BUSI", "BUSI, tested on BUS-BRA") for arm in ("real", "both")
    }
    assert len({row["case"] for row in rows if "tested on" in row["data"]}) == len(scans(data / "BUS-BRA"))
    assert run("where-it-helps/few_pairs", data / "BUSI", *asked) == printed, "what is done is not done again"
    sets = succeed("segment", "--from", tmp_path / "out" / "cases.csv").json["sets"]
    assert [own["name"] for own in sets] == ["BUSI", "BUSI, tested on BUS-BRA"]
    flow = ["--recipe", "flow:latent", "--start", "shipped", "--pairs", 4, "--arms", "both", "--weights", weights[0]]
    run("where-it-helps/few_pairs", data / "BUSI", *flow, "--seeds", 1, "--out", tmp_path / "flow", **small)
    spade, own = (np.load(next((tmp_path / name).rglob("pairs.npz"))) for name in ("out", "flow"))
    assert np.array_equal(own["maps"], spade["maps"]), "both draw into the same distorted maps"
    assert np.unique(own["images"], axis=0).shape == own["images"].shape
    shared = ["--elsewhere", shutil.copytree(data / "BUSI", tmp_path / "copy")]
    with pytest.raises(SystemExit, match="copy: shows 30 scans of BUSI"):
        run("where-it-helps/few_pairs", data / "BUSI", *shared, "--weights", "", "--out", tmp_path / "none")


def test_fewer_pairs_are_part_of_more_and_of_whole_patients(load: Callable[[str], ModuleType]) -> None:
    files, groups = tuple(f"{number}.png" for number in range(40)), tuple(number // 4 for number in range(40))
    plan = SplitPlan("sealed", 0, 5, "", files, files, (0,) * 40, groups, tuple(group % 5 for group in groups))
    few = load("where-it-helps/few_pairs").few
    sizes = [2, 4, 8, 12, 20, 32]
    sets = [set(few(plan, 0, 0, pairs).train(0).tolist()) for pairs in sizes]
    assert [len(own) for own in sets] == sizes and sets[-1] == set(plan.train(0).tolist())
    assert all(fewer < more for fewer, more in itertools.pairwise(sets))
    for own, pairs in zip(sets, sizes, strict=True):
        patients = [groups[index] for index in own]
        assert sum(patients.count(patient) == 4 for patient in set(patients)) == pairs // 4
    assert len({tuple(few(plan, 0, seed, 8).train(0)) for seed in range(5)}) > 1
    assert all((few(plan, 0, seed, 8).test(0) == plan.test(0)).all() for seed in range(3))


def test_generated_features(
    load: Callable[[str], ModuleType], run: Run, data: Path, weights: tuple[Path, Path], tmp_path: Path
) -> None:
    small = {"COUNTS": (4,), "DRAWS": 1, "STEPS": 2, "WEIGHTS": (1.0,), "STRENGTHS": (0.1,), "DRAWS_AGAIN": 2}
    asked = [data / "BUSI", data / "BrEaST", "--weights", weights[0], "--csv", tmp_path / "f.csv"]
    run("where-it-helps/generated_features", *asked, **small)
    rows = table(tmp_path / "f.csv")
    assert len({(row["trained on"], row["tested on"]) for row in rows}) * 6 == len(rows) == 2 * 6
    assert all(0 <= float(row["low"]) <= float(row["auc"]) <= float(row["high"]) <= 1 for row in rows)
    run("where-it-helps/generated_features", *asked, "--again", **small)
    again = table(tmp_path / "f.csv")
    assert [row["placebo"] for row in again] == 2 * ["real", "copies", "noise", "mixtures"]
    assert all(float(row["low"]) <= float(row["change"]) <= float(row["high"]) for row in again)
    assert len({round(float(row["auc"]) + float(row["change"]), 3) for row in again}) == 2, "one arm, two test sets"
    small |= {"DOSE": 1, "KIMG": 0.0005}
    run("where-it-helps/generated_features", *asked, "--start", adapted(asked[1], tmp_path / "runs"), **small)
    rows = table(tmp_path / "f.csv")
    assert [row["arm"] for row in rows] == ["real", "copies", "start", "others", "flow"]
    assert {(row["trained on"], row["tested on"]) for row in rows} == {("BUSI", "BUSI")}, "BrEaST was seen"
    best = max(float(row["auc"]) for row in rows[:-1])
    assert float(rows[-1]["auc"]) - float(rows[-1]["change"]) == pytest.approx(best, abs=2e-4)
    module = load("where-it-helps/generated_features")
    rng = np.random.default_rng(0)
    scores, labels, weights = rng.normal(size=(3, 50)), rng.integers(0, 2, 50), rng.integers(0, 3, (2, 50))
    one_by_one = [np.mean([roc_auc_score(labels, own, sample_weight=row) for own in scores]) for row in weights]
    assert module.areas(scores, labels, weights.astype(float)) == pytest.approx(one_by_one)


def test_training_stages(
    run: Run, data: Path, weights: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_checkpoint, "KEPT", gan_checkpoint.KEPT)  # which the script changes
    asked = ["--home", "BUS-BRA", "--weights", weights[0], "--features", weights[1], "--seeds", 0]
    asked += ["--cache", tmp_path / "cache", "--out", tmp_path / "out"]
    small = {"STAGES": (1, 2), "BATCH": 4, "NUMBER": 6, "COMPONENTS": 4, "STRENGTHS": (0.1,), "HELD_OUT": 0}
    for _ in range(2):  # what is done is not done again
        run("where-it-helps/training_stages", data / "BUSI", data / "BUS-BRA", *asked, **small)
    rows = table(tmp_path / "out" / "stages-BUS-BRA.csv")
    assert [*rows[0]][4:] == ["real", "alone 1 0", "beside 1 0", "alone 2 0", "beside 2 0"]
    lesions = [path for path in scans(data / "BUSI") if path.parent.name != "normal"]
    assert {row["data"] for row in rows} == {"BUSI"} and len(rows) == len(lesions)
    assert sum(row["malignant"] == "1" for row in rows) == sum(path.parent.name == "malignant" for path in lesions)
    quality = table(tmp_path / "out" / "quality.csv")
    assert {(row["step"], row["name"]) for row in quality} >= {(step, "kid") for step in ("1", "2")}


# ---- exported files


@pytest.mark.slow
def test_arm64(run: Run, data: Path, tmp_path: Path) -> None:
    """The golden answers of ONNX Runtime's ARM64 build, and those to four scans."""
    tree = Path(os.environ.get("SONOFORGE_ARM64", tmp_path))
    if (
        not (tree / "opt" / "site").is_dir()
        or os.geteuid()
        or not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()
    ):
        pytest.skip("needs root, and in SONOFORGE_ARM64 the tree of training/studies/exported-files/arm64.sh")
    printed = run("exported-files/arm64", tree, SHIPPED, data, "--count", 1, "--out", tmp_path / "answers.csv")
    assert "aarch64" in printed and "result    passed" in printed
    rows = table(tmp_path / "answers.csv")
    assert len([row for row in rows if row["scan"].startswith("golden-")]) == len(rows) - 4 > 0
    for row in rows:
        assert row["x86_label"] == row["arm64_label"]
        assert [float(row[f"arm64_{kind}"]) for kind in CLASSES] == pytest.approx(
            [float(row[f"x86_{kind}"]) for kind in CLASSES], abs=1e-4
        )


# ---- speed


def test_speed_of_classify(run: Run, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = json.loads(run("speed/classify", data / "BrEaST" / "normal", "--rounds", 1))
    assert found["same_label"] == found["images"] == PATIENTS
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(SystemExit, match="2"):
            run("speed/classify", folder)
        assert f"{folder}: found no folder with images" in capsys.readouterr().err.splitlines()[-1]


def test_speed_of_runtime(run: Run, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (first, *_) = scans(data / "BUSI")
    found = json.loads(run("speed/start_and_warm", SHIPPED, first, "--rounds", 1))
    assert min(found[name]["ratio"] for name in ("start_up", "warm", "predict")) > 0
    for arguments in ((tmp_path, first), (SHIPPED, tmp_path / "missing.png")):
        with pytest.raises(SystemExit, match="2"):
            run("speed/start_and_warm", *arguments)
        assert "no such file, expected" in capsys.readouterr().err.splitlines()[-1]


def test_speed_of_service(run: Run, data: Path) -> None:
    asked = ("--posts", 40, "--clients", 4, "--queue", 1)
    found = json.loads(run("speed/service", data / "BrEaST" / "normal", *asked))
    assert found["answers"] == {"200": 40} and found["counted by /metrics"] == found["answers in the log"] == 40
    assert found["retries"] > 0, "four clients, two workers and one place to wait"
    assert found["seconds"]["median"] <= found["seconds"]["95 %"] <= found["seconds"]["largest"]


def test_speed_of_formats(run: Run, data: Path) -> None:
    first, *rows = run("speed/formats", data / "BUSI", "--count", 2, "--rounds", 1).splitlines()
    assert first.startswith("2 images")
    assert {row.split()[0] for row in rows} == {"onnx", "onnx-fp16", "onnx-int8", "ort", "onnx-uint8", "Pillow,"}


def test_speed_of_tensorrt(run: Run) -> None:
    printed = run("speed/tensorrt_engines", SHIPPED, "--rounds", 1)
    if printed.startswith("cannot run here"):
        pytest.skip(printed.strip())
    assert json.loads(printed)["parity"]["fp32"]["ok"]


def test_speed_of_classifier_training(load: Callable[[str], ModuleType], run: Run) -> None:
    benchmark = load("speed/classifier_training")
    small = {name: dataclasses.replace(settings, batch=4) for name, settings in benchmark.VARIANTS.items()}
    small_ones = {"VARIANTS": small, "BASE": small["float32"]}
    rows = run("speed/classifier_training", "--images", 4, "--rounds", 1, **small_ones).splitlines()
    assert len(rows) == 2 + len(small) and all(numbers(row)[-1] > 0 for row in rows)


@pytest.mark.gpu
def test_speed_of_stylegan_on_a_gpu(run: Run) -> None:
    assert run("speed/stylegan", "--gpu", "--size", 32, "--batch", 4, "--steps", 1).count("s/kimg") == 2 * 2


@pytest.mark.slow
def test_speed_of_growth(load: Callable[[str], ModuleType], run: Run, data: Path, tmp_path: Path) -> None:
    growth, counts = load("speed/growth"), np.array([175.0, 350, 700, 1400])
    assert growth.fit_growth(counts, 3 + 1e-3 * counts**1.5) == pytest.approx((3, 1e-3, 1.5), rel=0.05)
    for name in growth.COMMAND:
        assert understood(*growth.words(name, 6, "weights")).code == 0, name
    page, written, weights = tmp_path / "page.md", tmp_path / "growth.csv", tmp_path / "weights.safetensors"
    page.write_text("before\n<!-- growth -->\nold\n<!-- growth -->\nafter\n")
    weights.touch()
    drawn = ("--picture", tmp_path / "growth.png", "--page", page)
    only = ("--only", "classify", "--only", "data audit", "--images", data / "BUSI", "--weights", weights)
    table = run("speed/growth", *only, "--counts", "6,12", "--csv", written, *drawn)
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| classify", "| data audit"]
    for _, images, cpu, wall, memory, *_ in rows:
        assert images == "6 to 12" and min(numbers(" ".join((cpu, wall)))) > 0
        assert all(20 < peak < 5000 for peak in numbers(memory))
    shown = f"{table}\n![{growth.ABOUT}](growth.png)\n"
    assert page.read_text() == f"before\n<!-- growth -->\n{shown}<!-- growth -->\nafter\n"
    assert Image.open(tmp_path / "growth.png").size > (500, 200)
    assert run("speed/growth", "--measured", written) == table
    with pytest.raises(SystemExit, match="expected the line 'never said'"):
        run("speed/growth", *only, "--counts", 6, UNTIL={"classify": "never said"})


def test_speed_of_metrics(run: Run) -> None:
    found = json.loads(run("speed/metrics", "--images", 120, "--width", 64, "--rounds", 1))
    for name in ("fid", "precision"):
        assert found[name]["ours"] == pytest.approx(found[name]["torch_fidelity"], rel=1e-3)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    needs_browser()
    needs_archive()
    succeed("mobile", "build", "--out", tmp_path / "app")
    return tmp_path / "app"


@pytest.mark.slow
def test_web_app(app: Path, tmp_path: Path) -> None:
    """In a process of its own, as Playwright runs once in each."""
    written = tmp_path / "times.json"
    script = STUDIES / "speed/web_app.py"
    command = [sys.executable, script, app, "--starts", "1", "--batch", "2", "--json", written]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(written.read_text())
    assert len(found["cold"]) == 1 and found["warm"]["batch ms an image"] > 0


# ---- what the pages say of statistics, metrics and repeatability


def test_fid_bias(run: Run, tmp_path: Path) -> None:
    rows = run("generated-quality/fid_bias", tmp_path / "bias.png", "--images", 40).splitlines()
    (ten, most, *_), (twenty, least, *_) = map(numbers, rows)
    assert (ten, twenty) == (10, 20) and most > least > 0
    assert Image.open(tmp_path / "bias.png").size > (500, 200)


def test_copy_test_false_alarms(run: Run, tmp_path: Path) -> None:
    count = 117  # 39 to calibrate on, as few as give a threshold
    for seed in range(count):
        save(tmp_path / f"{seed}.png", draw_scan(seed, 64))
    printed = run("generated-quality/copy_test_false_alarms", 64, tmp_path, SPLITS=1)
    assert f"{count} images in {count} groups" in printed and printed.count("calibrated on") == 2


# ---- what is found in a scan


def test_burned_in_marks(run: Run, data: Path) -> None:
    planted, *_ = run("marks/burned_in_marks", data).splitlines()
    assert 0.5 < numbers(planted)[3] <= 1


def test_inpainted_marks(run: Run, data: Path, tmp_path: Path) -> None:
    plain, marked = scans(data / "BUSI")[:2]
    picture = Image.open(marked)
    planted_marks.calipers(picture, (80, 80, 160, 160), np.random.default_rng(0), lines=False)
    for path, image in (("plain", Image.open(plain)), ("marked", picture)):
        save(tmp_path / "source" / f"{path}.png", np.asarray(image))
    assert find_marks(picture).marks
    assert "source: 1 of 2 scans" in run("marks/inpainted_marks", tmp_path / "source", tmp_path / "target")
    kept, filled = (Image.open(tmp_path / "target" / f"{name}.png") for name in ("plain", "marked"))
    assert np.array_equal(kept, Image.open(plain)) and not find_marks(filled).marks


def test_image_quality(run: Run, data: Path) -> None:
    rows = run("image-quality/image_quality", data, "--scans", 5).splitlines()
    for own in ("sharpness: blur", "noise: noise", "resolution: down-scaling"):
        assert f"| {own} | 1.00 | 1.00 | 1.00 | 1.00 |" in rows


def test_small_pictures(run: Run, data: Path) -> None:
    rows = run("image-quality/small_pictures", data, "--scans", 1, SIDES=(224, 64)).splitlines()
    least = open_bundle().manifest.quality["resolution"].low
    for side in (224, 64):
        flagged = [numbers(row)[2] for row in rows if row.startswith(f"  {side}  ")]
        assert flagged == [side < least] * 4


def test_clip_motion(run: Run, data: Path) -> None:
    printed = run("image-quality/clip_motion", data / "BUSI", "--scans", 2, SMEARS=(0.0, 2.0))
    for row in printed.splitlines()[1:8]:
        planted, followed, found, _ = numbers(row)
        assert followed == 1 and found == pytest.approx(planted, abs=0.3)


def test_repeated_scans(run: Run, data: Path) -> None:
    _, _, jpeg, *_ = run("image-quality/repeated_scans", data / "BrEaST").splitlines()
    assert "recall 1.000  precision 1.000" in jpeg


def test_neighbouring_frames(run: Run, data: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv.gz"
    with gzip.open(answers, "wt", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("file", "group"))
        files = [f"{name}/{path.name}" for name in ("BUSI", "BUS-BRA", "BrEaST") for path in scans(data / name)]
        rows.writerows((file, number) for number, file in enumerate(files))
    printed = run("image-quality/neighbouring_frames", data, ANSWERS=answers)
    assert printed.count("moved by 2%: 12 of 12 joined") == 2


# ---- what the network's answers rest on


def test_explanations(run: Run, data: Path) -> None:
    printed = run("explanations/run", data / "BrEaST")
    shares = [np.asarray(Image.open(path)).mean() / 255 for path in (data / "BrEaST").rglob("*_mask.png")]
    assert printed.count("drop") == 4 and "of 8 images" in printed
    assert min(shares) <= numbers(next(line for line in printed.splitlines() if "chance" in line))[0] <= max(shares)


def test_trust(load: Callable[[str], ModuleType], run: Run, data: Path, tmp_path: Path) -> None:
    for fold in range(2):
        save_file(mobilenet_v2(3).state_dict(), tmp_path / f"fold{fold}.safetensors")
    printed = run("trust/trust", data, "none", tmp_path, 2, **{"foreign.COUNT": 1})
    found = {line.split(" AUROC")[0].strip() for line in printed.splitlines() if " AUROC" in line}
    assert found >= set(load("trust/trust").foreign.SPOILT)


def test_what_trust_reads_off_scans_left_out(run: Run, data: Path, tmp_path: Path) -> None:
    names = [f"{path.parents[1].name}/{path.relative_to(path.parents[1])}" for path in sorted(data.rglob("*.*"))]
    table = "".join(f"{name},{seed}\n" for seed in (0, 1) for name in names)
    (tmp_path / "predictions.csv").write_text(f"file,seed\n{table}", encoding="utf-8")
    trust = {"distances": list(range(len(names))), "neighbours": [0.5] * len(names)}
    results = json.dumps({"arms": {"real": {"trust": trust}}})
    (tmp_path / "results.json").write_text(results, encoding="utf-8")
    run("trust/left_out", data, tmp_path, tmp_path / "rows.csv.gz")
    with gzip.open(tmp_path / "rows.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["collection"] for row in rows} == {"BUSI", "BUS-BRA", "BrEaST", "BUS-UC"}
    assert all(float(row["blurred"]) < float(row["sharpness"]) for row in rows[::3])
    assert all(names[int(row["d"])].startswith(f"{row['collection']}/") and row["k"] == "0.5" for row in rows)
    assert len({row["d"] for row in rows}) == len(rows)


def test_site_trust(run: Run, data: Path, tmp_path: Path) -> None:
    net = mobilenet_v2(3)
    net.outline = OutlineHead()
    for name in ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC"):
        save_file(net.state_dict(), tmp_path / f"{name}.safetensors")
    few = {"TRAINING": 24, "KEPT_OUT": 10, "SCANS": 4, "DRAWS": 2, "PICTURES": 1, "foreign.COUNT": 1}
    assert run("trust/site_trust", data, tmp_path, **few).count("reach") == 4


def test_automatic(run: Run, tmp_path: Path) -> None:
    """It runs to its end and answers the whole sheet twice; how often it is right is not checked."""
    for number in range(48):
        pixels = generate_phantom(number % len(CLASSES), number, 0, 64)[0].pixels
        blurred = np.rint(ndimage.gaussian_filter(pixels.astype(float), 1.5)).astype(np.uint8)
        kind, shown = ("real", pixels) if number % 2 else ("fake", blurred)
        save(tmp_path / kind / f"{number}.png", shown)
    lines = run("reader-study/automatic", tmp_path / "real", tmp_path / "fake", 20, "--features", "pixels").splitlines()
    right = [int(line.split(": ")[1].split()[0]) for line in lines]
    assert [line.split(":")[0] for line in lines] == ["as is", "matched sharpness"] and all(0 <= n <= 40 for n in right)


def test_match_sharpness_undoes_a_blur_and_sharpens_nothing(load: Callable[[str], ModuleType]) -> None:
    module = load("reader-study/automatic")
    sharp = np.stack([generate_phantom(i % len(CLASSES), i, 0, 64)[0].pixels for i in range(24)])[..., None]
    blurred = np.rint(ndimage.gaussian_filter(sharp.astype(float), (0, 1, 1, 0))).astype(np.uint8)
    was = np.abs(sharp.astype(int) - blurred).mean()
    for images in module.match_sharpness(sharp, blurred):
        assert np.abs(images.astype(int) - blurred).mean() < 0.1 * was


def test_cells_are_written_by_class_and_grouped_by_slide(run: Run, tmp_path: Path) -> None:
    write_herlev(tmp_path / "set")
    for _ in range(2):  # a second time changes nothing
        assert "'carcinoma_in_situ': 3" in run("cells/herlev", tmp_path / "set", tmp_path / "cells")
    dataset = read_dataset(tmp_path / "cells")
    assert dataset.classes == ("carcinoma_in_situ", "light_moderate_dysplastic", "normal", "severe_dysplastic")
    assert len(dataset.items) == 12 and len({item.group for item in dataset.items}) == 8


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (100, 100), (92, 100)])
@pytest.mark.parametrize("quality", [75, 92])
def test_padding_of_cells_is_cropped_and_nothing_else(
    load: Callable[[str], ModuleType], height: int, width: int, quality: int, tmp_path: Path
) -> None:
    """A cut-out that was padded to a square, scaled, and saved as JPEG, as the copies that circulate are."""
    herlev, side = load("cells/herlev"), max(height, width)
    padded = np.full((side, side, 3), (150, 90, 180), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = cell(height, width)
    scaled = Image.fromarray(padded).resize((128, 128), Image.Resampling.LANCZOS)
    scaled.save(tmp_path / "cell.jpg", quality=quality)
    cropped = herlev.without_padding(np.asarray(Image.open(tmp_path / "cell.jpg").convert("RGB")))
    wanted = np.array([height, width]) * 128 / side
    assert np.all(cropped.shape[:2] <= wanted + 1), "no line of padding stays"
    assert np.all(cropped.shape[:2] >= wanted - 2 * (herlev.EDGE + 1) * (height != width)), (
        "but a few beside it may go, too"
    )
    square = herlev.middle_square(cropped)
    assert square.shape[0] == square.shape[1] == min(cropped.shape[:2])


def test_power(run: Run, tmp_path: Path) -> None:
    kept, made = tmp_path / "kept.csv", tmp_path / "table.csv"
    few = {"GROUPS": (120, 480), "IMAGES_PER_GROUP": (1.0,)}
    run("power/simulate", "--repeats", 40, "--out", kept, "--table", made, **few)
    small, large = table(made)
    for name in ("least", "typical", "most"):  # four times the groups show half the gain
        assert float(small[name]) / float(large[name]) == pytest.approx(2, rel=0.3)


# ---- what pages say of the papers


def test_no_number_beside_a_papers_name_is_unknown(run: Run) -> None:
    assert run("papers/quoted_numbers") == "every number beside a paper's name is known\n"


PLANTED = [
    ("README.md", "| 0.934, implied", "| 0.924, implied", "0.924"),
    ("training/docs/evidence.md", "5.5 by the implied", "5.4 by the implied", "5.4"),
    ("training/studies/papers/gaps.md", "FID 179.42", "FID 179.24", "179.24"),
    ("training/studies/segmentation/README.md", 'losses of "as much as 0.15', 'losses of "as much as 0.17', "0.17"),
    ("training/studies/segmentation/answers/costs-six.csv", ",143.33,", ",134.33,", "134.33"),
    ("training/sonoforge/training/gan/recipes.json", "rate 0.001, epochs", "rate 0.004, epochs", "0.004"),
    ("training/studies/papers/own_numbers.csv", "10.03 / 3.39", "10.03 / 3.41", "2.96"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the script reads, with a wrong number in each of these places."""
    root = tmp_path_factory.mktemp("checkout")
    for part in ("README.md", "training", "tests/golden/papers"):
        for path in [CHECKOUT / part, *(CHECKOUT / part).rglob("*")]:
            if path.is_file() and (path.suffix in (".md", ".json", ".yaml", ".csv") or path.name.endswith(".csv.gz")):
                copied = root / path.relative_to(CHECKOUT)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copied)
    for file, right, wrong, _ in PLANTED:
        text = (root / file).read_text(encoding="utf-8")
        assert text.count(right) == 1, f"{file}: {right} has moved"
        (root / file).write_text(text.replace(right, wrong), encoding="utf-8")
    return root


def test_wrong_numbers_beside_a_papers_name_are_found_and_no_others(
    load: Callable[[str], ModuleType], pages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("papers/quoted_numbers")
    monkeypatch.setattr(sys, "argv", ["quoted_numbers.py", str(pages)])
    assert module.main()
    lines = capsys.readouterr().out.splitlines()
    found = {(line.split(":")[0], re.sub(r"^[^:]*(:\d+)?: ", "", line).split(":")[0].split(" ")[0]) for line in lines}
    named = {
        (file if not file.endswith("own_numbers.csv") else "own_numbers.csv", number) for file, _, _, number in PLANTED
    }
    assert found == named and len(lines) == len(PLANTED)


def test_a_name_in_a_heading_a_row_or_a_wrapped_sentence_counts_and_code_and_references_do_not(
    load: Callable[[str], ModuleType],
) -> None:
    module = load("papers/quoted_numbers")
    text = "# By Thakur\n\nOne of\n0.77 wraps.\n\n| GAN | Dice |\n|---|---|\n| x | 0.78 |\n\n## Ours\n\n"
    text += "- Thakur has\n  0.79\n- 0.80\n"
    found = {
        (unit.line, *re.findall(r"0\.\d+", unit.text))
        for unit in module.units(text, "a.md")
        if "Thakur" in unit.under + unit.text
    }
    assert {(3, "0.77"), (8, "0.78"), (12, "0.79")} <= found and not any("0.80" in row for row in found)
    dropped = "`--set x=0.5` [a](b-1.md#c-2) tables 1 to 4, section 5.2 (3.4, figure 7) in 2024, StyleGAN2, VGG-16, 3x3"
    assert not module._NUMBER.findall(module._REFERENCE.sub(" ", module._CODE.sub(" ", dropped)))
    kept = "0.95 of .82, 93.4 % and 100 000 iterations of 128, a rate of 0.0001; 780 images"
    assert module._NUMBER.findall(module._REFERENCE.sub(" ", kept)) == [
        *("0.95", ".82", "93.4", "100 000", "128", "0.0001", "780")
    ]
    for word, figure in (
        ("0.934", "93.432"),
        ("93.4", "93.432"),
        ("96", "0.96"),
        (".82", "0.82"),
        ("100 000", "100000"),
    ):
        assert module.agree(word, figure)
    for word, figure in (("0.935", "93.432"), ("93.5", "93.432"), ("97", "0.96"), ("0.0010", "0.0014")):
        assert not module.agree(word, figure)
