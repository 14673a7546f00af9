"""May a reader use this answer?  One judgement with its reasons, from what the bundle records of held-out scans.

`Cause` keeps apart what a reading must not mix up.  Each limit was set on scans that the network which judged them had
not seen, see `TrustChecks`.  Which causes predict errors, and how well, is in ``runtime/docs/trust.md``: the
distance from the training images did not on scans of their kind, so it is named and lowers no score there.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, NamedTuple

from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest, TailLimits
from sonoforge.runtime.images.quality_metrics import flag_in_words
from sonoforge.runtime.images.scan_checks import ScanKind

POOR_FLAGS = ("sharpness_low", "contrast_low")
"""Quality flags that make a poor scan: scans with the others were not answered worse, sealed folds of BUSI."""

_BEYOND = 0.01
"""Share of the training images that a limit of quality or pose leaves outside: bounds the score of a poor scan."""

SILENT = 0.25
"""Largest share of dark columns of a scan that counts as like a site's: 99 % of BUSI, BUS-BRA and BrEaST lie below, and
far out lie the scans that half lost contact."""

LEAST_KNOWN = 0.3
"""Smallest share of a set in distribution for its kind to be called known: of 40 images each, the shipped bundle has
none of mammograms and fundus photographs there, 0.13 of cells, 0.70 of simulated scans, and 0.90 or more of its
collections."""


class Cause(Enum):
    """Why an answer must not be used as it stands."""

    OTHER_KIND = "another kind of image"
    NOT_ONE_SCAN = "not one plain B-mode scan"
    POOR_SCAN = "poor scan"
    UNLIKE_TRAINING = "unlike the training scans"


@dataclass(frozen=True)
class Trust:
    """Whether an answer may be used.

    Attributes:
        score: The smallest of the `tail_probability` of both distances and, for a scan that is poor, coloured or not
            one, 0.01: 1 typical, 0 foreign.  Below 0.05 there is a cause, and from there on none; so it is of scans
            like a site's, whose limits lie farther out.  Which class it is does not enter.
        in_distribution: Whether the scan is of the kind that the network was trained on: neither no ultrasound scan
            nor unlike the training scans; or like those of the site that the bundle was adapted to.
        causes: Why not to use the answer, in the order of `Cause`; empty when trusted.
        reasons: One line for each cause; last, if so, that the scan is unlike the training scans and like the site's.
        distance: Mahalanobis distance from the training images, 0 or more.
        neighbour_distance: Mean distance from the nearest training images, see `training_distance`.
    """

    score: float
    in_distribution: bool
    causes: tuple[Cause, ...]
    reasons: tuple[str, ...]
    distance: float
    neighbour_distance: float

    @property
    def phrases(self) -> list[str]:
        """The phrase of each cause."""
        return [cause.value for cause in self.causes]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON; causes by their phrase."""
        return {**asdict(self), "causes": self.phrases, "reasons": list(self.reasons)}


_NOT_ONE: dict[ScanKind, str] = {
    "colour overlay": "the colours of Doppler or elastography lie over it",
    "two scans": "two scans side by side",
}


class Evidence(NamedTuple):
    """What one image is judged by."""

    distance: float  # `training_distance.mahalanobis_distances`
    neighbour: float  # `training_distance.neighbour_distances`
    upright: float  # `scan_checks.upright_score`
    dark: float  # `scan_checks.dark_columns`
    white: float  # ``saturated`` of the image quality
    grain: float | None  # `scan_checks.flatness`; None within both distances' thresholds, where it is not asked for
    flags: tuple[str, ...]  # of the image quality
    colour: float  # `scan_checks.coloured_share`
    kind: ScanKind = "B-mode"


def tail_probability(distance: float, limits: TailLimits) -> float:
    """Return the chance that an image like the reference images lies at least this far out, in 0..1.

    A Weibull tail through the two measured points: 0.5 at the median and 0.05 at the threshold (the 95th
    percentile).  It never ties and, unlike a table of percentiles, still ranks what lies far outside.
    """
    shape = math.log(math.log(0.05) / math.log(0.5)) / math.log(limits.threshold / limits.median)
    ratio = distance / limits.median
    # 0.5 ** (ratio ** shape), with an exponent that cannot overflow
    exponent = shape * math.log(ratio) if ratio > 0 else -math.inf
    return 0.5 ** math.exp(exponent) if exponent < 700 else 0.0


def how_far(distance: float, neighbour: float, manifest: ClassifierManifest) -> float:
    """Return how many times as far as their limits the two distances lie from the training images, the larger."""
    return max(distance / manifest.trust.threshold, neighbour / manifest.checks.neighbours.threshold)


def assess(evidence: Evidence, manifest: ClassifierManifest) -> Trust:
    """Assess one image."""
    checks, limits, distance = manifest.checks, manifest.trust, evidence.distance
    far = f"distance {distance:.1f} {_limit(limits)}"
    coloured = _coloured(evidence, manifest)
    no_scan = coloured or _no_scan(evidence, manifest)
    found: list[tuple[Cause, str]] = []
    scores: list[float] = []
    faults = _faults(evidence, manifest)
    if coloured:
        scores.append(_BEYOND)
    if no_scan:
        found.append((Cause.OTHER_KIND, f"{Cause.OTHER_KIND.value}: {far}{no_scan}"))
    if checks.kind == BREAST_ULTRASOUND and evidence.kind in _NOT_ONE and not no_scan:
        found.append((Cause.NOT_ONE_SCAN, f"{Cause.NOT_ONE_SCAN.value}: {_NOT_ONE[evidence.kind]}"))
        scores.append(_BEYOND)
    if faults:
        found.append((Cause.POOR_SCAN, f"{Cause.POOR_SCAN.value}: {', '.join(faults)}"))
        scores.append(_BEYOND)
    unlike = [f"from all {distance:.1f} {_limit(limits)}"] if distance > limits.threshold else []
    if evidence.neighbour > checks.neighbours.threshold:
        unlike.append(f"from the nearest {evidence.neighbour:.3f} {_limit(checks.neighbours, 3)}")
    remark: tuple[str, ...] = ()
    reach = 1.0
    if unlike and not no_scan:
        said = f"{Cause.UNLIKE_TRAINING.value}: distance {'; '.join(unlike)}"
        times, site = how_far(distance, evidence.neighbour, manifest), manifest.site
        if site and times <= site.reach and _has_echo(evidence, manifest):
            reach = site.reach
            remark = (f"{said}; like this site's scans: {times:.2f} times that, limit {site.reach:.2f}",)
        else:
            if site and times > site.reach:
                said += f"; unlike this site's scans: {times:.2f} times that, limit {site.reach:.2f}"
            found.append((Cause.UNLIKE_TRAINING, said))
    # `reach` moves median and threshold alike, so that the tail is 0.05 where the cause begins, at a site, too.
    scores += [
        tail_probability(distance / reach, limits),
        tail_probability(evidence.neighbour / reach, checks.neighbours),
    ]
    return Trust(
        score=min(scores),
        in_distribution=not no_scan and (not unlike or bool(remark)),
        causes=tuple(cause for cause, _ in found),
        reasons=(*(reason for _, reason in found), *remark),
        distance=distance,
        neighbour_distance=evidence.neighbour,
    )


def why_abstain(trust: Trust, probability: float, manifest: ClassifierManifest) -> str:
    """Say why to abstain by the bundle's policy: for each cause, or as the label is too improbable; empty for no."""
    if trust.causes:
        return "; ".join(trust.reasons[: len(trust.causes)])
    least = manifest.checks.policy.least_probability
    if probability < least:
        return f"its most probable class has {probability:.0%}, and this bundle answers from {least:.0%} on"
    return ""


def _no_scan(evidence: Evidence, manifest: ClassifierManifest) -> str:
    """Say what besides its distance shows that an image is no ultrasound scan; empty where nothing does."""
    checks = manifest.checks
    far, grain = evidence.distance > manifest.trust.threshold, evidence.grain
    if far and checks.grain is not None and grain is not None and grain < checks.grain:
        return f", and its grain does not lie flat as speckle does ({grain:.2f}, least {checks.grain:.2f})"
    return f", no scan beyond {checks.foreign:.1f}" if evidence.distance > checks.foreign else ""


def _coloured(evidence: Evidence, manifest: ClassifierManifest) -> str:
    """Say how much of an image is coloured, where no training image had as much; else empty."""
    limit = manifest.checks.colour
    if evidence.colour <= limit:
        return ""
    return f", and {evidence.colour:.0%} of it is coloured, of scans {limit:.0%} at most"


def _has_echo(evidence: Evidence, manifest: ClassifierManifest) -> bool:
    """Whether speckle lies in all of an image, as far as its kind has any."""
    least = manifest.checks.grain
    speckle = least is None or (evidence.grain is not None and evidence.grain >= least)
    return speckle and evidence.dark <= SILENT


def _faults(evidence: Evidence, manifest: ClassifierManifest) -> list[str]:
    """Name what is wrong with the scan itself."""
    faults = [flag_in_words(flag) for flag in evidence.flags if flag in POOR_FLAGS]
    checks = manifest.checks
    if evidence.upright < 0:
        faults.append("upside down")
    if evidence.dark > checks.contact:
        faults.append(f"out of contact: {evidence.dark:.0%} of the columns without echo")
    if evidence.white > checks.white:
        faults.append(f"overexposed: {evidence.white:.0%} of the pixels white")
    return faults


def _limit(limits: TailLimits, digits: int = 1) -> str:
    return f"(limit {limits.threshold:.{digits}f})"
