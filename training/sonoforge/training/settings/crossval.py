"""Declare the options of the verbs that train and measure classifiers; importable on the base install."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, group, option, repeated_option, runs_folder, setting
from sonoforge.training.classifier.settings import ClassifierOptions
from sonoforge.training.crossval.options import PROTOCOLS, PROTOCOLS_HELP, ComparisonConfig
from sonoforge.training.data.cache import CacheSettings
from sonoforge.training.data.data_option import phantom_images
from sonoforge.training.run_options import TrainingOptions


@dataclass(frozen=True)
class TrainConfig(TrainingOptions):
    """Options of ``train``."""

    arm: str = option("real", help="what to train on, as in crossval --arms")
    holdout: float = setting(
        0.16,
        "train.holdout",
        help="share of the images, in whole groups, held out for evaluation and calibration",
        limits=(0.05, 0.5),
    )
    classifier: ClassifierOptions = group(
        ClassifierOptions(),
        key="classifier",
        title="the classifier; its budget sets the defaults",
        flags="budget backbone weights epochs",
    )
    seed: int = option(0, help="random seed of split and training", limits=(0, None))
    images: int = phantom_images(240)


LEAKAGE = "leakage"


@dataclass(frozen=True)
class CrossvalConfig(ComparisonConfig):
    """Options of ``crossval``."""

    protocol: str = option(
        "sealed",
        help="how images are split, or leakage\n"
        + PROTOCOLS_HELP
        + "; leakage: sealed, plain and thesis folds in turn, and what each leak adds",
        choices=(*PROTOCOLS, LEAKAGE),
        metavar="NAME",
    )
    from_predictions: str = option(
        "",
        help="print tables of a predictions.csv again\npredictions.csv or .csv.gz of a run; nothing is trained",
        metavar="FILE",
        aliases=("from",),
        renamed=True,
    )


@dataclass(frozen=True)
class ValidateConfig:
    """Options of ``validate``."""

    bundle: str = option("", help="a classifier's bundle (default: the shipped one)", metavar="PATH")
    data: tuple[str, ...] = repeated_option(
        (),
        help="labelled images, new to the model; repeatable\n"
        "a folder or zip with one folder per label, or a table (.csv); NAME: is optional",
        metavar="NAME:PATH",
        aliases=("external",),
    )
    classes: tuple[str, ...] = option(
        (),
        help="the bundle's class for other labels\none label may cover several classes, joined by +",
        metavar="LABEL=CLASS,...",
    )
    answers: tuple[str, ...] = repeated_option(
        (),
        help="instead: did a month's scans and answers change?\n"
        "the CSV of classify or the log of serve; an earlier month first, or the bundle's own figures count",
        metavar="FILE",
    )
    storage: CacheSettings = group(CacheSettings(), key="cache", title="the cache of decoded images")
    out: str = runs_folder()


@dataclass(frozen=True)
class CompareConfig:
    """Options of ``compare``."""

    runs: tuple[str, ...] = argument(help="runs of crossval or run, or predictions.csv; NAME:PATH renames one")
    arms: tuple[str, ...] = option(
        (),
        help="arms to compare (default: the first of each run)\nof a single run: with each other",
    )
    checklists: bool = option(False, help="fill in reporting checklists of one run instead")
