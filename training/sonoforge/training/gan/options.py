"""The options of a GAN training, which are listed without torch."""

from __future__ import annotations

import dataclasses

from sonoforge.runtime.cli.options import option
from sonoforge.training.gan.recipes.row import KEPT_MAPS, OPTIMISERS
from sonoforge.training.gan.recipes.table import RECIPES
from sonoforge.training.gan.schedules import SCHEDULES

# Of `losses.LOSSES`, `augmentations.AUGMENTATIONS`, `conditioning.CONDITIONINGS`, `activations.ACTIVATIONS` and
# `normalisation.NORMS`, which need torch.
LOSS_NAMES = ("bce", "bce-minimax", "least-squares", "wasserstein", "hinge", "boundary-seeking", "began")
AUGMENTATION_NAMES = (
    "none",
    "diffaugment",
    "diffaugment-colour-translation",
    "diffaugment-translation-cutout",
    "ada",
    "ada-full",
)
CONDITIONING_NAMES = ("none", "projection", "auxiliary", "concatenation")
ACTIVATION_NAMES = ("relu", "leaky-relu", "elu", "tanh")
NORM_NAMES = ("batch", "batch-renorm", "none")

METRICS = ("kid", "fid")
PUBLISHED = "paper"  # the preset of a recipe's row itself
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # to Fabric's names


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """Every option of a generator's training, as the user gave it; what is None is as the recipe publishes it.

    The options of ``gan train``, ``gan compare`` and of the generators inside ``crossval``.  What files and networks
    they name is opened by `job.open_job`.
    """

    recipe: str = option("dcgan-thesis", help="see sonoforge gan recipes", choices=tuple(RECIPES))
    preset: str = option(
        PUBLISHED, help="paper, or one of the recipe's own, such as small-data: see sonoforge gan recipes NAME"
    )
    class_name: str = option(
        "", help="class to learn, for example malignant; left out with --conditioning", aliases=("class",)
    )
    epochs: float | None = option(None, help="passes over the images", limits=(0.001, None))
    steps: int | None = option(None, help="generator updates, instead of epochs", limits=(1, None))
    kimg: float | None = option(None, help="thousands of real images shown, instead of epochs", limits=(0.001, None))
    batch: int | None = option(None, help="images a step", limits=(2, None))
    image_size: int | None = option(
        None, help="side in pixels: 32, 64, 128, 224, 256, 512", limits=(16, 1024), aliases=("size",)
    )
    channels: str = option("auto", help="auto: 1 if at least 90 % of the images are grey", choices=("auto", "1", "3"))
    latent_size: int | None = option(None, help="numbers in a latent vector", limits=(1, 65536))
    activation: str | None = option(
        None,
        help="of the hidden layers of both networks; only networks of DCGAN's kind take another than their own",
        choices=ACTIVATION_NAMES,
    )
    norm: str | None = option(
        None,
        help="normalisation of the hidden layers of both networks, but of a critic that the recipe has without; only "
        "networks of DCGAN's kind take another than their own",
        choices=NORM_NAMES,
    )
    optimiser: str | None = option(None, help="of both networks", choices=tuple(OPTIMISERS))
    learning_rate: float | None = option(None, help="of both networks", limits=(1e-9, None))
    discriminator_learning_rate: float | None = option(None, help="of the discriminator alone", limits=(1e-9, None))
    beta1: float | None = option(None, help="momentum of Adam, of both networks", limits=(0, 0.9999))
    n_critic: int | None = option(None, help="discriminator updates for each of the generator", limits=(1, None))
    loss: str | None = option(None, help="adversarial loss", choices=LOSS_NAMES)
    regularisers: str | None = option(None, help="none, or NAME=WEIGHT:INTERVAL,... such as r1=10:16")
    perceptual_weight: float | None = option(None, help="lambda of the perceptual term", limits=(0, None))
    features: str = option(
        "",
        help="network of the perceptual term, or that the discriminator of recipe projected sees images through: a "
        ".safetensors file, or a name: squeezenet1_1, mobilenet_v2, vgg16, alexnet",
        metavar="NET",
    )
    augmentation: str | None = option(
        None, help="of what the discriminator sees, real and generated", choices=AUGMENTATION_NAMES
    )
    conditioning: str | None = option(
        None, help="one class-conditional generator of all classes", choices=CONDITIONING_NAMES
    )
    schedule: str | None = option(None, help="of the learning rates", choices=tuple(SCHEDULES))
    masks: bool = option(False, help="train images and their masks jointly")
    kept_maps: str | None = option(
        None,
        help="masks that a generator which draws into them keeps, for where it is given none: those of its training "
        "images, or new ones of a small shape model, which are no patient's",
        choices=KEPT_MAPS,
    )
    mirror: bool | None = option(None, help="double the images by left-right flips")
    affine: bool = option(False, help="rotate, scale, shift and shear every real image a little, at random")
    expand: int = option(
        1, help="images for each image, by affine distortion once (7: Berezsky 2024)", limits=(1, None)
    )
    balanced: bool = option(False, help="show every class equally often")
    width: int | None = option(
        None, help="number of channels of the base layer, for smaller or larger networks", limits=(1, None)
    )
    generator_cell: str | None = option(
        None, help="code of the generator's cells, such as '{3, 12-6, [2]}', or found; recipe ga-gan alone"
    )
    discriminator_cell: str | None = option(
        None, help="code of the discriminator's cells, or fixed or found; recipe ga-gan alone"
    )
    start_from: str = option(
        "",
        help="start with the weights of a run or checkpoint of the same architecture, of any size, or of a "
        ".safetensors or .npz file with the official networks' tensors, named G/... and D/...",
        metavar="CHECKPOINT",
    )
    freeze_generator: int = option(
        0, help="blocks of the generator, the coarsest, that are not trained; recipe projected alone", limits=(0, None)
    )
    freeze_discriminator: int = option(
        0, help="blocks of the discriminator, those nearest the image, that are not trained", limits=(0, None)
    )
    precision: str = option("fp32", help="arithmetic: bf16 and fp16 are mixed", choices=tuple(PRECISIONS))
    accumulate: int = option(
        1, help="parts that each batch is computed in, one after the other, to save memory", limits=(1, None)
    )
    compile: bool = option(False, help="compile the networks (torch.compile)")
    metrics: tuple[str, ...] = option(
        (), help="measured while training, comma-separated; KID chooses the best", choices=(*METRICS, "none")
    )
    every: int = option(1, help="ticks between measurements; the last tick is always measured", limits=(1, None))
    metric_features: str = option(
        "",
        help="feature space of the metrics, such as inception, mobilenetv2-imagenet, bundle or pixels "
        "(default: the network of the perceptual term, else bundle, the shipped one, where it knows this kind of "
        "image, else mobilenetv2-imagenet if it was downloaded before)",
        metavar="SPACE",
    )
    metric_weights: str = option("", help="weights file of that space, instead of a download", metavar="FILE")
    held_out: float | None = option(
        None,
        help="share of the images, whole scans, to measure the metrics against instead of training on them; 0: the "
        "metrics are measured against the training images, so that copies of them score best (gan train by default: "
        "0.1 where that is enough)",
        limits=(0, 0.5),
    )
    stop_after: int | None = option(None, help="stop once KID has not fallen in so many measurements", limits=(1, None))
    seed: int = option(0, help="of weights, order, latents and samples", limits=(0, None))
    tick_steps: int | None = option(
        None, help="steps between samples and checkpoints (default: 50 times)", limits=(1, None)
    )
    keep: int = option(2, help="newest checkpoints kept, beside the best", limits=(1, None))
