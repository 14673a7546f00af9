"""Define how a classifier is fine-tuned: its settings, the budgets, and the options ``classifier.*``."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.models import DEFAULT, DEFAULT_BLOCKS, OUTLINE_BLOCK
from sonoforge.runtime.cli.options import option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import CROPS, IMAGENET, Preprocessing
from sonoforge.training import own_code
from sonoforge.training.classifier.augmentation import VARIANTS
from sonoforge.training.statistics.results import LEAVE_ONE_OUT

if TYPE_CHECKING:
    from sonoforge.training.classifier.backbone import Network

log = logging.getLogger(__name__)

LARGE = 256
"""Side in pixels of the images to cut crops from: a crop of a small image would be blurred."""


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is fine-tuned."""

    frozen_blocks: int = 11  # leading blocks (MobileNetV2 has 19) kept at their initial weights; 0 trains all
    epochs: int = 8  # passes over the training images
    least_steps: int = 60  # of all epochs together; a small set is shown more often until there are as many
    optimiser: str = "adamw"  # row of `fine_tuning.OPTIMISERS`
    schedule: str = "one-cycle"  # of the learning rate: `one-cycle` (Smith & Topin 2019) or `constant`
    learning_rate: float = 1e-3  # peak of `one-cycle`
    weight_decay: float = 1e-2  # decoupled (Loshchilov & Hutter 2019); `adam` has none
    batch: int = 32  # images per step
    label_smoothing: float = 0.1  # share of the target spread over all classes (Szegedy et al. 2016), 0..1
    ema_decay: float = 0.98  # of the moving average of the weights, a step; 0: none
    class_weights: bool = False  # weight each class by the inverse of its frequency
    augmentation: str = "flip"  # row of `augmentation.VARIANTS`; an arm may have its own
    heads: str = "classes"  # `classes`, or `hierarchical`, see `losses`
    lesion_crops: float = 0.0  # share of the images that are shown so, see `scan_views`
    outlines: float = 0.0  # weight of a second task, the outline of the lesion, see `losses`
    balance: bool = False  # show all collections equally often, see `scan_views.balanced_frequencies`
    # Networks trained with different seeds on the same frozen blocks; their logits are averaged
    # (Lakshminarayanan et al., Deep ensembles, NeurIPS 2017).
    ensemble_size: int = 1
    teachers: int = 0  # networks that are distilled into each of the members, see `fine_tuning`; 0: none
    mirror: bool = False  # answer on the mean embedding of the image and its mirror image; twice the work of one answer
    zoomed_second_pass: bool = False  # see `models.mobilenetv2`; twice the work of one answer
    crop: str = "none"  # row of `preprocessing.CROPS`: whole images, or the scan found in each
    image_size: int = IMAGENET.size  # side of what the network is shown, in pixels
    precision: str = "fp32"  # `fp32`, or `bf16`: forward and backward passes in bfloat16 autocast, weights in float32
    # Accuracy and loss on the held-out fold after each epoch, for a picture; nothing is chosen by them.
    test_curves: bool = False

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the network's input."""
        return dataclasses.replace(IMAGENET, size=LARGE if self.zoomed_second_pass else self.image_size, crop=self.crop)

    @property
    def look(self) -> int | None:
        """Side of each of two passes in pixels; None if there is only one."""
        return self.image_size if self.zoomed_second_pass else None

    def for_images(self, count: int) -> ClassifierSettings:
        """Return the settings for this many training images, with enough epochs for `least_steps`."""
        steps = max(1, count // min(self.batch, count))
        return dataclasses.replace(self, epochs=max(self.epochs, math.ceil(self.least_steps / steps)))

    @property
    def cached_blocks(self) -> int:
        """Number of leading blocks that run once per image and variant: the frozen ones, unless views differ."""
        return self.frozen_blocks if self.heads == "classes" else 0


ROWS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("budgets.json").read_text("utf-8"))
"""Of each budget, the settings of classifier and generator, why they are so, and on which images they were chosen."""
BUDGETS = {name: ClassifierSettings(**row["classifier"]) for name, row in ROWS.items()}

CHOOSABLE = ("learning_rate", "epochs", "frozen_blocks", "ensemble_size")
"""Options that can also be chosen inside each training fold, like the dose of arms that add; see `nested_choice`."""


@dataclass(frozen=True)
class ClassifierOptions:
    """How the classifier is trained; None means the budget's value."""

    budget: str = option(
        "",
        help="training recipe: quick, full, thesis or collections\n"
        "quick: minutes on a CPU, the late blocks only; full: all layers, 20 epochs, with label smoothing, a moving "
        "average of the weights, flips and a one-cycle learning rate; thesis: as published; collections: for several "
        "collections with masks, aimed at scanners outside all of them; default: collections if each is left out "
        "in turn, else quick",
        choices=tuple(BUDGETS),
    )
    weights: str | None = option(
        None,
        help="initial weights: imagenet, shipped, none or a file\na bundle or a .safetensors file; default: shipped "
        "for phantom and for fewer than 500 breast scans that the shipped network was not trained on, else imagenet",
        metavar="SOURCE",
    )
    epochs: int | None = option(
        None,
        help="epochs, instead of the budget's\nthe budget trains longer on small sets, which have few steps an epoch",
        limits=(1, None),
    )
    backbone: str = option(
        DEFAULT,
        help="the network: of torchvision or timm, or FILE.py:NAME\nor package.module:NAME, for a function or class of "
        "your own that returns a torch.nn.Module; timm must be installed; initial weights are then imagenet or, for "
        "your own, those that it brings along",
        metavar="NAME",
    )
    frozen_blocks: int | None = option(
        None,
        help="leading blocks kept at their initial weights\nMobileNetV2 has 19; default: the budget's share of them",
        limits=(0, 500),
    )
    ensemble_size: int | None = option(None, help="networks in the ensemble; their logits are averaged", limits=(1, 16))
    learning_rate: float | None = option(None, help="peak learning rate of the classifier", limits=(1e-8, None))
    augmentation: str | None = option(None, help="augmentation of the training images", choices=tuple(VARIANTS))
    heads: str | None = option(
        None,
        help="classes: one softmax over all classes; hierarchical: lesion or not, then which kind, which allows "
        "collections without healthy scans",
        choices=("classes", "hierarchical"),
    )
    lesion_crops: float | None = option(
        None,
        help="with hierarchical heads: share of the images shown as a crop around the lesion, or beside it, "
        "which counts as healthy (needs masks)",
        limits=(0, 1),
    )
    outlines: float | None = option(
        None,
        help="with hierarchical heads: weight of an auxiliary task, segmenting the lesion, whose head is "
        "dropped after training (needs masks)",
        limits=(0, 100),
    )
    zoomed_second_pass: bool | None = option(
        None,
        help="with outlines: run again, zoomed in on the lesion found, and average both passes: twice the computation",
    )
    label_smoothing: float | None = option(None, help="share of each target spread over all classes", limits=(0, 0.5))
    ema_decay: float | None = option(
        None,
        help="decay per step of the weights' moving average, which is the one used (0: none)",
        limits=(0, 0.9999),
    )
    balance: bool | None = option(None, help="sample all collections equally often, whatever their size")
    teachers: int | None = option(None, help="number of teachers distilled into each network (0: none)", limits=(0, 16))
    mirror: bool | None = option(
        None, help="average over the image and its mirror image (test-time augmentation): twice the computation"
    )
    crop: str = option(
        "none", help="auto: train on the scan area found in each image; none: on whole images", choices=CROPS
    )
    image_size: int | None = option(
        None,
        help="input size of the network in pixels; smaller is faster",
        limits=(64, 512),
    )
    precision: str | None = option(None, help="floating-point precision of the training", choices=("fp32", "bf16"))

    def with_budget(self, protocol: str) -> ClassifierOptions:
        """Return these options with a budget: the one given, or the one that suits the protocol; log which.

        A network for one's own scanners is tested on them; one tested on collections left out must travel.
        """
        if self.budget:
            return self
        if protocol == LEAVE_ONE_OUT:
            log.info("budget collections, because each is left out in turn; --budget quick is faster")
            return dataclasses.replace(self, budget="collections")
        log.info("budget quick, for the scanners of these images; --budget collections is for other scanners")
        return dataclasses.replace(self, budget="quick")

    def settings(self) -> ClassifierSettings:
        """Return the budget's settings, changed by the options given."""
        own = {field.name: getattr(self, field.name, None) for field in dataclasses.fields(ClassifierSettings)}
        given = {name: value for name, value in own.items() if value is not None}
        if self.epochs is not None:
            given["least_steps"] = 0
        settings = dataclasses.replace(BUDGETS[self.budget], **given)
        if self.backbone != DEFAULT:
            settings = self._for_backbone(settings)
        self.check_frozen(settings.frozen_blocks, settings)
        for name in ("lesion_crops", "outlines"):
            if getattr(settings, name) and settings.heads != "hierarchical":
                raise SonoforgeError(f"{name}: requires hierarchical heads; add --set classifier.heads=hierarchical")
        if settings.zoomed_second_pass and not settings.outlines:
            raise SonoforgeError(
                "zoomed_second_pass: requires outlines, which show where; add, say, --set classifier.outlines=0.5"
            )
        if settings.outlines and settings.frozen_blocks >= OUTLINE_BLOCK:
            raise SonoforgeError(
                f"outlines: requires fewer than {OUTLINE_BLOCK} frozen blocks, not {settings.frozen_blocks}; change "
                "--set "
                "classifier.frozen_blocks"
            )
        return settings

    def network(self, settings: ClassifierSettings) -> Network:
        """Return the network that the images of these settings are for."""
        from sonoforge.training.classifier.backbone import Network  # noqa: PLC0415 - needs torch

        own = own_code.is_own(self.backbone)
        return Network(own_code.give(self.backbone) if own else self.backbone, settings.image_size)

    def check_frozen(self, frozen: float, settings: ClassifierSettings) -> None:
        """Refuse to freeze all blocks of the network, or more than it has."""
        count = DEFAULT_BLOCKS if self.backbone == DEFAULT else self.network(settings).blocks
        if frozen >= count:
            raise SonoforgeError(
                f"--set classifier.frozen_blocks: {frozen:g} is too many; {self.backbone} has {count} blocks: give at "
                f"most {count - 1}"
            )

    def _for_backbone(self, settings: ClassifierSettings) -> ClassifierSettings:
        """Return the settings for another network than MobileNetV2: the same share of its blocks is frozen."""
        for name in ("outlines", "zoomed_second_pass"):
            if getattr(settings, name):
                raise SonoforgeError(
                    f"--backbone {self.backbone}: {name} requires {DEFAULT}; give --budget quick or full"
                )
        if self.frozen_blocks is not None:
            return settings
        blocks = self.network(settings).blocks
        frozen = min(round(settings.frozen_blocks / DEFAULT_BLOCKS * blocks), blocks - 1)
        return dataclasses.replace(settings, frozen_blocks=frozen)
