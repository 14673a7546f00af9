"""Held-out images: whole scans, in each class's share, that no step of a training shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from gan_trainings import MEASURED, draw_scans, image_hashes, train_measured
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import to_pixels
from sonoforge.training.gan import updates as gan_updates
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training_set import hold_out, read_training_set

SIDE = 32


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
        (60, 0.1, r"found 6 for one in 10 of 60 images, expected at least 8.* held_out 0"),
        (8, 0.5, "found 4 for one in 2"),
        (10, 0.1, "found 0 for one in 10"),
        (60, 0.6, "found a share of 0.6"),
        (60, -0.1, "found a share of -0.1"),
    ],
)
def test_too_few_to_hold_out_is_refused_in_one_line(count: int, share: float, message: str) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        hold_out(draw_scans(count), share, seed=1)
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
    images = read_training_set((str(tmp_path),), settings, groups=True)
    assert images.groups is not None
    assert (images.groups[::2] == images.groups[1::2]).all()
    assert len(np.unique(images.groups)) == 6
    assert read_training_set((str(tmp_path),), settings).groups is None


def test_no_step_shows_a_held_out_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as it is nor mirrored; the images that are shown are all of the others."""
    shown: set[str] = set()
    real = gan_updates.draw_real

    def spy(*arguments: Any) -> tuple[Tensor, Tensor | None]:
        images, labels = real(*arguments)
        shown.update(image_hashes(to_pixels(images)))
        return images, labels

    monkeypatch.setattr(gan_updates, "draw_real", spy)
    train_measured(tmp_path, steps=40, tick_steps=40, mirror=True, metrics=())
    training, held = hold_out(draw_scans(), 0.25, MEASURED.seed)
    assert held is not None
    assert len(held) == 12
    assert not shown & {*image_hashes(held.pixels), *image_hashes(held.pixels[:, :, ::-1])}
    assert shown == {*image_hashes(training.pixels), *image_hashes(training.pixels[:, :, ::-1])}
