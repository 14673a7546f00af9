"""The arms of a segmentation experiment: which pairs a U-Net is trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sonoforge.runtime.errors import SonoforgeError

FORMS = (
    "real: real pairs as they are; augmented: real pairs, distorted at random, the placebo; generated: as many "
    "generated pairs alone; both: real and generated; both:2: two generated for each real one; both-augmented: both, "
    "distorted"
)
_NAME = re.compile(r"(?P<pairs>real|generated|both)(:(?P<dose>\d+(\.\d+)?))?(?P<augmented>-augmented)?")


@dataclass(frozen=True)
class Arm:
    """What a U-Net is trained on."""

    name: str
    real: bool  # whether it sees the real pairs of its training fold
    dose: float  # generated pairs for each real one; 0: none
    augmented: bool  # whether every batch is distorted


def find_arm(name: str) -> Arm:
    """Return what a name stands for; see `FORMS`.

    Raises:
        SonoforgeError: No such name.
    """
    match = _NAME.fullmatch("real-augmented" if name == "augmented" else name)
    dose = float(match["dose"] or 1) if match else 0.0
    if match is None or not 0 < dose <= 100 or (match["pairs"] == "real" and match["dose"]):
        raise SonoforgeError(
            f"--arms: found {name!r}, expected real, augmented, generated, both, both:2 or both-augmented"
        )
    source = match["pairs"]
    return Arm(name, source != "generated", 0.0 if source == "real" else dose, bool(match["augmented"]))
