"""What a network is shown of a scan, and what it may learn from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from scans import draw_scan
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier import fine_tuning, training
from sonoforge.training.classifier.fine_tuning import TrainingInputs
from sonoforge.training.classifier.initial_weights import Backbone
from sonoforge.training.classifier.scan_views import (
    SIDES,
    any_crop,
    balanced_frequencies,
    collections_of,
    crop_around,
    crop_without,
    cut,
    find_healthy,
    lesion_box,
    scan_inputs,
    together,
)
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.training import ClassifierJob
from sonoforge.training.data.labelled_images import LabelledImages

CPU = torch.device("cpu")
CLASSES = ("normal", "benign", "malignant")
SIDE = 64
MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[4:20, 4:24] = 255
SETTINGS = ClassifierSettings(frozen_blocks=0, augmentation="none", heads="hierarchical")
NOTHING_FROZEN = torch.nn.Identity()


def images() -> LabelledImages:
    """Collection 0 has 12 healthy scans and 6 with a lesion, bright; collection 1 has 18 with a lesion alone."""
    labels = np.array([0] * 12 + [1, 2] * 3 + [1, 2] * 9)
    pixels = np.stack([np.repeat(draw_scan(i, SIDE)[:, :, None], 3, axis=2) // 2 + 30 for i in range(36)])
    masks = np.where(labels[:, None, None] > 0, MASK, 0).astype(np.uint8)
    pixels[masks > 0] = 255
    return LabelledImages(pixels, labels, CLASSES, masks=lambda side: masks, collections=np.array([0] * 18 + [1] * 18))


def has_lesion(batch: torch.Tensor) -> np.ndarray:
    """Whether a view shows white, which only lesions are."""
    return (batch[:, 0].amax(dim=(1, 2)) > (0.98 - 0.485) / 0.229).numpy()


def test_whole_scans_keep_their_class_and_teach_what_their_collection_can() -> None:
    served = scan_inputs(images(), SETTINGS, NOTHING_FROZEN, CPU).batch(np.arange(36), np.random.default_rng(0))
    assert served.labels is not None and served.teaches_lesion is not None
    assert served.labels.tolist() == images().labels.tolist()
    assert served.teaches_lesion.tolist() == [True] * 18 + [False] * 18


def test_windows_show_what_their_labels_say() -> None:
    inputs = scan_inputs(images(), dataclasses.replace(SETTINGS, lesion_crops=1.0), NOTHING_FROZEN, CPU)
    rng, shown = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(6):
        served = inputs.batch(np.arange(12, 36), rng)
        assert served.labels is not None and served.teaches_lesion is not None
        assert served.teaches_lesion.all()
        assert ((served.labels > 0) == has_lesion(served.inputs)).all()
        kept = served.labels > 0
        assert (served.labels[kept] == images().labels[12:][kept]).all()
        shown[True] += int(kept.sum())
        shown[False] += int((~kept).sum())
    assert 0.35 < shown[False] / sum(shown.values()) < 0.6


def test_outlines_follow_what_happens_to_their_views() -> None:
    settings = dataclasses.replace(SETTINGS, lesion_crops=0.5, outlines=1.0, augmentation="classical")
    inputs, rng = scan_inputs(images(), settings, NOTHING_FROZEN, CPU), np.random.default_rng(0)
    for _ in range(4):
        served = inputs.batch(np.arange(36), rng)
        assert served.labels is not None and served.outlines is not None
        masks, known = served.outlines
        assert masks.shape == (36, SIDE, SIDE) and known.tolist() == [1] * 36
        assert ((masks.amax(dim=(1, 2)) > 0).numpy() <= (served.labels > 0)).all()
        grey = served.inputs[:, 0] * 0.229 + 0.485
        for view, mask in zip(grey, masks, strict=True):
            if (mask > 0.9).any():  # the lesion is white, and nothing else is as light under one gain
                assert view[mask > 0.9].min() >= view[mask < 0.1].max() - 0.02


def test_what_no_mask_shows_does_not_count_as_healthy() -> None:
    real = images()
    added = LabelledImages(real.pixels[:5], np.array([0, 0, 1, 2, 2]), CLASSES)
    inputs = scan_inputs(together(real, added), dataclasses.replace(SETTINGS, outlines=1.0), NOTHING_FROZEN, CPU)
    outlines = inputs.batch(np.arange(30, 41), np.random.default_rng(0)).outlines
    assert outlines is not None and outlines.known.tolist() == [1] * 6 + [1, 1, 0, 0, 0]


def test_what_crops_and_hierarchical_heads_need() -> None:
    lacking = dataclasses.replace(images(), masks=None)
    with pytest.raises(SonoforgeError, match="lesion_crops requires"):
        scan_inputs(lacking, dataclasses.replace(SETTINGS, lesion_crops=0.5), NOTHING_FROZEN, CPU)
    with pytest.raises(SonoforgeError, match="outlines requires"):
        scan_inputs(lacking, dataclasses.replace(SETTINGS, outlines=0.5), NOTHING_FROZEN, CPU)
    assert find_healthy(("Benign", "Normal", "Malignant")) == 1
    for classes in (("benign", "malignant"), ("normal", "malignant")):
        with pytest.raises(SonoforgeError, match="normal and at least two kinds of lesion"):
            find_healthy(classes)


def test_collections_are_shown_equally_often_and_classes_by_the_root_of_their_size() -> None:
    labels, collections = np.array([0, 0, 0, 0, 1, 0, 1]), np.array([5, 5, 5, 5, 5, 2, 2])
    shown = balanced_frequencies(labels, collections)
    assert shown.mean() == pytest.approx(1)
    assert shown[:5].sum() == pytest.approx(shown[5:].sum())
    assert shown[:4].sum() / shown[4] == pytest.approx(np.sqrt(4 / 1))
    alone = balanced_frequencies(labels, np.zeros(7, np.int64))
    assert alone[labels == 0].sum() / alone[labels == 1].sum() == pytest.approx(np.sqrt(5 / 2))


def test_added_images_are_a_collection_without_lesions_to_cut() -> None:
    real = images()
    added = LabelledImages(real.pixels[:5], np.full(5, 2), CLASSES)
    both = together(real, added)
    assert len(both) == 41 and both.collections is not None and both.collections[-5:].tolist() == [2] * 5
    assert both.masks is not None
    assert both.masks(SIDE)[:36].any() and not both.masks(SIDE)[36:].any()
    served = scan_inputs(both, dataclasses.replace(SETTINGS, lesion_crops=1.0), NOTHING_FROZEN, CPU)
    taught = served.batch(np.arange(36, 41), np.random.default_rng(0)).teaches_lesion
    assert taught is not None and not taught.any()


def test_a_cut_of_everything_is_the_image() -> None:
    pixels = images().pixels[0]
    assert np.array_equal(cut(pixels, (0, 0, SIDE, SIDE), SIDE), pixels)
    assert cut(pixels, None, SIDE) is pixels
    assert cut(pixels, (8, 8, 40, 40), 20).shape == (20, 20, 3)


def test_windows_are_cut_from_larger_images_where_there_are_files() -> None:
    """A large image that is another picture shows which of both a view is of."""
    real = images()
    large = np.full((36, 256, 256, 3), 200, np.uint8)
    masks = np.zeros((36, 256, 256), np.uint8)
    masks[12:, 16:80, 16:96] = 255
    sides: list[int] = []

    def masks_at(side: int) -> np.ndarray:
        sides.append(side)
        return masks

    filed = dataclasses.replace(real, larger=lambda side: large, masks=masks_at)
    settings = dataclasses.replace(SETTINGS, lesion_crops=0.5)
    served = scan_inputs(filed, settings, NOTHING_FROZEN, CPU).batch(np.arange(36), np.random.default_rng(0))
    grey = np.rint((served.inputs[:, 0].numpy() * 0.229 + 0.485) * 255)
    crops = (grey == 200).all(axis=(1, 2))
    assert sides == [256] and served.inputs.shape[2] == SIDE and 8 < crops.sum() < 28
    whole = np.flatnonzero(~crops)
    assert (grey[whole] == real.pixels[whole, :, :, 0]).all()
    added = together(filed, LabelledImages(real.pixels[:2], np.full(2, 2), CLASSES))
    assert added.larger is not None and added.larger(256).shape == (38, 256, 256, 3)


@pytest.mark.parametrize("heads", ["classes", "hierarchical"])
def test_the_trainer_weighs_classes_and_shows_added_images_once(heads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under both losses, each of which weighs classes once; balanced collections do not change the added images."""
    found: list[TrainingInputs] = []
    fit = fine_tuning.fit
    monkeypatch.setattr(
        fine_tuning, "fit", lambda net, inputs, *a, **k: found.append(inputs) or fit(net, inputs, *a, **k)
    )
    real, added = images(), LabelledImages(images().pixels[:4], np.full(4, 2), CLASSES)
    settings = dataclasses.replace(
        SETTINGS, heads=heads, class_weights=True, balance=True, frozen_blocks=17, epochs=1, least_steps=0
    )
    training.train_classifier(real, added, ClassifierJob(Backbone({}, "none", ""), settings, 0, CPU))
    (inputs,) = found
    labels = np.concatenate([real.labels, added.labels])
    expected = (40 / (3 * np.bincount(labels)))[labels]
    assert inputs.weights is None if heads == "classes" else inputs.weights == pytest.approx(expected)
    assert inputs.frequencies is not None and inputs.frequencies[36:].tolist() == [1.0] * 4
    assert np.array_equal(inputs.frequencies[:36], balanced_frequencies(real.labels, collections_of(real)))


SIZE = (120, 200)


def masked(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_the_box_of_a_mask() -> None:
    assert lesion_box(masked(50, 30, 90, 60)) == (50, 30, 90, 60)
    assert lesion_box(np.full(SIZE, 127, np.uint8)) is None


@pytest.mark.parametrize("box", [(50, 30, 90, 60), (0, 0, 20, 15), (150, 80, 200, 120)])
def test_windows_without_a_lesion_show_none_and_those_round_it_all(box: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(0)
    mask, levels = masked(*box), np.full(SIZE, 100, np.uint8)
    found = 0
    for _ in range(200):
        crop = crop_without(levels, box, rng)
        if crop is not None:
            found += 1
            left, top, right, bottom = crop
            assert not mask[top:bottom, left:right].any()
            assert SIDES[0] * 200 - 1 <= right - left <= SIDES[1] * 200 + 1
        left, top, right, bottom = crop_around(SIZE, box, rng)
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert 0 <= left < right <= 200 and 0 <= top < bottom <= 120
        assert right - left <= max(SIDES[1] * 200, box[2] - box[0]) + 1
    assert found > 150


def test_a_lesion_that_fills_the_picture_leaves_no_window_beside_it() -> None:
    rng = np.random.default_rng(0)
    assert crop_without(np.full(SIZE, 100, np.uint8), (10, 10, 190, 110), rng) is None
    assert crop_around(SIZE, (10, 10, 190, 110), rng)[0] <= 10


def test_black_margins_are_no_healthy_tissue() -> None:
    rng, levels = np.random.default_rng(0), np.zeros(SIZE, np.uint8)
    levels[:, 120:] = 100
    for _ in range(100):
        crop = crop_without(levels, (150, 0, 200, 120), rng)
        assert crop is None or levels[crop[1] : crop[3], crop[0] : crop[2]].mean() > 12


def test_windows_without_a_lesion_to_mind_are_anywhere() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([any_crop(SIZE, rng) for _ in range(400)])
    assert boxes[:, 0].min() == 0 and boxes[:, 2].max() == 200 and boxes[:, 3].max() == 120
    assert (boxes[:, 2] - boxes[:, 0]).min() >= SIDES[0] * 200 - 1
