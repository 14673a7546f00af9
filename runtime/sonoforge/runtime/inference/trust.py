"""Decide whether a reader may use an answer, with reasons, from what the bundle records about held-out scans.

`Cause` separates reasons that a reader must not mix up. Each limit was set on scans that the network judging them had
not seen, see `TrustChecks`. ``training/studies/trust`` says which causes predict errors, and how well. Distance from
the training images does not predict them for scans of the same kind, so it is reported but lowers no score.

The Mahalanobis distance from all training images detects other kinds of images.  Sources: Lee et al., A simple unified
framework for detecting out-of-distribution samples, NeurIPS 2018, with one Gaussian for all classes, because the
question is "an image of this kind?", not "which class?"; Tipping & Bishop, Probabilistic principal component analysis,
JRSS B 61 (1999), for its covariance.  Distance outside the leading axes counts too: noise, black frames and other
organs differ there, and hardly along the axes.

The distance from the nearest training images detects scans that are between them, and grows where the network errs. It
compares directions, not lengths, which the network's last layer hardly uses.  The reference holds at most `AXES`
numbers of each training image in half precision: the direction of its embedding on the leading axes of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest, TailLimits
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle, BundleError
from sonoforge.runtime.images.quality_metrics import METRICS
from sonoforge.runtime.images.scan_checks import ScanKind
from sonoforge.runtime.images.sketches import SIGNS, Sketches

POOR = {"sharpness": 0.5, "contrast": 0.75}
"""Metrics of the view that make a poor scan below this share of their band's lower end.

Scans with other flags were not answered worse (sealed folds of BUSI).  Below the ends themselves were up to 5 % of a
collection left out of training; below these shares 0.4 %, and all scans blurred by 2 of 256 pixels."""

TURNED = "may be upside down"
"""The remark on a scan that `scan_checks.upright_score` puts below 0: of unknown scanners too many for a cause."""

_BEYOND = 0.01
"""Share of the training images outside a limit of quality: the highest score of a poor scan."""

SILENT = 0.25
"""Most dark columns in a scan like a site's: 99 % of BUSI, BUS-BRA and BrEaST have fewer, half a probe's far more."""

LEAST_KNOWN = 0.5
"""Smallest share of a set in distribution for its kind to count as known.  For the shipped bundle, of 60 images each: 0
of mammograms and photographs, 0.42 of grey ones, 0.83 of simulated scans; of collections left out, 0.73 or more."""


class Cause(Enum):
    """Reasons not to use an answer as it stands."""

    OTHER_KIND = "another kind of image"
    NOT_ONE_SCAN = "not one plain B-mode scan"
    POOR_SCAN = "poor scan"
    UNLIKE_TRAINING = "unlike the training scans"


@dataclass(frozen=True)
class Trust:
    """Whether an answer may be used.

    The score is 1 if typical, 0 if foreign: the smallest `tail_probability` of both distances or, for a scan that is
    poor, coloured or not a scan, 0.01. There is a cause exactly if it is below 0.05, even for scans like a site's. The
    predicted class has no influence.
    """

    score: float
    in_distribution: bool  # whether it is an ultrasound scan, and like the training scans or those of the bundle's site
    causes: tuple[Cause, ...]  # reasons not to use the answer, in the order of `Cause`; empty when trusted
    reasons: tuple[str, ...]  # a line for each cause, then remarks: like the site's though unlike the training; turned
    distance: float  # Mahalanobis distance from the training images, 0 or more
    neighbour_distance: float  # mean distance from the nearest training images

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
    """Measurements for judging one image."""

    distance: float  # `mahalanobis_distances`
    neighbour: float  # `neighbour_distances`
    upright: float  # `scan_checks.upright_score`
    dark: float  # `scan_checks.dark_columns`
    quality: Mapping[str, float]  # `quality_metrics.measure`
    grain: float | None  # `scan_checks.flatness`; None within both distances' thresholds, where it is not needed
    colour: float  # `scan_checks.coloured_share`
    kind: ScanKind = "B-mode"


def tail_probability(distance: float, limits: TailLimits) -> float:
    """Return the chance, 0..1, that an image like the reference images is at least this far out.

    It is a Weibull tail through the two measured points: 0.5 at the median and 0.05 at the threshold (the 95th
    percentile). It never ties and, unlike a table of percentiles, still ranks images far outside.
    """
    shape = math.log(math.log(0.05) / math.log(0.5)) / math.log(limits.threshold / limits.median)
    ratio = distance / limits.median
    # 0.5 ** (ratio ** shape), with an exponent that cannot overflow
    exponent = shape * math.log(ratio) if ratio > 0 else -math.inf
    return 0.5 ** math.exp(exponent) if exponent < 700 else 0.0


def how_far(distance: float, neighbour: float, manifest: ClassifierManifest) -> float:
    """Return the larger of the two distances from the training images, as a multiple of its limit."""
    return max(distance / manifest.trust.threshold, neighbour / manifest.checks.neighbours.threshold)


def assess(evidence: Evidence, manifest: ClassifierManifest) -> Trust:
    """Judge one image by the bundle's limits."""
    checks, limits, distance = manifest.checks, manifest.trust, evidence.distance
    coloured = evidence.colour > checks.colour
    no_scan = _no_scan(evidence, manifest)
    found: list[tuple[Cause, str]] = []
    scores = [_BEYOND] if coloured else []
    if no_scan:
        found.append((Cause.OTHER_KIND, f"{Cause.OTHER_KIND.value}: distance {distance:.1f} {_limit(limits)}{no_scan}"))
    elif checks.kind == BREAST_ULTRASOUND and evidence.kind in _NOT_ONE:
        found.append((Cause.NOT_ONE_SCAN, f"{Cause.NOT_ONE_SCAN.value}: {_NOT_ONE[evidence.kind]}"))
        scores.append(_BEYOND)
    if faults := _faults(evidence, manifest):
        found.append((Cause.POOR_SCAN, f"{Cause.POOR_SCAN.value}: {', '.join(faults)}"))
        scores.append(_BEYOND)
    unlike = [f"from all {distance:.1f} {_limit(limits)}"] if distance > limits.threshold else []
    if evidence.neighbour > checks.neighbours.threshold:
        unlike.append(f"from the nearest {evidence.neighbour:.3f} {_limit(checks.neighbours, 3)}")
    remarks, reach = [TURNED] if evidence.upright < 0 and not no_scan else [], 1.0
    if unlike and not no_scan:
        times, site = how_far(distance, evidence.neighbour, manifest), manifest.site
        said = f"{Cause.UNLIKE_TRAINING.value}: distance {'; '.join(unlike)}"
        speckled = checks.grain is None or (evidence.grain is not None and evidence.grain >= checks.grain)
        if site and times <= site.reach and speckled and evidence.dark <= SILENT:
            reach = site.reach
            remarks.append(f"{said}; like this site's scans: {times:.2f} times that, limit {reach:.2f}")
        else:
            if site and times > site.reach:
                said += f"; unlike this site's scans: {times:.2f} times that, limit {site.reach:.2f}"
            found.append((Cause.UNLIKE_TRAINING, said))
    # `reach` scales median and threshold alike, so that the tail is 0.05 where the cause begins, at a site, too.
    scores += [
        tail_probability(distance / reach, limits),
        tail_probability(evidence.neighbour / reach, checks.neighbours),
    ]
    causes = tuple(cause for cause, _ in found)
    return Trust(
        score=min(scores),
        in_distribution=not {Cause.OTHER_KIND, Cause.UNLIKE_TRAINING} & set(causes),
        causes=causes,
        reasons=(*(said for _, said in found), *remarks),
        distance=distance,
        neighbour_distance=evidence.neighbour,
    )


def why_abstain(trust: Trust, probability: float, manifest: ClassifierManifest) -> str:
    """Return why the bundle's policy abstains: its causes, or too improbable a label; empty to answer."""
    if trust.causes:
        return "; ".join(trust.reasons[: len(trust.causes)])
    least = manifest.checks.policy.least_probability
    if probability < least:
        return f"its most probable class has {probability:.0%}, and this bundle answers from {least:.0%} on"
    return ""


def _no_scan(evidence: Evidence, manifest: ClassifierManifest) -> str:
    """Return what else, besides its distance, shows that an image is not an ultrasound scan; empty if nothing does."""
    checks, grain = manifest.checks, evidence.grain
    if evidence.colour > checks.colour:
        return f", and {evidence.colour:.0%} of it is coloured, of scans {checks.colour:.0%} at most"
    far = evidence.distance > manifest.trust.threshold
    if far and checks.grain is not None and grain is not None and grain < checks.grain:
        return f", and its grain does not lie flat as speckle does ({grain:.2f}, least {checks.grain:.2f})"
    return f", no scan beyond {checks.foreign:.1f}" if evidence.distance > checks.foreign else ""


def _faults(evidence: Evidence, manifest: ClassifierManifest) -> list[str]:
    """Return what is wrong with the scan itself."""
    checks, bands, found = manifest.checks, manifest.quality, evidence.quality
    least = {name: part * bands[name].low for name, part in POOR.items() if name in bands}
    faults = [METRICS[name].low for name, low in least.items() if found[name] < low]
    if evidence.dark > checks.contact:
        faults.append(f"out of contact: {evidence.dark:.0%} of the columns without echo")
    if (white := found["saturated"]) > checks.white:
        faults.append(f"overexposed: {white:.0%} of the pixels white")
    return faults


def _limit(limits: TailLimits, digits: int = 1) -> str:
    return f"(limit {limits.threshold:.{digits}f})"


# ---- distances from the training images

NEIGHBOURS = 10
"""Number of nearest training images to average over; 1 and 5 ranked errors worse (sealed folds of BUSI)."""
AXES = 32
"""Number of the embedding's axes to keep; 8, 16 and 64 ranked errors equally well, within 0.02 of AUROC."""


@dataclass(frozen=True, eq=False)
class TrustReference:
    """The Gaussian of the training images' embeddings."""

    mean: NDArray[np.float32]  # (D,)
    # (D, K) leading principal axes, each divided by its standard deviation; K < D.  float16 in a file, or float32 where
    # that overflows; float32 to compute with.
    components: NDArray[np.floating[Any]]
    residual: NDArray[np.float32]  # (1,) standard deviation along each of the other D - K axes; above 0

    @cached_property
    def variances(self) -> NDArray[np.float64]:
        """Variance along each axis, (K,): a component is u_k / sqrt(v_k)."""
        return np.asarray(1.0 / np.square(self.components, dtype=np.float64).sum(axis=0))


@dataclass(frozen=True, eq=False)
class NeighbourReference:
    """The training images as points."""

    mean: NDArray[np.float32]  # (D,) float32, mean direction of the training embeddings
    axes: NDArray[np.floating[Any]]  # (D, A) leading principal axes, orthonormal; float16 in a file, float32 in use
    points: NDArray[np.floating[Any]]  # (N, A) training images on these axes; float16 in a file, float64 in use

    @cached_property
    def squared_lengths(self) -> NDArray[np.float64]:
        """Squared length of each point, (N,)."""
        return np.asarray(np.square(self.points, dtype=np.float64).sum(axis=1))


def read_references(bundle: Bundle[ClassifierManifest]) -> tuple[TrustReference, NeighbourReference, Sketches | None]:
    """Read both references of a classifier's bundle, ready to compute with, and sketches of its training images."""
    (size,) = bundle.manifest.outputs["embedding"]
    arrays = bundle.arrays(
        "reference.npz",
        {
            "trust_mean": ArrayKind(np.float32, (size,)),
            "trust_components": ArrayKind((np.float16, np.float32), (size, None)),
            "trust_residual": ArrayKind(np.float32, (1,)),
            "neighbour_mean": ArrayKind(np.float32, (size,)),
            "neighbour_axes": ArrayKind(np.float16, (size, None)),
            "neighbour_points": ArrayKind(np.float16, (None, None)),
        },
        newer={
            "trained_usual": ArrayKind(np.float32, (SIGNS,)),
            "trained_signs": ArrayKind(np.uint8, (None, SIGNS // 8)),
        },
    )
    components, residual = arrays["trust_components"].astype(np.float32, copy=False), arrays["trust_residual"]
    axes, points = arrays["neighbour_axes"], arrays["neighbour_points"]
    if not residual[0] > 0 or not np.any(components, axis=0).all():
        raise BundleError(f"{bundle.path}: reference.npz: a deviation is zero; all must be above 0")
    if points.shape[1] != axes.shape[1]:
        raise BundleError(
            f"{bundle.path}: reference.npz: points have {points.shape[1]} numbers for {axes.shape[1]} axes"
        )
    return (
        TrustReference(arrays["trust_mean"], components, residual),
        NeighbourReference(arrays["neighbour_mean"], axes.astype(np.float32), points.astype(np.float64)),
        Sketches(arrays["trained_usual"], arrays["trained_signs"]) if "trained_usual" in arrays else None,
    )


def mahalanobis_distances(embeddings: NDArray[np.float32], reference: TrustReference) -> NDArray[np.float64]:
    """Return the Mahalanobis distance (N,) of embeddings (N, D) under the reference's probabilistic-PCA covariance.

    With axes u_k of variance v_k and the rest of variance s^2: ``d^2 = sum_k (u_k . x)^2 / v_k + (|x|^2 - sum_k (u_k .
    x)^2) / s^2``, x being the embedding minus the mean.
    """
    centred = embeddings - reference.mean
    whitened = (centred @ reference.components.astype(np.float32, copy=False)).astype(np.float64)
    inside = np.square(whitened)
    outside = np.square(centred, dtype=np.float64).sum(axis=1) - (inside * reference.variances).sum(axis=1)
    squared = inside.sum(axis=1) + np.maximum(outside, 0.0) / float(reference.residual[0]) ** 2
    return np.asarray(np.sqrt(squared))


def directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each embedding (N, D) by its length, unless that is 0."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray((embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32))


def neighbour_distances(embeddings: NDArray[np.float32], reference: NeighbourReference) -> NDArray[np.float64]:
    """Return the mean Euclidean distance (N,) of embeddings (N, D) from the `NEIGHBOURS` nearest points.

    The distances are between the points and ``z = (e / |e| - mean) . axes``.
    """
    axes = reference.axes.astype(np.float32, copy=False)
    placed = ((directions(embeddings) - reference.mean) @ axes).astype(np.float64)
    points = reference.points.astype(np.float64, copy=False)
    squared = np.square(placed).sum(axis=1)[:, None] + reference.squared_lengths - 2 * placed @ points.T
    count = min(NEIGHBOURS, len(points))
    nearest = np.partition(np.maximum(squared, 0), count - 1, axis=1)[:, :count]
    return np.asarray(np.sqrt(nearest).mean(axis=1))
