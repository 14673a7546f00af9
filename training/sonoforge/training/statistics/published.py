"""Hold the figures that papers claim on BUSI, to print beside ours.

They are claims under the papers' own protocols, not targets. Some contradict themselves: the stated accuracy does not
follow from the paper's own sensitivities. The accuracy that does follow is computed here, so that ours is compared with
a figure of the same meaning; the contradictions are stated with the figures, and tested against them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.training.statistics.results import Interval

BUSI_COUNTS = (133, 437, 210)
"""Images of the classes normal, benign and malignant (Al-Dhabyani et al., Data in Brief 28, 2020)."""
ROUNDING = 0.005
"""Half of the last digit of a figure printed with two digits."""


class PublishedRow(NamedTuple):
    """One published result on BUSI; class figures are in the order normal, benign, malignant."""

    name: str
    source: str
    validation: str
    accuracy: float
    protocol: str = ""  # of ours, that deals the images so: `thesis`, `single`; empty where the paper does not say
    sensitivity: Sequence[float] | None = None
    specificity: Sequence[float] | None = None  # of its table
    specificity_in_text: Sequence[float] | None = None  # where its text gives others
    train_accuracy: float | None = None
    confusion: Sequence[Sequence[int]] | None = None  # test images by true class (rows) and answer (columns)
    contradiction: str = ""  # how the stated accuracy differs from what follows from the other figures

    @property
    def by_sensitivity(self) -> Interval | None:
        """Accuracy from its confusion matrix, or else from its sensitivities on all of BUSI."""
        if self.confusion:
            share = sum(row[place] for place, row in enumerate(self.confusion)) / sum(map(sum, self.confusion))
            return Interval(value=share, low=share, high=share)
        return accuracy_by_sensitivity(self.sensitivity, BUSI_COUNTS) if self.sensitivity else None


PUBLISHED = [
    PublishedRow(**row) for row in json.loads(Path(__file__).with_name("published_busi.json").read_text("utf-8"))
]


def accuracy_by_sensitivity(sensitivities: Sequence[float], counts: Sequence[int]) -> Interval:
    """Compute the accuracy on ``counts`` test images of each class from the sensitivities, rounded to two digits.

    Accuracy is the mean of the sensitivities weighted by the number of images of each class.  The bounds hold for
    whatever was rounded, even for a mean over folds with the same class proportions.
    """
    value, low, high = (
        sum(min(1.0, max(0.0, share + change)) * count for share, count in zip(sensitivities, counts, strict=True))
        / sum(counts)
        for change in (0, -ROUNDING, ROUNDING)
    )
    return Interval(value=value, low=low, high=high)


_CLAIMED = json.loads(Path(__file__).with_name("published_gans.json").read_text("utf-8"))


class PublishedGan(NamedTuple):
    """One published result; None if the paper does not give a figure."""

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


GPU_GB = 10
"""Approximate GPU memory that the training runs of the StyleGANs took."""


class Paper(NamedTuple):
    """A paper with tables that `gan compare` makes."""

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


def find_paper(recipes: Sequence[str]) -> Paper | None:
    """Return the paper that compares most of these recipes, or None if none does."""
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
"""Table 4, where the cell for real images of ACDC is N/A; its StyleGAN, of 2019 (table 2), is ``stylegan1``."""


def published_for(data: str) -> list[PublishedSegmentation]:
    """Return the rows of a set by its name; none if the paper does not have it."""
    return [row for row in PUBLISHED_SEGMENTATION if row.data.casefold() in data.casefold()]
