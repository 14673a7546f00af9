"""The shape model: outlines survive the round trip, and what is drawn is distributed as what was learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import UNNAMED
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.shapes import describe_outline, draw_masks, draw_outline, learn_shapes
from sonoforge.training.gan.training import prepare
from sonoforge.training.gan.training_set import TrainingSet

SIDE = 64


def ellipse(row: float, column: float, height: float, width: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside: NDArray[np.bool_] = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1
    return inside


def draw_ellipses(count: int, seed: int = 0, tall: float = 1.0) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    rows = [
        (*rng.normal(32, 4, 2), *(np.exp(rng.normal(np.log(12), 0.2)) * np.array([tall, 1.0]))) for _ in range(count)
    ]
    return np.stack([ellipse(*row) for row in rows])


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_a_circle_has_the_numbers_of_a_circle() -> None:
    circle = ellipse(30, 40, 15, 15)
    numbers = describe_outline(circle)
    assert numbers[:2] == pytest.approx([30.5 / SIDE, 40.5 / SIDE], abs=1e-6)
    assert np.exp(numbers[2]) * SIDE == pytest.approx(np.sqrt(circle.sum() / np.pi), abs=0.1)
    assert np.abs(numbers[3:]).max() < 0.05 and abs(numbers[3:].sum()) < 1e-9


@pytest.mark.parametrize("outline", [(32, 32, 10, 20), (20, 44, 16, 7), (5, 30, 12, 12), (60, 60, 9, 14)])
def test_an_outline_survives_the_round_trip_also_where_the_border_cuts_it(outline: tuple[float, ...]) -> None:
    mask = ellipse(*outline)
    assert dice(draw_outline(describe_outline(mask), SIDE), mask) > 0.95


def test_the_numbers_do_not_depend_on_the_size_of_the_picture() -> None:
    mask = ellipse(28, 36, 12, 18)
    large = draw_outline(describe_outline(mask), 256)
    assert dice(large.reshape(SIDE, 4, SIDE, 4).mean((1, 3)) >= 0.5, mask) > 0.97


def test_the_largest_region_counts() -> None:
    mask = ellipse(20, 20, 10, 10)
    both = mask | ellipse(55, 55, 3, 3)
    np.testing.assert_array_equal(describe_outline(both), describe_outline(mask))
    with pytest.raises(ValueError, match="found an empty mask"):
        describe_outline(np.zeros((SIDE, SIDE), bool))


def test_what_is_drawn_is_as_large_and_as_tall_as_what_was_learned() -> None:
    """Log areas of the ellipses are normal, so that the model is exact; two classes stay apart."""
    heights = {}
    for tall in (0.6, 1.5):
        learned, others = draw_ellipses(400, 1, tall), draw_ellipses(400, 2, tall)
        drawn = draw_masks(learn_shapes(learned), 400, SIDE, 3)
        for measure in (lambda masks: masks.mean((1, 2)), lambda masks: masks.any(2).argmax(1)):
            assert ks_2samp(measure(drawn), measure(others)).pvalue > 0.005
        heights[tall], wanted = (masks.any(2).sum(1) / masks.any(1).sum(1) for masks in (drawn, others))
        assert heights[tall].mean() == pytest.approx(wanted.mean(), rel=0.02)
        assert len({mask.tobytes() for mask in drawn}) > 390
        assert not {mask.tobytes() for mask in drawn} & {mask.tobytes() for mask in learned}, "none is a copy"
    assert heights[0.6].max() < 1 < heights[1.5].min()


def test_masks_follow_from_the_seed_and_too_few_are_refused() -> None:
    model = learn_shapes(draw_ellipses(20))
    np.testing.assert_array_equal(draw_masks(model, 5, SIDE, 1), draw_masks(model, 9, SIDE, 1)[:5])
    assert not np.array_equal(draw_masks(model, 5, SIDE, 1), draw_masks(model, 5, SIDE, 2))
    with pytest.raises(SonoforgeError, match="shape model: found 9 outlines"):
        learn_shapes(np.concatenate([draw_ellipses(9), np.zeros((5, SIDE, SIDE), bool)]))


def test_a_generator_keeps_masks_of_no_patient(tmp_path: Path, squeezenet_file: Path) -> None:
    """Scans are drawn into outlines of the model, and none of the training masks is among its weights."""
    masks = draw_ellipses(30)
    pixels = np.stack([np.where(masks, 200, 50), np.where(masks, 255, 0)], axis=3).astype(np.uint8)
    images = TrainingSet(pixels, None, ("lesion",), 1, "ellipses", (UNNAMED,))
    settings = GanSettings(
        "projected", "label-maps", "lesion", width=2, batch=4, steps=1, masks=True, image_size=SIDE, latent_size=4,
        features=str(squeezenet_file),
    )  # fmt: skip
    train_gan(prepare(settings, images, "cpu"), tmp_path)
    made = sample(load_generator(tmp_path), 200, seed=0)
    drawn = {mask.tobytes() for mask in made[..., 1] >= 128}
    kept = {mask.tobytes() for mask in draw_masks(learn_shapes(masks), 1024, SIDE, settings.seed)}
    assert drawn <= kept and len(drawn) > 150
    assert not drawn & {mask.tobytes() for mask in masks}
    two = replace(images, pixels=np.concatenate([pixels, pixels[..., 1:]], axis=3), structures=("a", "b"))
    with pytest.raises(SonoforgeError, match="found shapes with 2 structures"):
        prepare(settings, two, "cpu")
    with pytest.raises(SonoforgeError, match="kept_maps: found 'shapes' with the recipe dcgan"):
        compose(GanSettings("dcgan", kept_maps="shapes"))
