"""The real images that a training's generator is measured against."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gan_trainings import SETTINGS, draw_masked_discs, draw_scans, image_hashes
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.milestones import real_set
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import Training, prepare


def _setup(settings: GanSettings, *, labelled: bool = False) -> Training:
    return prepare(settings, draw_scans(labelled=labelled), "cpu")


def test_they_are_the_held_out_ones_and_a_scan_s_images_are_one_group() -> None:
    training = _setup(dataclasses.replace(SETTINGS, held_out=0.25))
    real = real_set(training)
    assert training.held_out is not None
    assert image_hashes(real.pixels) == image_hashes(training.held_out.pixels)
    assert not set(image_hashes(real.pixels)) & set(image_hashes(training.originals.pixels))
    # draw_scans: image 2k + 1 shows the scan of image 2k, and whole scans are held out.
    assert (real.groups[0::2] == real.groups[1::2]).all()
    assert len(np.unique(real.groups)) == len(real) // 2
    assert real.resize == "as the training saw them, held out"


def test_of_a_conditional_training_only_the_class_that_is_measured() -> None:
    settings = dataclasses.replace(SETTINGS, conditioning="projection", held_out=0.5, class_name="benign")
    training = _setup(settings, labelled=True)
    assert training.held_out is not None and training.held_out.labels is not None
    assert len(real_set(training)) == int((training.held_out.labels == 0).sum()) < len(training.held_out)
    assert real_set(training).class_counts == {}
    with pytest.raises(SonoforgeError, match=r"class_name: .*'other'"):
        real_set(_setup(dataclasses.replace(settings, class_name="other"), labelled=True))


def test_without_a_class_all_and_how_many_there_are_of_each() -> None:
    settings = dataclasses.replace(SETTINGS, conditioning="projection", held_out=0.5, class_name="")
    training = _setup(settings, labelled=True)
    assert training.held_out is not None and training.held_out.labels is not None
    real = real_set(training)
    assert len(real) == len(training.held_out)
    counts = np.bincount(training.held_out.labels)
    assert real.class_counts == dict(zip(("benign", "malignant"), counts.tolist(), strict=True))


def test_masks_are_left_out_and_too_few_images_are_refused() -> None:
    discs = dataclasses.replace(draw_masked_discs(), labels=None, classes=("malignant",))
    training = prepare(SETTINGS, discs, "cpu")
    assert training.originals.pixels.shape[3] == 2
    assert real_set(training).pixels.shape == (6, 32, 32, 1)
    few = dataclasses.replace(training, originals=dataclasses.replace(discs, pixels=discs.pixels[:3]))
    with pytest.raises(SonoforgeError, match="3 images to measure against"):
        real_set(few)
