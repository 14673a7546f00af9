"""The classifier's options, shared by the verbs that train one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sonoforge.models.blocks import OUTLINE_BLOCK
from sonoforge.runtime.cli.options import flag, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import CROPS
from sonoforge.training.classifier.augmentation import VARIANTS
from sonoforge.training.classifier.settings import BUDGETS, ClassifierSettings

SETTABLE = (
    "augmentation",
    "heads",
    "lesion_crops",
    "outlines",
    "zoomed_second_pass",
    "label_smoothing",
    "ema_decay",
    "balance",
    "teachers",
    "mirror",
    "image_size",
    "precision",
)
"""Other settings that an option has in place of the budget's."""
CHOOSABLE = ("learning_rate", "epochs", "frozen_blocks", "ensemble_size")
"""Options that can also be chosen inside each training fold, see `nested_choice`, as can the dose of arms that add."""


@dataclass(frozen=True)
class ClassifierOptions:
    """How the classifier is trained; what is None is as the budget has it."""

    budget: str = option(
        "quick",
        help="quick: minutes on a CPU; full: all layers, 20 epochs; thesis: as published; collections: for several "
        "collections with masks\n"
        "quick trains the late blocks only; full adds label smoothing, a moving average of the weights, flips "
        "and a one-cycle learning rate to the thesis' training; collections aims at scanners that are in no collection",
        choices=tuple(BUDGETS),
    )
    weights: str | None = option(
        None,
        help="initial weights: imagenet, shipped, none or a .safetensors file (default: imagenet; phantom: shipped)",
    )
    epochs: int | None = option(None, help="epochs of the classifier, in place of the budget's", limits=(1, None))
    frozen_blocks: int | None = option(
        None, help="number of blocks, of 19, kept at their initial weights", limits=(0, 18)
    )
    ensemble_size: int | None = option(None, help="networks in the ensemble, whose logits are averaged", limits=(1, 16))
    learning_rate: float | None = option(None, help="peak learning rate of the classifier", limits=(1e-8, None))
    augmentation: str | None = option(
        None, help="augmentation of the training images, in place of the budget's", choices=tuple(VARIANTS)
    )
    heads: str | None = option(
        None,
        help="classes: one softmax over all classes; hierarchical: lesion or not, then which kind, so that "
        "collections without healthy scans can be trained on",
        choices=("classes", "hierarchical"),
    )
    lesion_crops: float | None = option(
        None,
        help="with --heads hierarchical: share of the images shown as a crop around the lesion, or beside it, "
        "which counts as healthy (needs masks)",
        limits=(0, 1),
    )
    outlines: float | None = option(
        None,
        help="with --heads hierarchical: weight of an auxiliary task, segmenting the lesion, whose head is "
        "dropped after training (needs masks)",
        limits=(0, 100),
    )
    zoomed_second_pass: bool | None = option(
        None,
        help="with --outlines: run again, zoomed in on the lesion that was found, and average both passes: "
        "twice the computation",
    )
    label_smoothing: float | None = option(
        None, help="label smoothing: share of each target spread over all classes", limits=(0, 0.5)
    )
    ema_decay: float | None = option(
        None,
        help="decay of the exponential moving average (EMA) of the weights, which are the ones used (0: no EMA)",
        limits=(0, 0.9999),
    )
    balance: bool | None = option(None, help="sample all collections equally often, whatever their sizes")
    teachers: int | None = option(None, help="number of teachers distilled into each network (0: none)", limits=(0, 16))
    mirror: bool | None = option(
        None, help="average over the image and its mirror image (test-time augmentation): twice the computation"
    )
    crop: str = option(
        "none", help="auto: train on the scan area found in each image; none: on whole images", choices=CROPS
    )
    image_size: int | None = option(
        None,
        help="input size of the network in pixels, in place of the budget's; smaller is faster",
        limits=(64, 512),
    )
    precision: str | None = option(
        None, help="floating-point precision of the training, in place of the budget's", choices=("fp32", "bf16")
    )

    def settings(self) -> ClassifierSettings:
        """Return the budget's settings with what was given instead.

        Raises:
            SonoforgeError: Lesion crops or outlines without what they need.
        """
        names = (*CHOOSABLE, *SETTABLE)
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in given.items() if value is not None}
        changes |= {"crop": self.crop}
        settings = dataclasses.replace(BUDGETS[self.budget], **changes)
        for name in ("lesion_crops", "outlines"):
            if getattr(settings, name) and settings.heads != "hierarchical":
                raise SonoforgeError(f"{flag(name)}: found it with --heads classes, expected --heads hierarchical")
        if settings.zoomed_second_pass and not settings.outlines:
            raise SonoforgeError(
                "--zoomed-second-pass: found it without --outlines, expected, say, --outlines 0.5, which show where"
            )
        if settings.outlines and settings.frozen_blocks >= OUTLINE_BLOCK:
            raise SonoforgeError(
                f"--outlines: found {settings.frozen_blocks} frozen blocks, expected fewer than {OUTLINE_BLOCK}, which "
                "is where they are learnt"
            )
        return settings
