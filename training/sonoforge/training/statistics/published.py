"""Hold the figures that papers claim on BUSI, to print beside ours.

They are claims under the papers' own protocols, not targets. Some contradict themselves: the stated accuracy does not
follow from the paper's own sensitivities. The accuracy that does follow is computed here, so that ours is compared with
a figure of the same meaning.
"""

import json
from collections.abc import Callable, Sequence
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

    @property
    def by_sensitivity(self) -> Interval | None:
        """Accuracy from its confusion matrix, or else from its sensitivities on all of BUSI."""
        if self.confusion:
            share = _right(self.confusion) / sum(self.tested)
            return Interval(value=share, low=share, high=share)
        return accuracy_by_sensitivity(self.sensitivity, BUSI_COUNTS) if self.sensitivity else None

    @property
    def by_specificity(self) -> Interval | None:
        """Accuracy from the specificities in its table."""
        return accuracy_by_specificity(self.specificity, self.tested) if self.specificity else None

    @property
    def tested(self) -> Sequence[int]:
        """Number of test images of each class."""
        return [sum(row) for row in self.confusion] if self.confusion else BUSI_COUNTS

    @property
    def contradiction(self) -> str:
        """Say how the stated accuracy differs from what follows from the other figures; empty if it fits."""
        implied, others = self.by_sensitivity, self.by_specificity
        if implied is None or implied["low"] <= self.accuracy <= implied["high"]:
            return ""
        if self.confusion:
            right, answers = _right(self.confusion), sum(self.tested)
            because = f"its confusion matrix (figure 12c of the thesis) has {right} right answers of {answers}"
            because += f": {100 * implied['value']:.1f} %"
        else:
            because = f"its sensitivities (table 1) give {_range(implied)}" + (
                f", its specificities {_range(others)}" if others else ""
            )
        if self.specificity_in_text:
            of_text = _range(accuracy_by_specificity(self.specificity_in_text, self.tested))
            because += f", and those of its text (section 4), which are not the table's, {of_text}"
        return f"{self.name}: the paper states {100 * self.accuracy:.1f} %, but {because}"


PUBLISHED = [
    PublishedRow(**row) for row in json.loads(Path(__file__).with_name("published_busi.json").read_text("utf-8"))
]


def validated_like(protocol: str) -> list[PublishedRow]:
    """Return the rows that were validated the way our protocol splits the images."""
    return [row for row in PUBLISHED if row.protocol == protocol]


def accuracy_by_sensitivity(sensitivities: Sequence[float], counts: Sequence[int]) -> Interval:
    """Compute the accuracy on ``counts`` test images of each class from the sensitivities, rounded to two digits.

    Accuracy is the mean of the sensitivities weighted by the number of images of each class.  The bounds hold for
    whatever was rounded, even for a mean over folds with the same class proportions.
    """
    return _before_rounding(
        sensitivities,
        lambda shares: sum(share * count for share, count in zip(shares, counts, strict=True)) / sum(counts),
    )


def accuracy_by_specificity(specificities: Sequence[float], counts: Sequence[int]) -> Interval:
    """Compute the accuracy on ``counts`` test images of each class from the specificities, rounded to two digits.

    One against the rest, every wrong answer is a false alarm of exactly one class, so the false alarms of all classes
    are as many as the wrong answers.
    """
    images = sum(counts)
    return _before_rounding(
        specificities,
        lambda shares: (
            1 - sum((1 - share) * (images - count) for share, count in zip(shares, counts, strict=True)) / images
        ),
    )


def _before_rounding(shares: Sequence[float], accuracy: Callable[[Sequence[float]], float]) -> Interval:
    """Return an accuracy that follows from shares, and its smallest and largest value before rounding."""
    value, low, high = (
        accuracy([min(1.0, max(0.0, share + change)) for share in shares]) for change in (0, -ROUNDING, ROUNDING)
    )
    return Interval(value=value, low=low, high=high)


def _right(confusion: Sequence[Sequence[int]]) -> int:
    return sum(row[place] for place, row in enumerate(confusion))


def _range(implied: Interval) -> str:
    return f"{100 * implied['low']:.1f} to {100 * implied['high']:.1f} %"


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


IMAGES = {"BUSI": 210, "CBIS-DDSM": 509}
"""Malignant images that the StyleGANs were trained on, for 1000 epochs, at 512 and 256 pixels per side, on a GPU."""
GPU_GB = 10
"""Approximate GPU memory that these training runs took."""


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
