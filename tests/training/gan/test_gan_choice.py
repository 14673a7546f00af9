"""Measured while it trains, against images it never saw and without disturbing it; the best checkpoint is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_trainings import MEASURED, StopAt, assert_same_tensors, draw_scans, read_rows, train_measured
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import to_pixels, write_grid
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import draw_latents, generate, load_generator
from sonoforge.training.gan.progress import ticks
from sonoforge.training.gan.progress.curves import draw_curves, write_over_time
from sonoforge.training.gan.progress.ticks import stalled
from sonoforge.training.gan.training_set import hold_out


@pytest.fixture(autouse=True)
def _few_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "GENERATED", 40)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose KID and FID were measured at every second tick."""
    folder = tmp_path_factory.mktemp("choice") / "measured"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "GENERATED", 40)
        train_measured(folder)
    return folder


# Measuring.


@pytest.mark.parametrize("changes", [{"metrics": ()}, {"every": 1}])
def test_measuring_does_not_change_the_training(measured: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    torch.manual_seed(7)  # the global random states must neither matter nor change
    np.random.seed(7)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    last = train_measured(tmp_path, **changes)
    assert_same_tensors(last, measured / "checkpoints" / last.name)
    for name in ("discriminator_loss", "generator_loss", "generator_gradient", "diversity", "distance"):
        assert [row[name] for row in read_rows(tmp_path)] == [row[name] for row in read_rows(measured)]
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_every_second_tick_and_the_last_are_measured_under_a_stated_protocol(measured: Path, tmp_path: Path) -> None:
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


def test_measurings_on_an_interruption_do_not_stop_a_training() -> None:
    rows: list[dict[str, Any]] = [{"step": 4, "kid": 0.3}, {"step": 6}, {"step": 8, "kid": 0.4}]
    assert not stalled(rows, 2, interval=4)
    assert not stalled([*rows, {"step": 9, "kid": 0.5}], 2, interval=4)
    assert stalled([*rows, {"step": 9, "kid": 0.1}, {"step": 12, "kid": 0.35}], 2, interval=4)
    assert not stalled([*rows, {"step": 12, "kid": 0.2}], 2, interval=4)


# The best checkpoint.


def _save(folder: Path, step: int, kid: float | None, diversity: float | None, distance: float | None = 1.0) -> None:
    settings = {"metrics": ["kid"]} if kid is not None or diversity is None else {}
    about = gan_checkpoint.Description(
        step, "dcgan", "dcgan", {}, 1, "", [], "", settings, distance=distance, kid=kid, diversity=diversity
    )
    gan_checkpoint.save_checkpoint(folder / "checkpoints", about, {})


def test_the_lowest_kid_is_the_best_unless_its_samples_repeat_themselves(tmp_path: Path) -> None:
    floor = COLLAPSE_FRACTION
    _save(tmp_path, 1, kid=None, diversity=None, distance=0.01)  # saved between two ticks
    with pytest.raises(SonoforgeError, match="found no best checkpoint") as error:
        gan_checkpoint.find_checkpoint(tmp_path, "best")
    assert "\n" not in str(error.value)
    _save(tmp_path, 2, kid=0.01, diversity=floor - 0.01)
    with pytest.raises(SonoforgeError, match=r"at least 0\.5 of the real images' diversity; .*choose last"):
        gan_checkpoint.find_checkpoint(tmp_path, "best")
    for step, kid, diversity in ((3, 0.5, 0.9), (4, 0.2, floor), (5, 0.3, 1.1), (6, -0.1, 0.1)):
        _save(tmp_path, step, kid, diversity)
    assert gan_checkpoint.find_checkpoint(tmp_path, "best").name == "step-00000004"
    gan_checkpoint.remove_old(tmp_path / "checkpoints", keep=1)
    kept = [path.name for path in gan_checkpoint.list_checkpoints(tmp_path / "checkpoints")]
    assert kept == ["step-00000004", "step-00000006"]


def test_without_kid_the_nearest_thumbnails_are_the_best(tmp_path: Path) -> None:
    for step, distance, diversity in ((1, 0.1, 0.4), (2, 0.3, 0.9), (3, 0.2, 0.9), (4, 0.4, 0.9)):
        _save(tmp_path, step, None, diversity, distance)
    assert gan_checkpoint.find_checkpoint(tmp_path, "best").name == "step-00000003"


def test_results_say_which_checkpoint_is_the_best_and_why(tmp_path: Path) -> None:
    train_measured(tmp_path, steps=80, batch=16, tick_steps=10, every=1, learning_rate=0.001)
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


# The pictures.


def test_samples_stand_below_real_images_at_the_moments_of_the_thesiss_figure_14(tmp_path: Path) -> None:
    """Of 4200 steps in ticks of 84: those next to 500, 1500 and 3500, and the last; each sheet has its own grey."""
    grey = {84 * tick: 4 * tick for tick in range(1, 51)}
    for step, level in grey.items():
        write_grid(np.full((64, 16, 16, 1), level, np.uint8), tmp_path / f"step-{step:08d}.png")
    write_grid(np.full((9, 32, 32, 1), 201, np.uint8), tmp_path / "real.png")
    write_over_time(tmp_path / "out.png", tmp_path, [{"step": step} for step in grey], 32)
    with Image.open(tmp_path / "out.png") as picture:
        rows = np.asarray(picture)[..., 0].reshape(5, -1, picture.width)
    assert picture.width == 8 * 32
    expected = [[grey[step]] * 8 for step in (504, 1512, 3528, 4200)]
    assert rows[:, -16, 16::32].tolist() == [[201] * 3 + [255] * 5, *expected], "a column of three real ones"


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
