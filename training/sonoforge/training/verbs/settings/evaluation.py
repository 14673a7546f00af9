"""The settings of the verbs that measure generators: nothing here needs more than the base install."""

from dataclasses import dataclass
from typing import ClassVar

from sonoforge.runtime.cli.options import argument, group, option, repeated_option, runs_folder
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.evaluation.results import METRICS
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.run_options import LpipsOptions, ParallelOptions, RunOptions
from sonoforge.training.segmentation.arms import FORMS


@dataclass(frozen=True)
class EvaluateConfig(LpipsOptions, RunOptions):
    """Settings of ``sonoforge evaluate``."""

    EXAMPLES: ClassVar[str] = """
sonoforge evaluate runs/00000-gan-dcgan-thesis-busi-malignant     against what it held out; copies of what it saw
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant
sonoforge evaluate BUSI/ generated/ --class-name malignant --features inception,bundle
sonoforge evaluate training-scans/ generated.npz --held-out other-scans/ --features mobilenetv2-imagenet --weights FILE
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --lpips squeezenet1_1 --plots pca,tsne,umap
sonoforge evaluate --compare runs/00003-evaluate-dcgan,runs/00004-evaluate-wgan-gp
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --reading-sheet 30

REAL: phantom, a folder of images or of class folders, a .zip or an .npz.  FAKE: the same, or a run of gan train.
A run alone is measured against the images that it held out, and searched for copies of those it was trained on.
Figures of different protocols (network, numbers of images, size, seed, ...) are not comparable, and not compared.
"""
    ESSENTIAL: ClassVar[str] = (
        "features class_name image_size held_out count checkpoint reading_sheet compare device out"
    )

    real: str = argument("", help="real images that the generator was trained on; or a run of gan train, without FAKE")
    fake: str = argument("", help="generated images, or a run of sonoforge gan train")
    features: tuple[str, ...] = option(
        (),
        help="feature spaces: inception, mobilenetv2-imagenet, squeezenet-imagenet, vgg16-imagenet, bundle "
        "(the shipped classifier), bundle:PATH, pixels (default: bundle for images of its kind, else "
        "mobilenetv2-imagenet if it is already downloaded)",
        metavar="SPACE,...",
    )
    weights: str = option("", help="weights of the network among them (default: download)", metavar="FILE")
    metrics: tuple[str, ...] = option(METRICS, help="comma-separated", metavar="NAME,...")
    held_out: str = option("", help="real images that the generator has not seen, for the copy test", metavar="REAL")
    class_name: str = option("", help="class of the real images (default: that recorded in FAKE)", aliases=("class",))
    image_size: int | None = option(
        None, help="height and width at which to compare (default: FAKE's)", limits=(16, 1024), aliases=("size",)
    )
    channels: str = option("auto", help="1: compare as greyscale", choices=("auto", "1", "3"))
    count: int | None = option(
        None, help="number of images to generate from a run (default: as many as REAL has)", limits=(2, None)
    )
    checkpoint: str = option("last", help="checkpoint of a run: last, best, or a step number")
    repeats: int = option(
        100,
        help="number of random halves for noise floors and intervals; a tenth of it for slow metrics",
        limits=(5, None),
    )
    plots: tuple[str, ...] = option(("pca", "tsne"), help="pca, tsne, umap", metavar="NAME,...")
    compare: tuple[str, ...] = option((), help="earlier evaluations to compare side by side", metavar="RUN,RUN")
    reading_sheet: int | None = option(
        None,
        help="write a blinded reader study in place of the metrics: a page of this many real and as many "
        "generated images of each class; FAKE may name several sets, comma-separated",
        limits=(5, None),
        metavar="N",
    )
    reading_classes: tuple[str, ...] = option(
        (), help="reader study: also ask which of these classes each image shows", metavar="CLASS,..."
    )
    seed: int = option(0, help="random seed", limits=(0, None))


@dataclass(frozen=True)
class ReadingConfig:
    """Settings of ``sonoforge reading``."""

    EXAMPLES: ClassVar[str] = """
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --reading-sheet 30
sonoforge reading runs/00001-reading-sheet answers-*.json
sonoforge reading runs/00001-reading-sheet answers/ --json

SHEET: the folder with the page and its key.  ANSWERS: the files that readers saved from the page, or folders of them.
"""

    sheet: str = argument("", help="folder made by sonoforge evaluate --reading-sheet")
    answers: tuple[str, ...] = argument((), help="files of answers, one per reader, or folders of them")
    out: str = runs_folder()


ALL = "all"
SIX = (
    *("dcgan", "lsgan", "wgan"),
    *("stylegan2:small-data", "biggan:small-data", "spade:small-data"),
)
"""The six of Thakur and Thakur, those with rows for small sets by these."""


@dataclass(frozen=True)
class SegmentConfig(ParallelOptions):
    """Settings of ``sonoforge segment``."""

    EXAMPLES: ClassVar[str] = """
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
    ESSENTIAL: ClassVar[str] = "data recipes arms protocol budget folds seeds device out resume"

    data: tuple[str, ...] = repeated_option(
        PHANTOM,
        help="folder of images with masks, collections.yaml, or phantom; repeat it for several separate experiments",
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
        help="label maps that SPADE is given: real, those of its training fold; perturbed, the same but "
        "rotated, scaled, shifted and warped; or a recipe of this run, which generates them",
    )
    protocol: str = option(
        "auto",
        help="sealed: folds of whole patients; official: the split published by the data set's authors; auto: "
        "official if groups.csv has one (column split), else sealed",
        choices=("auto", "sealed", "official"),
    )
    folds: int = option(5, help="number of sealed folds", limits=(2, 100))
    seed: int = option(0, help="random seed of folds and trainings", limits=(0, None))
    seeds: int = option(1, help="number of seeds to repeat all trainings with, on the same folds", limits=(1, 100))
    budget: str = option(
        "quick",
        help="quick: minutes; full: days\n"
        "quick tests one fold: 64 x 64 pixels, 300 steps of each U-Net, 4 to 30 thousand images shown to each "
        "GAN, so that all take about as long, in batches of 16 at base width 16; full has 128 x 128 "
        "pixels, 3000 steps, 200 epochs, and the recipe's own batch and width",
        choices=("quick", "full"),
    )
    image_size: int | None = option(
        None,
        help="height and width of images and maps in pixels: 32, 64, 128, 256",
        limits=(32, 512),
        aliases=("size",),
    )
    steps: int | None = option(None, help="training steps of each U-Net", limits=(1, None))
    batch: int = option(16, help="batch size of the U-Net", limits=(1, None))
    width: int = option(16, help="base number of channels of the U-Net", limits=(4, 256))
    learning_rate: float = option(0.001, help="peak learning rate of the U-Net", limits=(1e-6, 1))
    # One generator for all of a set's images, with their masks.
    generator: GanSettings = group(
        GanSettings(),
        title="each generator",
        prefix="gan_",
        of="gan train",
        without=(
            *("recipe", "preset", "class_name", "image_size", "masks", "conditioning", "balanced", "seed"),
            *("metrics", "every", "metric_features", "metric_weights", "held_out", "stop_after", "start_from"),
        ),
    )
    metric_features: str = option(
        "",
        help="feature space of KID and FID, as in evaluate --features (default: bundle for images of its kind,"
        " else mobilenetv2-imagenet if it is already downloaded)",
        metavar="SPACE",
    )
    metric_weights: str = option("", help="weights of the feature network (default: download)", metavar="FILE")
    repeats: int = option(50, help="number of random halves for the noise floors of KID and FID", limits=(5, None))
    images: int = option(120, help="with --data phantom: number of images", limits=(30, None))
    from_cases: str = option(
        "", help="cases.csv of a run: print its tables again, without training", metavar="FILE", aliases=("from",)
    )
