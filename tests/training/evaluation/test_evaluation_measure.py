"""Values, matched values and floors of an evaluation, on sets whose distance is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance
from sonoforge.runtime.distances.halves import draw_halves
from sonoforge.runtime.distances.neighbours import precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd, sliced_wasserstein
from sonoforge.training.evaluation.measure import FEWEST_REPEATS, measure, rounds
from sonoforge.training.evaluation.metrics import (
    KID_SUBSETS,
    Figure,
    Part,
    Task,
    Value,
    embedding_tasks,
    lpips_task,
    pixel_tasks,
    score_task,
)
from sonoforge.training.settings.evaluation import METRICS

REPEATS, SEED = 20, 4

Rows = dict[str, dict[str, Any]]


def _gaussian(seed: int, count: int, shift: float = 0.0, dimension: int = 8) -> NDArray[np.float32]:
    rows = np.random.default_rng([11, seed]).normal(size=(count, dimension)) + shift / np.sqrt(dimension)
    return rows.astype(np.float32)


def _parts(fakes: NDArray[Any], reals: NDArray[Any], groups: NDArray[np.int64] | None = None) -> tuple[Part, Part]:
    own = np.arange(len(reals)) if groups is None else groups
    return Part(fakes, -1 - np.arange(len(fakes))), Part(reals, own)


def _take(task: Task, repeats: int = REPEATS, seed: int = SEED) -> Rows:
    ticks: list[str] = []
    rows = measure(task, repeats, seed, ticks.append)
    assert len(ticks) == rounds(task, repeats)
    return {row["name"]: row for row in rows}


def _images(seed: int, count: int, side: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng([12, seed]).integers(0, 256, (count, side, side, 1), dtype=np.uint8)


def _table(count: int) -> NDArray[np.float32]:
    points = _gaussian(5, count)
    table: NDArray[np.float32] = np.square(points[:, None] - points[None]).sum(2)
    return table


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """One task of every kind, on sets of 24 and 20."""
    fake, real = _parts(_gaussian(0, 24), _gaussian(1, 20))
    found = embedding_tasks("space", fake, real, SEED)
    found |= {f"{name} of pixels": t for name, t in pixel_tasks(*_parts(_images(0, 24), _images(1, 20)), SEED).items()}
    chances = np.random.default_rng(0).dirichlet(np.ones(3), 44)
    found["inception-score"] = score_task("space", *_parts(chances[:24], chances[24:]), SEED)
    found["lpips"] = lpips_task("network", _table(44), *_parts(np.arange(24), np.arange(24, 44)))
    return found


def test_every_metric_but_the_copy_test_has_a_task(tasks: dict[str, Task]) -> None:
    assert {name.removesuffix(" of pixels") for name in tasks} == set(METRICS) - {"copies"}


def test_every_row_carries_its_protocol(tasks: dict[str, Task]) -> None:
    for task in tasks.values():
        rows = _take(task, 6)
        assert list(rows) == [figure.name for figure in task.figures]
        for row in rows.values():
            assert row["n"] == 10
            assert row["repeats"] == (FEWEST_REPEATS if task.slow else 6)
            assert row["space"] == task.space
            assert row["matched_low"] <= row["matched"] <= row["matched_high"]
            assert row["floor_low"] <= row["floor"] <= row["floor_high"]


def test_all_tasks_see_the_same_halves() -> None:
    """Figures that return which images they were given: a slow task's halves are the first of the others'."""
    groups = np.arange(30) // 2
    fake, real = _parts(np.arange(100, 140), np.arange(30), groups)
    expected = list(draw_halves(groups, 40, 60, SEED))
    for slow in (False, True):
        seen: list[tuple[list[int], list[int]]] = []

        def look(f: Part, r: Part, _: bool, seen: list[tuple[list[int], list[int]]] = seen) -> list[Value]:
            seen.append((f.rows.tolist(), r.rows.tolist()))
            assert np.array_equal(f.groups, np.where(f.rows >= 100, 99 - f.rows, f.rows // 2))
            return [Value(0.0)]

        _take(Task((Figure("x", "X", "realistic", "low"),), "s", fake, real, look, slow=slow), 60)
        (all_fakes, all_reals), *halves = seen
        assert (all_fakes, all_reals) == (list(range(100, 140)), list(range(30)))
        assert len(halves) == 2 * (6 if slow else 60)
        for (first, second, fakes), matched, floor in zip(expected, halves[::2], halves[1::2], strict=False):
            assert matched == ((100 + fakes).tolist(), first.tolist())
            assert floor == (second.tolist(), first.tolist())
            assert not set(first // 2) & set(second // 2)


@pytest.mark.parametrize(
    ("metric", "name", "again"),
    [
        ("kid", "kid", lambda f, r: kernel_distance(f, r).value),
        ("fid", "fid", frechet_distance),
        ("precision-recall", "recall", lambda f, r: precision_recall(f, r)[1]),
        ("swd", "sliced_wasserstein", lambda f, r: sliced_wasserstein(f, r, seed=SEED)),
    ],
)
def test_matched_and_floor_again_by_hand(metric: str, name: str, again: Callable[..., float]) -> None:
    groups = np.arange(60) // 2
    fakes, reals = _gaussian(2, 50, shift=1.0), _gaussian(3, 60)
    fake, real = _parts(fakes, reals, groups)
    task = embedding_tasks("space", fake, real, SEED)[metric]
    row = _take(task, 8)[name]
    matched, floor = [], []
    for a, b, f in draw_halves(groups, 50, row["repeats"], SEED):
        assert len(a) == len(b) == len(f) == row["n"]
        matched.append(again(fakes[f], reals[a]))
        floor.append(again(reals[b], reals[a]))
    assert row["matched"] == pytest.approx(np.mean(matched), rel=1e-12)
    assert row["floor"] == pytest.approx(np.mean(floor), rel=1e-12)
    assert [row["matched_low"], row["matched_high"]] == pytest.approx(np.quantile(matched, [0.025, 0.975]).tolist())
    assert [row["floor_low"], row["floor_high"]] == pytest.approx(np.quantile(floor, [0.025, 0.975]).tolist())
    ratio = row["floor_low"] / row["matched"] if name == "recall" else row["matched"] / row["floor_high"]
    assert row["ratio"] == pytest.approx(ratio, rel=1e-12)
    if metric != "kid":  # published over subsets
        assert row["value"] == pytest.approx(again(fakes, reals), rel=1e-12)


@pytest.mark.parametrize("count", [60, 150])
def test_kid_is_published_over_subsets_and_noted_whole(count: int) -> None:
    fakes, reals = _gaussian(2, count, shift=1.0), _gaussian(3, count + 10)
    row = _take(embedding_tasks("space", *_parts(fakes, reals), SEED)["kid"])["kid"]
    whole = kernel_distance(fakes, reals)
    assert row["value"] == pytest.approx(whole.value, abs=0.5 * whole.standard_error)
    assert f"mean of {KID_SUBSETS} subsets of {min(100, count)}" in row["note"]
    assert f"whole sets {whole.value:.4g}" in row["note"]
    # What other images would move it by, not what other subsets of the same images would.
    assert row["standard_error"] == pytest.approx(whole.standard_error)
    spread = (row["matched_high"] - row["matched_low"]) / 3.92
    assert 0.3 * spread < row["standard_error"] < 2 * spread


def test_a_shift_is_beyond_every_floor_that_should_see_it() -> None:
    fake, real = _parts(_gaussian(0, 60, shift=3.0), _gaussian(1, 60))
    rows = {k: v for task in embedding_tasks("space", fake, real, SEED).values() for k, v in _take(task).items()}
    assert all(row["ratio"] is None or row["ratio"] > 1 for row in rows.values()), rows
    assert all(rows[name]["ratio"] > 2 for name in ("kid", "fid", "sliced_wasserstein"))


def test_a_pairwise_figure_is_far_in_either_direction() -> None:
    """``near``: more alike than real images and less alike both give a ratio above 1."""
    groups = np.arange(40)
    beyond = {0.5: 0, 1.0: 0, 2.0: 0}
    for spread in beyond:
        for seed in range(10):
            points = np.concatenate([spread * _gaussian(seed, 40), _gaussian(50 + seed, 40)])
            table = np.square(points[:, None] - points[None]).sum(2)
            task = lpips_task("network", table, Part(groups, -1 - groups), Part(40 + groups, groups))
            row = _take(task, 10)["lpips_pairs"]
            beyond[spread] += row["ratio"] > 1
            # The mean squared distance of pairs is 2 D spread^2.
            assert row["value"] == pytest.approx(16 * spread**2, rel=0.25)
            assert row["note"] == "40 generated and 40 real images"
    assert beyond[0.5] == beyond[2.0] == 10
    assert beyond[1.0] <= 4


def test_the_pyramid_s_first_figure_is_the_mean_of_its_levels() -> None:
    fake, real = _images(0, 12), _images(1, 12) // 2
    rows = _take(pixel_tasks(*_parts(fake, real), SEED)["swd"])
    levels = laplacian_swd(fake, real, SEED)
    assert {name: row["value"] for name, row in rows.items() if name != "laplacian_swd"} == {
        f"laplacian_swd_{side}": value for side, value in levels.items()
    }
    assert rows["laplacian_swd"]["value"] == pytest.approx(np.mean(list(levels.values())))


def test_measuring_twice_gives_the_same_rows_and_another_seed_others(tasks: dict[str, Task]) -> None:
    for task in tasks.values():
        assert _take(task, FEWEST_REPEATS) == _take(task, FEWEST_REPEATS)
    assert _take(tasks["fid"], seed=1)["fid"]["matched"] != _take(tasks["fid"], seed=2)["fid"]["matched"]
