"""The settings of ``sonoforge segment``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, repeated_option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.segmentation.arms import FORMS

EXAMPLES = """
sonoforge segment                                      two GANs on simulated lesions, in minutes
sonoforge segment --data ACDC --data IDRiD --data BUS-BRA --recipes all      six GANs on three modalities, reduced
sonoforge segment --data ACDC --arms real,augmented --image-size 128 --steps 1500     a U-Net on real images alone
sonoforge segment --data ACDC --recipes all --budget full --device cuda      as long as published; days
sonoforge segment --data BUS-BRA --recipes wgan,spade:small-data --maps wgan      SPADE draws into WGAN's maps
sonoforge segment --data IDRiD --recipes all           its authors' 54 training and 27 test images
sonoforge segment --data ACDC --recipes all --jobs 2 --resume        go on; what is finished is kept
sonoforge segment --from RUN/cases.csv                 the tables again, from the scores alone

Import ACDC, IDRiD and SLiver07 first, as in: sonoforge data import acdc FOLDER ACDC
"""

ALL = "all"
SIX = (
    *("dcgan", "lsgan", "wgan"),
    *("stylegan2:small-data", "biggan:small-data", "spade:small-data"),
)
"""The six of Thakur and Thakur, those with rows for small sets by these."""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge segment``."""

    data: tuple[str, ...] = repeated_option(
        PHANTOM,
        help="folder of images with masks, collections.yaml, or phantom; given several times, each is an experiment of "
        "its own",
        metavar="FOLDER",
    )
    recipes: tuple[str, ...] = option(
        ("dcgan", "spade:small-data"),
        help="comma-separated recipes, each NAME or NAME:PRESET; all: " + ",".join(SIX) + "; none: no generator",
    )
    arms: tuple[str, ...] = option(
        ("real", "augmented", "generated", "both"),
        help="comma-separated: what a U-Net is trained on. " + FORMS,
    )
    maps: str = option(
        "perturbed",
        help="maps that SPADE draws into: real, those of its training fold; perturbed, the same rotated, scaled, "
        "shifted and bent; or a recipe of this run, whose generated maps are taken",
    )
    protocol: str = option(
        "auto",
        help="sealed: folds of whole patients; official: the split that the set's authors published; auto: official "
        "where groups.csv has both parts of one (column split), else sealed",
        choices=("auto", "sealed", "official"),
    )
    folds: int = option(5, help="number of sealed folds that patients are divided into", limits=(2, 100))
    tested_folds: int | None = option(
        None, help="how many of them are tested (default: 1 under --budget quick, else all)", limits=(1, 100)
    )
    seed: int = option(0, help="seed of folds and trainings", limits=(0, None))
    seeds: int = option(1, help="repeat all trainings, on the same folds, with this many seeds", limits=(1, 100))
    budget: str = option(
        "quick",
        help="quick: 64 pixels, 300 steps of each U-Net, 4 to 30 thousand images shown to each GAN, so that none takes "
        "much longer than another, batches of 16, base width 16; full: 128 pixels, 3000 steps, 200 epochs, the "
        "recipe's own batch and width",
        choices=("quick", "full"),
    )
    image_size: int | None = option(
        None, help="side in pixels of everything: 32, 64, 128, 256", limits=(32, 512), aliases=("size",)
    )
    steps: int | None = option(None, help="training steps of each U-Net", limits=(1, None))
    batch: int = option(16, help="pairs a step of the U-Net", limits=(1, None))
    width: int = option(16, help="channels of the U-Net at the image's side", limits=(4, 256))
    learning_rate: float = option(0.001, help="highest learning rate of the U-Net", limits=(1e-6, 1))
    # One generator for all of a set's images, with their masks.
    generator: GanSettings = group(
        GanSettings(),
        title="each generator",
        prefix="gan_",
        without=(
            *("recipe", "preset", "class_name", "image_size", "masks", "conditioning", "balanced", "seed"),
            *("metrics", "every", "metric_features", "metric_weights", "held_out", "stop_after", "start_from"),
        ),
    )
    metric_features: str = option(
        "",
        help="feature space of KID and FID, as of evaluate --features (default: bundle where it knows this kind of "
        "image, else mobilenetv2-imagenet if it was downloaded before)",
        metavar="SPACE",
    )
    metric_weights: str = option("", help="weights of its network (default: download)", metavar="FILE")
    repeats: int = option(50, help="number of random halves for the floors of KID and FID", limits=(5, None))
    images: int = option(120, help="number of phantom images, with --data phantom", limits=(30, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    jobs: int | None = option(
        None,
        help="trainings run at a time (default: one a core; 1 on a GPU; on a cluster, what fits)",
        limits=(1, 1024),
    )
    cluster: str = option(
        "",
        help="run the trainings on a Ray cluster: local, started here, or the address of one (HOST:6379)",
        metavar="ADDRESS",
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest run with the same settings")
    from_cases: str = option(
        "", help="cases.csv of a run: print its tables again and train nothing", metavar="FILE", aliases=("from",)
    )
