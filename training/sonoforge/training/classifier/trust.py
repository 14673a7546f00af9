"""Fit the runtime's trust checks: the Gaussian and the points of the training embeddings, pose, and limits.

Limits come from images that the network judging them had not seen.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.scan_checks import ROWS, dark_columns, profile, upright_score
from sonoforge.runtime.inference import trust
from sonoforge.runtime.inference.adaptation import Decided
from sonoforge.training.statistics.calibration import describe_flags
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.tables import ALPHA

_RIDGE = 1.0  # added to the diagonal of the profiles' moments; from 0.1 to 10, at most 2 of 1000 scans change
_ROUNDING = 2e-3  # largest relative change of a distance accepted for axes of half the size; on BUSI it is 0.0002
# An image is foreign if its distance exceeds the median by this many times the way to the 95th percentile.  Hardly any
# breast ultrasound of other hospitals does, see ``runtime/docs/trust.md``.
FOREIGN = 4.5
# A far image is foreign if its grain is flatter than this share of the training images' median.  At a third, twice as
# many scans out of contact were flagged, and no more foreign pictures but cells.
FLAT = 0.2
_WITHOUT = 0.01  # if more of the training images than this share are below that limit, it is left out
COLOURED = 0.1  # share of coloured pixels that is always accepted: marks, logos and a Doppler window
# If more of the held-out images than this share look upside down, images have no top and the remark is left out.  Less
# than 1 % of BUSI's scans do, and about half of images without a top.
TURNED = 0.1


@dataclass(frozen=True)
class HeldOutTrust:
    """Trust measures of each image (N,) from a network that had not seen it."""

    distances: list[float]  # `trust.mahalanobis_distances`
    neighbours: list[float]  # `trust.neighbour_distances`
    upright: list[float]  # `scan_checks.upright_score`
    dark: list[float]  # `scan_checks.dark_columns`


class TrustFit(NamedTuple):
    """Trust checks fitted to training images."""

    gaussian: trust.TrustReference
    neighbours: trust.NeighbourReference
    upright: NDArray[np.float64]  # (`ROWS`,) weights that give upright images about 1, and turned ones about -1


def fit_trust(pixels: NDArray[np.uint8], embeddings: NDArray[np.float32]) -> TrustFit:
    """Fit the checks to training images (N, S, S, 3) with embeddings (N, D)."""
    profiles = np.concatenate([profile(pixels[first : first + 64]) for first in range(0, len(pixels), 64)])
    return TrustFit(fit_reference(embeddings), fit_neighbours(embeddings), fit_weights(profiles))


def fit_neighbours(embeddings: NDArray[np.float32]) -> trust.NeighbourReference:
    """Project training embeddings (N, D) on the leading axes of their directions."""
    own = trust.directions(embeddings)
    mean = own.mean(axis=0)
    axes = np.linalg.svd(own - mean, full_matrices=False)[2][: trust.AXES].T.astype(np.float16)
    points = (own - mean) @ axes.astype(np.float32)
    return trust.NeighbourReference(mean.astype(np.float32), axes, points.astype(np.float16))


def left_out_distances(reference: trust.NeighbourReference) -> NDArray[np.float64]:
    """Return each training image's distance (N,) from the nearest others, like `neighbour_distances` of new ones."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - heavy

    points = reference.points.astype(np.float64)
    if len(points) < 2:
        return np.zeros(len(points))
    nearest = NearestNeighbors(n_neighbors=min(trust.NEIGHBOURS, len(points) - 1), algorithm="brute").fit(points)
    return np.asarray(nearest.kneighbors()[0].mean(axis=1))  # without the points themselves


def tail_limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the median of distances (N,) and a limit that a new one of their kind exceeds in 1 of 20 cases.

    It is the order statistic of split conformal prediction: the ceil(.95 (N + 1))-th smallest, or the largest if N <
    19.
    """
    place = min(int(np.ceil(0.95 * (len(values) + 1))), len(values)) - 1
    return float(np.median(values)), float(np.sort(values)[place])


def fit_weights(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ridge regression of 1 on profiles (N, `ROWS`), without an intercept."""
    moments = profiles.T @ profiles + _RIDGE * np.eye(ROWS)
    return np.asarray(np.linalg.solve(moments, profiles.sum(axis=0)))


def assess_held_out(pixels: NDArray[np.uint8], embeddings: NDArray[np.float32], fitted: TrustFit) -> HeldOutTrust:
    """Apply fitted checks to images (N, S, S, 3) with embeddings (N, D)."""
    return HeldOutTrust(
        distances=trust.mahalanobis_distances(embeddings, fitted.gaussian).tolist(),
        neighbours=trust.neighbour_distances(embeddings, fitted.neighbours).tolist(),
        upright=upright_score(pixels, fitted.upright.tolist()).tolist(),
        dark=dark_columns(pixels).tolist(),
    )


def fit_reference(embeddings: NDArray[np.float32], components: int = 64) -> trust.TrustReference:
    """Fit by maximum likelihood (Tipping & Bishop, JRSS B 61, 1999, section 3.2) to training embeddings (N, D).

    At most N/4 leading axes are kept, because the spread along each is estimated from the same N images; the rest have
    their mean variance.  The axes are float16, which halves their size in a bundle, unless that changes a training
    image's distance by more than `_ROUNDING`.
    """
    count, width = embeddings.shape
    mean = embeddings.mean(axis=0)
    _, singular, axes = np.linalg.svd(embeddings - mean, full_matrices=False)
    kept = min(components, max(1, count // 4), width - 1)
    variances = np.square(singular, dtype=np.float64) / max(1, count - 1)
    deviation = np.sqrt(np.maximum(variances[:kept], 1e-12))
    residual = np.sqrt(max(float(variances[kept:].sum()) / (width - kept), 1e-12))
    single = trust.TrustReference(
        mean.astype(np.float32),
        (axes[:kept].T / deviation).astype(np.float32),
        np.array([residual], dtype=np.float32),
    )
    with np.errstate(all="ignore"):  # a deviation far from 1 is beyond float16: 6e-8 to 65504
        half = replace(single, components=single.components.astype(np.float16))
        kept, exact = (trust.mahalanobis_distances(embeddings, each) for each in (half, single))
        same = np.allclose(kept, exact, rtol=_ROUNDING, atol=0)
    return half if same else single


class TrainingSigns(NamedTuple):
    """Properties of the final model's training images that need no held-out network."""

    upright: NDArray[np.float64]  # (`ROWS`,) weights that give upright images about 1, and turned ones about -1
    white: float  # largest share of white pixels
    grain: NDArray[np.float64]  # (N,) `scan_checks.flatness`
    neighbours: NDArray[np.float64]  # (N,) `left_out_distances`
    kind: str  # row of `runtime.bundle.classification.KINDS`
    colour: float = 0.0  # largest share of coloured pixels


def describe_causes(part: Predictions, judged: HeldOutTrust, decided: Decided | None = None) -> list[Record]:
    """Count the errors of held-out images by cause of distrust, see `describe_flags`."""
    distances = {
        "far from its nearest training scans": np.array(judged.neighbours),
        "far from the training scans": np.array(judged.distances),
    }
    turned = {"upside down": np.array(judged.upright) < 0} if _have_a_top(judged) else {}
    return describe_flags(part, ALPHA, distances, turned, decided)


def record_trust(judged: HeldOutTrust, held_out: Predictions, signs: TrainingSigns, found: Record) -> Record:
    """Set the limits that a bundle records, see `runtime.bundle.classification.TrustChecks`.

    ``found`` is ``trust`` of `final_model.held_out_figures`: `tail_limits` of the distances, and when to abstain.
    """
    median, threshold = found["median"], found["threshold"]
    # The folds' networks saw fewer images than the final one: the wider of their limits and its own.
    near, far = max(map(tail_limits, (np.array(judged.neighbours), signs.neighbours)), key=lambda pair: pair[1])
    labels, folds = held_out.labels, held_out.parts
    flat = FLAT * float(np.median(signs.grain))
    has_flat_grain = flat > 0 and (signs.grain < flat).mean() <= _WITHOUT
    checks = {
        "kind": signs.kind,
        "neighbours": {"median": near, "threshold": far},
        "foreign": median + FOREIGN * (threshold - median),
        "upright": signs.upright.tolist() if _have_a_top(judged) else [0.0] * ROWS,
        "contact": max(judged.dark),  # flags no held-out scan, as dark columns predicted no error
        "policy": found["policy"],
        "source": (
            f"{len(labels)} images held out of training ({held_out.protocol}, {len(np.unique(folds))} parts, seed "
            f"{held_out.seed}, arm {held_out.arm}), each judged by a network that had not seen it"
        ),
        "white": signs.white,
        "grain": flat if has_flat_grain else None,
        "colour": max(COLOURED, signs.colour),
    }
    return {"median": median, "threshold": threshold, "checks": checks}


def _have_a_top(judged: HeldOutTrust) -> bool:
    """Whether held-out images can be told from the same images turned upside down."""
    return float(np.mean(np.array(judged.upright) < 0)) <= TURNED
