"""Declare the options of a segmentation experiment: arms, generators, U-Nets and metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sonoforge.runtime.cli.options import group, option, setting
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.architecture_search.space import Values
from sonoforge.training.gan.options import GAN_TITLE, GanSettings
from sonoforge.training.run_options import ParallelOptions

ALL = "all"
_FIRST = ("dcgan", "lsgan", "wgan")
SIX = {
    "quick": (*_FIRST, "stylegan1:small-data", "biggan:small-data", "spade:small-data"),
    "full": (*_FIRST, "stylegan1:six-gans", "biggan:six-gans", "spade"),
}
"""Thakur and Thakur's six by budget: their rows for small sets, or the sizes in section 5.1 and SPADE as published."""
BUDGETS: Mapping[str, Mapping[str, Any]] = {
    # What two cores do in an hour with six recipes and three sets.
    "quick": {"image_size": 64, "tested_folds": 1, "generator": {"batch": 16, "width": 16}},
    # The paper's 200 epochs; batches are each recipe's own.
    "full": {"image_size": 128, "tested_folds": None, "generator": {"epochs": 200.0}},
}
FORMS = (
    "real: unchanged real pairs; augmented: real pairs, distorted at random, the placebo; generated: only generated "
    "pairs, as many; both: real and generated; both:2: two generated for each real one; both-augmented: both, "
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
    """Return the arm that a name stands for; see `FORMS`.

    Raises:
        SonoforgeError: The name is unknown.
    """
    match = _NAME.fullmatch("real-augmented" if name == "augmented" else name)
    dose = float(match["dose"] or 1) if match else 0.0
    if match is None or not 0 < dose <= 100 or (match["pairs"] == "real" and match["dose"]):
        raise SonoforgeError(
            f"--arms: no arm {name!r}; give real, augmented, generated, both, both:2 or both-augmented"
        )
    source = match["pairs"]
    return Arm(name, source != "generated", 0.0 if source == "real" else dose, bool(match["augmented"]))


@dataclass(frozen=True)
class UnetSettings:
    """How a U-Net is trained."""

    steps: int | None = option(None, help="training steps of each U-Net", limits=(1, None))
    batch: int = option(16, help="batch size of the U-Net", limits=(1, None))
    width: int | None = option(None, help="base number of channels of the U-Net (16; full: 64)", limits=(4, 256))
    widest: int | None = option(None, help="channels of its last level, in widths (8; full: 16)", limits=(1, 16))
    learning_rate: float = option(0.001, help="peak learning rate of the U-Net", limits=(1e-6, 1))


# By budget: MONAI's proportions, whose first two levels are equal; and the channels of Ronneberger et al. 2015.
UNETS = {"quick": UnetSettings(300, width=16, widest=8), "full": UnetSettings(3000, width=64, widest=16)}


@dataclass(frozen=True, kw_only=True)
class Experiment(ParallelOptions):
    """Everything that determines an experiment, together with its images."""

    recipes: tuple[str, ...] = option(
        ("dcgan", "spade:small-data"),
        help="recipes, NAME or NAME:PRESET; or all, or none\nnone: no generator; all: "
        + "; at budget full: ".join(map(",".join, SIX.values())),
    )
    arms: tuple[str, ...] = option(
        ("real", "augmented", "generated", "both"),
        help="what a U-Net is trained on\n" + FORMS,
    )
    maps: str = setting(
        "perturbed",
        "segment.maps",
        help="label maps that SPADE is given: real, from its training fold; perturbed, the same but "
        "rotated, scaled, shifted and warped",
        choices=("perturbed", "real"),
    )
    budget: str = option(
        "quick",
        help="quick: minutes; full: days\n"
        "quick tests one fold at 64 x 64 pixels, with 300 steps of each U-Net and 4 to 30 thousand images shown to "
        "each GAN, in batches of 16 at base width 16, so that all take about as long; full has 128 x 128 "
        "pixels, 3000 steps, 200 epochs, and each recipe's own batch, width and image size, its pairs resized",
        choices=("quick", "full"),
    )
    image_size: int | None = setting(
        None,
        "unet.image_size",
        help="height and width of the U-Net's images and maps in pixels: 32, 64, 128, 256",
        limits=(32, 512),
    )
    unet: UnetSettings = group(UnetSettings(), key="unet", title="each U-Net")
    tuned: tuple[str, ...] = setting(
        (),
        "segment.tuned",
        help="run of gan search: train each recipe with the settings of its best trial there, if it was searched with "
        "the preset asked for here; may be repeated",
        repeated=True,
    )
    tuned_settings: Mapping[str, Values] = field(default_factory=dict)  # what these runs found, by recipe
    # One generator for all of a set's images, with their masks.
    generator: GanSettings = group(
        GanSettings(),
        title=GAN_TITLE,
        key="gan",
        without=(
            *("recipe", "preset", "class_name", "image_size", "masks", "conditioning", "seed"),
            *("metrics", "metric_features", "metric_weights", "held_out", "expand_to"),
        ),
    )
    metric_features: str = setting(
        "",
        "metrics.features",
        help="feature space of KID and FID, as in evaluate --features (default: bundle for images of its kind,"
        " else mobilenetv2-imagenet if it is already downloaded)",
    )
    metric_weights: str = setting("", "metrics.weights", help="weights of the feature network (default: download)")
    repeats: int = setting(
        50, "metrics.repeats", help="number of random halves for noise floors and intervals", limits=(5, None)
    )
