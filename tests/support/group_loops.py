"""The statistics by group once more, in plain loops over dictionaries: nothing is shared with the package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence


def design_effect(hits: Sequence[bool], groups: Sequence[int]) -> float:
    """Of Rao & Scott, with two further groups of the rarer outcome whose images are wholly alike; at least 1."""
    members: dict[int, list[int]] = defaultdict(list)
    for hit, group in zip(hits, groups, strict=True):
        members[group].append(int(hit))
    n, k = len(hits), len(members)
    p = sum(map(int, hits)) / n
    alike = sum(len(own) ** 2 for own in members.values()) / n
    with_hits = sum(any(own) for own in members.values())
    with_misses = sum(not all(own) for own in members.values())
    if k == 1 or not with_hits or not with_misses:
        return alike
    ratio_variance = k / (k - 1) * sum((sum(own) - p * len(own)) ** 2 for own in members.values()) / n**2
    binomial_variance = p * (1 - p) / (n - 1)
    rarer = min(with_hits, with_misses)
    return max(1.0, (rarer * ratio_variance / binomial_variance + 2 * alike) / (rarer + 2))


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
