"""Does the network know this kind of image?  The distance of its embedding from the training images'.

Sources: Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018, with one
Gaussian for all classes, as the question is "an image of this kind?" and not "which class?"; Tipping & Bishop,
Probabilistic principal component analysis, JRSS B 61 (1999), for its covariance.  What lies outside the leading axes
is counted as well: noise, black frames and other organs differ there, and hardly along the axes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest, TrustLimits
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle, BundleError

LEAST_KNOWN = 0.1
"""Smallest share of a set within the threshold for its kind to be called known: mammograms, fundus photographs and
cells had 0 of 30 to 40 images there, the least of three other collections of breast ultrasound 0.17."""


@dataclass(frozen=True)
class Trust:
    """Whether a network knows the kind of image that it answered for.

    Attributes:
        score: `tail_probability` of the distance: 1 typical, 0 foreign.
        in_distribution: Whether the distance is within the threshold.
        reasons: Lines that say why not; empty when trusted.
        distance: Mahalanobis distance from the training images, 0 or more.
    """

    score: float
    in_distribution: bool
    reasons: tuple[str, ...]
    distance: float

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return {**asdict(self), "reasons": list(self.reasons)}


class TrustReference(NamedTuple):
    """The Gaussian of the training images' embeddings, float32.

    Attributes:
        mean: (D,).
        components: (D, K) leading principal axes, each divided by its standard deviation; K < D.
        residual: (1,) standard deviation along each of the other D - K axes; above 0.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    residual: NDArray[np.float32]


def read_reference(bundle: Bundle[ClassifierManifest]) -> TrustReference:
    """Read a classifier's reference from its bundle.

    Raises:
        BundleError: The arrays are missing, of another shape, or hold a deviation of 0.
    """
    (size,) = bundle.manifest.outputs["embedding"]
    arrays = bundle.arrays(
        "reference.npz",
        {
            "trust_mean": ArrayKind(np.float32, (size,)),
            "trust_components": ArrayKind(np.float32, (size, None)),
            "trust_residual": ArrayKind(np.float32, (1,)),
        },
    )
    reference = TrustReference(arrays["trust_mean"], arrays["trust_components"], arrays["trust_residual"])
    if not reference.residual[0] > 0 or not np.any(reference.components, axis=0).all():
        raise BundleError(f"{bundle.path}: reference.npz: found a deviation of zero, expected all above 0")
    return reference


def distances(embeddings: NDArray[np.float32], reference: TrustReference) -> NDArray[np.float64]:
    """Mahalanobis distance of each embedding (N, D) under the reference's probabilistic-PCA covariance; (N,).

    With axes u_k of variance v_k and the rest of variance s^2:
    ``d^2 = sum_k (u_k . x)^2 / v_k + (|x|^2 - sum_k (u_k . x)^2) / s^2``, x the embedding less the mean.
    """
    centred = embeddings - reference.mean
    whitened = (centred @ reference.components).astype(np.float64)
    variance = 1.0 / np.square(reference.components, dtype=np.float64).sum(axis=0)  # a component is u_k / sqrt(v_k)
    inside = np.square(whitened)
    outside = np.square(centred, dtype=np.float64).sum(axis=1) - (inside * variance).sum(axis=1)
    squared = inside.sum(axis=1) + np.maximum(outside, 0.0) / float(reference.residual[0]) ** 2
    found: NDArray[np.float64] = np.sqrt(squared)
    return found


def known_share(embeddings: NDArray[np.float32], bundle: Bundle[ClassifierManifest]) -> float:
    """Return the share of images (N, D) that a bundle takes for images of the kind that it was trained on."""
    found = distances(embeddings, read_reference(bundle))
    return float((found <= bundle.manifest.trust.threshold).mean())


def tail_probability(distance: float, limits: TrustLimits) -> float:
    """Return the chance that an image like the reference images lies at least this far out, in 0..1.

    A Weibull tail through the two measured points: 0.5 at the median and 0.05 at the threshold (the 95th
    percentile).  It never ties and, unlike a table of percentiles, still ranks what lies far outside.
    """
    shape = math.log(math.log(0.05) / math.log(0.5)) / math.log(limits.threshold / limits.median)
    ratio = distance / limits.median
    # 0.5 ** (ratio ** shape), with an exponent that cannot overflow
    exponent = shape * math.log(ratio) if ratio > 0 else -math.inf
    return 0.5 ** math.exp(exponent) if exponent < 700 else 0.0


def assess(distance: float, limits: TrustLimits) -> Trust:
    """Judge one distance."""
    known = distance <= limits.threshold
    why = f"unlike the training images: distance {distance:.1f}, 95 % of them are within {limits.threshold:.1f}"
    return Trust(tail_probability(distance, limits), known, () if known else (why,), distance)
