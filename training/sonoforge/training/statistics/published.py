"""Figures that papers claim, printed beside ours.  Claims under their own protocols, not targets.

Some contradict themselves: the accuracy that a paper states is not the one that follows from its own sensitivities.
What follows is computed here, so that ours is compared with a figure that means the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

BUSI_COUNTS = (133, 437, 210)
"""Images of the classes normal, benign and malignant (Al-Dhabyani et al., Data in Brief 28, 2020)."""
ROUNDING = 0.005
"""Half of the last digit of a figure that is printed with two."""


class Implied(NamedTuple):
    """An accuracy that follows from other figures, and its least and largest value before these were rounded."""

    value: float
    low: float
    high: float

    def allows(self, accuracy: float) -> bool:
        """Whether this accuracy can belong to the same answers."""
        return self.low <= accuracy <= self.high


class PublishedRow(NamedTuple):
    """One published result on BUSI; sensitivity and specificity in the order normal, benign, malignant."""

    name: str
    source: str
    validation: str
    protocol: str  # of ours, that deals the images so: `thesis`, `single`; empty where the paper does not state its own
    accuracy: float
    sensitivity: tuple[float, float, float] | None = None
    specificity: tuple[float, float, float] | None = None
    train_accuracy: float | None = None
    confusion: tuple[int, int] | None = None  # right answers and all answers in a published confusion matrix

    @property
    def by_sensitivity(self) -> Implied | None:
        """Accuracy by its confusion matrix, else by its sensitivities on all of BUSI."""
        if self.confusion:
            share = self.confusion[0] / self.confusion[1]
            return Implied(share, share, share)
        return accuracy_by_sensitivity(self.sensitivity, BUSI_COUNTS) if self.sensitivity else None

    @property
    def by_specificity(self) -> Implied | None:
        """Accuracy by its specificities, where it was tested on all of BUSI."""
        if self.confusion or not self.specificity:
            return None  # nobody states how many test images of each class there were
        return accuracy_by_specificity(self.specificity, BUSI_COUNTS)

    @property
    def contradiction(self) -> str:
        """Say how the stated accuracy differs from what follows from the figures beside it; empty where it fits."""
        implied, others = self.by_sensitivity, self.by_specificity
        if implied is None or implied.allows(self.accuracy):
            return ""
        if self.confusion:
            right, answers = self.confusion
            because = f"its confusion matrix has {right} right answers of {answers}: {100 * implied.value:.1f} %"
        else:
            because = f"its sensitivities give {_range(implied)}" + (
                f", its specificities {_range(others)}" if others else ""
            )
        return f"{self.name}: the paper states {100 * self.accuracy:.1f} %, but {because}"


def validated_like(protocol: str) -> list[PublishedRow]:
    """Return the rows that were validated as this protocol of ours deals the images."""
    return [row for row in PUBLISHED if row.protocol == protocol]


def accuracy_by_sensitivity(sensitivities: Sequence[float], counts: Sequence[int]) -> Implied:
    """Compute the accuracy on ``counts`` test images of each class from the sensitivities, rounded to two digits.

    Accuracy is the mean of the sensitivities weighted by the number of images of each class.  The bounds hold for
    whatever was rounded, also for a mean over folds whose classes have the same proportions.
    """

    def weighted(change: float) -> float:
        shares = _shifted(sensitivities, change)
        return sum(share * count for share, count in zip(shares, counts, strict=True)) / sum(counts)

    return Implied(weighted(0), weighted(-ROUNDING), weighted(ROUNDING))


def accuracy_by_specificity(specificities: Sequence[float], counts: Sequence[int]) -> Implied:
    """Compute the accuracy on ``counts`` test images of each class from the specificities, rounded to two digits.

    One against the rest, every wrong answer is a false alarm of exactly one class, so the false alarms of all classes
    are as many as the wrong answers.
    """
    images = sum(counts)

    def remaining(change: float) -> float:
        shares = _shifted(specificities, change)
        alarms = sum((1 - share) * (images - count) for share, count in zip(shares, counts, strict=True))
        return 1 - alarms / images

    return Implied(remaining(0), remaining(-ROUNDING), remaining(ROUNDING))


def _shifted(shares: Sequence[float], change: float) -> list[float]:
    """Move shares together, none beyond 0 or 1."""
    return [min(1.0, max(0.0, share + change)) for share in shares]


def _range(implied: Implied) -> str:
    return f"{100 * implied.low:.1f} to {100 * implied.high:.1f} %"


PLAIN = "plain 10-fold"
THESIS = "S. H., MSc thesis, Middlesex University, 2024"

PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow(
        "Existing app",
        "Addala 2023",
        "one plain 80/20 split",
        "single",
        0.8750,
        (0.56, 0.86, 0.95),
        (0.99, 0.93, 0.81),
        confusion=(130, 156),  # figure 12c of the thesis
    ),
    PublishedRow(
        "System 1 (real images)", THESIS, PLAIN, "thesis", 0.93432, (0.93, 0.89, 0.90), (0.96, 0.95, 0.95), 0.98713
    ),
    PublishedRow(
        "System 2 (real + GAN)", THESIS, PLAIN, "thesis", 0.94929, (0.96, 0.96, 0.94), (0.98, 0.97, 0.98), 0.98958
    ),
    PublishedRow("Hybrid mRMR + SVM", "Eroglu et al. 2021", "one 80/20 split", "single", 0.956),
    PublishedRow("EDLCDS-BCDC", "Ragab et al. 2022", "not stated", "", 0.9709),
)
