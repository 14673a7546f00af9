"""Declare the options of the verbs that measure generators; importable on the base install."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import option, repeated_option, setting
from sonoforge.training.data.data_option import PHANTOM, phantom_images
from sonoforge.training.run_options import EvaluationInput, LpipsOptions
from sonoforge.training.segmentation.options import Experiment

METRICS = (
    *("kid", "fid", "swd", "precision-recall", "density-coverage", "inception-score"),
    *("spectrum", "ms-ssim", "lpips", "copies"),
)
"""Choices of ``evaluate --metrics``."""


@dataclass(frozen=True)
class EvaluateConfig(EvaluationInput, LpipsOptions):
    """Options of ``evaluate``."""

    features: tuple[str, ...] = option(
        (),
        help="feature spaces, such as inception,bundle\n"
        "any of inception, mobilenetv2-imagenet, squeezenet-imagenet, vgg16-imagenet, bundle (the shipped classifier), "
        "bundle:PATH, pixels; default: the run's, else bundle for images of its kind, else mobilenetv2-imagenet "
        "if it is already downloaded",
        metavar="SPACE,...",
    )
    weights: str = setting("", "metrics.weights", help="weights of the feature network (default: download)")
    metrics: tuple[str, ...] = option(METRICS, help="metrics to compute", choices=METRICS, metavar="NAME,...")
    held_out: str = option("", help="unseen real images, for the copy test", metavar="REAL")
    repeats: int = setting(
        100,
        "metrics.repeats",
        help="number of random halves for noise floors and intervals; a tenth of it for slow metrics",
        limits=(5, None),
    )
    reading_sheet: int | None = option(
        None,
        help="write a blinded reader study instead\n"
        "a page of this many real and as many generated images of each class; FAKE may name several sets, "
        "comma-separated",
        limits=(5, None),
        metavar="N",
    )
    reading_classes: tuple[str, ...] = setting(
        (), "reading.classes", help="reader study: also ask which of these classes each image shows"
    )
    answers: tuple[str, ...] = repeated_option(
        (),
        help="score a reader study; REAL is its sheet\n"
        "files that readers saved from the page, or folders of them; may be repeated",
        metavar="FILE",
    )


@dataclass(frozen=True)
class SegmentConfig(Experiment):
    """Options of ``segment``."""

    data: tuple[str, ...] = repeated_option(
        PHANTOM,
        help="images with masks, or phantom; repeatable\n"
        "a folder or collections.yaml; repeat it for separate experiments",
        metavar="FOLDER",
    )
    protocol: str = setting(
        "auto",
        "segment.protocol",
        help="sealed: folds of whole patients; official: the split published by the data set's authors; auto: "
        "official if there is one (column split of groups.csv or metadata.csv), else sealed",
        choices=("auto", "sealed", "official"),
    )
    folds: int = option(5, help="number of sealed folds", limits=(2, 100))
    seed: int = setting(0, "segment.seed", help="random seed of folds and trainings", limits=(0, None))
    seeds: int = option(1, help="repeat all training runs with this many seeds", limits=(1, 100))
    images: int = phantom_images(120)
    from_cases: str = option(
        "",
        help="print tables of a cases.csv again",
        metavar="FILE",
        aliases=("from",),
        renamed=True,
    )
