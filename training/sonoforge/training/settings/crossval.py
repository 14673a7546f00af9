"""Declare the options of the verbs that train and measure classifiers; importable on the base install."""

from dataclasses import dataclass
from typing import ClassVar

from sonoforge.runtime.cli.options import argument, group, option, repeated_option, runs_folder, setting
from sonoforge.training.classifier.settings import ClassifierOptions
from sonoforge.training.crossval.options import PROTOCOLS, PROTOCOLS_HELP, ComparisonConfig
from sonoforge.training.data.cache import CacheSettings
from sonoforge.training.data.data_option import phantom_images
from sonoforge.training.run_options import TrainingOptions


@dataclass(frozen=True)
class TrainConfig(TrainingOptions):
    """Options of ``train``."""

    EXAMPLES: ClassVar[str] = """
sonoforge train --data BUSI/               hold out a sixth, train on the rest
sonoforge train --data BUSI/ --arm classical --budget full
sonoforge train --data scans/ --weights backbone.safetensors --resume
"""

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
        flags="budget weights epochs",
    )
    seed: int = option(0, help="random seed of split and training", limits=(0, None))
    images: int = phantom_images(240)


LEAKAGE = "leakage"


@dataclass(frozen=True)
class CrossvalConfig(ComparisonConfig):
    """Options of ``crossval``."""

    EXAMPLES: ClassVar[str] = """
sonoforge crossval --data BUSI/               real images against real + GAN
sonoforge crossval --data BUSI/ --arms real,gan,duplicates,classical --seeds 3
sonoforge crossval --data BUSI/ --data BrEaST/ --protocol leave-one-collection-out --arms real
sonoforge crossval --data BUSI/ --protocol leakage --arms real    what near-duplicates add
sonoforge crossval --from RUN/predictions.csv          the tables again, from just the predictions
"""

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

    EXAMPLES: ClassVar[str] = """
sonoforge validate --external Rio:BUS-BRA/          one folder for each label
sonoforge validate --external clinic:labels.csv     columns file and label
sonoforge validate --bundle RUN/bundle --external Rio:BUS-BRA/
sonoforge validate --external clinic:labels.csv --classes lesion=benign+malignant,healthy=normal

A table has columns file, label and, if known, patient and device.
"""

    bundle: str = option("", help="a classifier's bundle (default: the shipped one)", metavar="PATH")
    external: tuple[str, ...] = repeated_option(
        (),
        help="labelled images, new to the model; repeatable\n"
        "a folder or zip with one folder per label, or a table (.csv)",
        metavar="NAME:PATH",
    )
    classes: tuple[str, ...] = option(
        (),
        help="the bundle's class for other labels\none label may cover several classes, joined by +",
        metavar="LABEL=CLASS,...",
    )
    storage: CacheSettings = group(CacheSettings(), key="cache", title="the cache of decoded images")
    out: str = runs_folder()


@dataclass(frozen=True)
class CompareConfig:
    """Options of ``compare``."""

    EXAMPLES: ClassVar[str] = """
sonoforge compare runs/00003-crossval-BUSI runs/00004-crossval-BUSI
sonoforge compare runs/00003-crossval-BUSI --arms real,gan    arms of one run
sonoforge compare before:old/predictions.csv after:new/predictions.csv
sonoforge compare runs/00003-run-BUSI --checklists    with TRIPOD+AI, CLAIM and a data sheet

Differences are from the first run and arm, paired by image and seed.
--checklists writes checklists.html into the run folder; what a run cannot know is left to the authors.
"""

    runs: tuple[str, ...] = argument(help="runs of crossval or run, or predictions.csv; NAME:PATH renames one")
    arms: tuple[str, ...] = option(
        (),
        help="arms to compare (default: the first of each run)\nof a single run: with each other",
    )
    checklists: bool = option(False, help="fill in reporting checklists of one run instead")
