"""Measured while it trains: against images it never saw, without disturbing it, and the best checkpoint is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import to_pixels
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import updates as gan_updates
from sonoforge.training.gan.batches.draws import draw_latents
from sonoforge.training.gan.batches.sampling import RealBatch
from sonoforge.training.gan.batches.training_set import TrainingSet, hold_out, make_training_set, read_training_set
from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import generate, load_generator
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.progress import tick_metrics
from sonoforge.training.gan.progress.curves import draw_curves
from sonoforge.training.gan.progress.ticks import stalled
from sonoforge.training.gan.settings import GanSettings
from sonoforge.training.metrics.spaces import open_space

SIDE = 16
SETTINGS = GanSettings(image_size=SIDE, steps=12, batch=4, tick_steps=2, class_name="malignant", seed=5, held_out=0.25)
MEASURED = dataclasses.replace(SETTINGS, metrics=("kid", "fid"), every=2)


@pytest.fixture(autouse=True)
def _few_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_metrics, "GENERATED", 40)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def _images(count: int = 48, *, labelled: bool = False) -> TrainingSet:
    """Discs of random place and size in pairs of one scan each: image 2k + 1 is 2k, a little darker."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = []
    for _ in range(count // 2):
        centre, radius, level = rng.uniform(0.3, 0.7, 2) * SIDE, rng.uniform(2, 6), rng.uniform(150, 250)
        disc = np.where((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2, level, 40)
        pixels += [disc, disc - 10]
    labels = (np.arange(count) // 2 % 4 == 0).astype(np.int64)  # one scan in four is of class 1
    return make_training_set(
        np.stack(pixels).astype(np.uint8)[..., None],
        labels if labelled else None,
        ("benign", "malignant") if labelled else ("malignant",),
        SIDE,
        groups=np.arange(count, dtype=np.int64) // 2,
    )


def _train(folder: Path, settings: GanSettings, images: TrainingSet | None = None, **options: Any) -> Path:
    space = open_space("pixels") if settings.metrics else None
    job = GanJob(settings, "cpu", space=space)
    return train_gan(_images() if images is None else images, job, folder, **options)


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def _hashes(pixels: np.ndarray) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in pixels]


def _assert_same_weights(first: Path, second: Path) -> None:
    names = sorted(path.name for path in first.glob("*.safetensors"))
    assert names == sorted(path.name for path in second.glob("*.safetensors"))
    assert len(names) == 6, "networks, average, optimisers, state"
    for name in names:
        left, right = load_file(first / name), load_file(second / name)
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == [], name


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose KID and FID were measured at every second tick."""
    folder = tmp_path_factory.mktemp("choice") / "measured"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tick_metrics, "GENERATED", 40)
        _train(folder, MEASURED)
    return folder


# Held-out images.


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.5])
@pytest.mark.parametrize("labelled", [False, True])
def test_whole_scans_are_held_out_each_class_in_its_share(share: float, labelled: bool) -> None:
    images = _images(240, labelled=labelled)
    training, held = hold_out(images, share, seed=1)
    assert held is not None
    assert len(held) == pytest.approx(share * 240, abs=4)
    assert sorted(_hashes(training.pixels) + _hashes(held.pixels)) == sorted(_hashes(images.pixels))
    scan = dict(zip(_hashes(images.pixels), images.groups, strict=True))  # type: ignore[arg-type]
    assert not {scan[h] for h in _hashes(training.pixels)} & {scan[h] for h in _hashes(held.pixels)}
    if labelled:
        assert held.labels is not None
        assert held.labels.mean() == pytest.approx(0.25, abs=0.07)
        label = dict(zip(_hashes(images.pixels), images.labels, strict=True))  # type: ignore[arg-type]
        assert [label[h] for h in _hashes(held.pixels)] == held.labels.tolist()


def test_the_choice_of_held_out_images_is_the_seed_s() -> None:
    first, second, other = (hold_out(_images(240), 0.1, seed)[1] for seed in (1, 1, 2))
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.fingerprint == second.fingerprint != other.fingerprint
    images = _images()
    assert hold_out(images, 0, 1) == (images, None)


@pytest.mark.parametrize(
    ("count", "share", "message"),
    [
        (60, 0.1, r"found 6 for one in 10 of 60 images, expected at least 8.*--held-out 0"),
        (8, 0.5, "found 4 for one in 2"),
        (10, 0.1, "found 0 for one in 10"),
        (60, 0.6, "found a share of 0.6"),
        (60, -0.1, "found a share of -0.1"),
    ],
)
def test_too_few_to_hold_out_is_refused_in_one_line(count: int, share: float, message: str) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        hold_out(_images(count), share, seed=1)
    assert "\n" not in str(error.value)


def test_repeated_scans_are_found_in_the_files(tmp_path: Path) -> None:
    """Every picture is there twice, the second time brighter and as JPEG."""
    rng = np.random.default_rng(3)
    for name in ("benign", "malignant"):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = rng.integers(0, 180, (24, 24), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}a.png")
            Image.fromarray(pixels + 40).save(tmp_path / name / f"{number}b.jpg", quality=95)
    settings = GanSettings(class_name="malignant", image_size=SIDE)
    images = read_training_set(str(tmp_path), settings, groups=True)
    assert images.groups is not None
    assert (images.groups[::2] == images.groups[1::2]).all()
    assert len(np.unique(images.groups)) == 6
    assert read_training_set(str(tmp_path), settings).groups is None


def test_no_step_shows_a_held_out_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as it is nor mirrored; the images that are shown are all of the others."""
    shown: set[str] = set()
    real = gan_updates.draw_real

    def spy(*arguments: Any) -> RealBatch:
        batch = real(*arguments)
        shown.update(_hashes(to_pixels(batch.images)))
        return batch

    monkeypatch.setattr(gan_updates, "draw_real", spy)
    settings = dataclasses.replace(MEASURED, steps=40, tick_steps=40, mirror=True)
    _train(tmp_path, settings)
    training, held = hold_out(_images(), settings.held_out, settings.seed)
    assert held is not None
    assert len(held) == 12
    assert not shown & {*_hashes(held.pixels), *_hashes(held.pixels[:, :, ::-1])}
    assert shown == {*_hashes(training.pixels), *_hashes(training.pixels[:, :, ::-1])}


# Measuring.


@pytest.mark.parametrize("changes", [{"metrics": ()}, {"every": 1}, {"metrics": ("fid",)}])
def test_measuring_does_not_change_the_training(measured: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    torch.manual_seed(7)  # the global random states must neither matter nor change
    np.random.seed(7)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    last = _train(tmp_path, dataclasses.replace(MEASURED, **changes))
    _assert_same_weights(last, measured / "checkpoints" / last.name)
    for name in ("discriminator_loss", "generator_loss", "generator_gradient", "diversity", "distance"):
        assert [row[name] for row in _rows(tmp_path)] == [row[name] for row in _rows(measured)]
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_every_second_tick_and_the_last_are_measured_under_a_stated_protocol(measured: Path, tmp_path: Path) -> None:
    assert [row["step"] for row in _rows(measured) if "kid" in row] == [4, 8, 12]
    _train(tmp_path, dataclasses.replace(MEASURED, steps=11, metrics=("kid",), held_out=0.0))
    rows = _rows(tmp_path)
    assert [row["step"] for row in rows if "kid" in row] == [4, 8, 11]
    assert not any("fid" in row for row in rows)
    protocol = ("metric_features", "metric_reference", "metric_real", "metric_generated")
    assert [rows[-1][name] for name in protocol] == ["pixels (no network)", "training", 48, 40]
    assert [_rows(measured)[-1][name] for name in protocol] == ["pixels (no network)", "held-out", 12, 40]


def test_kid_is_that_of_the_averaged_generator_against_the_held_out_images(measured: Path) -> None:
    """From the files of the run, with equation 4 of Binkowski 2018 written out over all pairs."""
    generator = load_generator(measured)
    latents = draw_latents(40, generator.latent_size, SETTINGS.seed, "metric")  # type: ignore[arg-type]
    _, held = hold_out(_images(), SETTINGS.held_out, SETTINGS.seed)
    assert held is not None
    x = to_pixels(generate(generator, latents)).reshape(40, -1) / 255
    y = held.pixels.reshape(len(held), -1) / 255

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    within = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    across = np.mean([kernel(a, b) for a in x for b in y])
    row = _rows(measured)[-1]
    assert row["kid"] == pytest.approx(sum(within) - 2 * across, rel=1e-3)  # images are made 32 at a time there
    assert row["kid_standard_error"] > 0


def test_generated_classes_have_the_shares_of_the_held_out_images(tmp_path: Path) -> None:
    images = _images(240, labelled=True)
    settings = dataclasses.replace(MEASURED, conditioning="projection", steps=1)
    checkpoint = _train(tmp_path, settings, images)
    training, held = hold_out(images, settings.held_out, settings.seed)
    assert held is not None
    reference = tick_metrics.make_metric_reference(
        ("kid",), open_space("pixels"), training, held, load_generator(checkpoint), seed=1
    )
    assert reference.labels is not None
    assert held.labels is not None
    assert reference.labels.float().mean() == pytest.approx(held.labels.mean(), abs=1 / 40)


def test_a_resumed_training_measures_what_an_uninterrupted_one_does(measured: Path, tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= 7

    assert _train(tmp_path, MEASURED, stop=stop).name == "step-00000007"
    assert (tmp_path / "metrics.png").is_file(), "also where a training was stopped"
    assert "kid" in _rows(tmp_path)[-1]
    _assert_same_weights(_train(tmp_path, MEASURED, resume=True), measured / "checkpoints" / "step-00000012")
    rows = {row["step"]: row for row in _rows(tmp_path)}
    for row in _rows(measured):
        assert {k: v for k, v in rows[row["step"]].items() if k in ("kid", "fid", "kid_standard_error")} == {
            k: v for k, v in row.items() if k in ("kid", "fid", "kid_standard_error")
        }
    with pytest.raises(SonoforgeError, match=r"held_out was 0\.25, is 0\.5"):
        _train(tmp_path, dataclasses.replace(MEASURED, held_out=0.5), resume=True)


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
    with pytest.raises(SonoforgeError, match="found no best checkpoint, expected one with a measured kid") as error:
        gan_checkpoint.find_checkpoint(tmp_path, "best")
    assert "\n" not in str(error.value)
    _save(tmp_path, 2, kid=0.01, diversity=floor - 0.01)
    with pytest.raises(SonoforgeError, match=r"at least 0\.5 of the real images' diversity; .*--checkpoint last"):
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
    settings = dataclasses.replace(MEASURED, steps=120, batch=16, tick_steps=10, every=1, learning_rate=0.001)
    _train(tmp_path, settings)
    rows = _rows(tmp_path)
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


# The picture.


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


# The command line.


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of coarse noise, each picture a scan of its own."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, count in (("benign", 12), ("malignant", 40)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 255, (12, 12), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


TRAIN = ["gan", "train", "--image-size", "16", "--batch", "8", "--device", "cpu", "--metric-features", "pixels"]
SHORT = ["--class-name", "malignant", "--steps", "8", "--tick-steps", "2"]


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    assert cli._run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    result: dict[str, Any] = json.loads(captured.out)
    return result, captured.err


def test_a_training_is_measured_from_the_command_line(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_checkpoint, "COLLAPSE_FRACTION", 0.0)  # eight steps make no diverse samples
    arguments = [*TRAIN, *SHORT, "--data", str(pictures), "--out", str(tmp_path), "--held-out", "0.2"]
    arguments += ["--metrics", "kid,fid", "--every", "2"]
    stopped, _ = _run(capsys, *arguments, "--minutes", "0.001")
    assert stopped["finished"] is False
    result, text = _run(capsys, *arguments, "--resume")
    run = Path(result["run"])
    rows = [row for row in _rows(run) if "kid" in row and row["step"] % 4 == 0]
    assert [row["step"] for row in rows] == [4, 8]
    assert all(row["metric_reference"] == "held-out" and row["metric_real"] == 8 and "fid" in row for row in rows)
    assert "KID and FID in the feature space pixels" in text
    assert "40 generated images against 8 held-out images" in text
    assert result["best_step"] in {row["step"] for row in _rows(run) if "kid" in row}
    assert "--checkpoint best" in text
    sampled, _ = _run(capsys, "gan", "sample", str(run), "--checkpoint", "best", "--count", "2")
    assert f"step-{result['best_step']:08d}" in sampled["target"]


def test_too_few_images_are_said_loudly_or_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TRAIN, *SHORT, "--data", str(pictures), "--out", str(tmp_path)]
    result, text = _run(capsys, *arguments)
    assert "nothing is held out, so the metrics are measured against the training images" in text
    assert (result["metric_reference"], result["held_out"], result["images"]) == ("training", 0, 40)
    with pytest.raises(SonoforgeError, match=r"found 4 for one in 10 of 40 images.*--held-out 0"):
        cli._run([*arguments, "--held-out", "0.1"])
    assert len(list(tmp_path.iterdir())) == 1, "refused before a folder is made"
    silent, text = _run(capsys, *arguments, "--metrics", "none")
    assert "held out" not in text
    assert (silent["best_by"], silent["metric_reference"]) == ("distance", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "kidd"], r"--metrics: found 'kidd', expected one of kid, fid, none \(did you mean kid\?\)"),
        (["--metric-features", "incepton"], "did you mean inception"),
        (["--metric-features", "", "--metric-weights", "x.pth"], "--metric-weights: found x.pth without"),
        (["--every", "0"], "--every: found 0, expected at least 1"),
        (["--held-out", "0.7"], "--held-out: found 0.7, expected at most 0.5"),
        (["--metrics", "fid", "--stop-after", "2"], "give --metrics kid"),
    ],
)
def test_bad_settings_are_one_line_and_leave_no_folder(
    arguments: list[str], message: str, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        cli._run([*TRAIN, *SHORT, "--data", str(pictures), "--out", str(tmp_path / "runs"), *arguments])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()
