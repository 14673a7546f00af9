"""The settings of ``sonoforge gan sweep``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.gan.options import GanSettings

EXAMPLES = """
sonoforge gan sweep --data BUSI --class-name malignant --features vgg16 --metric-features inception --lpips alexnet
sonoforge gan sweep --data BUSI --class-name malignant --features squeezenet.safetensors --weights 0.5,5 --kimg 10
sonoforge gan sweep --recipes dcgan,lsgan,wgan-gp --weights 0 --kimg 10    on the phantom set
sonoforge gan sweep --data BUSI --class-name malignant --features vgg16 --resume    trainings that are done are kept

The first is the table of DGAN-WP-TL (Ryspayeva, Salykova 2025).  All figures are measured as by sonoforge evaluate.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan sweep``."""

    data: tuple[str, ...] = data_option()
    recipes: tuple[str, ...] = option(("dgan-wp-tl-wgangp", "dgan-wp-tl-bce"), help="comma-separated recipes")
    weights: tuple[str, ...] = option(("0.5", "3", "5", "7", "10"), help="comma-separated perceptual weights; 0: none")
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.2),
        title="each training",
        without=("recipe", "perceptual_weight", "metrics", "metric_features", "metric_weights"),
    )
    metric_features: tuple[str, ...] = option(
        (),
        help="comma-separated feature spaces of the table, as of evaluate --features; the first also measures KID "
        "while training (default: bundle where it knows this kind of image, else mobilenetv2-imagenet if it was "
        "downloaded before)",
        metavar="SPACE,...",
    )
    metric_weights: str = option("", help="weights of the network among them (default: download)", metavar="FILE")
    lpips: str = option(
        "",
        help="network of LPIPS: a .safetensors file of SqueezeNet 1.1, VGG16 or AlexNet, or squeezenet1_1, vgg16 or "
        "alexnet to download it (default: LPIPS is not measured)",
        metavar="NET",
    )
    lpips_heads: str = option("", help="LPIPS heads, .safetensors (default: torchmetrics' own)", metavar="FILE")
    count: int | None = option(
        None, help="images that each generates to be measured (default: as many as it was trained on)", limits=(4, None)
    )
    repeats: int = option(
        100, help="number of random halves for floors and intervals; a tenth for slow metrics", limits=(5, None)
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest sweep with the same settings, if there is one")
