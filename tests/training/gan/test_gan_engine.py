"""The GAN loop: it learns, resumes exactly, keeps its folder in order, and says when it fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from PIL import Image
from safetensors.torch import load_file

from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.data.pixels import choose_channels, prepare_images, to_pixels, to_tensor, to_unit
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine as gan_engine
from sonoforge.training.gan import updates as gan_updates
from sonoforge.training.gan.batches.draws import batch_indices
from sonoforge.training.gan.batches.sampling import RealBatch
from sonoforge.training.gan.batches.training_set import make_training_set
from sonoforge.training.gan.ema import ema_decay, update_average
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator, sample, sample_batches
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.progress import ticks as gan_ticks
from sonoforge.training.gan.progress.diversity import (
    COLLAPSE_FRACTION,
    is_collapsed,
    mean_pairwise_distance,
    sliced_distance,
    thumbnails,
)
from sonoforge.training.gan.settings import GanSettings, compose, make_plan

SETTINGS = GanSettings(image_size=16, steps=12, batch=4, tick_steps=3, class_name="malignant", seed=5)


def _images(count: int = 10, size: int = 24, seed: int = 0) -> np.ndarray:
    """Grey discs of random place and size, (N, size, size, 1) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    discs = []
    for _ in range(count):
        centre_y, centre_x, radius = rng.uniform(0.3, 0.7) * size, rng.uniform(0.3, 0.7) * size, rng.uniform(3, 7)
        discs.append(np.where((y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2, 220, 40))
    return np.stack(discs).astype(np.uint8)[..., None]


def _train(images: np.ndarray, settings: GanSettings, folder: Path, device: str = "cpu", **options: Any) -> Path:
    """Train on images at the size of the settings, as one class."""
    prepared = make_training_set(images, None, (settings.class_name,), settings.image_size or 16, settings.channels)
    return train_gan(prepared, GanJob(settings, device), folder, **options)


@pytest.fixture(autouse=True)
def _visible_logs() -> Iterator[None]:
    """The command line switches propagation off; caplog needs it."""
    logger = logging.getLogger("sonoforge")
    before = logger.propagate
    logger.propagate = True
    yield
    logger.propagate = before


def _tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.stem}/{name}": value
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def _assert_equal(first: Path, second: Path) -> None:
    left, right = _tensors(first), _tensors(second)
    assert left.keys() == right.keys()
    assert {path.stem for path in first.glob("*.safetensors")} == {
        "generator", "discriminator", "average", "generator_optimiser", "discriminator_optimiser", "state",
    }  # fmt: skip
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gan") / "finished"
    _train(_images(), SETTINGS, folder, "cpu")
    return folder


# The loop.


def test_a_short_training_moves_the_samples_towards_the_images(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=120, batch=16, tick_steps=10, learning_rate=0.001)
    _train(_images(64), settings, tmp_path, "cpu")
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert rows[-1]["distance"] < 0.5 * rows[0]["distance"]
    assert rows[-1]["diversity"] > COLLAPSE_FRACTION


def test_the_folder_holds_what_the_architecture_promises(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "stats.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert rows[-1]["images"] == 48
    assert rows[-1]["epoch"] == pytest.approx(4.8)
    grids = sorted(path.name for path in (finished / "samples").iterdir())
    assert grids == ["latest.png", "real.png", *(f"step-{step:08d}.png" for step in (3, 6, 9, 12))]
    assert Image.open(finished / "samples" / grids[-1]).size == (8 * 16, 8 * 16)
    results = json.loads((finished / "results.json").read_text())
    assert (finished / results["checkpoint"]).is_dir()
    # The last two and the best are kept.
    steps = {gan_checkpoint.describe(path).step for path in (finished / "checkpoints").iterdir()}
    diverse = [row for row in rows if row["diversity"] >= 0.5]
    assert steps == {9, 12, *(row["step"] for row in sorted(diverse, key=lambda row: row["distance"])[:1])}


def test_tensorboard_shows_the_statistics_and_the_grids(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (finished / "stats.jsonl").read_text().splitlines()]
    for name in ("discriminator_loss", "generator_gradient", "diversity", "seconds_per_kimg"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(row["step"], pytest.approx(row[name], rel=1e-5)) for row in rows]
    assert [image.step for image in events.Images("samples")] == [3, 6, 9, 12]


@pytest.mark.parametrize("stop", [3, 7])
def test_a_resumed_training_equals_an_uninterrupted_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Stopped at step 7, with its last checkpoint at step 6, and rows of no worth after it."""
    calls = 0
    real = gan_engine.update_average

    def interrupt(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > stop:
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(gan_engine, "update_average", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _train(_images(), SETTINGS, tmp_path, "cpu")
    monkeypatch.setattr(gan_engine, "update_average", real)
    with (tmp_path / "stats.jsonl").open("a") as stream:
        stream.write('{"step": 9, "collapsed": true}\n{"step": 1')
    torch.manual_seed(stop)  # the global random state must not matter
    last = _train(_images(), SETTINGS, tmp_path, "cpu", resume=True)
    _assert_equal(last, finished / "checkpoints" / last.name)
    for name in ("real.png", "step-00000012.png"):
        assert (tmp_path / "samples" / name).read_bytes() == (finished / "samples" / name).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]


def test_a_compiled_training_gives_the_same_losses(finished: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on CPU")
    _train(_images(), dataclasses.replace(SETTINGS, compile=True, steps=3), tmp_path, "cpu")
    rows = [json.loads((folder / "stats.jsonl").read_text().splitlines()[0]) for folder in (finished, tmp_path)]
    for name in ("discriminator_loss", "generator_loss"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-3)


def test_the_seed_matters(finished: Path, tmp_path: Path) -> None:
    last = _train(_images(), dataclasses.replace(SETTINGS, seed=6), tmp_path, "cpu")
    left, right = _tensors(last), _tensors(finished / "checkpoints" / last.name)
    assert not torch.equal(left["average/dense.weight"], right["average/dense.weight"])


def test_training_leaves_global_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    _train(_images(), dataclasses.replace(SETTINGS, steps=2), tmp_path, "cpu")
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_finished_training_is_returned_at_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_engine, "build_state", lambda *_: pytest.fail("trained again"))
    assert _train(_images(), SETTINGS, finished, "cpu").name == "step-00000012"


def test_a_folder_never_mixes_two_trainings(finished: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"other settings .*seed was 5, is 6"):
        _train(_images(), dataclasses.replace(SETTINGS, seed=6), finished, "cpu", resume=True)
    with pytest.raises(SonoforgeError, match="other images"):
        _train(_images(seed=1), SETTINGS, finished, "cpu", resume=True)


def test_an_unfinished_training_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(SonoforgeError, match="unfinished training; add --resume"):
        _train(_images(), SETTINGS, tmp_path / "run", "cpu")


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_goes_on(tmp_path: Path) -> None:
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done >= 6

    newest = _train(_images(), SETTINGS, tmp_path, stop=stop)
    path = newest / "discriminator.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SonoforgeError, match=r"damaged.*remove .*step-00000006 to continue from the one before"):
        _train(_images(), SETTINGS, tmp_path, resume=True)
    shutil.rmtree(newest)
    assert _train(_images(), SETTINGS, tmp_path, resume=True).name == "step-00000012"


def test_float16_skips_steps_that_overflow_and_lowers_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fabric's own float16 plugin, on a CPU, as no GPU is at hand: the first scale, 65536, is made too large."""
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**60))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[plugin])
    monkeypatch.setattr(gan_engine, "open_fabric", lambda *_: fabric)
    checkpoint = _train(_images(), dataclasses.replace(SETTINGS, precision="fp16", steps=60, tick_steps=20), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert all(value is None or np.isfinite(value) for row in rows for value in row.values())
    assert rows[0]["generator_gradient"] is None, "the first steps overflow and are skipped"
    state = load_file(checkpoint / "state.safetensors")
    assert float(state["scaler.scale"]) < 2.0**60
    assert rows[-1]["generator_gradient"] > 0
    assert rows[-1]["distance"] != rows[0]["distance"], "after the overflows it learns"


def test_numbers_that_are_not_finite_stop_the_training_at_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = gan_updates.draw_real

    def poison(*arguments: Any) -> RealBatch:
        batch = real(*arguments)
        number = arguments[2]
        return batch._replace(images=batch.images * (float("nan") if number >= 4 else 1.0))

    monkeypatch.setattr(gan_updates, "draw_real", poison)
    with pytest.raises(GateError, match=r"loss not finite by step 6.*last good checkpoint is .*step-00000003.*lower"):
        _train(_images(), SETTINGS, tmp_path, "cpu")
    kept = gan_checkpoint.list_checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in kept] == ["step-00000003"]
    assert all(bool(value.isfinite().all()) for value in _tensors(kept[0]).values())
    assert not (tmp_path / "results.json").exists()
    assert "not finite" in caplog.text


@pytest.mark.parametrize(
    ("good_ticks", "message"),
    [(0, "collapse at step 3: .*never was higher"), (2, "collapse at step 9: .*lower learning")],
)
def test_collapse_is_warned_of_and_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    good_ticks: int,
    message: str,
) -> None:
    """After some good ticks, the generator ignores its latent and makes one image only."""
    images = to_unit(to_tensor(prepare_images(_images(64), 16, 1)))
    made = 0

    def collapsing(network: torch.nn.Module, latents: torch.Tensor, labels: None) -> torch.Tensor:
        nonlocal made
        tick, first = divmod(made, 64)
        made += len(latents)
        good = images[first : first + len(latents)]
        return good if tick < good_ticks else images[:1].expand(len(latents), -1, -1, -1)

    monkeypatch.setattr(gan_ticks, "generate", collapsing)
    with caplog.at_level(logging.WARNING):
        _train(_images(), SETTINGS, tmp_path, "cpu")
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [row["collapsed"] for row in rows] == [False] * good_ticks + [True] * (4 - good_ticks)
    assert all(row["diversity"] == 0 for row in rows[good_ticks:])
    assert all(row["diversity"] == pytest.approx(1, abs=0.3) for row in rows[:good_ticks])
    assert json.loads((tmp_path / "results.json").read_text())["ticks_collapsed"] == 4 - good_ticks
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1  # once, not at every tick
    assert re.search(message, warnings[0])


# Settings.


def test_published_budgets_of_the_thesis() -> None:
    malignant = make_plan(GanSettings(class_name="malignant"), 210)
    assert (malignant.batch, malignant.steps, malignant.image_size) == (150, 4200 * 210 // 150, 224)
    normal = make_plan(GanSettings(class_name="normal"), 133)
    assert (normal.batch, normal.steps) == (100, 2500 * 133 // 100)
    recipe = compose(GanSettings(class_name="malignant"))
    assert {recipe.generator_optimiser.learning_rate, recipe.discriminator_optimiser.learning_rate} == {0.001}
    assert make_plan(GanSettings(epochs=2, batch=8), 21).steps == 6  # 42 images in batches of 8


def test_a_published_batch_is_lowered_to_a_small_set_and_one_asked_for_is_refused(tmp_path: Path) -> None:
    assert make_plan(GanSettings(class_name="normal"), 60).batch == 60
    with pytest.raises(SonoforgeError, match=r"malignant: found 3, expected at least the 8 .*--batch 3"):
        _train(_images(3), dataclasses.replace(SETTINGS, steps=2, batch=8), tmp_path)


def test_a_budget_in_images_counts_all_turns_of_the_critic() -> None:
    assert make_plan(GanSettings(recipe="wgan", kimg=6.4, batch=64), 100).steps == 20  # 20 x 5 x 64 images
    assert make_plan(GanSettings(recipe="wgan", epochs=16, batch=64), 100).steps == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "dcgan-thesi"}, "did you mean dcgan-thesis"),
        ({"epochs": 1.0}, "epochs and steps, expected one"),
        ({"batch": 1}, "batch 1, expected at least 2"),
        ({"image_size": 33}, "image_size: found 33, expected a multiple of 8"),
        ({"steps": 0}, "0 steps"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        _train(_images(), dataclasses.replace(SETTINGS, **changes), tmp_path, "cpu")  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", "cuda:99"])
def test_unknown_devices_are_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="device"):
        _train(_images(), SETTINGS, tmp_path, device)


# Draws.


@pytest.mark.parametrize(("images", "batch"), [(10, 4), (7, 7), (5, 13)])
def test_every_epoch_shows_every_image_once(images: int, batch: int) -> None:
    stream = np.concatenate([batch_indices(images, batch, 3, step) for step in range(images * 2)])
    epochs = stream.reshape(-1, images)  # batch * images * 2 is a whole number of epochs
    assert all(sorted(epoch) == list(range(images)) for epoch in epochs)
    assert any(list(epochs[0]) != list(epoch) for epoch in epochs[1:])


# Averaged generator.


def test_ema_decay_halves_after_the_half_life_and_ramps_up() -> None:
    assert ema_decay(100, 10**9, 1000.0) ** 10 == pytest.approx(0.5)  # 10 steps of 100 images
    assert ema_decay(100, 2000, 10_000.0) == pytest.approx(0.5)  # half-life 5 % of 2000 images
    assert ema_decay(100, 0, 1000.0) == 0.0


def test_average_follows_weights_and_batch_norm_statistics() -> None:
    average, network = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    network.weight.data.fill_(3.0)
    network.running_mean.fill_(8.0)  # type: ignore[union-attr]
    network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    update_average(average, network, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]  # 0.75 * 1 + 0.25 * 3
    assert average.running_mean.tolist() == [2.0, 2.0]  # type: ignore[union-attr]
    assert int(average.num_batches_tracked) == 7  # type: ignore[arg-type]


# Samples and checkpoints.


def test_image_number_i_depends_on_the_seed_and_i_alone(finished: Path) -> None:
    generator = load_generator(finished)
    nine = sample(generator, 9, seed=4)
    assert nine.shape == (9, 16, 16, 1)
    assert nine.dtype == np.uint8
    assert np.array_equal(sample(generator, 4, seed=4), nine[:4])
    parts = [*sample_batches(generator, 9, seed=4, batch=3)]
    assert np.array_equal(np.concatenate(parts), nine)  # to the last bit, whatever the batch
    assert np.array_equal(nine, sample(load_generator(finished), 9, seed=4))
    assert not np.array_equal(nine, sample(generator, 9, seed=5))
    assert sample(generator, 0, seed=4).shape == (0, 16, 16, 1)


def test_samples_come_from_the_average_in_evaluation_mode(finished: Path) -> None:
    generator = load_generator(finished)
    averaged = load_file(finished / "checkpoints" / "step-00000012" / "average.safetensors")
    assert not generator.training
    assert torch.equal(generator.layers[0].running_mean, averaged["layers.0.running_mean"])
    alone, together = sample(generator, 1, seed=0), sample(generator, 8, seed=0)
    assert np.abs(alone[0].astype(int) - together[0]).max() <= 1  # batch statistics would differ widely


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_refused(finished: Path, tmp_path: Path, damage: str) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(finished / "checkpoints" / "step-00000012", checkpoint)
    path = checkpoint / "average.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:100])
    with pytest.raises(SonoforgeError, match=r"average\.safetensors: (damaged|cannot be read).*another checkpoint"):
        load_generator(checkpoint)


def test_a_full_disk_leaves_the_last_checkpoint_and_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "step-00000006" in str(path) and path.name == "generator.safetensors":
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SonoforgeError, match=r"No space left on device.*earlier checkpoints are untouched"):
        _train(_images(), SETTINGS, tmp_path, "cpu")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    load_generator(tmp_path)


def test_find_checkpoint_by_name(finished: Path, tmp_path: Path) -> None:
    assert gan_checkpoint.find_checkpoint(finished).name == "step-00000012"
    assert gan_checkpoint.find_checkpoint(finished, "9").name == "step-00000009"
    with pytest.raises(SonoforgeError, match=r"no checkpoint '4'.*9, 12"):
        gan_checkpoint.find_checkpoint(finished, "4")
    with pytest.raises(SonoforgeError, match="found no checkpoint"):
        gan_checkpoint.find_checkpoint(tmp_path)


# Images.


def test_pixels_survive_the_round_trip_through_the_unit_range() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    unit = to_unit(to_tensor(pixels))
    assert (float(unit.min()), float(unit.max())) == (-1.0, 1.0)
    assert np.array_equal(to_pixels(unit), pixels)


def test_auto_channels_is_one_from_ninety_percent_grey(caplog: pytest.LogCaptureFixture) -> None:
    images = np.repeat(_images(10), 3, axis=3)
    assert choose_channels(images, "auto") == 1
    images[0, 0, 0] = (255, 0, 0)
    assert choose_channels(images, "auto") == 1
    with caplog.at_level(logging.INFO):
        assert prepare_images(images, 16, 1).shape == (10, 16, 16, 1)
    assert "1 of 10 images are in colour" in caplog.text
    images[1, 0, 0] = (255, 0, 0)
    assert choose_channels(images, "auto") == 3
    assert choose_channels(images, "1") == 1


def test_resizing_averages_over_the_area() -> None:
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 200
    inside = prepare_images(stripes, 16, 3)[:, :, 1:-1].astype(int)  # at the border the filter is one-sided
    assert np.abs(inside - 100).max() <= 1


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 1), np.uint8)]
)
def test_arrays_that_are_no_images_are_refused(images: np.ndarray) -> None:
    with pytest.raises(SonoforgeError, match="images: found"):
        prepare_images(images, 16, 1)


# Diversity.


def test_pairwise_distance_of_known_points() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert mean_pairwise_distance(points) == pytest.approx((5 + 0 + 5) / 3)
    assert mean_pairwise_distance(points[:1]) == 0.0


def test_sliced_distance_of_a_shift_is_its_closed_form() -> None:
    rows = torch.randn(500, 256, generator=torch.Generator().manual_seed(0))
    assert sliced_distance(rows, rows) == 0.0
    # A shift by d in every coordinate moves the projection on normal directions by d * N(0, D):
    # mean absolute value d * sqrt(2 D / pi).
    assert sliced_distance(rows, rows + 0.5) == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.15)


def test_sliced_distance_agrees_with_scipy() -> None:
    from scipy.stats import wasserstein_distance

    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(256, 20, generator=generator), 2 * torch.randn(256, 20, generator=generator)
    directions = np.random.default_rng(0).standard_normal((20, 2000))
    projected = (first.numpy() @ directions, second.numpy() @ directions)
    expected = np.mean([wasserstein_distance(a, b) for a, b in zip(projected[0].T, projected[1].T, strict=True)])
    assert sliced_distance(first, second) == pytest.approx(expected / np.sqrt(20), rel=0.1)


def test_collapse_is_judged_after_the_first_tenth() -> None:
    assert is_collapsed(0.2, step=11, steps=100)
    assert not is_collapsed(0.2, step=10, steps=100)
    assert not is_collapsed(0.6, step=50, steps=100)


def test_thumbnails_average_grey_levels() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[:, 0, ::2] = 3.0
    rows = thumbnails(images)
    assert rows.shape == (1, 32 * 32)
    assert torch.allclose(rows, torch.full_like(rows, 0.5))
