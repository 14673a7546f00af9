"""Two sets of feature vectors, checked once before a distance between them is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError

Embeddings = NDArray[np.float64]
"""(N, D): one feature vector for each image."""


def check_pair(
    metric: str, generated: NDArray[Any], real: NDArray[Any], minimum: int = 2
) -> tuple[Embeddings, Embeddings]:
    """Return both sets in double precision: the distances are small differences of large sums.

    Args:
        metric: Its name, for messages.
        generated: (N, D) numbers.
        real: (M, D) numbers.
        minimum: Images that each set must have.

    Raises:
        ValueError: Not two tables of one width.
        SonoforgeError: Too few images in a set, or a feature that is not a finite number.
    """
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(f"{metric}: found shapes {generated.shape} and {real.shape}, expected (N, D) and (M, D)")
    for name, rows in (("generated", generated), ("real", real)):
        if len(rows) < minimum:
            raise SonoforgeError(f"{metric}: found {len(rows)} {name} images, expected at least {minimum}")
        if not np.isfinite(rows).all():
            raise SonoforgeError(
                f"{metric}: found features of {name} images that are not finite numbers; "
                "check the images and the weights of the feature network"
            )
    return generated.astype(np.float64), real.astype(np.float64)
