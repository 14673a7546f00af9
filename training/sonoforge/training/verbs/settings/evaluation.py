"""The settings of the verbs that measure generators: nothing here needs more than the base install."""

from dataclasses import dataclass
from typing import ClassVar

from sonoforge.runtime.cli.options import argument, option, repeated_option, runs_folder
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.evaluation.options import EvaluationInput
from sonoforge.training.run_options import LpipsOptions
from sonoforge.training.segmentation.options import Experiment

METRICS = (
    *("kid", "fid", "swd", "precision-recall", "density-coverage", "probe", "inception-score"),
    *("spectrum", "ms-ssim", "lpips", "copies"),
)
"""What ``--metrics`` of ``sonoforge evaluate`` takes."""


@dataclass(frozen=True)
class EvaluateConfig(EvaluationInput, LpipsOptions):
    """Settings of ``sonoforge evaluate``."""

    EXAMPLES: ClassVar[str] = """
sonoforge evaluate runs/00000-gan-dcgan-thesis-busi-malignant
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant
sonoforge evaluate BUSI/ generated/ --class malignant --features inception
sonoforge evaluate training-scans/ generated.npz --held-out other-scans/ --features mobilenetv2-imagenet --weights FILE
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --lpips squeezenet1_1 --plots pca,tsne,umap
sonoforge evaluate --compare runs/00003-evaluate-dcgan,runs/00004-evaluate-wgan-gp
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --reading-sheet 30 --features mobilenetv2-imagenet

REAL: phantom, a folder of images or of class folders, a .zip or an .npz.  FAKE: the same, or a run of gan train.
A run alone is measured against the images that it held out, and searched for copies of those it was trained on.
Figures of different protocols (network, numbers of images, size, seed, ...) are not comparable, and not compared.
"""
    ESSENTIAL: ClassVar[str] = "features class_name held_out out"

    features: tuple[str, ...] = option(
        (),
        help="feature spaces, such as inception,bundle\n"
        "any of inception, mobilenetv2-imagenet, squeezenet-imagenet, vgg16-imagenet, bundle (the shipped classifier), "
        "bundle:PATH, pixels; default: that of the run, else bundle for images of its kind, else mobilenetv2-imagenet "
        "if it is already downloaded",
        metavar="SPACE,...",
    )
    weights: str = option("", help="weights of the network among them (default: download)", metavar="FILE")
    metrics: tuple[str, ...] = option(METRICS, help="comma-separated", metavar="NAME,...")
    held_out: str = option("", help="real images that the generator has not seen, for the copy test", metavar="REAL")
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
        "generated images of each class; FAKE may name several sets, comma-separated; with --features, an automatic "
        "reader answers it, too",
        limits=(5, None),
        metavar="N",
    )
    reading_classes: tuple[str, ...] = option(
        (), help="reader study: also ask which of these classes each image shows", metavar="CLASS,..."
    )


@dataclass(frozen=True)
class ReadingConfig:
    """Settings of ``sonoforge reading``."""

    EXAMPLES: ClassVar[str] = """
sonoforge evaluate BUSI/ generated/ --reading-sheet 30     makes the sheet
sonoforge reading runs/00001-reading-sheet answers-*.json
sonoforge reading runs/00001-reading-sheet answers/ --json

SHEET: the folder with the page and its key.  ANSWERS: the files that readers saved from the page, or folders of them.
"""

    sheet: str = argument("", help="folder made by sonoforge evaluate --reading-sheet")
    answers: tuple[str, ...] = argument((), help="files of answers, one per reader, or folders of them")
    out: str = runs_folder()


@dataclass(frozen=True)
class SegmentConfig(Experiment):
    """Settings of ``sonoforge segment``."""

    EXAMPLES: ClassVar[str] = """
sonoforge segment                              simulated lesions, in minutes
sonoforge segment --data ACDC --recipes all    six GANs, reduced
sonoforge segment --data BUS-BRA --recipes wgan,spade:small-data
sonoforge segment --data ACDC --data IDRiD --data BUS-BRA --recipes all      six GANs on three modalities, reduced
sonoforge segment --data ACDC --arms real,augmented --image-size 128 --steps 1500     a U-Net on real images alone
sonoforge segment --data ACDC --recipes all --budget full --device cuda      as long as published; days
sonoforge segment --data ACDC --recipes dcgan,wgan --tuned RUN       each with its best settings of a run of tune
sonoforge segment --data BUS-BRA --recipes wgan,spade:small-data --maps wgan      SPADE draws into WGAN's maps
sonoforge segment --data BUS-BRA --pairs 50 --elsewhere BUSI --recipes spade:small-data     few pairs, another hospital
sonoforge segment --data IDRiD --recipes all           its authors' 54 training and 27 test images
sonoforge segment --data ACDC --recipes all --jobs 2 --resume        go on; what is finished is kept
sonoforge segment --from RUN/cases.csv                 the tables again, from the scores alone

Import ACDC, IDRiD and SLiver07 first, as in: sonoforge data import acdc FOLDER ACDC
"""
    ESSENTIAL: ClassVar[str] = "data recipes arms budget folds"

    data: tuple[str, ...] = repeated_option(
        PHANTOM,
        help="folder of images with masks, collections.yaml, or phantom; repeat it for several separate experiments",
        metavar="FOLDER",
    )
    elsewhere: tuple[str, ...] = repeated_option(
        (),
        help="another folder of images with masks of the same structures: each U-Net is tested on all of it, too",
        metavar="FOLDER",
    )
    protocol: str = option(
        "auto",
        help="sealed: folds of whole patients; official: the split published by the data set's authors; auto: "
        "official if there is one (column split of groups.csv or metadata.csv), else sealed",
        choices=("auto", "sealed", "official"),
    )
    folds: int = option(5, help="number of sealed folds", limits=(2, 100))
    seed: int = option(0, help="random seed of folds and trainings", limits=(0, None))
    seeds: int = option(1, help="number of seeds to repeat all trainings with, on the same folds", limits=(1, 100))
    images: int = option(120, help="with --data phantom: number of images", limits=(30, None))
    from_cases: str = option(
        "", help="cases.csv of a run: print its tables again, without training", metavar="FILE", aliases=("from",)
    )
