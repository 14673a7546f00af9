"""The statistics by group once more, in plain loops over dictionaries: nothing is shared with the package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple


def design_effect(values: Sequence[float], groups: Sequence[int]) -> float:
    """Of Rao & Scott, with two further groups that differ, whose images are half alike; at least 1."""
    members: dict[int, list[float]] = defaultdict(list)
    for value, group in zip(values, groups, strict=True):
        members[group].append(float(value))
    n, k = len(values), len(members)
    p = sum(map(float, values)) / n
    alike = sum(len(own) ** 2 for own in members.values()) / n
    with_hits = sum(any(own) for own in members.values())
    with_misses = sum(any(abs(value) < 1 for value in own) for own in members.values())
    if k == 1:
        return alike
    half = 1 + (alike - 1) / 2
    image_variance = sum((float(value) - p) ** 2 for value in values) / n / (n - 1)
    if not with_hits or not with_misses or image_variance < 1e-15:
        return half
    ratio_variance = k / (k - 1) * sum((sum(own) - p * len(own)) ** 2 for own in members.values()) / n**2
    rarer = min(with_hits, with_misses)
    return max(1.0, (rarer * ratio_variance / image_variance + 2 * half) / (rarer + 2))


class Area(NamedTuple):
    """Sums over pairs behind one AUC: the area, effective images of either kind, groups that tell, group errors."""

    area: float
    counts: tuple[float, float]
    telling: int
    errors: dict[int, float]


def area_in_pairs(positive: Sequence[bool], scores: Sequence[float], groups: Sequence[int]) -> Area:
    """Compare each image of the kind with each of the rest."""
    sides: list[dict[int, float]] = [{}, {}]  # the share that each image wins of its pairs
    for i, own in enumerate(positive):
        rest = [j for j, other in enumerate(positive) if other != own]
        above = [(scores[i] > scores[j]) + (scores[i] == scores[j]) / 2 for j in rest]
        sides[0 if own else 1][i] = sum(above if own else [1 - won for won in above]) / len(rest)
    area = sum(sides[0].values()) / len(sides[0])
    errors: dict[int, float] = defaultdict(float)
    counts, telling = [], []
    for side in sides:
        own_groups = [groups[i] for i in side]
        k = len(set(own_groups))
        for i, won in side.items():
            others = sum(group != groups[i] for group in own_groups)  # what is left without the group
            errors[groups[i]] += (won - area) / others * ((k - 1) / k) ** 0.5
        counts.append(len(side) / design_effect(list(side.values()), own_groups))
        lost = {groups[i] for i, won in side.items() if won < 1}
        telling.append(min(len(lost), len({groups[i] for i, won in side.items() if won > 0})))
    return Area(area, (counts[0], counts[1]), min(telling), errors)


def wilson_ends(hits: Sequence[bool], groups: Sequence[int], z: float = 1.959963984540054) -> tuple[float, float]:
    """Both roots p of ``(share - p)^2 = z^2 p (1 - p) / n``, n the effective number of images."""
    share, n = sum(map(int, hits)) / len(hits), len(hits) / design_effect(hits, groups)
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    root = max(0.0, b * b - 4 * a * c) ** 0.5
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def group_sums(first: Iterable[bool], second: Iterable[bool], groups: Iterable[int]) -> list[int]:
    """How many images more the second got right than the first, of each group."""
    sums: dict[int, int] = defaultdict(int)
    for one, other, group in zip(first, second, groups, strict=True):
        sums[group] += int(other) - int(one)
    return list(sums.values())


def sign_flip_p(sums: Sequence[int]) -> float:
    """Share of all choices of signs whose sum is as far from zero as the one found, counted in whole numbers."""
    ways = {0: 1}
    for step in sums:
        following: dict[int, int] = defaultdict(int)
        for total, count in ways.items():
            following[total + step] += count
            following[total - step] += count
        ways = following
    extreme = sum(count for total, count in ways.items() if abs(total) >= abs(sum(sums)))
    return extreme / 2 ** len(sums)
