"""Estimate a clinic's class shares from answers alone, to be offered and never applied.

Saerens, Latinne, Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural Computation
14(1), 2002, section 3: EM raises the likelihood of the shares, provided that each class looks the same in the clinic as
it did to the network (label shift).  Where a scanner makes one class look like another, no number of scans reveals it:
the interval covers only the random draw of the scans.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_SCANS = 50
"""Fewest scans for which an estimate is offered."""
DRAWS = 200
"""Bootstrap draws of whole groups behind an interval."""

_STEPS = 2000
_STILL = 1e-5  # EM has arrived when no share moves by more
_LEAST_SHARE = 0.001  # offered, since --prevalence takes no 0
_AT_A_TIME = 2_000_000  # size of an array, of draws times scans


class Share(NamedTuple):
    """The estimated share of a class and its 95 % interval."""

    share: float
    low: float
    high: float


def likeliest_shares(equal: Floats, weights: Floats, start: Floats | None = None) -> Floats:
    """Return the class shares (R, C) that make R weightings of the scans likeliest, by EM.

    Args:
        equal: (N, C) probabilities of equally frequent classes.
        weights: (R, N) of the scans, none negative; how often a bootstrap has drawn each.
        start: (C,) shares to begin with, none of them 0; equal ones by default.
    """
    count = equal.shape[1]
    shares = np.tile(np.full(count, 1 / count) if start is None else start, (len(weights), 1))
    totals = weights.sum(axis=1, keepdims=True)
    for _ in range(_STEPS):
        mixture = shares @ equal.T  # in place from here: with many scans, each such array takes 16 MB
        np.maximum(mixture, np.finfo(float).tiny, out=mixture)
        moved = shares * (np.divide(weights, mixture, out=mixture) @ equal) / totals
        moved /= moved.sum(axis=1, keepdims=True)
        arrived = float(np.abs(moved - shares).max()) < _STILL
        shares = moved
        if arrived:
            break
    return shares


def estimate_shares(equal: Floats, groups: Sequence[object]) -> list[Share]:
    """Estimate the share of each class with its 95 % bootstrap interval; deterministic.

    Args:
        equal: (N, C) probabilities of equally frequent classes, N > 0.
        groups: (N,) patient, or another group of scans that belong together; groups are drawn whole.
    """
    found = likeliest_shares(equal, np.ones((1, len(equal))))[0]
    start = np.maximum(found, _LEAST_SHARE)
    start /= start.sum()
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([number[group] for group in groups])
    generator = np.random.default_rng(0)
    even = np.full(len(number), 1 / len(number))
    at_a_time = max(1, _AT_A_TIME // len(equal))
    drawn = []
    for begin in range(0, DRAWS, at_a_time):
        counts = generator.multinomial(len(number), even, size=min(at_a_time, DRAWS - begin)).astype(np.int32)
        drawn.append(likeliest_shares(equal, counts[:, group_of].astype(float), start))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975), axis=0)
    rows = np.stack([found, np.minimum(low, found), np.maximum(high, found)], axis=1)
    return [Share(*map(float, row)) for row in rows]


class SharesSeen:
    """Collects the answers of one run of ``classify`` and estimates the class shares among its scans."""

    def __init__(self, prevalence: Mapping[str, float]) -> None:
        """Take the class shares that the answers assume."""
        self._prevalence = dict(prevalence)
        self._rows = array("d")  # one after the other
        self._groups: list[str] = []

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one entry of ``classify --json``; failures and repeated pictures do not count."""
        if entry["ok"] and not (entry["copy_of"] or entry["seems_copy_of"]):
            self._rows.extend(entry["probabilities"][name] / share for name, share in self._prevalence.items())
            self._groups.append(entry["file"])

    def estimate(self) -> dict[str, Any] | None:
        """Return ``{"scans", "method", "shares": {class: {"share", "low", "high"}}, "option"}``.

        ``option`` is a value for ``--prevalence``.  None for fewer than `LEAST_SCANS` scans.
        """
        if len(self._groups) < LEAST_SCANS:
            return None
        rows = np.array(self._rows).reshape(len(self._groups), -1)
        found = estimate_shares(rows / rows.sum(axis=1, keepdims=True), self._groups)
        shares = dict(zip(self._prevalence, found, strict=True))
        offered = {name: max(one.share, _LEAST_SHARE) for name, one in shares.items()}
        return {
            "scans": len(rows),
            "method": "EM without labels (Saerens 2002); 95 % by bootstrap of scans",
            "shares": {name: one._asdict() for name, one in shares.items()},
            "option": ",".join(f"{name}={share / sum(offered.values()):.3g}" for name, share in offered.items()),
        }


def in_words(estimate: Mapping[str, Any]) -> str:
    """Return the line that offers an estimate."""
    shares = ", ".join(
        f"{name} {one['share']:.0%} [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"
        for name, one in estimate["shares"].items()
    )
    return (
        f"Estimated shares among these {estimate['scans']} scans, without labels: {shares}; to assume them: "
        f"--prevalence {estimate['option']}.  Not applied: the estimate holds only if each class looks as it did in "
        "training; a few labelled scans tell more (sonoforge adapt)."
    )
