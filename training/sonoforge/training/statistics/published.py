"""Figures that papers claim, printed beside ours.  Claims under their own protocols, not targets."""

from __future__ import annotations

from typing import NamedTuple


class PublishedRow(NamedTuple):
    """One published result on BUSI; sensitivity and specificity in the order normal, benign, malignant."""

    name: str
    source: str
    validation: str
    accuracy: float
    sensitivity: tuple[float, float, float] | None = None
    specificity: tuple[float, float, float] | None = None
    train_accuracy: float | None = None


THESIS = "S. H., MSc thesis, Middlesex University, 2024"

PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow("Existing app", "Addala 2023", "one split", 0.8750, (0.56, 0.86, 0.95), (0.99, 0.93, 0.81)),
    PublishedRow(
        name="System 1 (real images)",
        source=THESIS,
        validation="plain 10-fold",
        accuracy=0.93432,
        sensitivity=(0.93, 0.89, 0.90),
        specificity=(0.96, 0.95, 0.95),
        train_accuracy=0.98713,
    ),
    PublishedRow(
        name="System 2 (real + GAN)",
        source=THESIS,
        validation="plain 10-fold",
        accuracy=0.94929,
        sensitivity=(0.96, 0.96, 0.94),
        specificity=(0.98, 0.97, 0.98),
        train_accuracy=0.98958,
    ),
    PublishedRow("Hybrid mRMR + SVM", "Eroglu et al. 2021", "one 80/20 split", 0.956),
    PublishedRow("EDLCDS-BCDC", "Ragab et al. 2022", "not stated", 0.9709),
)
