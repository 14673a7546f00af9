"""Sampling from a run or a bundle: folders, archives, classes, masks, truncation by psi or a limit."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bundle_factory import zip_bundle
from generator_checkpoints import small_checkpoint
from program import refused, succeed
from sonoforge.training.gan.generator import load_generator, sample, sample_latent

SMALL = ["--image-size", "32", "--set", "gan.batch=8", "--set", "gan.width=8", "--steps", "2", "--device", "cpu"]
PIXELS = ["--set", "gan.metric_features=pixels"]  # the shipped network does not know these images


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of grey pictures with masks."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, level in (("benign", 90), ("malignant", 160)):
        (folder / name).mkdir()
        for number in range(12):
            pixels = np.clip(rng.normal(level, 40, (40, 40)), 0, 255).astype(np.uint8)
            mask = np.zeros((40, 40), np.uint8)
            mask[10:30, 8 : 20 + number] = 255
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            Image.fromarray(mask).save(folder / name / f"{number}_mask.png")
    return folder


def _trained(pictures: Path, out: Path, *options: str) -> Path:
    return Path(succeed("gan", "train", "--data", pictures, *SMALL, *PIXELS, "--out", out, *options).json["run"])


@pytest.fixture(scope="module")
def conditional(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("conditional")
    return _trained(pictures, out, "--recipe", "dcgan", "--conditioning", "projection", "--set", "gan.masks=true")


def test_images_come_with_their_masks(conditional: Path, tmp_path: Path) -> None:
    out = tmp_path / "folder"
    succeed("gan", "sample", conditional, "--class", "malignant", "--count", 3, "--out", out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["class"], manifest["count"], manifest["synthetic"]) == ("malignant", 3, True)
    expected = sample(load_generator(conditional), 3, 0, label=1)
    for entry, pixels in zip(manifest["images"], expected, strict=True):
        image, mask = np.asarray(Image.open(out / entry["file"])), np.asarray(Image.open(out / entry["mask"]))
        assert np.array_equal(image, pixels[..., 0])
        assert np.array_equal(mask, np.where(pixels[..., 1] >= 128, 255, 0))
    grid, masks = (Image.open(conditional / "samples" / name) for name in ("latest.png", "latest_mask.png"))
    assert grid.size == masks.size == (8 * 32, 8 * 32)
    assert set(np.unique(np.asarray(masks))) <= {0, 255}


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_archives_hold_the_same_images_whatever_the_batch(conditional: Path, tmp_path: Path, batch: int) -> None:
    options = ("--class", "benign", "--count", 11, "--seed", 4, "--set", f"sample.batch={batch}")
    succeed("gan", "sample", conditional, *options, "--out", tmp_path / "images.npz")
    succeed("gan", "sample", conditional, *options, "--out", tmp_path / "images.zip")
    expected = sample(load_generator(conditional), 11, 4, label=0)
    with np.load(tmp_path / "images.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], expected[..., :1])
        assert np.array_equal(arrays["masks"], np.where(expected[..., 1:] >= 128, 255, 0))
        assert json.loads(str(arrays["manifest"]))["synthetic"] is True
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert len(manifest["images"]) == 11
        with archive.open(manifest["images"][10]["file"]) as stream:
            image = Image.open(stream)
            assert np.array_equal(np.asarray(image), expected[10, ..., 0])
            assert image.text["sonoforge:synthetic"] == "true"  # type: ignore[attr-defined]
    assert "exists already" in refused("gan", "sample", conditional, *options, "--out", tmp_path / "images.npz")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images.npz", "images.zip"]


def test_a_class_is_needed_where_there_are_several(conditional: Path, tmp_path: Path) -> None:
    command = ["gan", "sample", conditional, "--out", tmp_path / "x"]
    assert "--class: " in refused(*command)
    assert "did you mean malignant" in refused(*command, "--class", "malignan")
    assert not (tmp_path / "x").exists()


def test_truncation_is_refused_where_it_is_not_defined(pictures: Path, tmp_path: Path) -> None:
    run = _trained(pictures, tmp_path / "runs", "--recipe", "began", "--class", "benign")
    command = ["gan", "sample", run, "--truncation", 1, "--count", 2, "--out", tmp_path / "x"]
    assert "uniform" in refused(*command)
    succeed("gan", "sample", run, "--count", 2, "--out", tmp_path / "y")


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styled") / "stylegan2"
    small_checkpoint(folder, "stylegan2", 0, side=32)
    return folder


def test_psi_draws_images_to_the_mean_and_is_kept_with_them(styled: Path, tmp_path: Path) -> None:
    command = ["gan", "sample", styled, "--count", 3, "--device", "cpu"]
    for psi in (1, 0):
        succeed(*command, "--psi", psi, "--out", tmp_path / f"{psi}.npz")
        with np.load(tmp_path / f"{psi}.npz", allow_pickle=False) as arrays:
            images = arrays["images"]
        assert len({image.tobytes() for image in images}) == (3 if psi else 1)
        assert psi == 0 or np.array_equal(images, sample(load_generator(styled), 3, 0)), "psi 1 truncates nothing"
    some = [*command, "--out", tmp_path / "some"]
    succeed(*some, "--psi", 0.5)
    manifest = json.loads((tmp_path / "some" / "manifest.json").read_text())
    assert manifest["psi"] == 0.5
    image: Any = Image.open(tmp_path / "some" / manifest["images"][1]["file"])
    assert image.text["sonoforge:psi"] == "0.5"
    generator: Any = load_generator(styled)
    styles = generator.mapping(torch.cat([sample_latent(generator, 0, index) for index in range(8)]))
    styles = generator.mapping.average + 0.5 * (styles - generator.mapping.average)
    expected = ((generator.synthesis(styles)[1, 0] + 1) * 127.5).round().clamp(0, 255).numpy()
    assert np.abs(np.asarray(image).astype(float) - expected).max() <= 1
    assert "holds other files already" in refused(*some)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--truncation", "1"], "--truncation: this generator has styles"),
        (["--checkpoint", "8"], "has no checkpoint '8'"),
    ],
)
def test_what_a_generator_with_styles_does_not_take_is_refused(
    styled: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in refused("gan", "sample", styled, "--count", 2, *options, "--out", tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


# From a bundle.


@pytest.fixture(scope="module")
def bundle(conditional: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sonoforge.export.bundle.generator import bundle_from_checkpoint

    folder = tmp_path_factory.mktemp("bundle") / "generator"
    bundle_from_checkpoint(conditional, folder)
    return folder


def _pictures_of(folder: Path) -> tuple[dict[str, Any], list[Any], list[Any]]:
    manifest = json.loads((folder / "manifest.json").read_text())
    images = [np.asarray(Image.open(folder / entry["file"])).astype(int) for entry in manifest["images"]]
    return manifest, images, [np.asarray(Image.open(folder / entry["mask"])) for entry in manifest["images"]]


@pytest.mark.parametrize("options", [[], ["--truncation", "0.7"]])
def test_a_bundle_makes_the_images_of_its_run(
    conditional: Path, bundle: Path, tmp_path: Path, options: list[str]
) -> None:
    common = ("--class", "malignant", "--count", 11, "--seed", 5, *options)
    succeed("gan", "sample", conditional, *common, "--out", tmp_path / "run")
    succeed("gan", "sample", "--bundle", bundle, *common, "--out", tmp_path / "bundle")
    manifest, images, masks = _pictures_of(tmp_path / "run")
    found, same_images, same_masks = _pictures_of(tmp_path / "bundle")
    assert np.abs(np.subtract(images, same_images)).max() <= 1
    assert np.mean(np.not_equal(masks, same_masks)) < 0.001
    assert len(found.pop("file_sha256")) == 64
    for entry in (*manifest["images"], *found["images"]):
        entry.pop("sha256")
    assert found == manifest
    assert ("truncation" in found) == bool(options)


def test_a_bundle_needs_no_torch(conditional: Path, bundle: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'onnx', 'scipy', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from sonoforge.runtime.cli import main as cli\n"
        "sys.exit(cli._run(['gan', 'sample', *sys.argv[1:], '--class', 'benign', '--count', '9', '--out', 'x']))\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("--bundle", str(bundle))
    assert done.returncode == 0, done.stderr
    expected = sample(load_generator(conditional), 9, 0, label=0)
    manifest, images, _ = _pictures_of(tmp_path / "x")
    assert manifest["class"] == "benign" and manifest["synthetic"] is True
    assert np.abs(np.array(images) - expected[..., 0]).max() <= 1
    first = Image.open(tmp_path / "x" / manifest["images"][0]["file"])
    assert first.text["Description"].startswith("Synthetic image")  # type: ignore[attr-defined]
    assert first.text["sonoforge:generator_sha256"] == manifest["generator_sha256"]  # type: ignore[attr-defined]
    without = run(str(bundle))
    assert without.returncode != 0 and "[train]', or give --bundle" in without.stderr


def test_archives_come_from_a_bundle_too(bundle: Path, tmp_path: Path) -> None:
    archive = zip_bundle(bundle, tmp_path / "generator.zip")
    common = ("--class", "benign", "--count", 2)
    succeed("gan", "sample", "--bundle", archive, *common, "--out", tmp_path / "images.npz")
    with np.load(tmp_path / "images.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == arrays["masks"].shape == (2, 32, 32, 1)
    succeed("gan", "sample", "--bundle", archive, *common)
    assert (tmp_path / "generated" / "generator-seed-0-benign" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["RUN", "--bundle", "BUNDLE"], "give either RUN or --bundle"),
        ([], "give either RUN or --bundle"),
        (["--bundle", "BUNDLE", "--checkpoint", "best"], "--checkpoint cannot be combined"),
        (["--bundle", "BUNDLE", "--device", "cuda"], "--device cuda requires RUN"),
        (["--bundle", "BUNDLE", "--into", "masks"], "--into requires RUN"),
        (["--bundle", "BUNDLE", "--psi", "0.5"], "--psi: this generator has no styles"),
        (["--bundle", "BUNDLE", "--class", "malignan"], "did you mean malignant"),
        (["--bundle", "nowhere"], "nowhere: no such bundle"),
    ],
)
def test_settings_that_a_bundle_does_not_take_are_refused(
    conditional: Path, bundle: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    places = {"RUN": str(conditional), "BUNDLE": str(bundle)}
    named = [] if "--class" in options else ["--class", "benign"]
    words = [places.get(word, word) for word in options]
    assert message in refused("gan", "sample", *words, *named, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


# Into given masks.


def _write_masks(folder: Path, names: list[str], side: int = 40) -> list[np.ndarray]:
    """Write a bright rectangle of its own for each file; return them as (side, side) bool."""
    shapes = []
    for number, name in enumerate(names):
        mask = np.zeros((side, side), np.uint8)
        mask[4 + 2 * number : side // 2, 6 : side - 4 - 3 * number] = 255
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / name)
        shapes.append(mask > 0)
    return shapes


@pytest.mark.parametrize(
    ("recipe", "classes"), [("flow", 2), ("spade", 0), ("projected:label-maps", 0)], ids=["flow", "spade", "projected"]
)
def test_images_are_drawn_into_the_masks_of_a_folder_in_turn(tmp_path: Path, recipe: str, classes: int) -> None:
    """Of two structures: 5 images into 3 pairs of masks, of which only the second half of each shows the other one."""
    run, masks = tmp_path / "run", tmp_path / "masks"
    side = 32
    small_checkpoint(run, recipe, classes, masks=2, side=side)
    first = _write_masks(masks, [f"b/{number} ü_mask_disc.png" for number in (2, 10, 1)])
    for number, mask in zip((2, 10, 1), first, strict=True):
        Image.fromarray(np.flipud(mask).astype(np.uint8) * 255).save(masks / f"b/{number} ü_mask_optic-cup.png")
        Image.fromarray(np.full((40, 40), 90, np.uint8)).save(masks / f"b/{number} ü.png")  # the image itself
    named = ("--class", "b") if classes else ()
    command = ("gan", "sample", run, *named, "--into", masks, "--device", "cpu", "--seed", 3, "--out")
    succeed(*command, tmp_path / "out", "--count", 5)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["count"], manifest["into"], manifest["synthetic"]) == (5, "masks", True)
    order = [first[2], first[0], first[1]]  # 1, 2, 10
    for index, entry in enumerate(manifest["images"]):
        one, other = (np.asarray(Image.open(tmp_path / "out" / file)) for file in entry["masks"])
        expected = np.asarray(Image.fromarray(order[index % 3].astype(np.uint8) * 255).resize((side, side)))
        assert np.mean((one > 0) != (expected > 127)) < 0.03 and np.array_equal(other, np.flipud(one))
        image: Any = Image.open(tmp_path / "out" / entry["file"])
        assert image.size == (side, side) and image.text["sonoforge:into"] == "masks"
    pictures = [np.asarray(Image.open(tmp_path / "out" / entry["file"])) for entry in manifest["images"]]
    assert not np.array_equal(pictures[0], pictures[3]), "another image of the same mask"
    succeed(*command, tmp_path / "again", "--count", 1)
    (again,) = (tmp_path / "again").glob("*-00000.png")
    assert np.array_equal(np.asarray(Image.open(again)), pictures[0]), "image i depends on seed and i alone"


def test_plain_pictures_are_masks_where_no_name_says_so(tmp_path: Path) -> None:
    run, masks = tmp_path / "run", tmp_path / "masks"
    small_checkpoint(run, "flow", 0, masks=1, side=16)
    (shape,) = _write_masks(masks, ["a.png"], side=16)
    succeed("gan", "sample", run, "--into", masks, "--count", 1, "--out", tmp_path / "out")
    (mask,) = (tmp_path / "out").glob("*_mask.png")
    assert np.array_equal(np.asarray(Image.open(mask)) > 0, shape)


@pytest.mark.parametrize(
    ("files", "structures", "message"),
    [
        ({}, 1, "contains no masks"),
        ({"a_mask_heart.png": 255}, 2, "a_mask_heart.png: shows heart, not disc or optic-cup"),
        ({"a_mask_heart.png": 255}, 1, "shows heart, not "),
        ({"a_mask_disc.png": 255}, 2, "a: has no mask of optic-cup"),
        ({"a_mask_disc.png": 255, "a_mask_optic-cup.png": 255}, 2, "masks of disc and optic-cup overlap"),
        ({"a_mask.png": 1}, 1, "a_mask.png: its brightest level is 1, not 255"),
        ({"a.png": None}, 1, "a.png: is no mask"),
        ({"a_mask.png": 255, "a_mask_1.png": (20, 30)}, 1, "a: its masks differ in size"),
        ({"a.png": 255}, 0, "--into: this generator of dcgan cannot be given masks"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, files: dict[str, Any], structures: int, message: str
) -> None:
    masks, rng = tmp_path / "masks", np.random.default_rng(0)
    masks.mkdir()
    small_checkpoint(tmp_path / "run", "flow" if structures else "dcgan", 0, masks=structures or 1, side=32)
    for name, level in files.items():
        pixels = rng.integers(0, 255, (24, 24)).astype(np.uint8)
        if level is not None:
            pixels = np.zeros(level if isinstance(level, tuple) else (24, 24), np.uint8)
            pixels[4:20] = 255 if isinstance(level, tuple) else level
        Image.fromarray(pixels).save(masks / name)
    refusal = refused("gan", "sample", tmp_path / "run", "--into", masks, "--out", tmp_path / "x", "--device", "cpu")
    assert message in refusal and not (tmp_path / "x").exists()
    assert "no folder" in refused("gan", "sample", tmp_path / "run", "--into", tmp_path / "y") or not structures
