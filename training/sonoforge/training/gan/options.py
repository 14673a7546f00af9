"""Declare the options of a GAN training, which can be listed without torch."""

import dataclasses

from sonoforge.runtime.cli.options import option
from sonoforge.training.gan.recipes import OPTIMISERS, RECIPES, SCHEDULES, give_recipe

# Of `losses.LOSSES`, `augmentations.AUGMENTATIONS`, `losses.CONDITIONINGS`, `layers.ACTIVATIONS` and
# `layers.NORMS`, which need torch.
LOSS_NAMES = ("bce", "least-squares", "wasserstein", "hinge", "boundary-seeking", "began", "flow-matching")
AUGMENTATION_NAMES = (
    "none",
    "diffaugment",
    "diffaugment-colour-translation",
    "ada",
)
CONDITIONING_NAMES = ("none", "projection", "auxiliary", "concatenation")
ACTIVATION_NAMES = ("relu", "leaky-relu", "elu", "tanh")
NORM_NAMES = ("batch", "batch-renorm", "none")

METRICS = ("kid", "fid")
GAN_TITLE = "the generator; defaults come from its recipe: sonoforge settings --recipes NAME gives their sources"
FLAGGED = "class_name recipe preset image_size epochs steps kimg conditioning seed"
"""Settings that are also flags of ``gan train``."""
ALL = "all"  # the class name of a generator that learns all classes and is told none
PUBLISHED = "paper"  # the preset of a recipe's row itself
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}  # to Fabric's names


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """The settings ``gan.*`` of a generator's training; None means the recipe's published value.

    `training.prepare` turns them into a training run.
    """

    recipe: str = option(
        "dcgan-thesis",
        help="recipe, or FILE.py of your own: sonoforge settings --recipes all lists them\n"
        "also package.module:NAME; run and crossval start breast ultrasound from the shipped flow; else "
        "dcgan-thesis or, with only --minutes, one that learns in that time",
        choices=tuple(RECIPES),
        own=give_recipe,
    )
    preset: str = option(
        PUBLISHED,
        help="the paper's numbers, or a preset such as small-data\n"
        "sonoforge settings --recipes NAME lists a recipe's presets; gan train: paper or, with only --minutes, one "
        "that learns in that time",
    )
    class_name: str = option(
        "",
        help="class to generate, such as malignant, or all\nall: every class, unlabelled; leave it out for a "
        "conditional generator",
        aliases=("class",),
        renamed=True,
    )
    epochs: float | None = option(None, help="number of epochs", limits=(0.001, None))
    steps: int | None = option(None, help="generator updates, instead of epochs", limits=(1, None))
    kimg: float | None = option(None, help="thousands of real images shown, instead of epochs", limits=(0.001, None))
    batch: int | None = option(None, help="batch size", limits=(2, None))
    image_size: int | None = option(
        None, help="height and width in pixels\n32, 64, 128, 224, 256 or 512", limits=(16, 1024), aliases=("size",)
    )
    channels: str = option("auto", help="auto: 1 if at least 90 % of the images are grey", choices=("auto", "1", "3"))
    latent_size: int | None = option(None, help="dimension of the latent vector", limits=(1, 65536))
    activation: str | None = option(
        None,
        help="activation of the hidden layers of both networks; DCGAN-like recipes and ga-gan only",
        choices=ACTIVATION_NAMES,
    )
    norm: str | None = option(
        None,
        help="normalisation of the hidden layers of both networks, except critics without any; DCGAN-like recipes only",
        choices=NORM_NAMES,
    )
    optimiser: str | None = option(None, help="optimiser of both networks", choices=tuple(OPTIMISERS))
    learning_rate: float | None = option(None, help="learning rate of both networks", limits=(1e-9, None))
    discriminator_learning_rate: float | None = option(
        None, help="learning rate of the discriminator, if different", limits=(1e-9, None)
    )
    beta1: float | None = option(None, help="beta1 of Adam for both networks", limits=(0, 0.9999))
    n_critic: int | None = option(None, help="discriminator updates per generator update", limits=(1, None))
    simultaneous: bool | None = option(
        None, help="compute both networks' gradients before either steps, rather than the discriminator's first"
    )
    ema_half_life: float | None = option(
        None, help="half-life of the generator's moving average in images (0: no average)", limits=(0, None)
    )
    guidance: float | None = option(
        None,
        help="flow: how far beyond its earlier average the velocity is taught (0: not)",
        limits=(0, 10),
    )
    loss: str | None = option(None, help="loss of the networks", choices=LOSS_NAMES)
    regularisers: str | None = option(None, help="none, or NAME=WEIGHT:INTERVAL,... such as r1=10:16")
    perceptual_weight: float | None = option(None, help="weight (lambda) of the perceptual loss", limits=(0, None))
    features: str = option(
        "",
        help="network of the perceptual loss or the projected discriminator: a .safetensors file, or "
        "squeezenet1_1, mobilenet_v2, vgg16, vgg19 or alexnet to download it",
        metavar="NET",
    )
    augmentation: str | None = option(
        None, help="augmentation of the discriminator's inputs, real and generated", choices=AUGMENTATION_NAMES
    )
    conditioning: str | None = option(
        None,
        help="train one class-conditional generator\n" + ", ".join(CONDITIONING_NAMES),
        choices=CONDITIONING_NAMES,
        metavar="KIND",
    )
    schedule: str | None = option(None, help="schedule of the learning rates", choices=tuple(SCHEDULES))
    masks: bool = option(False, help="generate images together with their masks")
    mirror: bool | None = option(None, help="add the left-right mirror image of every image")
    expand: int = option(
        1,
        help="affine copies made of each training image beforehand; metrics do not see them",
        limits=(1, None),
    )
    expand_to: int | None = option(
        None,
        help="expand each class to this many images by affine distortion, before any are held out; metrics are then "
        "computed against distorted images too (700: Berezsky 2024)",
        limits=(2, None),
    )
    width: int | None = option(None, help="base number of channels, for smaller or larger networks", limits=(1, None))
    generator_cell: str | None = option(
        None, help="ga-gan only: code of the generator's cells, such as '{3, 12-6, [2]}', or found"
    )
    discriminator_cell: str | None = option(
        None, help="ga-gan only: code of the discriminator's cells, or fixed or found"
    )
    start_from: str = option(
        "",
        help="initialise from a run or checkpoint of the same architecture, of any size; flow:latent also from a "
        "bundle, or shipped",
        metavar="CHECKPOINT",
    )
    precision: str = option("fp32", help="floating-point precision; bf16 is mixed precision", choices=tuple(PRECISIONS))
    metrics: tuple[str, ...] = option(
        (), help="metrics computed during training; KID selects the best checkpoint", choices=(*METRICS, "none")
    )
    metric_features: str = option(
        "",
        help="feature space of the metrics, such as inception, mobilenetv2-imagenet, bundle or pixels "
        "(default: the network of the perceptual loss, else the shipped bundle for images of its kind, "
        "else mobilenetv2-imagenet if already downloaded, else pixels)",
        metavar="SPACE",
    )
    metric_weights: str = option("", help="weights of that feature network, instead of a download", metavar="FILE")
    held_out: float | None = option(
        None,
        help="share of the images, in whole scans, held out for the metrics\n"
        "gan train: 0.1 if that is enough images; with 0 the metrics are computed against the training images, so "
        "that copies of them score best",
        limits=(0, 0.5),
    )
    seed: int = option(0, help="random seed", limits=(0, None))
    tick_steps: int | None = option(
        None, help="steps between samples and checkpoints (default: a fiftieth of the run)", limits=(1, None)
    )

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics to measure while training, without the word for none."""
        return tuple(name for name in self.metrics if name != "none")
