"""Vectors in cells: what is near is met there, as a comparison with all would find it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.training.copies import cells
from sonoforge.training.copies.cells import sort_into_cells, visits
from sonoforge.training.copies.pictures import on_disk

Vectors = NDArray[np.float32]


def clustered(number: int) -> Vectors:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(number // 10, 8)).repeat(10, axis=0) + 0.02 * rng.normal(size=(number, 8))).astype("f4")


def nearest(vectors: Vectors, points: Vectors, count: int) -> NDArray[np.int64]:
    """Look each point up, and return the place of the nearest vector that it meets."""
    index = sort_into_cells(vectors, 50, np.arange(len(vectors)))
    best, found = np.full(len(points), np.inf), np.full(len(points), -1)
    for cell, own in visits(index, points, count):
        members = slice(index.start[cell], index.start[cell + 1])
        distance = ((points[own, None] - index.vectors[members]) ** 2).sum(axis=2)
        closest = distance.argmin(axis=1)
        nearer = distance.min(axis=1) < best[own]
        best[own[nearer]] = distance.min(axis=1)[nearer]
        found[own[nearer]] = index.place[members][closest[nearer]]
    return found


def test_all_cells_hold_each_vector_once_and_all_of_them_find_the_nearest() -> None:
    vectors, points = clustered(500), clustered(700)[:60]
    index = sort_into_cells(vectors, 50, np.arange(500))
    assert np.array_equal(np.sort(index.place), np.arange(500))
    assert np.array_equal(index.vectors, vectors[index.place])
    exact = ((points[:, None] - vectors) ** 2).sum(axis=2).argmin(axis=1)
    assert np.array_equal(nearest(vectors, points, 10), exact)


@pytest.mark.parametrize("most", [2048, 20])
def test_a_few_cells_find_most_of_the_nearest_also_where_centres_lie_in_cells_themselves(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "_MOST_CENTRES", most)
    monkeypatch.setattr(cells, "_CENTRES_A_CELL", 8)
    vectors = clustered(5000)
    points = vectors[::7] + np.float32(0.01)
    exact = ((points[:, None] - vectors) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest(vectors, points, 2) == exact).mean() > 0.97


def test_arrays_come_back_from_disk_as_they_were() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(kind) for shape, kind in [((3, 5), "f4"), ((0, 128), "u1"), ((7,), "f8")]]
    for kept, array in zip(on_disk(iter(arrays)), arrays, strict=True):
        assert kept.dtype == array.dtype
        assert np.array_equal(kept, array)
    assert on_disk([]) == []
