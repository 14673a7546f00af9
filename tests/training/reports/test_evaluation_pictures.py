"""An evaluation's pictures draw what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from evaluation_results import good, row
from sonoforge.training.copies.nearest_training import Nearest
from sonoforge.training.evaluation.projections import Projection
from sonoforge.training.reports.charts import PAPER, png_bytes, svg
from sonoforge.training.reports.evaluation_pictures import (
    copy_histogram,
    draw_projection,
    draw_ratios,
    draw_spectrum,
    nearest_sheet,
    sample_sheet,
)
from sonoforge.training.statistics.wording import share


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_nearest_sheet_shows_training_images_mirrored_where_mirrored_and_frames_copies() -> None:
    dark, bright = np.full((16, 16, 1), 60, np.uint8), np.full((16, 16, 1), 120, np.uint8)
    half = np.zeros((16, 16, 1), np.uint8)
    half[:, 8:] = 255
    fakes, training = np.stack([half[:, ::-1], dark]), np.stack([bright, half])
    indices, distances = np.array([[1, 0], [0, 1]]), np.array([[0.5, 4.0], [2.0, 3.0]])
    mirrored = np.array([[True, False], [False, False]])
    figure = nearest_sheet(fakes, training, Nearest(distances, indices, mirrored), np.array([41.26, 0.0]))
    cells = np.array([axes.images[0].get_array() for axes in figure.axes], dtype=np.uint8)[..., 0].reshape(2, 3, 16, 16)
    np.testing.assert_array_equal(cells[0, 0], half[:, ::-1, 0])
    np.testing.assert_array_equal(cells[0, 1], cells[0, 0])
    np.testing.assert_array_equal(cells[1], np.stack([dark, bright, half])[..., 0])
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["generated: a copy", "score 41.3, mirrored", "4", "generated", "2", "3"]
    assert [axes.spines["left"].get_visible() for axes in figure.axes] == [True, True, False, False, False, False]


def test_sample_sheet_puts_every_image_in_its_place_and_colour_stays_colour() -> None:
    real, fake = noise(5, 10, 10, 3), noise(20, 10, 10, 1, seed=1)
    figure = sample_sheet(real, fake, columns=4, rows=2)
    above, below = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert above.shape == below.shape == (22, 46, 3)
    np.testing.assert_array_equal(above[12:22, 0:10], real[4])
    assert (above[12:, 12:] == 255).all()
    np.testing.assert_array_equal(below[12:22, 24:34, 1], fake[16, ..., 0])  # the 7th of 8 spread over 20
    np.testing.assert_array_equal(below[12:22, 36:46, 1], fake[19, ..., 0])
    assert "5 of 5" in figure.axes[0].get_title("left")
    assert "8 of 20" in figure.axes[1].get_title("left")


def test_ratio_marks_stand_right_of_one_where_worse_and_are_full_where_not() -> None:
    rows = good()["metrics"]
    rows.append(row("recall_b", "high", "diverse", (0.32, 0.25, 0.4), (0.72, 0.64, 0.81)))
    rows.append(row("pairs", "near", "diverse", (3.0, 2.8, 3.2), (6.0, 5.7, 6.3)))
    rows.append(row("fid", "low", "realistic", (90.0, 80.0, 99.0), (8.0, 7.0, 9.0)))
    rows.append({**rows[0], "matched": None})
    figure = draw_ratios(rows)
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(marks) == 8
    placed = [float(mark.get_xdata()[0]) for mark in marks]
    assert placed[0] == pytest.approx(0.0011 / 0.0021)
    assert placed[5:] == pytest.approx([2.0, 5.7 / 3.0, 10.0])
    assert [mark.get_markerfacecolor() != PAPER for mark in marks] == [True] * 5 + [False] * 3
    assert [draw_ratios(some).axes[0].get_xscale() for some in (rows, rows[:5])] == ["symlog", "linear"]
    beyond = draw_ratios([row("recall", "high", "diverse", (0.0, 0.0, 0.0), (0.7, 0.6, 0.8))])
    assert [line.get_marker() for line in beyond.axes[0].lines if len(line.get_xdata()) == 1] == [">"]
    assert "nothing to draw" in svg(draw_ratios([]), "no rows")


def test_smooth_images_lie_below_real_ones_where_details_are_fine() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (20, 32, 32, 1), dtype=np.uint8)
    smooth = uniform_filter(real.astype(float), (0, 3, 3, 0), mode="wrap").astype(np.uint8)
    first, second = draw_spectrum(real, smooth).axes[0].lines
    apart = np.asarray(second.get_ydata()) - np.asarray(first.get_ydata())
    periods = np.asarray(first.get_xdata())
    assert periods.tolist() == list(range(1, 17))
    # White noise through a mean of 3 x 3: the square of (1 + 2 cos) / 3 along the axes.
    assert apart[0] == pytest.approx(0, abs=1) and apart[-1] < -10
    assert (np.diff(apart[:9]) < 0.3).all()


def test_projection_draws_two_shapes_their_hulls_and_the_explained_variance() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) + 1
    figure = draw_projection(Projection(real, fake, "", [0.314, 0.159], 0.5))
    axes = figure.axes[0]
    assert share(0.314) in axes.get_xlabel()
    assert share(0.159) in axes.get_ylabel()
    assert "inside the real hull: 50" in axes.get_title("left")
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    shapes = [collection.get_paths()[0].vertices.shape for collection in axes.collections[:2]]
    assert shapes[0] != shapes[1]
    without_hulls = draw_projection(Projection(real[:2], fake[:1], "", [1.0, 0.0], None))
    assert "not defined" in without_hulls.axes[0].get_title("left")


def test_distances_are_drawn_as_measured() -> None:
    measured = np.array([0.1, 2.0, 2.3]), np.array([2.0, 2.5, 3.0, 3.5])
    figure = copy_histogram(*measured, "left out", "distance", 1.5)
    heights = [patch.get_xy()[:, 1].max() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([1 / 4, 1 / 3])
    assert figure.axes[0].lines[0].get_xdata()[0] == 1.5
    assert not copy_histogram(*measured, "left out", "distance").axes[0].lines
    assert any("left out, 4" in text.get_text() for text in figure.legends[0].get_texts())


def test_the_same_figure_gives_the_same_bytes() -> None:
    first, second = (png_bytes(sample_sheet(noise(2, 8, 8, 1), noise(2, 8, 8, 1)), "two") for _ in range(2))
    assert first == second
