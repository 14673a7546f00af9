"""Every recipe trains and samples through the same loop, and every architecture resumes to the last bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gan_trainings import StopAt, assert_same_tensors, read_rows
from program import words
from sonoforge.models import flow, projected
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.features import Features, open_features
from sonoforge.training.evaluation.spaces import network_space
from sonoforge.training.gan import ticks
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator, sample, sample_batches
from sonoforge.training.gan.networks import FrozenMaps
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.start_from import StartingWeights, read_starting_weights
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import TrainingSet, make_training_set
from sonoforge.training.phantom import dataset as phantom
from tiny_recipes import tiny_recipes

SIDE = 32


BATCH = 4


@pytest.fixture(scope="module")
def images() -> TrainingSet:
    """Phantom images of all classes, with labels."""
    pictures = list(phantom.generate_phantom_set(60, seed=0, size=64))
    pixels = np.stack([picture.pixels[..., None] for picture in pictures])
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    return make_training_set(pixels, labels, phantom.CLASSES, SIDE)


@pytest.fixture(scope="module")
def features(squeezenet_file: Path) -> Features:
    """A feature network with random weights: enough for gradients to pass through."""
    return open_features(str(squeezenet_file))


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Small StyleGANs, and KID on the smallest number of images: here it only has to be there."""
    with tiny_recipes(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "GENERATED", 3)
        patch.setattr(ticks, "REAL", 3)
        yield


def _settings(recipe: str, features: Features, **changes: Any) -> GanSettings:
    width = None if recipe == "dcgan-thesis" else 8
    judged = recipe == "projected" or changes.get("preset") == "projected"
    needed = features.name if judged or RECIPES[recipe].perceptual_weight else ""
    base = GanSettings(recipe=recipe, image_size=SIDE, batch=BATCH, width=width, features=needed, seed=1)
    return dataclasses.replace(base, **changes)


def _train(
    images: TrainingSet,
    settings: GanSettings,
    folder: Path,
    features: Features,
    start: StartingWeights | None = None,
    **options: Any,
) -> Path:
    own = images if compose(settings).conditioning != "none" else dataclasses.replace(images, labels=None)
    if settings.masks:  # of two structures: what is bright, and what is dark
        masks = np.concatenate([own.pixels > 130, own.pixels < 50], axis=3) * np.uint8(255)
        own = dataclasses.replace(own, pixels=np.concatenate([own.pixels, masks], axis=3))
    space = network_space(features) if settings.metrics else None
    pretrained = Pretrained(features if settings.features else None, space, start)
    return train_gan(prepare(settings, own, "cpu", pretrained), folder, **options)


CHANGED: dict[str, dict[str, Any]] = {
    **{name: {"recipe": name} for name in RECIPES},
    "stylegan2": {"recipe": "stylegan2", "regularisers": "r1=1:2,path-length=2:3"},
    "ga-gan": {"recipe": "ga-gan", "width": 2},
    "biggan": {"recipe": "biggan", "width": 4},
    "ada": {"recipe": "dcgan", "augmentation": "ada", "regularisers": "r1=1:2"},
    "diffaugment": {"recipe": "lsgan", "augmentation": "diffaugment", "mirror": True},
    "projection": {"recipe": "wgan-gp", "conditioning": "projection"},
    "spade": {"recipe": "spade", "masks": True, "width": 4},
    "projected onto label maps": {"recipe": "projected", "preset": "label-maps", "masks": True, "width": 4},
    "projected of one class with masks": {"recipe": "projected", "class_name": "benign", "masks": True},
    "stylegan2 judged by features": {"recipe": "stylegan2", "preset": "projected", "class_name": "benign"},
    "stylegan3 judged by features": {"recipe": "stylegan3-t", "preset": "projected", "class_name": "benign"},
    "masks of two structures": {"recipe": "dcgan", "masks": True, "augmentation": "diffaugment"},
    "biggan of one class": {"recipe": "biggan", "class_name": "benign", "preset": "small-data"},
    "auxiliary": {"recipe": "dcgan", "conditioning": "auxiliary", "schedule": "linear-decay"},
    "path length": {"recipe": "dcgan", "loss": "hinge", "regularisers": "path-length=1:2"},
    "expanded": {"recipe": "bgan", "expand": 2, "precision": "bf16"},
    "conditional began": {"recipe": "began", "conditioning": "concatenation"},
    "conditional thesis": {"recipe": "dcgan-thesis", "conditioning": "projection"},
    "path length of stylegan1": {"recipe": "stylegan1", "preset": "path-length"},
    "flow with masks": {"recipe": "flow", "masks": True, "precision": "bf16", "guidance": 1.0, "ema_half_life": 2.0},
}


RESUMED = (
    *words("dcgan-thesis began biggan ga-gan projected stylegan1 stylegan2 stylegan3-t ada spade expanded auxiliary"),
    *("flow", "flow with masks"),
)


SLOW = (
    *("stylegan3-r", "conditional thesis", "path length of stylegan1", "biggan of one class"),
    *("projected of one class with masks", "stylegan2 judged by features", "stylegan3 judged by features"),
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CHANGED]
)
def test_every_recipe_trains_and_every_architecture_resumes_to_the_last_bit(
    name: str, images: TrainingSet, features: Features, tmp_path: Path
) -> None:
    """Stopped after the first of three steps, in the middle of a tick; ADA, which moves at the fourth, of five."""
    steps = (5 if "augmentation" in CHANGED[name] else 3) if name in RESUMED else 2
    settings = _settings(**{"features": features, "steps": steps, "tick_steps": 2, **CHANGED[name]})
    whole = _train(images, settings, tmp_path / "whole", features)
    _check(tmp_path / "whole", whole, settings)
    if name not in RESUMED:
        return
    part = _train(images, settings, tmp_path / "part", features, stop=StopAt(steps - 2))
    assert part.name == f"step-{steps - 2:08d}"
    assert not (tmp_path / "part" / "results.json").exists()
    torch.manual_seed(99)  # the global random state must not matter
    resumed = _train(images, settings, tmp_path / "part", features, resume=True)
    assert resumed.name == whole.name == f"step-{steps:08d}"
    assert_same_tensors(whole, resumed)
    for image in ("latest.png", "real.png"):
        written = [(tmp_path / folder / "samples" / image).read_bytes() for folder in ("whole", "part")]
        assert written[0] == written[1]


@pytest.mark.parametrize("masks", [False, True], ids=["images", "with masks"])
def test_a_flow_keeps_the_discriminator_of_its_autoencoder_which_then_polishes_the_decoder(
    masks: bool, images: TrainingSet, features: Features, tmp_path: Path
) -> None:
    """And nothing else; stopped after the first of three steps, it resumes to the last bit."""
    torch.manual_seed(0)
    network = flow.Generator(SIDE, 3 if masks else 1, len(images.classes), 2 if masks else 0, width=8, depth=4)
    judge = projected.Discriminator(projected.DiscriminatorSettings(SIDE, 1, 1, view=128), FrozenMaps(features))
    projected.initialise(judge, torch.Generator().manual_seed(3))
    kept = {name: value for name, value in judge.state_dict().items() if "frozen" not in name}
    start = StartingWeights("there", "flow", network.state_dict(), kept, images.classes, 2 if masks else 0)
    settings = _settings("flow", features, preset="latent", masks=masks, start_from="there", steps=3, tick_steps=2)
    first = _train(images, settings, tmp_path / "flow", features, start)
    stored = load_file(first / "discriminator.safetensors")
    assert kept and all(torch.equal(stored[name], value) for name, value in kept.items())
    start, settings = read_starting_weights(str(first)), dataclasses.replace(settings, preset="polish")
    settings = dataclasses.replace(settings, features=features.name)
    last = _train(images, settings, tmp_path / "whole", features, start)
    before, after = load_file(first / "average.safetensors"), load_file(last / "generator.safetensors")
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("autoencoder.decoder.") for name in changed)
    judged = load_file(last / "discriminator.safetensors")
    assert all(torch.equal(judged[name], value) for name, value in kept.items() if name.startswith("across_"))
    assert not torch.equal(judged["scales.0.score.bias"], kept["scales.0.score.bias"])
    _train(images, settings, tmp_path / "part", features, start, stop=StopAt(1))
    assert_same_tensors(last, _train(images, settings, tmp_path / "part", features, start, resume=True))


def _check(folder: Path, checkpoint: Path, settings: GanSettings) -> None:
    """Assert that a training measured its parts, and that its generator draws different images."""
    row, recipe = read_rows(folder)[-1], compose(settings)
    assert all(np.isfinite(value) for value in row.values())
    assert row["generator_gradient"] > 0
    assert row.get("discriminator_gradient", 0) > 0 or recipe.architecture == "flow"
    measured = [name for name in recipe.regularisers if name in ("gradient-penalty", "orthogonal")]
    assert set(measured) <= row.keys()
    assert ("perceptual" in row) == (recipe.perceptual_weight > 0)
    assert ("convergence" in row) == (recipe.loss == "began")
    assert ("feature_matching" in row) == (recipe.feature_matching > 0)
    made = sample(load_generator(checkpoint), 3, seed=0, label=None if recipe.conditioning == "none" else 1)
    assert made.shape == (3, SIDE, SIDE, 3 if settings.masks else 1)
    assert not np.array_equal(made[0], made[1])
    generator, average = (load_file(checkpoint / f"{stem}.safetensors") for stem in ("generator", "average"))
    if "mapping.average" in generator:
        copied = [key for key in generator if key.endswith(("mapping.average", ".magnitude", ".noise"))]
        assert generator["mapping.average"].any() and len(copied) > 5
        assert all(torch.equal(generator[key], average[key]) for key in copied), "averages and noise are not blended"
        assert all(float(generator[key]) != 1 for key in copied if key.endswith(".magnitude"))


@pytest.mark.parametrize("weight", [0.0, 10.0])
def test_spade_s_perceptual_term_moves_its_generator(
    weight: float, images: TrainingSet, features: Features, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two steps with it and without: the term is recorded, its stand-in named, and its gradient reaches the weights."""
    settings = _settings("spade", features, masks=True, width=4, steps=2, tick_steps=1)
    first = _train(images, settings, tmp_path / "as published", features)
    settings = dataclasses.replace(settings, perceptual_weight=weight)
    with caplog.at_level("INFO"):
        second = _train(images, settings, tmp_path / "other", features)
    assert ("feature network: squeezenet1_1" in caplog.text) == ("), not vgg19" in caplog.text) == (weight > 0)
    terms = [row.get("perceptual", 0.0) for row in read_rows(tmp_path / "other")]
    assert len(terms) == 2 and all((term > 0) == (weight > 0) for term in terms)
    one, other = (load_file(checkpoint / "generator.safetensors") for checkpoint in (first, second))
    moved = {name for name in one if one[name].is_floating_point() and not torch.equal(one[name], other[name])}
    assert bool(moved) == (weight == 0)
    if moved:
        assert {"last.weight", "first.weight", "blocks.0.norms.0.scale.weight"} <= moved


def test_ada_s_p_is_saved_and_moves_with_the_discriminator(
    images: TrainingSet, features: Features, tmp_path: Path
) -> None:
    settings = _settings("dcgan", features, augmentation="ada", steps=24, tick_steps=4)
    _train(images, settings, tmp_path, features)
    strengths = [row["strength"] for row in read_rows(tmp_path)]
    assert all(0 <= value <= 1 for value in strengths)
    # Every four steps by 64 of 500 000 images, up or down.
    steps = np.diff([0.0, *strengths])
    assert np.allclose(np.abs(steps[steps != 0]), 4 * BATCH / 500_000)
    assert (steps != 0).any()


def test_a_conditional_generator_obeys_its_label(images: TrainingSet, features: Features, tmp_path: Path) -> None:
    settings = _settings("dcgan", features, conditioning="projection", steps=4)
    generator = load_generator(_train(images, settings, tmp_path, features))
    first, second = sample(generator, 4, 0, label=0), sample(generator, 4, 0, label=2)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, sample(generator, 4, 0, label=0))
    labels = [2, 0, 0, 1, 2, 1, 0, 2, 1, 0]  # more than a batch
    each = np.concatenate([*sample_batches(generator, 10, 0, labels)])
    for label in range(3):
        chosen = np.equal(labels, label)
        assert np.array_equal(each[chosen], sample(generator, 10, 0, label)[chosen])
    with pytest.raises(SonoforgeError, match=r"label \[0, 3\]: "):
        next(sample_batches(generator, 2, 0, [0, 3]))
    with pytest.raises(SonoforgeError, match="label None: this generator takes"):
        sample(generator, 4, 0)
    with pytest.raises(SonoforgeError, match="label 3: "):
        sample(generator, 4, 0, label=3)
