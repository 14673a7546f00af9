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


PLAIN = "plain 10-fold"
THESIS = "S. H., MSc thesis, Middlesex University, 2024"

PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow("Existing app", "Addala 2023", "one split", 0.8750, (0.56, 0.86, 0.95), (0.99, 0.93, 0.81)),
    PublishedRow("System 1 (real images)", THESIS, PLAIN, 0.93432, (0.93, 0.89, 0.90), (0.96, 0.95, 0.95), 0.98713),
    PublishedRow("System 2 (real + GAN)", THESIS, PLAIN, 0.94929, (0.96, 0.96, 0.94), (0.98, 0.97, 0.98), 0.98958),
    PublishedRow("Hybrid mRMR + SVM", "Eroglu et al. 2021", "one 80/20 split", 0.956),
    PublishedRow("EDLCDS-BCDC", "Ragab et al. 2022", "not stated", 0.9709),
)
