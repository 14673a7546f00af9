"""Figures that papers claim of GANs on few medical images, beside ours: claims under other protocols, no targets.

Feature networks, numbers of generated images and the scale of SWD are not known to us, so that no row
is comparable with one of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

STYLEGANS = "Ryspayeva and Salykova 2025, StyleGAN2 against StyleGAN3"
DURING = "tables 1 to 3"  # which of the three holds which figure is not known to us
OTHERS = "tables 4 and 5"  # other GANs, as these authors list them
LOSSES = "Ryspayeva and Salykova 2025, loss functions for DGAN-WP-TL"
GA_GAN = "Berezsky and Liashchynskyi 2024, GA-GAN"


class PublishedGan(NamedTuple):
    """One published result; None is what the paper does not give there."""

    data: str  # `BUSI` or `CBIS-DDSM`, malignant images of both; `Zenodo 7890874`, its breast cytology
    network: str
    source: str
    table: str  # of the source; empty where that is not known
    epoch: int | None  # when it was measured
    fid: float
    kid: float | None = None
    swd: float | None = None
    seconds_per_kimg: float | None = None
    hours: float | None = None
    inception_score: float | None = None
    ms_ssim: float | None = None  # between generated images
    lpips_pairs: float | None = None  # the same


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

PUBLISHED_LOSSES = (
    # The best row of both losses times five weights: of WGAN-GP, at a weight of 5.
    PublishedGan("BUSI", "DGAN-WP-TL", LOSSES, "", None, 179.42, 0.14, ms_ssim=0.18, lpips_pairs=0.49),
)
PUBLISHED_OTHERS: tuple[PublishedGan, ...] = (
    PublishedGan("BUSI", "IGAN", STYLEGANS, OTHERS, None, 41.86),
    PublishedGan("BUSI", "GSDA", STYLEGANS, OTHERS, None, 68.78),
    PublishedGan("BUSI", "2S-BUSGAN", STYLEGANS, OTHERS, None, 101.00, 0.6238),
    PublishedGan("BUSI", "DGAN-WP-TL", STYLEGANS, OTHERS, 500, 179.42),
    *PUBLISHED_LOSSES,
    PublishedGan("CBIS-DDSM", "DGAN-WP-TL", STYLEGANS, OTHERS, 500, 182.35, 0.1795),
)

PUBLISHED_CYTOLOGY: tuple[PublishedGan, ...] = (
    # The final training alone took 13.6 GPU hours, the search for its cells 25.9 more.
    PublishedGan("Zenodo 7890874", "GA-GAN", GA_GAN, "", None, 3.39, hours=13.6, inception_score=3.95),
    PublishedGan("Zenodo 7890874", "DCGAN", GA_GAN, "", None, 12.67),
    PublishedGan("Zenodo 7890874", "WGAN", GA_GAN, "", None, 12.72),
    PublishedGan("Zenodo 7890874", "WGAN-GP", GA_GAN, "", None, 19.09),
    PublishedGan("Zenodo 7890874", "BGAN", GA_GAN, "", None, 10.03),
    PublishedGan("Zenodo 7890874", "BEGAN", GA_GAN, "", None, 15.32),
)
"""Four classes of breast cytology at 64x64, 700 images of each after affine expansion."""


class Paper(NamedTuple):
    """A paper whose tables `gan compare` makes."""

    rows: tuple[PublishedGan, ...]  # of its own networks, or of its whole comparison
    others: tuple[PublishedGan, ...]  # as it lists others' results
    recipes: tuple[str, ...]  # that it compares, by our names
    images: str  # what its rows are measured on
    unknown: tuple[str, ...]  # sentences: what else its rows leave open
    # What its tables are called where ours stand beside them; of figures as they train, costs, and others.
    titles: tuple[str, str, str]


PAPERS: dict[str, Paper] = {
    "dgan-wp-tl": Paper(
        PUBLISHED_LOSSES,
        (),
        ("dgan-wp-tl-wgangp", "dgan-wp-tl-bce"),
        "malignant images",
        ("It is the best row of its table, with the loss of WGAN-GP and a perceptual weight of 5.",),
        ("", "", " (the paper's best row)"),
    ),
    "stylegan": Paper(
        PUBLISHED_STYLEGANS,
        PUBLISHED_OTHERS,
        ("stylegan2", "stylegan3-t", "stylegan3-r", "dgan-wp-tl-wgangp", "dgan-wp-tl-bce"),
        "malignant images, " + " and ".join(f"{count} images ({name})" for name, count in IMAGES.items()),
        (),
        (" (of the paper's tables 1 to 3)", " (of the paper's tables 1 to 3)", " (the paper's tables 4 and 5)"),
    ),
    "ga-gan": Paper(
        PUBLISHED_CYTOLOGY,
        (),
        ("dcgan", "wgan", "wgan-gp", "bgan", "began", "ga-gan"),
        "four classes of breast cytology, 700 images of each after affine expansion, at 64 x 64",
        (
            "Nor is it known to us whether its five baselines were told the class, how long each was trained, and "
            "whether FID compares with images before or after the expansion.",
            "Its Inception Score, 3.95, lies just below 4, the most that a classifier of its four classes could give; "
            "which classifier it is of is not known to us. Ours is of Inception's thousand classes.",
            "The 13.6 hours are those of the final training; the search for its cells took 25.9 more.",
        ),
        ("", "", " (the paper's comparison)"),
    ),
}
"""By the name that ``--published`` takes."""
BY_RECIPES, NONE = "by-recipes", "none"
"""Other values of ``--published``: the paper that compares most of the recipes, if one does; and no paper."""


def find_paper(name: str, recipes: Sequence[str]) -> Paper | None:
    """Return the paper whose rows stand beside these recipes' figures, or None.

    Args:
        name: Key of `PAPERS`, `BY_RECIPES` or `NONE`.
        recipes: That are compared.
    """
    if name != BY_RECIPES:
        return None if name == NONE else PAPERS[name]
    shared = {key: len(set(paper.recipes) & set(recipes)) for key, paper in PAPERS.items()}
    most = max(shared, key=lambda key: shared[key])
    return PAPERS[most] if shared[most] else None
