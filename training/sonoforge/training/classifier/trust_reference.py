"""Fit the Gaussian that the runtime measures an embedding's distance from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.trust import TrustReference


def fit_reference(embeddings: NDArray[np.float32], components: int = 64) -> TrustReference:
    """Fit by maximum likelihood (Tipping & Bishop, JRSS B 61, 1999, section 3.2) to training embeddings (N, D).

    At most N/4 leading axes are kept, because the spread along each is estimated from the same N images; the
    variance of the rest is their mean variance.
    """
    count, width = embeddings.shape
    mean = embeddings.mean(axis=0)
    _, singular, axes = np.linalg.svd(embeddings - mean, full_matrices=False)
    kept = min(components, max(1, count // 4), width - 1)
    variances = np.square(singular, dtype=np.float64) / max(1, count - 1)
    deviation = np.sqrt(np.maximum(variances[:kept], 1e-12))
    residual = np.sqrt(max(float(variances[kept:].sum()) / (width - kept), 1e-12))
    return TrustReference(
        mean.astype(np.float32),
        (axes[:kept].T / deviation).astype(np.float32),
        np.array([residual], dtype=np.float32),
    )
