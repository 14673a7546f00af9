"""Measured while it trains, against held-out images and without disturbing it; the best checkpoint is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_trainings import MEASURED, StopAt, assert_same_tensors, draw_scans, image_hashes, read_rows, train_measured
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import to_pixels, write_grid
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine as gan_engine
from sonoforge.training.gan import ticks
from sonoforge.training.gan.curves import draw_curves, write_over_time
from sonoforge.training.gan.generator import draw_latents, generate, load_generator
from sonoforge.training.gan.state import ema_decay, update_average
from sonoforge.training.gan.ticks import (
    sliced_distance,
)
from sonoforge.training.gan.training_set import hold_out


@pytest.fixture(autouse=True)
def _few_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "GENERATED", 40)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose KID and FID were measured at every tick."""
    folder = tmp_path_factory.mktemp("choice") / "measured"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "GENERATED", 40)
        train_measured(folder)
    return folder


def test_measuring_does_not_change_the_training(measured: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)  # the global random states must neither matter nor change
    np.random.seed(7)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    last = train_measured(tmp_path, metrics=())
    assert_same_tensors(last, measured / "checkpoints" / last.name)
    for name in ("discriminator_loss", "generator_loss", "generator_gradient", "diversity", "distance"):
        assert [row[name] for row in read_rows(tmp_path)] == [row[name] for row in read_rows(measured)]
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_every_tick_and_the_last_are_measured_under_a_stated_protocol(measured: Path, tmp_path: Path) -> None:
    assert [row["step"] for row in read_rows(measured) if "kid" in row] == [4, 8, 12]
    train_measured(tmp_path, steps=11, metrics=("kid",), held_out=0.0)
    rows = read_rows(tmp_path)
    assert [row["step"] for row in rows if "kid" in row] == [4, 8, 11]
    assert not any("fid" in row for row in rows)
    protocol = ("metric_features", "metric_reference", "metric_real", "metric_generated")
    assert [rows[-1][name] for name in protocol] == ["pixels (no network)", "training", 48, 40]
    assert [read_rows(measured)[-1][name] for name in protocol] == ["pixels (no network)", "held-out", 12, 40]


def test_kid_is_that_of_the_averaged_generator_against_the_held_outdraw_scans(measured: Path) -> None:
    """From the files of the run, with equation 4 of Binkowski 2018 written out over all pairs."""
    generator = load_generator(measured)
    latents = draw_latents(generator, 40, MEASURED.seed, "metric")
    _, held = hold_out(draw_scans(), 0.25, MEASURED.seed)
    assert held is not None
    x = to_pixels(generate(generator, latents)).reshape(40, -1) / 255
    y = held.pixels.reshape(len(held), -1) / 255

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    within = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    across = np.mean([kernel(a, b) for a in x for b in y])
    row = read_rows(measured)[-1]
    assert row["kid"] == pytest.approx(sum(within) - 2 * across, rel=1e-3)  # images are made 32 at a time there
    assert row["kid_standard_error"] > 0


def test_generated_classes_have_the_shares_of_the_held_outdraw_scans(tmp_path: Path) -> None:
    images = draw_scans(240, labelled=True)
    checkpoint = train_measured(tmp_path, images, conditioning="projection", steps=1)
    training, held = hold_out(images, 0.25, MEASURED.seed)
    assert held is not None
    reference = ticks.make_metric_reference(
        ("kid",), open_space("pixels"), training, held, load_generator(checkpoint), seed=1
    )
    assert reference.labels is not None
    assert held.labels is not None
    assert reference.labels.float().mean() == pytest.approx(held.labels.mean(), abs=1 / 40)


def test_a_resumed_training_measures_what_an_uninterrupted_one_does(measured: Path, tmp_path: Path) -> None:
    assert train_measured(tmp_path, stop=StopAt(7)).name == "step-00000007"
    assert (tmp_path / "metrics.png").is_file(), "also where a training was stopped"
    assert "kid" in read_rows(tmp_path)[-1]
    assert_same_tensors(train_measured(tmp_path, resume=True), measured / "checkpoints" / "step-00000012")
    rows = {row["step"]: row for row in read_rows(tmp_path)}
    for row in read_rows(measured):
        assert {k: v for k, v in rows[row["step"]].items() if k in ("kid", "fid", "kid_standard_error")} == {
            k: v for k, v in row.items() if k in ("kid", "fid", "kid_standard_error")
        }
    with pytest.raises(SonoforgeError, match=r"held_out was 0\.25, is 0\.5"):
        train_measured(tmp_path, held_out=0.5, resume=True)


def _save(folder: Path, step: int, kid: float | None, diversity: float | None, distance: float | None = 1.0) -> None:
    settings = {"metrics": ["kid"]} if kid is not None or diversity is None else {}
    about = gan_checkpoint.Description(
        step, "dcgan", "dcgan", {}, 1, "", [], "", settings, distance=distance, kid=kid, diversity=diversity
    )
    gan_checkpoint.save_checkpoint(folder / "checkpoints", about, {})


def test_the_lowest_kid_is_the_best_unless_its_samples_repeat_themselves(tmp_path: Path) -> None:
    floor = COLLAPSE_FRACTION
    _save(tmp_path, 1, kid=None, diversity=None, distance=0.01)  # saved between two ticks
    with pytest.raises(SonoforgeError, match="has no best checkpoint") as error:
        gan_checkpoint.find_checkpoint(tmp_path, "best")
    assert "\n" not in str(error.value)
    _save(tmp_path, 2, kid=0.01, diversity=floor - 0.01)
    with pytest.raises(SonoforgeError, match=r"at least 0\.5 of the real images' diversity; .*choose last"):
        gan_checkpoint.find_checkpoint(tmp_path, "best")
    for step, kid, diversity in ((3, 0.5, 0.9), (4, 0.2, floor), (5, 0.3, 1.1), (6, -0.1, 0.1)):
        _save(tmp_path, step, kid, diversity)
    assert gan_checkpoint.find_checkpoint(tmp_path, "best").name == "step-00000004"
    gan_checkpoint.remove_old(tmp_path / "checkpoints")
    kept = [path.name for path in gan_checkpoint.list_checkpoints(tmp_path / "checkpoints")]
    assert kept == ["step-00000004", "step-00000005", "step-00000006"]


def test_without_kid_the_nearest_thumbnails_are_the_best(tmp_path: Path) -> None:
    for step, distance, diversity in ((1, 0.1, 0.4), (2, 0.3, 0.9), (3, 0.2, 0.9), (4, 0.4, 0.9)):
        _save(tmp_path, step, None, diversity, distance)
    assert gan_checkpoint.find_checkpoint(tmp_path, "best").name == "step-00000003"


def test_results_say_which_checkpoint_is_the_best_and_why(tmp_path: Path) -> None:
    train_measured(tmp_path, steps=80, batch=16, tick_steps=10, learning_rate=0.001)
    rows = read_rows(tmp_path)
    sound = [row for row in rows if row["diversity"] >= 0.5]
    assert 0 < len(sound) < len(rows), "some are vetoed, some are not"
    best = min(sound, key=lambda row: row["kid"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["best_step"], results["best_kid"], results["best_by"]) == (best["step"], best["kid"], "kid")
    assert results["vetoed_steps"] == [row["step"] for row in rows if row["diversity"] < 0.5]
    assert (results["held_out"], results["images"], results["metric_reference"]) == (12, 36, "held-out")
    assert tmp_path / results["best_checkpoint"] == gan_checkpoint.find_checkpoint(tmp_path, "best")
    with Image.open(tmp_path / "metrics.png") as picture:
        assert picture.format == "PNG"


def test_samples_stand_below_real_images_at_the_moments_of_the_thesiss_figure_14(tmp_path: Path) -> None:
    """Of 4200 steps in ticks of 84: those next to 500, 1500 and 3500, and the last; each sheet has its own grey."""
    grey = {84 * tick: 4 * tick for tick in range(1, 51)}
    for step, level in grey.items():
        write_grid(np.full((64, 16, 16, 1), level, np.uint8), tmp_path / f"step-{step:08d}.png")
    write_grid(np.full((9, 32, 32, 1), 201, np.uint8), tmp_path / "real.png")
    write_over_time(tmp_path / "out.png", tmp_path, [{"step": step} for step in grey], 32)
    with Image.open(tmp_path / "out.png") as picture:
        rows = np.asarray(picture)[..., 0].reshape(5, -1, picture.width)
    assert picture.width == 8 * 64
    expected = [[grey[step]] * 8 for step in (504, 1512, 3528, 4200)]
    assert rows[:, -16, 16::64].tolist() == [[201] * 3 + [255] * 5, *expected], "a column of three real ones"


def test_the_curves_show_what_was_measured() -> None:
    base = {"discriminator_loss": 1.0, "generator_loss": 2.0}
    protocol = {"metric_features": "pixels", "metric_reference": "held-out", "metric_real": 12, "metric_generated": 40}
    rows: list[dict[str, Any]] = [
        {"step": step, "kimg": step / 10, "diversity": diversity, **base}
        for step, diversity in ((1, 0.2), (2, 0.8), (3, 0.9))
    ]
    plain = draw_curves(rows, None)
    assert [axis.get_ylabel() for axis in plain.axes] == ["diversity", "loss"]
    for row, kid in ((rows[0], 0.4), (rows[2], 0.3)):
        row |= {"kid": kid, "kid_standard_error": 0.05, **protocol}
    figure = draw_curves(rows, 3)
    assert [axis.get_ylabel() for axis in figure.axes] == ["KID", "diversity", "loss"]
    kid_axis = figure.axes[0]
    assert kid_axis.get_title(loc="left") == "40 generated against 12 held-out images; pixels"
    lines = {str(line.get_label()): line for line in kid_axis.lines}
    assert np.array_equal(kid_axis.lines[0].get_ydata(), [0.4, 0.3])
    assert np.array_equal(lines["diversity below its floor"].get_xdata(), [0.1])
    assert list(lines["best: step 3"].get_xdata()) == [0.3, 0.3]
    (band,) = kid_axis.collections
    assert band.get_paths()[0].get_extents().get_points().tolist() == pytest.approx(
        np.array([[0.1, 0.25], [0.3, 0.45]])
    )


# The figures of every tick, and the averaged generator.


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


def test_sliced_distance_agrees_with_scipy() -> None:
    from scipy.stats import wasserstein_distance

    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(256, 20, generator=generator), 2 * torch.randn(256, 20, generator=generator)
    directions = np.random.default_rng(0).standard_normal((20, 2000))
    projected = (first.numpy() @ directions, second.numpy() @ directions)
    expected = np.mean([wasserstein_distance(a, b) for a, b in zip(projected[0].T, projected[1].T, strict=True)])
    assert sliced_distance(first, second) == pytest.approx(expected / np.sqrt(20), rel=0.1)


# Held-out images.


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.5])
@pytest.mark.parametrize("labelled", [False, True])
def test_whole_scans_are_held_out_each_class_in_its_share(share: float, labelled: bool) -> None:
    images = draw_scans(240, labelled=labelled)
    training, held = hold_out(images, share, seed=1)
    assert held is not None
    assert len(held) == pytest.approx(share * 240, abs=4)
    assert sorted(image_hashes(training.pixels) + image_hashes(held.pixels)) == sorted(image_hashes(images.pixels))
    scan = dict(zip(image_hashes(images.pixels), images.groups, strict=True))  # type: ignore[arg-type]
    assert not {scan[h] for h in image_hashes(training.pixels)} & {scan[h] for h in image_hashes(held.pixels)}
    if labelled:
        assert held.labels is not None
        assert held.labels.mean() == pytest.approx(0.25, abs=0.07)
        label = dict(zip(image_hashes(images.pixels), images.labels, strict=True))  # type: ignore[arg-type]
        assert [label[h] for h in image_hashes(held.pixels)] == held.labels.tolist()


def test_the_choice_of_held_out_images_is_the_seed_s() -> None:
    first, second, other = (hold_out(draw_scans(240), 0.1, seed)[1] for seed in (1, 1, 2))
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.fingerprint == second.fingerprint != other.fingerprint
    images = draw_scans()
    assert hold_out(images, 0, 1) == (images, None)


@pytest.mark.parametrize(
    ("count", "share", "message"),
    [
        (60, 0.1, r"one in 10 of 60 images makes 6, but 8 are needed.* 0, to measure"),
        (8, 0.5, "one in 2 of 8 images makes 4"),
        (10, 0.1, "one in 10 of 10 images makes 0"),
        (60, 0.6, "held_out must be 0 to 0.5, not 0.6"),
        (60, -0.1, "held_out must be 0 to 0.5, not -0.1"),
    ],
)
def test_too_few_to_hold_out_is_refused_in_one_line(count: int, share: float, message: str) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        hold_out(draw_scans(count), share, seed=1)
    assert "\n" not in str(error.value)


def test_no_step_shows_a_held_out_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as it is nor mirrored; the images that are shown are all of the others."""
    shown: set[str] = set()
    real = gan_engine.draw_real

    def spy(*arguments: Any) -> tuple[Tensor, Tensor | None]:
        images, labels = real(*arguments)
        shown.update(image_hashes(to_pixels(images)))
        return images, labels

    monkeypatch.setattr(gan_engine, "draw_real", spy)
    train_measured(tmp_path, steps=40, tick_steps=40, mirror=True, metrics=())
    training, held = hold_out(draw_scans(), 0.25, MEASURED.seed)
    assert held is not None
    assert len(held) == 12
    assert not shown & {*image_hashes(held.pixels), *image_hashes(held.pixels[:, :, ::-1])}
    assert shown == {*image_hashes(training.pixels), *image_hashes(training.pixels[:, :, ::-1])}
