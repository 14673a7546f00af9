"""``sonoforge evaluate`` as a user meets it: the run folder, the JSON, the comparison, one line for each mistake."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageFilter
from safetensors.torch import save_file

import bundle_factory as factory
from program import Finished, sonoforge
from scans import write_set
from sonoforge.models.torchvision_import import import_torchvision
from sonoforge.training.evaluation import sources
from sonoforge.training.pages.evaluation.page import ALTS
from sonoforge.training.phantom.dataset import generate_phantom_set, write_phantom_set
from sonoforge.training.verbs.evaluate import METRICS

FAST = ["--features", "pixels", "--repeats", "5", "--device", "cpu"]
ONE = [*FAST, "--metrics", "kid", "--plots", "pca"]
FAKES, COPIES = 60, 20


def run(*arguments: object) -> Finished:
    """Run the program in this process."""
    done = sonoforge("evaluate", *arguments)
    assert "Traceback" not in done.err
    return done


def evaluate(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json", "--quiet")
    assert done.code == 0, done.err
    result: dict[str, Any] = json.loads(done.out)
    return result


def refused(*arguments: object) -> str:
    """The one line with which a command is refused."""
    done = run(*arguments, "--quiet")
    assert done.code == 2, done
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("sonoforge: error: ")
    assert "unexpected" not in line
    return line


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache and a working folder of this file's own, and logging as before."""
    logger = logging.getLogger("sonoforge")
    before = logger.handlers[:], logger.level, logger.propagate
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONOFORGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        yield
    logger.handlers[:], logger.level, logger.propagate = before


def _save(folder: Path, images: list[Image.Image]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    return folder


def _phantoms(count: int, seed: int) -> list[Image.Image]:
    return [Image.fromarray(image.pixels) for image in generate_phantom_set(count, seed, size=64)]


class Sets(NamedTuple):
    """Folders of 64-pixel images: real, held out, phantoms nobody trained on, the same blurred, and with copies."""

    real: Path
    held_out: Path
    fake: Path
    blurred: Path
    copying: Path
    copied: dict[str, str]  # by the copy's name


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    root = tmp_path_factory.mktemp("sets")
    write_phantom_set(root / "real", 150, 0, size=64)
    fakes = _phantoms(FAKES, 1)
    copying, copied = list(fakes), {}
    files = sorted(f.relative_to(root / "real") for f in (root / "real").rglob("*.png") if "_mask" not in f.stem)
    for number, file in enumerate(files[:: len(files) // COPIES][:COPIES]):
        flipped = Image.open(root / "real" / file).convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        copying[number] = flipped.point([min(255, level + 10) for level in range(256)])
        copied[f"{number}.png"] = file.as_posix()
    return Sets(
        root / "real",
        _save(root / "held-out", _phantoms(100, 2)),
        _save(root / "fake", fakes),
        _save(root / "blurred", [image.filter(ImageFilter.GaussianBlur(2)) for image in fakes]),
        _save(root / "copying", copying),
        copied,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def lpips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SqueezeNet with random weights."""
    path = tmp_path_factory.mktemp("lpips") / "net.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def command(sets: Sets, bundle: Path, lpips: Path) -> list[object]:
    """All that can be measured without a download, with the copies among the images."""
    spaces = ["--features", f"bundle:{bundle},pixels", "--repeats", "5", "--device", "cpu"]
    return [sets.real, sets.copying, *spaces, "--lpips", lpips, "--held-out", sets.held_out]


@pytest.fixture(scope="module")
def whole(command: list[object]) -> dict[str, Any]:
    return evaluate(*command)


# What a run leaves.


def test_the_run_folder_is_complete(whole: dict[str, Any], command: list[object], sets: Sets) -> None:
    folder = Path(whole["run"])
    assert folder.name.startswith("00000-evaluate-copying")
    pictures = {f"{name}.png" for name in set(ALTS) - {"umap", "curves"}}
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
    embedded = ["kid", "fid", "linear_probe", "precision", "recall", "density", "coverage", "sliced_wasserstein"]
    pyramid = ["laplacian_swd", "laplacian_swd_64", "laplacian_swd_32", "laplacian_swd_16", "ms_ssim"]
    expected = {(name, space) for name in embedded for space in ("bundle", "pixels")}
    expected |= {(name, "pixels") for name in pyramid} | {("inception_score", "bundle")}
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
    assert whole["real"]["images"] == 150
    assert whole["real"]["groups"] < 150
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


def test_held_out_images_set_the_threshold(whole: dict[str, Any], sets: Sets) -> None:
    """Without them it is set by the training images themselves."""
    alone = evaluate(sets.real, sets.copying, *FAST, "--metrics", "copies", "--plots", "pca")["copies"]
    assert alone["calibration"].startswith("training images of other")
    assert alone["calibrating"] == whole["real"]["groups"]
    assert 39 <= whole["copies"]["calibrating"] <= 100  # groups of the 100 held out
    assert whole["copies"]["threshold"] != alone["threshold"]
    assert set(sets.copied) <= set(alone["flagged"])


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("run", "report", "seconds")}


def test_the_same_command_gives_the_same_figures_in_another_process(
    command: list[object], whole: dict[str, Any]
) -> None:
    program = [sys.executable, "-m", "sonoforge.runtime.cli.main", "evaluate", *map(str, command), "--json", "--quiet"]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["run"] != whole["run"]
    assert _figures(again) == _figures(whole)
    for name in ("metrics.csv", "pca.png", "tsne.png", "nearest.png"):
        assert (Path(again["run"]) / name).read_bytes() == (Path(whole["run"]) / name).read_bytes()


# Comparisons.


@pytest.fixture(scope="module")
def plain(sets: Sets) -> dict[str, Any]:
    return evaluate(sets.real, sets.fake, *ONE)


def test_fakes_of_one_number_have_one_protocol_and_stand_side_by_side(plain: dict[str, Any], sets: Sets) -> None:
    other = evaluate(sets.real, sets.blurred, *ONE)
    assert other["protocol_id"] == plain["protocol_id"]
    done = run("--compare", f"{plain['run']},{other['run']}", "--json")
    assert done.code == 0
    table = json.loads(done.out)
    assert table["protocol_id"] == plain["protocol_id"]
    assert [row["fake"]["source"] for row in table["rows"]] == [str(sets.fake), str(sets.blurred)]
    assert [row["metrics"]["kid"] for row in table["rows"]] == [plain["metrics"][0], other["metrics"][0]]
    assert str(sets.blurred) in done.err


def test_different_protocols_are_refused_by_what_differs(plain: dict[str, Any], sets: Sets, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(sets.fake, fewer)
    (fewer / "0.png").unlink()
    for arguments, item in (
        ([sets.fake, *ONE, "--seed", "1"], "seed: 0 and 1"),
        ([fewer, *ONE], f"number of generated images: {FAKES} and {FAKES - 1}"),
        ([sets.fake, *ONE, "--image-size", "32"], "image size: 64 and 32"),
        ([*ONE, "--repeats", "6", sets.fake], "repeats: 5 and 6"),
    ):
        other = evaluate(sets.real, *arguments)
        assert other["protocol_id"] != plain["protocol_id"]
        line = refused("--compare", f"{plain['run']},{other['run']}")
        assert f" differ in {item}; evaluate both alike" in line


def test_compare_takes_finished_runs_and_nothing_else(plain: dict[str, Any], sets: Sets, tmp_path: Path) -> None:
    assert "found 1 evaluation, expected at least two" in refused("--compare", plain["run"])
    assert "no such file" in refused("--compare", f"{plain['run']},nowhere")
    assert "no such file" in refused("--compare", f"{plain['run']},{tmp_path}")
    assert f"found {sets.fake} beside it" in refused(
        sets.real, sets.fake, "--compare", f"{plain['run']},{plain['run']}"
    )


# Where generated images may be.


def test_an_npz_and_a_zip_give_the_figures_of_the_folder(plain: dict[str, Any], sets: Sets, tmp_path: Path) -> None:
    files = [sets.fake / f"{number}.png" for number in range(FAKES)]
    with zipfile.ZipFile(tmp_path / "fakes.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    np.savez(tmp_path / "fakes.npz", images=np.stack([np.asarray(Image.open(file)) for file in files])[..., None])
    for name in ("fakes.zip", "fakes.npz"):
        found = evaluate(sets.real, tmp_path / name, *ONE)
        assert found["metrics"] == plain["metrics"]
        assert found["protocol_id"] == plain["protocol_id"]
        assert Path(found["run"]).name.endswith(f"evaluate-{name.replace('.', '-')}")


def test_a_run_of_gan_train_is_sampled_and_its_curves_shown(sets: Sets) -> None:
    train = ["gan", "train", "--recipe", "lsgan", "--data", str(sets.real), "--class-name", "malignant"]
    train += ["--image-size", "32", "--width", "4", "--batch", "4", "--steps", "4", "--tick-steps", "2"]
    with contextlib.redirect_stderr(io.StringIO()):
        assert cli._run([*train, "--device", "cpu", "--metrics", "none", "--out", "trained"]) == 0
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
    # A folder of images has no training, whatever lies around it.
    shutil.copy(trained / "stats.jsonl", "stats.jsonl")
    shutil.copytree(sets.fake, "inner/images")
    assert not (Path(evaluate(sets.real, "inner/images", *ONE)["run"]) / "curves.png").exists()
    assert "expected real images; it may be FAKE" in refused(trained, sets.fake, *ONE)


def test_the_next_command_can_be_pasted(sets: Sets, tmp_path: Path) -> None:
    spaced = tmp_path / "my scans"
    spaced.symlink_to(sets.real)
    done = run(spaced, sets.fake, *ONE)
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("next: ")]
    assert shlex.split(line)[1:5] == ["sonoforge", "evaluate", str(spaced), "OTHER-FAKE,"]
    assert re.fullmatch(r"runs/\d{5}-evaluate-fake,OTHER-RUN", shlex.split(line)[-1])


def test_phantom_is_a_real_set(sets: Sets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "PHANTOM_IMAGES", 30)
    found = evaluate("phantom", sets.fake, *ONE, "--cache", tmp_path)
    assert found["real"] == {"source": "phantom", "class": "", "images": 30, "groups": found["real"]["groups"]}
    assert found["n"] <= 15


def test_a_folder_named_by_a_dot_and_a_long_name_name_the_run(sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Path("x" * 230)
    shutil.copytree(sets.fake, long)
    assert Path(evaluate(sets.real, long, *ONE)["run"]).name.endswith("-evaluate-" + "x" * 80)
    out = Path("runs").resolve()
    monkeypatch.chdir(sets.blurred)
    assert Path(evaluate(sets.real, ".", *ONE, "--out", out)["run"]).name.endswith("-evaluate-blurred")


# What the images do not allow.


@pytest.mark.parametrize(
    ("count", "missing"),
    [(4, {"KID", "Linear", "Precision", "Density", "MS-SSIM"}), (8, {"Linear", "Density"}), (12, set())],
)
def test_what_few_images_do_not_allow_is_not_measured_and_said(
    sets: Sets, tmp_path: Path, count: int, missing: set[str]
) -> None:
    few = _save(tmp_path / "few", _phantoms(count, 3))
    found = evaluate(sets.real, few, *FAST, "--plots", "pca")
    asked_for = {"Inception", "LPIPS"}  # what --features and --lpips would give
    assert {item["name"].split(",")[0].split()[0] for item in found["not_measured"]} - asked_for == missing
    assert all("expected" in item["why"] or item["name"].split()[0] in asked_for for item in found["not_measured"])
    assert found["metrics"]
    assert all(answer["answer"] in ("unknown", "partly", "no") for answer in found["verdicts"].values())


def test_too_few_groups_for_halves_and_for_the_probe(sets: Sets, tmp_path: Path) -> None:
    for groups in (1, 2):
        tied = write_set(tmp_path / f"{groups}", {"a": 12, "b": 12})
        lines = [f"{name}/scan ({number}).png,{number % groups}" for name in "ab" for number in range(1, 13)]
        (tied / "groups.csv").write_text("\n".join(["file,group", *lines]) + "\n")
    assert "24 real images in 1 groups" in refused(tmp_path / "1", sets.fake, *ONE)
    found = evaluate(tmp_path / "2", sets.fake, *FAST, "--metrics", "fid,probe,copies", "--plots", "pca")
    assert (found["real"]["groups"], found["n"]) == (2, 12)
    assert [row["name"] for row in found["metrics"]] == ["fid"]
    assert [item["name"] for item in found["not_measured"]] == ["Linear probe, AUC in pixels", "Copy test"]
    assert found["copies"] is None


def test_a_run_in_which_nothing_could_be_measured_stays_unfinished(sets: Sets, tmp_path: Path) -> None:
    few = _save(tmp_path / "few", _phantoms(4, 3))
    line = refused(sets.real, few, *ONE, "--out", tmp_path / "runs")
    assert "nothing that was asked for can be measured; KID: found 2 generated images" in line
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "environment.json", "log.txt"}
    assert "stopped: SonoforgeError" in (folder / "log.txt").read_text()
    assert "no such file; expected a finished run folder" in refused("--compare", f"{folder},{folder}")


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
        (["{real}", "{fake}", "--count", "9"], "count: expected with a run"),
        (["{real}", "{fake}", "--checkpoint", "best"], "checkpoint: expected with a run"),
        (["{real}", "{fake}", "--metrics", "kdi"], "did you mean kid?"),
        (["{real}", "{fake}", "--plots", "tsn"], "did you mean tsne?"),
        (["{real}", "{fake}", "--features", "pixel"], "did you mean pixels?"),
        (["{real}", "{fake}", "--features", "pixels,pixels"], "expected different feature spaces"),
        (["{real}", "{fake}", "--features", "bundle:nowhere"], "nowhere: no such bundle"),
        (["{real}", "{fake}", "--features", "inception", "--weights", "nowhere"], "nowhere: no such weights file"),
        (["{real}", "{fake}", "--weights", "w"], "no feature space among pixels takes weights"),
        (
            ["{real}", "{fake}", "--features", "inception,vgg16-imagenet", "--weights", "w"],
            "found 2 feature spaces that take weights, expected one",
        ),
        (["{real}", "{fake}", "--lpips-heads", "h"], "--lpips-heads: found without --lpips"),
        (["{real}", "{fake}", "--lpips", "squeezenet"], "did you mean squeezenet1_1?"),
        (["{real}", "{fake}", "--metrics", "kid", "--lpips", "x"], "--metrics leaves lpips out"),
        (["{real}", "{fake}", "--metrics", "kid", "--held-out", "x"], "--metrics leaves copies out"),
        (["{real}", "{fake}", "--held-out", "nowhere"], "nowhere: no such file or folder"),
        (["{real}", "{fake}", "--held-out", "{real}"], "150 of 150 images repeat one of"),
        (["{real}", "{fake}", "--class-name", "malignan"], "did you mean malignant?"),
        (["{real}", "{fake}", "--repeats", "4"], "--repeats: found 4, expected at least 5"),
        (["{real}", "{fake}", "--device", "cuda:77"], "cuda:77"),
        (["{real}", "{fake}", "--feature", "pixels"], "did you mean --features?"),
    ],
)
def test_a_wrong_word_is_one_line(sets: Sets, tmp_path: Path, arguments: list[str], message: str) -> None:
    words = [word.format(real=sets.real, fake=sets.fake) for word in arguments]
    first = [] if "--features" in words else ["--features", "pixels"]
    assert message in refused(*words, *first, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def _bad(folder: Path, sets: Sets) -> dict[str, tuple[Path, str]]:
    """Generated images that cannot be used, and what is said of them."""
    picture = Image.open(sets.fake / "0.png")
    colours = Image.merge("RGB", [picture, picture.transpose(Image.Transpose.ROTATE_180), picture])
    pixels = np.stack([np.asarray(picture)] * 5)[..., None]
    arrays = {"nan": np.full(pixels.shape, np.nan, np.float32), "flat": pixels[..., 0], "none": pixels[:0]}
    for name, images in arrays.items():
        np.savez(folder / f"{name}.npz", images=images)
    np.savez(folder / "small.npz", images=pixels[:, :8, :8])
    np.savez(folder / "wide.npz", images=pixels[:, :32])
    np.savez(folder / "other.npz", pictures=pixels)
    (folder / "junk.zip").write_bytes(b"PK junk")
    (folder / "junk.npz").write_bytes(b"PK junk")
    (folder / "notes.txt").write_text("no images")
    (folder / "empty").mkdir()
    damaged = _save(folder / "damaged", [picture] * 5)
    (damaged / "1.png").write_bytes((damaged / "1.png").read_bytes()[:200])
    (folder / "outer").mkdir()
    _save(folder / "outer" / "inner", [picture] * 5)
    return {
        "no images": (folder / "empty", "found no images"),
        "one image": (_save(folder / "one", [picture]), "found 1 image, expected at least 2"),
        "two images": (_save(folder / "two", _phantoms(2, 5)), "2 generated images, expected two halves of at least 2"),
        "a folder in a folder": (folder / "outer", f"name that one: {folder / 'outer' / 'inner'}"),
        "NaN": (folder / "nan.npz", "with NaN or infinity"),
        "no channels": (folder / "flat.npz", "expected uint8 (N, S, S, 1)"),
        "an empty array": (folder / "none.npz", "found uint8 (0, 64, 64, 1)"),
        "small": (folder / "small.npz", "found images of 8x8 pixels, expected at least 16 a side"),
        "not square": (folder / "wide.npz", "found images of 64x32 pixels, expected squares"),
        "another array": (folder / "other.npz", "found the arrays pictures, expected one called images"),
        "no archive": (folder / "junk.zip", "not a readable .zip"),
        "no numpy archive": (folder / "junk.npz", "not a plain numpy archive"),
        "text": (folder / "notes.txt", "found a file; expected a folder of images"),
        "mixed sizes": (_save(folder / "sizes", [picture, picture.resize((32, 32))]), "images of different sizes"),
        "mixed colours": (_save(folder / "mixed", [picture, colours] * 3), "found 3 grey images and 3 in colour"),
        "colour": (_save(folder / "colour", [colours] * 5), "its images are in colour, those of"),
        "damaged": (damaged, "1 of 5 files cannot be read, expected at most 10%"),
    }


def test_bad_images_are_one_line_each(sets: Sets, tmp_path: Path) -> None:
    for what, (path, message) in _bad(tmp_path, sets).items():
        line = refused(sets.real, path, *ONE, "--out", tmp_path / "runs")
        assert message in line, what
        assert str(path) in line or what == "two images", what
        if what in ("no images", "one image", "a folder in a folder", "NaN", "no archive", "text"):
            assert message in refused(path, sets.fake, *ONE, "--out", tmp_path / "runs"), what
    assert not (tmp_path / "runs").exists()


def test_images_that_say_they_were_generated_are_no_real_ones(sets: Sets, tmp_path: Path) -> None:
    shutil.copytree(sets.fake, tmp_path / "made")
    (tmp_path / "made" / "manifest.json").write_text(json.dumps({"synthetic": True, "class": ""}))
    line = refused(tmp_path / "made", sets.fake, *ONE, "--out", tmp_path / "runs")
    assert "its manifest says that they were generated, expected real images as REAL" in line
    line = refused(sets.real, sets.fake, *FAST, "--held-out", tmp_path / "made", "--out", tmp_path / "runs")
    assert "expected real images as REAL" in line
    assert not (tmp_path / "runs").exists()
    assert evaluate(sets.real, tmp_path / "made", *ONE)["fake"]["synthetic"] is True


def test_one_damaged_file_among_many_is_left_out_and_said(sets: Sets, tmp_path: Path) -> None:
    shutil.copytree(sets.fake, tmp_path / "fakes")
    (tmp_path / "fakes" / "7.png").write_bytes(b"junk")
    done = run(sets.real, tmp_path / "fakes", *ONE, "--json", "--quiet")
    assert done.code == 0
    assert f"1 of {FAKES} files cannot be read and are left out" in done.err
    assert json.loads(done.out)["fake"]["images"] == FAKES - 1


def test_metrics_named_in_the_help_are_those_that_are_measured() -> None:
    assert run("--help").out.replace("\n", "").count(",".join(METRICS)) <= 1
    done = run("--dry-run", "--metrics", ",".join(METRICS))
    assert json.loads(done.out)["metrics"] == list(METRICS)
