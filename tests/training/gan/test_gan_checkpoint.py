"""Checkpoints: samples from them, damaged ones, a full disk, finding one by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gan_trainings import assert_same_tensors, train
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample, sample_batches


def test_image_number_i_depends_on_the_seed_and_i_alone(finished: Path) -> None:
    generator = load_generator(finished)
    nine = sample(generator, 9, seed=4)
    assert nine.shape == (9, 32, 32, 1)
    assert nine.dtype == np.uint8
    assert np.array_equal(sample(generator, 4, seed=4), nine[:4])
    parts = [*sample_batches(generator, 9, seed=4, batch=3)]
    assert np.array_equal(np.concatenate(parts), nine)  # to the last bit, whatever the batch
    assert np.array_equal(nine, sample(load_generator(finished), 9, seed=4))
    assert not np.array_equal(nine, sample(generator, 9, seed=5))
    assert sample(generator, 0, seed=4).shape == (0, 32, 32, 1)


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
        train(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    load_generator(tmp_path)


@pytest.mark.parametrize("left", ["no description", "no weights", "half a description"])
def test_a_half_removed_checkpoint_is_passed_over_by_every_reader(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, left: str
) -> None:
    """A kill in the middle of a removal, by whatever program, leaves any part of the files."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "results.json").unlink()
    oldest, *_, newest = sorted((run / "checkpoints").iterdir())
    for name in (oldest.name, "step-00000099"):  # an old one, and one that would be the newest
        broken = run / "checkpoints" / name
        if not broken.exists():
            shutil.copytree(newest, broken)
        if left == "no weights":
            (broken / "discriminator.safetensors").unlink()
        elif left == "no description":
            (broken / "checkpoint.json").unlink()
        else:
            (broken / "checkpoint.json").write_text((broken / "checkpoint.json").read_text()[:40])
    assert gan_checkpoint.find_checkpoint(run) == newest
    assert gan_checkpoint.best_checkpoint(run / "checkpoints") != oldest
    assert gan_checkpoint.find_checkpoint(run, "12") == newest
    load_generator(run)
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2, "each is named, once"
    for name in (oldest.name, "step-00000099"):
        assert any(f"{run / 'checkpoints' / name}: skipped, because it is not a" in line for line in warned)
    resumed = train(run, resume=True)
    assert resumed.name == "step-00000012" and (run / "results.json").is_file()


@pytest.mark.parametrize("removed", [1, 5])
def test_a_kill_in_the_removal_of_an_old_checkpoint_leaves_none_that_is_not_whole(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """Killed when the first ``removed`` files were gone, the description among them."""

    class KilledError(BaseException):
        pass

    def removed_in_part(path: Path, **_: object) -> None:
        for file in sorted(Path(path).iterdir())[:removed]:
            file.unlink()
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(shutil, "rmtree", removed_in_part)
        train(tmp_path)
    assert list((tmp_path / "checkpoints").glob(".*")), "the kill left nothing: the test proves nothing"
    assert gan_checkpoint.list_checkpoints(tmp_path / "checkpoints")
    gan_checkpoint.find_checkpoint(tmp_path)
    gan_checkpoint.best_checkpoint(tmp_path / "checkpoints")
    last = train(tmp_path, resume=True)
    assert_same_tensors(last, finished / "checkpoints" / last.name)
    kept = sorted(path.name for path in last.parent.iterdir())
    assert kept == sorted(path.name for path in (finished / "checkpoints").iterdir())


def test_find_checkpoint_by_name(finished: Path, tmp_path: Path) -> None:
    assert gan_checkpoint.find_checkpoint(finished).name == "step-00000012"
    assert gan_checkpoint.find_checkpoint(finished, "9").name == "step-00000009"
    with pytest.raises(SonoforgeError, match=r"no checkpoint '4'.*9, 12"):
        gan_checkpoint.find_checkpoint(finished, "4")
    with pytest.raises(SonoforgeError, match="holds no checkpoint"):
        gan_checkpoint.find_checkpoint(tmp_path)
