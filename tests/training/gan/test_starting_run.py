"""Sealed folds start their generators from another run only if it was trained on none of their images."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from program import sonoforge, succeed, words
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.gan.checkpoint import describe, find_checkpoint
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.phantom.dataset import write_phantom_set

GAN = words("--recipe dcgan --set gan.image_size=32 --set gan.batch=4 --set gan.width=4 --set gan.latent_size=4")


def phantoms(folder: Path, count: int, seed: int) -> Path:
    write_phantom_set(folder, count, seed, size=128)
    (folder / "groups.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("theirs") / "elsewhere", 24, 5)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("others") / "here", 24, 6)


@pytest.fixture
def ours(others: Path, tmp_path: Path) -> Path:
    """Other images, to be changed."""
    return Path(shutil.copytree(others, tmp_path / "here"))


@pytest.fixture(scope="module")
def run(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    options = [*GAN, "--class", "benign", "--steps", "2", "--set", "gan.metrics=none", "--device", "cpu"]
    return str(
        succeed("gan", "train", "--data", theirs, *options, "--out", tmp_path_factory.mktemp("runs")).json["run"]
    )


def check(start: str | Path, images: Path, cache: Path) -> None:
    refuse_seen_by_start(str(start), open_cache(read_dataset(images), folder=cache), cache)


def test_a_run_on_other_images_is_no_leak(run: str, ours: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time, the kept answer is read
        check(run, ours, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("signatures*/*.bin"))


@pytest.mark.parametrize("change", [Image.Image.copy, ImageOps.mirror])
def test_one_image_in_common_is_refused(
    run: str, theirs: Path, ours: Path, tmp_path: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    same = sorted((theirs / "benign").iterdir())[2]
    change(Image.open(same)).save(ours / "malignant" / "copy.png")
    pair = re.escape(f"(malignant/copy.png ~ benign/{same.name})")
    with pytest.raises(GateError, match=f"trained on 1 of these 25 .*{pair}"):
        check(run, ours, tmp_path / "cache")


def test_images_of_a_class_that_it_was_not_trained_on_are_no_leak(
    run: str, theirs: Path, ours: Path, tmp_path: Path
) -> None:
    other = sorted((theirs / "malignant").iterdir())[0]
    Image.open(other).save(ours / "malignant" / "copy.png")
    check(run, ours, tmp_path / "cache")


@pytest.mark.slow
def test_the_runs_that_a_run_started_from_are_looked_at_too(run: str, theirs: Path, ours: Path, tmp_path: Path) -> None:
    between = phantoms(tmp_path / "between", 24, 7)
    options = [*GAN, "--class", "benign", "--steps", "2", "--set", "gan.metrics=none", "--set", f"gan.start_from={run}"]
    second = succeed("gan", "train", "--data", between, *options, "--out", tmp_path / "runs").json["run"]
    check(second, ours, tmp_path / "cache")
    Image.open(sorted((theirs / "benign").iterdir())[0]).save(ours / "benign" / "copy.png")
    with pytest.raises(GateError, match="was trained on 1 of these 25"):
        check(second, ours, tmp_path / "cache")


def test_a_run_that_started_from_the_shipped_generator_is_followed_to_it(ours: Path, tmp_path: Path) -> None:
    between = phantoms(tmp_path / "between", 24, 7)
    options = words("--recipe flow --preset latent --steps 1 --set gan.metrics=none --set gan.start_from=shipped")
    own = succeed("gan", "train", "--data", between, *options, "--out", tmp_path / "runs").json["run"]
    check(own, ours, tmp_path / "cache")


def test_a_run_whose_images_are_gone_is_refused(theirs: Path, tmp_path: Path) -> None:
    elsewhere = phantoms(tmp_path / "elsewhere", 24, 8)
    options = [*GAN, "--class", "benign", "--steps", "2", "--set", "gan.metrics=none", "--out", tmp_path / "runs"]
    run = succeed("gan", "train", "--data", elsewhere, *options).json["run"]
    sorted((elsewhere / "benign").iterdir())[0].unlink()
    with pytest.raises(SonoforgeError, match=r"of which 1 are no longer in .*put them back"):
        check(run, theirs, tmp_path / "cache")


def test_crossval_refuses_its_own_images_before_any_training(
    run: str, theirs: Path, ours: Path, tmp_path: Path
) -> None:
    options = words("--folds 2 --set classifier.weights=none --set gan.steps=2")
    command = ["crossval", "--data", theirs, *options, "--out", tmp_path]
    generator = ["--gan-recipe", *GAN[1:]]
    done = sonoforge(*command, *generator, "--set", f"gan.start_from={run}")
    assert done.code == 1 and "--set gan.start_from" in done.err and "start from a run on other collections" in done.err
    assert not list(tmp_path.rglob("gan"))


def test_a_run_with_another_runs_papers_is_refused(
    run: str, theirs: Path, others: Path, ours: Path, tmp_path: Path
) -> None:
    """Its weights have seen an image of ours, and its papers are of a run that has not."""
    Image.open(sorted((theirs / "benign").iterdir())[0]).save(ours / "benign" / "copy.png")
    elsewhere = phantoms(tmp_path / "elsewhere", 24, 8)
    options = [*GAN, "--class", "benign", "--steps", "2", "--set", "gan.metrics=none", "--device", "cpu"]
    innocent = Path(succeed("gan", "train", "--data", elsewhere, *options, "--out", tmp_path / "runs").json["run"])
    check(innocent, ours, tmp_path / "cache")
    forged = tmp_path / "forged"
    shutil.copytree(run, forged)
    for paper in ("config.yaml", "images.json"):
        shutil.copy(innocent / paper, forged / paper)
    with pytest.raises(SonoforgeError, match=r"images\.json lists other images than the checkpoint was trained on"):
        check(forged, ours, tmp_path / "cache")
    for description in forged.glob("checkpoints/*/checkpoint.json"):
        about = json.loads(description.read_text())
        about["images"] = describe(find_checkpoint(innocent)).images
        description.write_text(json.dumps(about))
    with pytest.raises(SonoforgeError, match="tensors were trained on other images"):
        check(forged, ours, tmp_path / "cache")
