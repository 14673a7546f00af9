"""Near-duplicates of a set: groups, thresholds, what is stored; the search itself is tested in copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scans import draw_scan
from sonoforge.training.copies import near_duplicates
from sonoforge.training.copies.matches import Matches
from sonoforge.training.copies.near_duplicates import (
    HIGHEST_LIMIT,
    LOWEST_LIMIT,
    SENSITIVITY,
    find_near_duplicates,
    join_groups,
    threshold_sensitivity,
)
from sonoforge.training.copies.planting import KINDS, plant
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import is_busi


def test_different_scans_stay_apart() -> None:
    found = find_near_duplicates([draw_scan(seed) for seed in range(40)])
    assert found.groups.tolist() == list(range(40))
    assert LOWEST_LIMIT <= found.threshold <= HIGHEST_LIMIT


def test_copies_join_their_original_and_each_other() -> None:
    scan = draw_scan(0)
    copies = [scan[:, ::-1], (scan * 0.5).astype(np.uint8), scan[10:110, 10:110], 255 - scan]
    found = find_near_duplicates([*(draw_scan(seed) for seed in range(12)), *copies])
    assert found.groups.tolist() == [*range(12), 0, 0, 0, 0]
    assert [cluster.tolist() for cluster in found.clusters] == [[0, 12, 13, 14, 15]]
    assert found.pairs.take(found.pairs.second == 12).mirrored.all()
    assert found.pairs.take(found.pairs.second == 15).inverted.any()


def test_leaving_out_what_is_joined_already_changes_no_group_at_any_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight versions of each of six scans: all candidates compared, and those that are still apart."""
    rng = np.random.default_rng(0)
    pictures = [plant(kind, draw_scan(seed), rng) for seed in range(6) for kind in list(KINDS)[:8]]
    compared, compare = [0], near_duplicates._compare
    monkeypatch.setattr(near_duplicates, "_compare", lambda *given: (compared.append(given[-1]), compare(*given))[1])
    found = find_near_duplicates(pictures)
    fewer = len(compared)
    monkeypatch.setattr(Matches, "certain", property(lambda own: np.zeros(len(own.score), bool)))
    prepared = near_duplicates.prepare(pictures)
    whole = near_duplicates.match_pictures(prepared)
    monkeypatch.undo()
    assert fewer < (len(compared) - fewer) / 2
    for factor in SENSITIVITY:
        limit = factor * found.threshold
        groups = [
            join_groups(len(pictures), pairs.first, pairs.second).tolist()
            for pairs in (found.measured.confirmed(limit), whole.confirmed(limit))
        ]
        assert groups[0] == groups[1]


def test_blank_and_almost_blank_images_match_nothing_by_accident() -> None:
    generator = np.random.default_rng(1)
    blank = [np.full((64, 64), level, np.uint8) for level in (0, 0, 128, 255)]
    faint = [np.full((64, 64), 90, np.uint8) + (generator.random((64, 64)) < 0.05).astype(np.uint8) for _ in range(2)]
    noise = [generator.integers(0, 256, (64, 64)).astype(np.uint8) for _ in range(3)]
    y, x = np.mgrid[:64, :64]
    slope = [(level + (x + y) / 40).round().astype(np.uint8) for level in (100, 150)]
    pictures = [*blank, *faint, *noise, *slope]
    assert find_near_duplicates(pictures).groups.tolist() == list(range(len(pictures)))


def test_equal_contents_are_one_group_even_where_there_is_nothing_to_see() -> None:
    blank = [np.zeros((64, 64), np.uint8)] * 4
    assert find_near_duplicates(blank, ["a", "b", "a", "c"]).groups.tolist() == [0, 1, 0, 2]


def test_groups_are_the_connected_components() -> None:
    first, second = np.array([5, 1, 4, 8]), np.array([1, 0, 3, 4])
    assert join_groups(9, first, second).tolist() == [0, 0, 1, 2, 2, 0, 3, 4, 2]
    assert join_groups(3, np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == [0, 1, 2]


def test_what_was_found_is_read_back_and_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = draw_scan(0)
    pictures = [*(draw_scan(seed) for seed in range(6)), scan[:, ::-1]]
    hashes = [str(number) for number in range(7)]
    once = find_near_duplicates(pictures, hashes, tmp_path)
    monkeypatch.setattr(near_duplicates, "match_pictures", None)
    again = find_near_duplicates(pictures, hashes, tmp_path)
    assert again.groups.tolist() == once.groups.tolist() == [0, 1, 2, 3, 4, 5, 0]
    for kept, made in zip(again.measured, once.measured, strict=True):
        np.testing.assert_array_equal(kept, made)


@pytest.mark.slow
def test_real_busi_clusters_are_stable_and_those_known(busi: ImageCache) -> None:
    cache, found = busi, busi.near_duplicates
    assert is_busi(cache.fingerprint)
    names = [item.path for item in cache.dataset.items]

    def together(kind: str, *numbers: int) -> bool:
        return len({int(found.groups[names.index(f"{kind}/{kind} ({number}).png")]) for number in numbers}) == 1

    # One view each at another zoom, found by eye; the first is known from the collection's description.
    both = names.index("benign/benign (433).png"), names.index("malignant/malignant (145).png")
    assert found.groups[both[0]] == found.groups[both[1]]
    for cluster in ((114, 14, 123), (95, 96, 97), (65, 66), (98, 99), (11, 113)):
        assert together("malignant", *cluster), cluster
    equal = [(a, b) for a, b, *_ in zip(*found.pairs, strict=True) if cache.hashes[a] == cache.hashes[b]]
    assert equal == [both]
    rows = threshold_sensitivity(found, cache.dataset.labels)
    used = rows[SENSITIVITY.index(1.0)]
    assert 575 <= used["groups"] <= 600
    assert used["largest_cluster"] <= 10
    assert abs(rows[0]["groups"] - rows[4]["groups"]) <= 15
