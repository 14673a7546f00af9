"""What Thakur and Thakur publish of six GANs on three modalities: FID, and the Dice of a U-Net trained on their images.

Claims under the paper's own protocol, printed beside ours: which images FID compares, how its pairs were made, and how
patients were split is not known to us, so that no row is comparable with one of ours.
"""

from typing import NamedTuple

SOURCE = "Thakur and Thakur, six GANs on three modalities"


class PublishedSegmentation(NamedTuple):
    """One cell of the table."""

    data: str  # `ACDC`, `SLiver07` or `IDRiD`
    recipe: str  # of ours, that stands for the paper's network; empty: real images
    fid: float | None
    dice: float


_SETS = ("ACDC", "SLiver07", "IDRiD")
_ROWS: dict[str, tuple[tuple[float | None, float], ...]] = {
    # The table has no Dice of real images for ACDC; the text implies about .95.
    "": ((None, 0.95), (None, 0.95), (None, 0.82)),
    "dcgan": ((116.32, 0.83), (75.69, 0.87), (156.74, 0.62)),
    "lsgan": ((104.38, 0.81), (86.90, 0.84), (148.95, 0.59)),
    "wgan": ((99.23, 0.85), (60.01, 0.90), (121.67, 0.73)),
    "stylegan2": ((83.56, 0.87), (29.06, 0.89), (143.33, 0.68)),
    "biggan": ((135.21, 0.78), (102.32, 0.75), (179.95, 0.55)),
    "spade": ((79.24, 0.86), (47.62, 0.93), (165.43, 0.71)),
}

PUBLISHED: tuple[PublishedSegmentation, ...] = tuple(
    PublishedSegmentation(data, recipe, *figures)
    for recipe, cells in _ROWS.items()
    for data, figures in zip(_SETS, cells, strict=True)
)
"""The table; its StyleGAN, of progressive growing and path length, stands beside ``stylegan2``."""


def published_for(data: str) -> list[PublishedSegmentation]:
    """Return the rows of a set, by its name; none where the paper does not have it."""
    return [row for row in PUBLISHED if row.data.casefold() in data.casefold()]
