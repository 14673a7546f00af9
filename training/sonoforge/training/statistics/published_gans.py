"""Figures that papers claim of GANs on breast images, printed beside ours: claims under other protocols, no targets.

Feature networks, numbers of generated images and the scale of SWD are not known to us, so that no row
is comparable with one of ours.
"""

from __future__ import annotations

from typing import NamedTuple

STYLEGANS = "Ryspayeva and Salykova 2025, StyleGAN2 against StyleGAN3"
DURING = "tables 1 to 3"  # which of the three holds which figure is not known to us
OTHERS = "tables 4 and 5"  # other GANs, as these authors list them
LOSSES = "Ryspayeva and Salykova 2025, loss functions for DGAN-WP-TL"


class PublishedGan(NamedTuple):
    """One published result; None is what the paper does not give there."""

    data: str  # `BUSI` or `CBIS-DDSM`, malignant images of both
    network: str
    source: str
    table: str  # of the source; empty where that is not known
    epoch: int | None  # when it was measured
    fid: float
    kid: float | None = None
    swd: float | None = None
    seconds_per_kimg: float | None = None
    hours: float | None = None


IMAGES = {"BUSI": 210, "CBIS-DDSM": 509}
"""Malignant images that the StyleGANs were trained on, for 1000 epochs, at 512 and 256 pixels a side, on a GPU."""
GPU_GB = 10
"""Memory of the GPU that these trainings took, about."""


def _during(
    data: str, network: str, fid: tuple[float, ...], kid: tuple[float, ...], end: tuple[float, ...]
) -> tuple[PublishedGan, ...]:
    """Rows of epochs 100, 500 and 1000; SWD, seconds a kimg and hours, ``end``, belong to the last one."""
    rows = zip((100, 500, 1000), fid, kid, ((), (), end), strict=True)
    return tuple(
        PublishedGan(data, network, STYLEGANS, DURING, epoch, *figures, *last) for epoch, *figures, last in rows
    )


PUBLISHED_STYLEGANS: tuple[PublishedGan, ...] = (
    _during("BUSI", "StyleGAN2", (565.37, 383.48, 259.65), (0.78, 0.42, 0.25), (5.62, 226.2, 13.2))
    + _during("BUSI", "StyleGAN3", (281.17, 149.27, 140.67), (0.27, 0.08, 0.06), (3.21, 447.6, 26.1))
    + _during("CBIS-DDSM", "StyleGAN2", (401.20, 143.75, 124.79), (0.56, 0.13, 0.10), (25.00, 145.4, 20.5))
    + _during("CBIS-DDSM", "StyleGAN3", (129.84, 97.27, 90.58), (0.11, 0.07, 0.06), (24.32, 268.6, 38.0))
)

PUBLISHED_OTHERS: tuple[PublishedGan, ...] = (
    PublishedGan("BUSI", "IGAN", STYLEGANS, OTHERS, None, 41.86),
    PublishedGan("BUSI", "GSDA", STYLEGANS, OTHERS, None, 68.78),
    PublishedGan("BUSI", "2S-BUSGAN", STYLEGANS, OTHERS, None, 101.00, 0.6238),
    PublishedGan("BUSI", "DGAN-WP-TL", STYLEGANS, OTHERS, 500, 179.42),
    PublishedGan("BUSI", "DGAN-WP-TL", LOSSES, "", None, 179.42, 0.14),
    PublishedGan("CBIS-DDSM", "DGAN-WP-TL", STYLEGANS, OTHERS, 500, 182.35, 0.1795),
)
