"""Figures that papers claim of GANs on few medical images, beside ours: claims under other protocols, no targets.

No paper gives the number of generated images, which images FID compares or the scale of SWD, so that no row is
comparable with one of ours.  Figures are as printed: ``tests/golden/papers``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_CLAIMED = json.loads(Path(__file__).with_name("published_gans.json").read_text("utf-8"))


class PublishedGan(NamedTuple):
    """One published result; None is what the paper does not give there."""

    # `BUSI` or `CBIS-DDSM`, malignant images of both; other mammograms; `Zenodo 7890874`, its breast cytology.
    data: str
    network: str
    source: str
    fid: float
    table: str = ""  # of the source; empty where it stands in the text
    epoch: int | None = None  # when it was measured
    kid: float | None = None
    kid_spread: float | None = None  # printed after ±
    swd: float | None = None
    seconds_per_epoch: float | None = None
    seconds_per_kimg: float | None = None
    hours: float | None = None  # up to then
    inception_score: float | None = None
    ms_ssim: float | None = None  # between generated images
    lpips_pairs: float | None = None  # the same


IMAGES = {"BUSI": 210, "CBIS-DDSM": 509}
"""Malignant images that the StyleGANs were trained on, for 1000 epochs, at 512 and 256 pixels a side, on a GPU."""
GPU_GB = 10
"""Memory of the GPU that these trainings took, about."""


class Paper(NamedTuple):
    """A paper whose tables `gan compare` makes."""

    source: str
    recipes: Sequence[str]  # that it compares, by our names
    images: str  # what its rows are measured on
    silent: str  # where it would say of how many images its figures are, and does not: "its ... do"
    unknown: Sequence[str]  # sentences: what else its rows leave open
    # What its tables are called where ours stand beside them; of figures as they train, costs, and others.
    titles: Sequence[str]
    rows: Sequence[PublishedGan]  # of its own networks, or of its whole comparison
    others: Sequence[PublishedGan]  # as it lists others' results


PAPERS: dict[str, Paper] = {
    name: Paper(
        **own
        | {part: [PublishedGan(**{"source": own["source"]} | row) for row in own[part]] for part in ("rows", "others")}
    )
    for name, own in _CLAIMED["papers"].items()
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


SEGMENTATION_SOURCE = "Thakur and Thakur, six GANs on three modalities"


class PublishedSegmentation(NamedTuple):
    """FID of a GAN, and the Dice of a U-Net trained on its images; section 4.3 does not say how pairs were made."""

    data: str  # `ACDC`, `SLiver07` or `IDRiD`
    recipe: str  # of ours, that stands for the paper's network; empty: real images
    dice: float
    fid: float | None = None


PUBLISHED_SEGMENTATION = [PublishedSegmentation(**row) for row in _CLAIMED["segmentation"]]
"""Table 4, whose cell of real images of ACDC is N/A; its StyleGAN, of 2019 (table 2), stands beside ``stylegan1``."""


def published_for(data: str) -> list[PublishedSegmentation]:
    """Return the rows of a set, by its name; none where the paper does not have it."""
    return [row for row in PUBLISHED_SEGMENTATION if row.data.casefold() in data.casefold()]
