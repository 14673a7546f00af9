"""The limits of trust, from images that the network which judged them had not seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.scan_pose import ROWS
from sonoforge.training.classifier.model_folder import TrustRecord
from sonoforge.training.classifier.trust_reference import HeldOutTrust
from sonoforge.training.statistics import calibration, risk_coverage
from sonoforge.training.statistics.flagged import describe_flags
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import FlagResult
from sonoforge.training.statistics.tables import ALPHA

FOREIGN = 4.5
"""Beyond the median by so many times the way from the median to the 95th percentile, an image is called no ultrasound
scan.  Set so that hardly any breast ultrasound of other hospitals is, see ``runtime/docs/trust.md``."""
FLAT = 0.2
"""Below this share of the training images' median flatness of grain, an image that lies far away is called no
ultrasound scan.  A third named twice as many scans out of contact, and more pictures of no kind but cells."""
_WITHOUT = 0.01
"""Share of the training images below that limit from which on they have no flat grain: the limit is left out."""
COLOURED = 0.1
"""Share of coloured pixels up to which no image is called foreign for it: marks, logos and a Doppler window."""
TURNED = 0.1
"""Share of the held-out images that may look upside down; where more do, the images have no top and the check is left
out.  Twice what lies beyond the limits of the distances.  Of BUSI's scans less than 1 % do, of single cells 43 %."""
ERROR = 0.05
"""Error rate among the scans that keep their label, which the policy of a bundle is set for."""


class TrainingLooks(NamedTuple):
    """What the final model's training images look like.

    Attributes:
        upright: (`ROWS`,) weights, see `fit_upright`.
        white: Largest share of white pixels.
        grain: (N,) `speckle_grain.flatness`.
        colour: Largest share of coloured pixels.
    """

    upright: NDArray[np.float64]
    white: float
    grain: NDArray[np.float64]
    colour: float = 0.0


def describe_causes(part: Predictions, distances: NDArray[np.float64], judged: HeldOutTrust) -> list[FlagResult]:
    """Count the errors of held-out images with a cause that lowers trust or is named, and of those without it.

    Args:
        part: Their predictions, N images.
        distances: (N,) from the training images of their network.
        judged: What else each is judged by.
    """
    return describe_flags(
        part,
        ALPHA,
        {"far from its nearest training scans": np.array(judged.neighbours), "far from the training scans": distances},
        {"upside down": np.array(judged.upright) < 0} if _have_a_top(judged) else {},
    )


def record_trust(
    distances: NDArray[np.float64], judged: HeldOutTrust, held_out: Predictions, looks: TrainingLooks
) -> TrustRecord:
    """Set the limits that a bundle records, see `runtime.bundle.classification.TrustChecks`.

    Args:
        distances: Of held-out images (N,) from the training images of their network.
        judged: What else they are judged by.
        held_out: The same images' answers.
        looks: Of the final model's training images: no network has to see them for it.
    """
    median, threshold = float(np.median(distances)), float(np.percentile(distances, 95))
    near, far = float(np.median(judged.neighbours)), float(np.percentile(judged.neighbours, 95))
    labels, folds = held_out.labels, held_out.parts
    calibrated = calibration.cross_fitted_temperature(labels, held_out.probabilities, folds)
    cuts = risk_coverage.cuts(held_out.predicted != labels, calibrated.max(axis=1), held_out.groups)
    flat = FLAT * float(np.median(looks.grain))
    has_flat_grain = flat > 0 and (looks.grain < flat).mean() <= _WITHOUT
    checks = {
        "neighbours": {"median": near, "threshold": far},
        "foreign": median + FOREIGN * (threshold - median),
        "upright": looks.upright.tolist() if _have_a_top(judged) else [0.0] * ROWS,
        "contact": max(judged.dark),  # no held-out scan was flagged: dark columns of real scans predicted no error
        "policy": {
            "always": False,
            "error": ERROR,
            "least_probability": next(cut.least_probability for cut in cuts if cut.error == ERROR),
        },
        "source": (
            f"{len(labels)} images held out of training ({held_out.protocol}, {len(np.unique(folds))} parts, seed "
            f"{held_out.seed}, arm {held_out.arm}), each judged by a network that had not seen it"
        ),
        "white": looks.white,
        "grain": flat if has_flat_grain else None,
        "colour": max(COLOURED, looks.colour),
    }
    return TrustRecord(median=median, threshold=threshold, checks=checks)


def _have_a_top(judged: HeldOutTrust) -> bool:
    """Whether images that were not seen can be told from the same images upside down."""
    return float(np.mean(np.array(judged.upright) < 0)) <= TURNED
