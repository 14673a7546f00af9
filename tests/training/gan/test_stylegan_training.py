"""The StyleGANs in the one training loop: exact resumption, running averages, labels, several processes, limits."""

from __future__ import annotations

import dataclasses
import math
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter

from corners import corners
from gan_trainings import assert_same_tensors, read_rows
from processes import CLEAN
from program import succeed
from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine as gan_engine
from sonoforge.training.gan import state as gan_state
from sonoforge.training.gan.augmentations import ada
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import draw_latents, generate, load_generator, sample
from sonoforge.training.gan.networks import Samples, build_networks, generator_options
from sonoforge.training.gan.optimisers import update_average
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.progress import ticks
from sonoforge.training.gan.recipes import RECIPES, Budget, OptimiserSettings, Recipe
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import make_training_set
from sonoforge.training.gan.updates import blur, blur_sigma
from tiny_recipes import STYLED, tiny_recipes

TRAINED = ("stylegan1", "stylegan2", "stylegan3-t")  # in R only kernels and filters differ from T
SIDE = 32
LAZY = {"stylegan2": "r1=1:2,path-length=2:3"}
SETTINGS = GanSettings(image_size=SIDE, width=8, batch=4, steps=6, tick_steps=2, seed=5, class_name="malignant")


@pytest.fixture(scope="module", autouse=True)
def _tiny_recipes() -> Iterator[None]:
    with tiny_recipes():
        yield


def _settings(recipe: str, **changes: Any) -> GanSettings:
    settings = dataclasses.replace(SETTINGS, recipe=recipe, regularisers=LAZY.get(recipe, "r1=1:2"))
    return dataclasses.replace(settings, **changes)


def _images(count: int = 12) -> np.ndarray:
    """Noisy discs of random place and size, dark and bright in turns: (N, S, S, 1) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    discs = []
    for index in range(count):
        centre, radius = rng.uniform(0.3, 0.7, 2) * SIDE, rng.uniform(4, 10)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        discs.append(np.where(inside, 220, 150) - 110 * (index % 2) + rng.normal(0, 10, (SIDE, SIDE)))
    return np.stack(discs).clip(0, 255).astype(np.uint8)[..., None]


def _train(settings: GanSettings, folder: Path, count: int = 12, *, labelled: bool = False, **options: Any) -> Path:
    labels = np.arange(count) % 2 if labelled else None
    classes = ("benign", "malignant") if labelled else (settings.class_name,)
    images = make_training_set(_images(count), labels, classes, SIDE, settings.channels)
    space = open_space("pixels") if settings.metrics else None
    return train_gan(prepare(settings, images, "cpu", Pretrained(space=space)), folder, **options)


def _state(checkpoint: Path, stem: str) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / f"{stem}.safetensors")


def _augmented(patch: pytest.MonkeyPatch, strength: float) -> None:
    """Let ADA start at this strength."""
    patch.setattr(gan_state, "ADAPTIVE_START", {**ada.START, "strength": strength})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of an uninterrupted training by each recipe, made once."""
    made: dict[str, Path] = {}

    def give(recipe: str) -> Path:
        if recipe not in made:
            made[recipe] = tmp_path_factory.mktemp("finished") / recipe
            with pytest.MonkeyPatch.context() as patch:
                _augmented(patch, 0.5)
                _train(_settings(recipe), made[recipe])
        return made[recipe]

    return give


Finished = Callable[[str], Path]


# Resuming, and what checkpoints hold.


@pytest.mark.parametrize("recipe", TRAINED)
def test_a_resumed_training_equals_an_uninterrupted_one(
    recipe: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in step 4, with its last checkpoint at step 2: between two steps of path length, after one of R1."""
    _augmented(monkeypatch, 0.5)
    calls = 0

    def interrupt(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        update_average(*arguments)

    monkeypatch.setattr(gan_engine, "update_average", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _train(_settings(recipe), tmp_path)
    monkeypatch.setattr(gan_engine, "update_average", update_average)
    torch.manual_seed(3)  # the global random state must not matter
    last = _train(_settings(recipe), tmp_path, resume=True)
    whole = finished(recipe)
    assert_same_tensors(last, whole / "checkpoints" / last.name)
    assert (tmp_path / "samples" / "latest.png").read_bytes() == (whole / "samples" / "latest.png").read_bytes()
    for row, other in zip(read_rows(tmp_path), read_rows(whole), strict=True):
        for name in ("r1", "path-length", "strength", "generator_loss"):
            assert row.get(name) == other.get(name)
    measured = {name for row in read_rows(whole) for name in row}
    assert "r1" in measured
    assert ("path-length" in measured) == (recipe == "stylegan2")


@pytest.mark.parametrize("recipe", TRAINED)
def test_checkpoints_hold_average_style_magnitudes_and_noise(recipe: str, finished: Finished) -> None:
    checkpoint = gan_checkpoint.find_checkpoint(finished(recipe))
    generator, average = _state(checkpoint, "generator"), _state(checkpoint, "average")
    assert generator["mapping.average"].abs().max() > 0
    assert torch.equal(generator["mapping.average"], average["mapping.average"])
    magnitudes = [name for name in generator if name.endswith(".magnitude")]
    noises = [name for name in generator if name.endswith(".noise")]
    if recipe.startswith("stylegan3"):
        assert (len(magnitudes), len(noises)) == (5, 0)
        assert all(float(generator[name]) != 1 for name in magnitudes)
    else:
        assert (len(magnitudes), len(noises)) == (0, 7 + (recipe == "stylegan1"))
        settings = _settings(recipe)
        options = generator_options(compose(settings), Samples(SIDE, 1, 0, 0), 4)
        first = build_networks(compose(settings), options, settings.seed)[0].state_dict()
        assert all(torch.equal(generator[name], first[name]) for name in noises), "constant noise never changes"
    assert all(torch.equal(generator[name], average[name]) for name in (*magnitudes, *noises))


@pytest.mark.parametrize("recipe", TRAINED)
def test_samples_depend_on_the_checkpoint_and_the_seed_alone(recipe: str, finished: Finished) -> None:
    generator = load_generator(finished(recipe))
    torch.manual_seed(1)
    nine = sample(generator, 9, seed=4)
    torch.manual_seed(2)
    assert np.array_equal(nine, sample(load_generator(finished(recipe)), 9, seed=4))
    assert np.array_equal(nine[:3], sample(generator, 3, seed=4))
    assert not np.array_equal(nine, sample(generator, 9, seed=5))
    assert nine.std() > 1


def test_running_averages_are_copied_into_the_averaged_generator_and_weights_blended() -> None:
    average, network = (
        Generator(GeneratorSettings(32, 1, 4, style_size=4, layers=4, channel_base=64, channel_max=4)) for _ in range(2)
    )
    network.mapping.average.fill_(4.0)
    network.synthesis.layers[1].magnitude.fill_(9.0)  # type: ignore[operator]
    expected = average.synthesis.layers[1].weight.lerp(network.synthesis.layers[1].weight, 0.25)
    update_average(average, network, 0.75)
    assert average.mapping.average.tolist() == [4.0] * 4
    assert float(average.synthesis.layers[1].magnitude) == 9.0  # type: ignore[arg-type]
    torch.testing.assert_close(average.synthesis.layers[1].weight, expected)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_magnitudes_remember_20000_images_whatever_the_batch(accumulate: int, tmp_path: Path) -> None:
    settings = _settings("stylegan3-t", steps=1, accumulate=accumulate, augmentation="none")
    checkpoint = _train(settings, tmp_path)
    decay = gan_checkpoint.describe(checkpoint).generator_options["magnitude_decay"]
    passes = 20_000 * accumulate / settings.batch  # type: ignore[operator]
    assert decay**passes == pytest.approx(0.5)
    generator: Any = load_generator(checkpoint)
    assert generator.synthesis.layers[0].magnitude_decay == decay


# Labels.


@pytest.mark.parametrize("recipe", STYLED)
def test_with_projection_both_networks_respond_to_labels(recipe: str, tmp_path: Path) -> None:
    settings = _settings(recipe, conditioning="projection", steps=2, augmentation="none")
    checkpoint = _train(settings, tmp_path, labelled=True)
    generator: Any = load_generator(checkpoint)
    latents = draw_latents(generator, 4, 0, "test")
    zeros, ones = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    images = [generate(generator, latents, labels) for labels in (zeros, ones)]
    assert (images[0] - images[1]).abs().mean() > 1e-3
    options = gan_checkpoint.describe(checkpoint).generator_options
    _, discriminator = build_networks(compose(settings), options, 0)
    discriminator.load_state_dict(_state(checkpoint, "discriminator"))
    scores = [discriminator(images[0], labels)[0] for labels in (zeros, ones)]
    assert (scores[0] - scores[1]).abs().min() > 0
    assert not np.array_equal(sample(generator, 2, seed=0, label=0), sample(generator, 2, seed=0, label=1))


@pytest.mark.slow
def test_classes_of_other_brightness_are_learned_as_such(tmp_path: Path) -> None:
    settings = _settings(
        "stylegan2", conditioning="projection", steps=60, batch=8, tick_steps=60, augmentation="none",
        learning_rate=0.01, regularisers="r1=0.1:16",
    )  # fmt: skip
    generator = load_generator(_train(settings, tmp_path, labelled=True))
    bright, dark = (sample(generator, 16, seed=0, label=label).mean() for label in (0, 1))
    assert bright > dark + 20


# What must not change a training.


@pytest.mark.parametrize("recipe", corners(("stylegan2", "stylegan3-t"), "stylegan2"))
def test_measuring_does_not_change_the_training(
    recipe: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _augmented(monkeypatch, 0.5)
    monkeypatch.setattr(ticks, "GENERATED", 16)
    settings = _settings(recipe, metrics=("kid", "fid"))
    last = _train(settings, tmp_path)
    assert "kid" in read_rows(tmp_path)[-1]
    assert_same_tensors(last, finished(recipe) / "checkpoints" / last.name)


@pytest.mark.parametrize("recipe", TRAINED)
def test_a_batch_in_two_parts_has_the_losses_of_the_whole(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first step, where it is defined.

    Each part has random numbers of its own, so nothing is augmented and no style mixed, and noise still has no
    strength.  Path length takes the first half of what it is given, and the standard deviation is over the images
    of a part, here of groups of one.  Magnitudes move twice, by as much together.
    """
    row = RECIPES[recipe]
    alone = dataclasses.replace(
        row, generator={**row.generator, "mixing": 0.0}, discriminator={**row.discriminator, "group": 1}
    )
    monkeypatch.setitem(RECIPES, recipe, alone)
    rows = []
    for parts in (1, 2):
        settings = _settings(recipe, augmentation="none", regularisers="r1=1:2", steps=1, accumulate=parts)
        _train(settings, tmp_path / str(parts))
        rows += read_rows(tmp_path / str(parts))
    tolerance = 1e-3 if recipe.startswith("stylegan3") else 1e-5
    for name in ("discriminator_loss", "real_score", "fake_score", "r1", "generator_loss"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=tolerance, abs=tolerance), name


# Several processes.


def _train_in_one_of_two(rank: int, port: int, folder: Path, recipes: tuple[str, ...]) -> None:
    """Train as a process that ``torchrun`` started, and save the networks as they are in memory."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    gathered: list[Any] = []
    gather = gan_engine.build_state
    gan_engine.build_state = lambda *arguments: gathered.append(gather(*arguments)) or gathered[-1]  # type: ignore[attr-defined, func-returns-value]
    for recipe in recipes:
        _train(_settings(recipe, steps=3), folder / recipe)
        for which in ("generator", "average", "discriminator"):
            state = {key: value.contiguous() for key, value in getattr(gathered[-1], which).state_dict().items()}
            save_file(state, folder / f"{recipe}-{which}-{rank}.safetensors")


@pytest.mark.slow
def test_two_processes_have_the_same_weights_and_averages(tmp_path: Path) -> None:
    """Each sees its own half of the latents and of the noise, and mixes styles by its own chance."""
    recipes = ("stylegan2", "stylegan3-t")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [
        CLEAN.Process(target=_train_in_one_of_two, args=(rank, port, tmp_path, recipes), daemon=True) for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for recipe in recipes:
        for which in ("generator", "average", "discriminator"):
            first, second = (load_file(tmp_path / f"{recipe}-{which}-{rank}.safetensors") for rank in (0, 1))
            assert [name for name in first if not torch.equal(first[name], second[name])] == [], (recipe, which)
            if which != "discriminator":
                assert first["mapping.average"].any()
    assert float(first["last_linear.weight"].abs().max()) > 0


# Presets.


@pytest.mark.parametrize("recipe", [name for name in RECIPES if RECIPES[name].presets])
def test_a_preset_changes_exactly_what_it_says(recipe: str) -> None:
    settings = GanSettings(recipe=recipe, masks=True, features="vgg16")  # SPADE as published needs both
    paper = compose(settings)
    for name, preset in RECIPES[recipe].presets.items():
        changed = compose(dataclasses.replace(settings, preset=name))
        fields = {field.name for field in dataclasses.fields(Recipe)}
        assert {key for key in fields if getattr(changed, key) != getattr(paper, key)} == set(preset.changes)
        assert all(getattr(changed, key) == value for key, value in preset.changes.items())


def test_the_small_data_preset_of_stylegan2() -> None:
    """The numbers that its reasons name, written out once more."""
    small = compose(GanSettings(recipe="stylegan2", preset="small-data"))
    assert (small.image_size, small.budget, small.ema_half_life) == (256, Budget(1000, 16), 5000)
    assert small.generator_optimiser == OptimiserSettings("adam", 0.0025, (0.0, 0.99))
    assert small.regularisers["r1"].weight == pytest.approx(0.0002 * 256**2 / 16, rel=0.03)
    assert small.generator["mapping_layers"] == 2
    paper = compose(GanSettings(recipe="stylegan2"))
    assert paper.regularisers["r1"].weight == pytest.approx(0.0002 * 512**2 / 2, rel=0.01)


def test_the_blur_fades_and_is_a_gaussian() -> None:
    assert [blur_sigma(images, 1000) for images in (0, 500, 1000, 5000)] == [10.0, 5.0, 0.0, 0.0]
    assert blur_sigma(0, 0) == 0.0
    image = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(image[0, 0].numpy(), 2.0, mode="mirror", radius=6)
    assert blur(image, 2.0)[0, 0].numpy() == pytest.approx(expected, abs=1e-5)
    assert blur(image, 0.2) is image
    assert float(blur(image, 10.0).std()) < 0.02  # wider than the image allows: cut off at its side


def test_r1_follows_the_size_and_the_batch_unless_it_is_given() -> None:
    asked = compose(GanSettings(recipe="stylegan3-t", image_size=64, batch=32))
    assert asked.regularisers["r1"].weight == pytest.approx(0.0256)
    assert asked.regularisers["r1"].interval == 16
    given = compose(GanSettings(recipe="stylegan3-t", image_size=64, batch=32, regularisers="r1=2:8"))
    assert given.regularisers["r1"] == (2.0, 8)


def test_gan_recipes_prints_the_reasons() -> None:
    text = " ".join(succeed("gan", "recipes", "stylegan2").said.split())
    row = RECIPES["stylegan2"]
    for piece in (row.source, f"--preset small-data: {row.presets['small-data'].why}"):
        assert " ".join(piece.split()) in text


# At the limits.


def _survives(recipe: str, precision: str, steps: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    _augmented(patch, 1.0)
    regularisers = {"stylegan2": "r1=10:16,path-length=2:4"}.get(recipe, "r1=10:16")
    settings = _settings(
        recipe, steps=steps, batch=2, tick_steps=steps // 2, precision=precision, augmentation="ada",
        regularisers=regularisers,
    )  # fmt: skip
    _train(settings, folder, count=2 * steps + 10)
    rows = read_rows(folder)
    assert rows[-1]["images"] == 2 * steps
    assert rows[-1]["strength"] > 0.99
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, int | float))
    assert all(row["generator_gradient"] is not None for row in rows)


@pytest.mark.parametrize(("recipe", "precision"), [("stylegan2", "bf16"), ("stylegan3-t", "fp32")])
def test_full_augmentation_and_a_batch_of_2_stay_finite(
    recipe: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _survives(recipe, precision, 12, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "precision"),
    [
        (name, precision)
        for name in STYLED
        for precision in ("fp32", "bf16")
        if (name, precision) not in (("stylegan2", "bf16"), ("stylegan3-t", "fp32"))
    ],
)
def test_full_augmentation_and_a_batch_of_2_stay_finite_in_all_others(
    recipe: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _survives(recipe, precision, 100, tmp_path, monkeypatch)
