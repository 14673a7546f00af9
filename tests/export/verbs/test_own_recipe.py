"""The recipe on the page of generators: trained, resumed, measured, exported and drawn as one of ours, and safe."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gan_trainings import assert_same_tensors, read_rows
from page_code import DOCS, as_new_machine, blocks, place_with
from program import Finished, sonoforge, succeed
from sonoforge.runtime import Generator
from sonoforge.training import own_code
from sonoforge.training.gan import recipes
from sonoforge.training.gan.checkpoint import describe
from sonoforge.training.gan.generator import load_generator, sample

SOURCE = blocks(DOCS / "generators.md", "python")[0]
FLAGS = (
    "--set phantom.images=60 --image-size 32 --set gan.batch=4 --set gan.tick_steps=3 --set gan.metric_features=pixels"
)
TRAIN = ["gan", "train", *FLAGS.split()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file on the page."""
    return place_with(SOURCE, "mine.py", tmp_path_factory)


@pytest.fixture(autouse=True)
def _this_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_new_machine(place, monkeypatch)


def _train(place: Path, out: str, *flags: object, recipe: str = "mine.py") -> Finished:
    return sonoforge(*TRAIN, "--class", "malignant", "--recipe", recipe, "--out", place / out, *flags, "--json")


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """A run of 8 steps."""
    with pytest.MonkeyPatch.context() as patch:
        as_new_machine(place, patch)
        done = _train(place, "runs", "--steps", 8)
    assert done.code == 0, done.err
    return Path(done.json["run"])


def test_the_page_is_short_and_its_file_trains_with_kid_at_ticks(trained: Path) -> None:
    assert len(SOURCE.splitlines()) <= 45
    assert trained.name == "00000-gan-mine-phantom-malignant"
    assert [row["step"] for row in read_rows(trained)] == [3, 6, 8]
    assert all(np.isfinite(row["kid"]) for row in read_rows(trained))


def test_a_resumed_run_ends_with_the_same_weights(trained: Path, place: Path) -> None:
    stopped = _train(place, "stopped", "--steps", 3)
    torch.rand(7)  # the networks' dropout does not depend on what was drawn before
    done = _train(place, "stopped", "--steps", 8, "--resume")
    assert done.json["run"] == stopped.json["run"]
    last = Path("checkpoints", "step-00000008")
    assert_same_tensors(Path(done.json["run"]) / last, trained / last)


def test_its_bundle_passes_the_gate_and_the_base_install_draws_the_same_images(trained: Path, place: Path) -> None:
    bundle = place / "bundle"
    assert succeed("export", trained, "--out", bundle).json["formats"][0]["status"] == "passed"
    drawn = Generator(bundle).generate(3, seed=2)
    expected = sample(load_generator(trained), 3, seed=2)
    assert drawn.shape == (3, 32, 32, 1) and np.abs(drawn.astype(int) - expected).max() <= 1 and np.ptp(drawn) > 10


def test_two_lines_load_it_into_plain_torch(trained: Path) -> None:
    defined: dict[str, Any] = {}
    exec(SOURCE, defined)
    network = defined["Generator"](image_size=32, channels=1, latent_size=32)
    network.load_state_dict(load_file(trained / "checkpoints" / "step-00000008" / "average.safetensors"))
    latents = torch.randn(2, 32)
    torch.testing.assert_close(network.eval()(latents), load_generator(trained)(latents), rtol=0, atol=1e-6)


def test_an_edited_file_is_refused_on_resume_and_its_old_version_goes_on(trained: Path, place: Path) -> None:
    file, before = place / "mine.py", (place / "mine.py").read_text()
    file.write_text(before + "\n")
    try:
        refused = _train(place, "runs", "--steps", 8, "--resume")
        assert refused.code == 2
        old = re.findall(r"edited since \(gan.recipe was (mine\.py#[0-9a-f]{16}), not", refused.err)[0]
        assert _train(place, "runs", "--steps", 8, "--resume", recipe=old).json["run"] == str(trained)
    finally:
        file.write_text(before)


def test_a_foreign_run_is_refused_until_its_code_is_trusted(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for known in (own_code._RUN, own_code._GIVEN):  # as in another process, on another machine
        known.clear()
    monkeypatch.setattr(own_code, "default_folder", lambda: trained / "nothing allowed")
    for command in (("gan", "sample", trained, "--count", 1), ("export", trained), ("evaluate", trained)):
        refused = sonoforge(*command)
        assert refused.code == 2 and "own_code.py, then allow it by SONOFORGE_TRUST=" in refused.err
    monkeypatch.setenv(own_code.TRUST, describe(trained / "checkpoints" / "step-00000008").architecture[-16:])
    assert succeed("gan", "sample", trained, "--count", 1).code == 0


def test_a_config_file_cannot_name_code(place: Path) -> None:
    (place / "config.yaml").write_text("gan: {recipe: mine.py}")
    refused = sonoforge(*TRAIN, "--config", place / "config.yaml")
    assert refused.code == 2 and "mine.py: a config file, which may be foreign, names code to run" in refused.err


def test_an_installed_package_names_recipes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "own_package").mkdir()
    (place / "own_package" / "networks.py").write_text(SOURCE)
    (place / "own_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(place)
    entry = importlib.metadata.EntryPoint("theirs", "own_package.networks:RECIPE", recipes.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == entry.group else [])
    assert "theirs" in succeed("settings", "--recipes", "all").said
    done = _train(place, "package", "--steps", 2, recipe="theirs")
    assert done.code == 0, done.err
    about = describe(Path(done.json["checkpoint"]))
    assert about.architecture.startswith("own_package.networks:RECIPE#")
    assert not (Path(done.json["checkpoint"]) / own_code.COPY).exists()
    assert len(sample(load_generator(Path(done.json["run"])), 2, seed=0)) == 2


def test_what_no_file_can_hold_is_told_in_one_line(place: Path) -> None:
    depending = "(self, latents):\n        latents = -latents if latents.sum().item() > 0 else latents"
    (place / "odd.py").write_text(SOURCE.replace("(self, latents):", depending))
    done = _train(place, "odd", "--steps", 2, recipe="odd.py")
    refused = sonoforge("export", done.json["run"])
    assert refused.code == 1 and re.search("error: ONNX: .*must not depend on values", refused.err.splitlines()[-1])


CONDITIONAL = """
import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, image_size, channels, latent_size, classes, scale=1.0):
        super().__init__()
        self.embedding, self.scale = nn.Embedding(classes, latent_size), scale
        self.layers = nn.Sequential(nn.Linear(latent_size, channels * image_size**2), nn.Tanh())
        self.shape = channels, image_size, image_size

    def forward(self, latents, labels):
        return self.layers(latents + self.embedding(labels)).unflatten(1, self.shape) * self.scale


class Discriminator(nn.Module):
    def __init__(self, image_size, channels, classes):
        super().__init__()
        self.score, self.logits = (nn.Linear(channels * image_size**2, n) for n in (1, classes))

    def forward(self, images, labels=None):
        return self.score(images.flatten(1)), self.logits(images.flatten(1))


RECIPE = {"like": "dcgan", "conditioning": "auxiliary", "latent_size": 6}
"""


def test_a_conditional_one_with_class_logits(place: Path) -> None:
    (place / "conditional.py").write_text(CONDITIONAL)
    done = succeed(*TRAIN, "--recipe", "conditional.py", "--steps", 3, "--out", place / "conditional")
    generator = load_generator(Path(done.json["run"]))
    one, other = (sample(generator, 1, seed=0, label=label) for label in (0, 2))
    assert (one != other).any()


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ('"latent_size": 6', '"latent": 6', r"'latent' cannot be set in a recipe \(did you mean latent_size\?\)"),
        ('"auxiliary"', '"projection"', "Discriminator returns unexpected class logits"),
        ("scale=1.0", "scale=3.0", "Generator makes images from -[12].* end it in tanh"),
        ("latent_size, classes, scale", "latent_size, scale", "Generator takes no argument classes, here 3"),
        ("class Generator(nn.Module)", "class Generator", r"defines no class Generator\(torch.nn.Module\)"),
        ("unflatten(1, self.shape)", "flatten(1)", r"Generator makes \(2, 1024\) of 2 latents, not \(2, 1, 32, 32\)"),
        ("n) for n in (1, ", "n) for n in (2, ", r"Discriminator makes \(2, 2\) of 2 images, not one score each"),
        ("latents + self.", "latents @ self.", r"mistaken.py:14: RuntimeError: "),
        ("RECIPE = ", "recipe = ", "defines no dict RECIPE"),
        ('"like": "dcgan"', '"like": "dcgn"', r"'dcgn' is not one of .*did you mean dcgan\?"),
        ('"like": "dcgan", ', "", "its recipe cannot be read .*missing"),
        ('"latent_size": 6', '"augmentation": "adda"', r"augmentation: 'adda' is not one of .*did you mean ada\?"),
        ('"latent_size": 6', '"loss": "hing"', r"loss: 'hing' is not one of .*did you mean hinge\?"),
        ("RECIPE = ", "LOSS = 1\nRECIPE = ", r"LOSS must be a sonoforge.training.gan.losses.Loss, not 1"),
    ],
)
def test_mistakes_are_told_before_a_run_folder_is_made(place: Path, found: str, instead: str, message: str) -> None:
    assert found in CONDITIONAL
    (place / "mistaken.py").write_text(CONDITIONAL.replace(found, instead))
    refused = sonoforge(*TRAIN, "--recipe", "mistaken.py", "--steps", 3, "--out", place / "none")
    assert refused.code == 2 and re.search(message, refused.err), refused.err
    assert len(refused.err.splitlines()[-1]) < 400 and not (place / "none").exists()
