"""The limits that a classifier's bundle records for judging one answer: ``trust`` of its manifest.

A bundle without ``checks`` is one of an earlier version: only the distance from the training images is judged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sonoforge.runtime.bundle.manifest import ManifestError, exact_keys, mapping, number, one_of, positive, text
from sonoforge.runtime.images.scan_pose import ROWS

_LARGEST = 1e6


class TailLimits(NamedTuple):
    """Median and 95th percentile of a distance over held-out images."""

    median: float
    threshold: float


class Policy(NamedTuple):
    """When to abstain.

    Attributes:
        always: Whether the bundle does so unasked.
        error: Error rate among the held-out scans that kept their label, which ``least_probability`` was set for.
        least_probability: Of the most probable class, for the label to be kept.
    """

    always: bool
    error: float
    least_probability: float


class TrustChecks(NamedTuple):
    """What is judged beside the distance from the training images.

    Attributes:
        neighbours: Of the mean distance to the nearest training images.
        foreign: Mahalanobis distance beyond which an image is called no ultrasound scan.
        upright: (`ROWS`,) weights of the brightness profile, see `scan_pose.upright_score`; all 0 where the training
            images have no top, so that none is called upside down.
        contact: Largest share of dark columns, see `scan_pose.dark_columns`.
        policy: When to abstain.
        source: The images that all of these were set on, in words.
        white: Largest share of pixels at the white end, ``saturated`` of `quality_metrics.measure`; None from an
            earlier version, which did not judge it.
        grain: Flatness of the grain under which an image beyond the distance's threshold is called no ultrasound scan,
            see `speckle_grain`; None from an earlier version, and where the training images have no flat grain.
        colour: Share of coloured pixels, see `colour.coloured_share`, beyond which an image is called no ultrasound
            scan; None from an earlier version, which did not judge it.
    """

    neighbours: TailLimits
    foreign: float
    upright: tuple[float, ...]
    contact: float
    policy: Policy
    source: str
    white: float | None = None
    grain: float | None = None
    colour: float | None = None


def read_distance(value: Any) -> TailLimits:
    """Read the limits of the Mahalanobis distance from ``trust``."""
    trust = mapping("trust", value)
    one_of("trust.method", trust.get("method"), ("ppca-mahalanobis",))
    return _tail("trust", trust)


def read_checks(value: Any) -> TrustChecks | None:
    """Read ``trust.checks``; None where the bundle has none."""
    trust = mapping("trust", value)
    if "checks" not in trust:
        return None
    checks, where = mapping("trust.checks", trust["checks"]), "trust.checks"
    later = {key: checks.get(key) for key in TrustChecks._field_defaults}
    exact_keys(where, {**later, **checks}, TrustChecks._fields)
    neighbours = mapping(f"{where}.neighbours", checks["neighbours"])
    exact_keys(f"{where}.neighbours", neighbours, TailLimits._fields)
    foreign, threshold = positive(f"{where}.foreign", checks["foreign"]), read_distance(trust).threshold
    if foreign < threshold:
        raise ManifestError(f"{where}.foreign: found {foreign}, expected at least trust.threshold {threshold}")
    weights = checks["upright"]
    if not isinstance(weights, list) or len(weights) != ROWS:
        raise ManifestError(f"{where}.upright: found {weights!r:.80}, expected {ROWS} numbers")
    upright = tuple(number(f"{where}.upright", weight) for weight in weights)
    if max(map(abs, upright)) > _LARGEST:
        raise ManifestError(f"{where}.upright: found a weight beyond {_LARGEST:g}, expected smaller ones")
    policy = mapping(f"{where}.policy", checks["policy"])
    exact_keys(f"{where}.policy", policy, Policy._fields)
    if not isinstance(policy["always"], bool):
        raise ManifestError(f"{where}.policy.always: found {policy['always']!r:.80}, expected true or false")
    return TrustChecks(
        neighbours=_tail(f"{where}.neighbours", neighbours),
        foreign=foreign,
        upright=upright,
        contact=_share(f"{where}.contact", checks["contact"]),
        policy=Policy(
            always=policy["always"],
            error=_share(f"{where}.policy.error", policy["error"]),
            least_probability=_share(f"{where}.policy.least_probability", policy["least_probability"]),
        ),
        source=text(f"{where}.source", checks["source"]),
        white=None if later["white"] is None else _share(f"{where}.white", later["white"]),
        grain=None if later["grain"] is None else positive(f"{where}.grain", later["grain"]),
        colour=None if later["colour"] is None else _share(f"{where}.colour", later["colour"]),
    )


def _tail(where: str, value: dict[str, Any]) -> TailLimits:
    limits = TailLimits(
        positive(f"{where}.median", value.get("median")), positive(f"{where}.threshold", value.get("threshold"))
    )
    if limits.median >= limits.threshold:
        raise ManifestError(f"{where}: found median {limits.median}, expected less than threshold {limits.threshold}")
    return limits


def _share(where: str, value: Any) -> float:
    found = number(where, value)
    if not 0 <= found <= 1:
        raise ManifestError(f"{where}: found {found}, expected a number from 0 to 1")
    return found
