"""The settings of ``sonoforge gan sweep``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.gan.options import GanSettings

EXAMPLES = """
sonoforge gan sweep --data BUSI --class-name malignant --features vgg16
sonoforge gan sweep --data BUSI --class-name malignant --features squeezenet.safetensors --weights 0.5,5 --kimg 10
sonoforge gan sweep --recipes dcgan,lsgan,wgan-gp --weights 0 --kimg 10 --features vgg16    on the phantom set
sonoforge gan sweep --data BUSI --class-name malignant --features vgg16 --resume    trainings that are done are kept
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan sweep``."""

    data: str = option("phantom", help="folder of labelled images, or phantom: the built-in simulated set")
    recipes: tuple[str, ...] = option(("dgan-wp-tl-wgangp", "dgan-wp-tl-bce"), help="comma-separated recipes")
    weights: tuple[str, ...] = option(("0.5", "3", "5", "7", "10"), help="comma-separated perceptual weights; 0: none")
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.0),
        title="each training",
        without=("recipe", "perceptual_weight", "metrics", "metric_features", "metric_weights"),
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = option("runs", help="folder for run folders")
    resume: bool = option(False, help="continue the newest sweep with the same settings, if there is one")
