"""The metrics of ``sonoforge evaluate`` by name."""

from __future__ import annotations

METRICS = (
    *("kid", "fid", "swd", "precision-recall", "density-coverage", "probe", "inception-score"),
    *("spectrum", "ms-ssim", "lpips", "copies"),
)
"""What ``--metrics`` takes."""
