"""The search for copies: every planted kind is found, nothing else, within a set and between two; groups, limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scans import draw_scan
from sonoforge.training.copies import near_duplicates
from sonoforge.training.copies.matches import Matches
from sonoforge.training.copies.near_duplicates import (
    HIGHEST_LIMIT,
    KEPT_LIMIT,
    LOWEST_LIMIT,
    find_near_duplicates,
    join_groups,
    match_pictures,
    null_limit,
    prepare,
)
from sonoforge.training.copies.planting import KINDS, plant
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import is_busi

SCANS = [draw_scan(seed, 200) for seed in range(24)]


def test_planted_copies_of_every_kind_are_found() -> None:
    rng = np.random.default_rng(0)
    copies = [(kind, scan, plant(kind, SCANS[scan], rng)) for kind in KINDS for scan in rng.integers(0, len(SCANS), 2)]
    found = match_pictures(prepare(SCANS), prepare([copy for *_, copy in copies])).confirmed(LOWEST_LIMIT)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert [kind for number, (kind, scan, _) in enumerate(copies) if (scan, number) not in pairs] == []


def test_nothing_else_is_found() -> None:
    found = match_pictures(prepare(SCANS))
    assert found.score.max(initial=0) < null_limit(found, len(SCANS))


def test_two_sets_are_compared_with_each_other_only() -> None:
    rng = np.random.default_rng(0)
    other = [SCANS[3], plant("zoom 1.4", SCANS[5], rng), draw_scan(99, 200), plant("mirrored", SCANS[7], rng), SCANS[3]]
    found = match_pictures(prepare(SCANS), prepare(other)).confirmed(LOWEST_LIMIT)
    pairs = zip(found.first.tolist(), found.second.tolist(), found.mirrored.tolist(), strict=True)
    assert list(pairs) == [(3, 0, False), (3, 4, False), (5, 1, False), (7, 3, True)]


def scored(score: NDArray[np.float64]) -> Matches:
    """Pairs of which only the score matters."""
    nothing = np.zeros(len(score))
    pairs = nothing.astype(np.int64)
    matrix = np.zeros((len(score), 2, 3))
    return Matches(pairs, pairs, score, nothing, nothing, pairs, nothing > 0, nothing > 0, nothing > 0, matrix)


def test_the_limit_follows_the_null_and_hardly_the_copies() -> None:
    rng = np.random.default_rng(0)
    scores = rng.exponential(1.5, 4000) + 4
    limit = null_limit(scored(scores), 1000)
    # Of an exponential tail the extrapolation is exact: 4000 exp(-(x - 4) / 1.5) = 1000 / 1000.
    assert limit == pytest.approx(4 + 1.5 * np.log(4000), rel=0.07)
    assert null_limit(scored(np.concatenate((scores, rng.uniform(20, 60, 400)))), 1000) == pytest.approx(limit, rel=0.1)
    assert null_limit(scored(scores * 3), 1000) == HIGHEST_LIMIT
    assert null_limit(scored(scores[:5]), 1000) == LOWEST_LIMIT


@pytest.mark.parametrize("copies", [200, 1000, 3000])
def test_the_limit_is_that_of_unrelated_pairs_however_many_copies_there_are(copies: int) -> None:
    """As of a set that was augmented before it was handed over, whose copies outnumber the unrelated candidates."""
    rng = np.random.default_rng(1)
    unrelated, same = rng.exponential(1.0, 1000), np.clip(rng.normal(19, 3, copies), 9, 24.9)
    alone = null_limit(scored(unrelated), 1000)
    assert alone > LOWEST_LIMIT - 1
    both = null_limit(scored(np.concatenate([unrelated, same])), 1000)
    assert both == pytest.approx(alone, rel=0.05) and both < same.min() + 1


def test_scores_of_one_kind_are_not_taken_for_two() -> None:
    rng = np.random.default_rng(2)
    for scores in (rng.exponential(3, 5000), np.abs(rng.normal(0, 5, 5000)), rng.uniform(0, 12, 5000)):
        start = np.quantile(scores, 0.75)
        scale = np.median(scores[scores > start] - start) / np.log(2)
        expected = start + scale * np.log(0.25 * len(scores) / 1)
        assert null_limit(scored(scores), 1000) == pytest.approx(np.clip(expected, LOWEST_LIMIT, HIGHEST_LIMIT))


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


@pytest.mark.parametrize("exact", [("inverted", "mirrored"), ("upside down", "mirrored", "inverted")])
def test_copies_are_found_in_a_set_that_is_mostly_copies(exact: tuple[str, ...]) -> None:
    """Exact negatives and mirror images are no measure of how near unrelated features are."""
    rng = np.random.default_rng(0)
    kinds = [*exact, "crop 25 %", "shift 15 %", "turn 10 degrees", "zoom 1.4", "border", "gain"]
    copies = [(kind, scan) for scan in range(12) for kind in kinds]
    pictures = [*SCANS[:12], *(plant(kind, SCANS[scan], rng) for kind, scan in copies)]
    groups = find_near_duplicates(pictures).groups
    assert groups[:12].tolist() == list(range(12))
    assert [copy for copy, group in zip(copies, groups[12:].tolist(), strict=True) if group != copy[1]] == []


def test_a_high_limit_counts_only_where_unrelated_pictures_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the candidates, mostly copies, gave the highest limit: of scans, and of pictures that share structure."""
    monkeypatch.setattr(near_duplicates, "null_limit", lambda *given: HIGHEST_LIMIT)
    assert find_near_duplicates(SCANS).threshold == HIGHEST_LIMIT  # too few to tell
    monkeypatch.setattr(near_duplicates, "_FEWEST_DRAWN_FROM", len(SCANS))
    assert find_near_duplicates(SCANS).threshold == KEPT_LIMIT
    shared = draw_scan(99, 200) / 2
    alike = [np.clip(shared + scan / 3, 0, 255).astype(np.uint8) for scan in SCANS]
    assert find_near_duplicates(alike).threshold == HIGHEST_LIMIT


def test_leaving_out_what_is_joined_already_changes_no_group_at_any_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven versions of each of four scans: all candidates compared, and those that are still apart."""
    rng = np.random.default_rng(0)
    pictures = [plant(kind, draw_scan(seed), rng) for seed in range(4) for kind in list(KINDS)[:7]]
    compared, compare = [0], near_duplicates._compare
    monkeypatch.setattr(near_duplicates, "_compare", lambda *given: (compared.append(given[-1]), compare(*given))[1])
    found = find_near_duplicates(pictures)
    fewer = len(compared)
    monkeypatch.setattr(Matches, "certain", property(lambda own: np.zeros(len(own.score), bool)))
    prepared = near_duplicates.prepare(pictures)
    whole = near_duplicates.match_pictures(prepared)
    monkeypatch.undo()
    assert fewer < 0.7 * (len(compared) - fewer)
    for factor in (0.7, 1.0, 1.5, 3.0):
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
    sizes = np.bincount(found.groups)
    assert 575 <= len(sizes) <= 600 and sizes.max() <= 10
    for factor in (0.7, 1.5):  # the choice of the limit hardly matters
        pairs = found.measured.confirmed(factor * found.threshold)
        assert abs(join_groups(len(names), pairs.first, pairs.second).max() + 1 - len(sizes)) <= 15
