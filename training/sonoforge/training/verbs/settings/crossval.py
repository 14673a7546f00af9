"""The settings of the verbs that train and measure classifiers: nothing here needs more than the base install."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sonoforge.runtime.cli.options import argument, group, option, repeated_option, runs_folder
from sonoforge.training.classifier.settings import ClassifierOptions
from sonoforge.training.crossval.options import ComparisonConfig
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.run_options import LogOptions, TrainingOptions


@dataclass(frozen=True)
class TrainConfig(LogOptions, TrainingOptions):
    """Settings of ``train``."""

    EXAMPLES: ClassVar[str] = """
sonoforge train --data BUSI/               hold out a sixth, train on the rest
sonoforge train --data BUSI/ --arm classical --budget full
sonoforge train --data scans/ --weights backbone.safetensors --resume
"""
    ESSENTIAL: ClassVar[str] = "data arm budget weights out"

    arm: str = option("real", help="what to train on, as in crossval --arms")
    holdout: float = option(
        0.16, help="share of the images, in whole groups, held out for evaluation and calibration", limits=(0.05, 0.5)
    )
    classifier: ClassifierOptions = group(ClassifierOptions(), title="the classifier")
    seed: int = option(0, help="random seed of the split and the training", limits=(0, None))
    images: int = option(240, help="with --data phantom: number of images", limits=(30, None))


def predictions_option() -> Any:
    """Declare ``--from`` of a verb that prints its tables again."""
    help = "predictions.csv or .csv.gz of a run: print its tables again, without training"
    return option("", help=help, metavar="FILE", aliases=("from",))


@dataclass(frozen=True)
class CrossvalConfig(ComparisonConfig):
    """Settings of ``crossval``."""

    EXAMPLES: ClassVar[str] = """
sonoforge crossval --data BUSI/               real images against real + GAN
sonoforge crossval --data BUSI/ --arms real,gan,duplicates,classical --seeds 3
sonoforge crossval --data BUSI/ --resume      continue after an interruption
sonoforge crossval --data BUSI/ --arms real,gan:0.5,gan,gan:2,gan-all,generated,untrained,shuffled
sonoforge crossval --data BUSI/ --arms real,gan --real-shares 0.25,0.5,0.75,1
sonoforge crossval --data BUSI/ --arms real --choose learning-rate=0.0002,0.001,0.005
sonoforge crossval --data BUSI/ --arms real,gan --choose dose=0.5,1,2
sonoforge crossval --data BUSI/ --data BrEaST/ --protocol leave-one-collection-out --arms real
sonoforge crossval --data BUSI/ --protocol thesis --budget thesis --device cuda
sonoforge crossval --data BUSI/ --gan-recipe stylegan2 --gan-augmentation ada --gan-size 128 --gan-kimg 200
sonoforge crossval --data BUSI/ --cluster 10.0.0.5:6379 --jobs 60   folds on the machines of a Ray cluster
sonoforge crossval --from RUN/predictions.csv          the tables again, from the predictions alone
"""
    ESSENTIAL: ClassVar[str] = "data arms protocol folds budget"

    from_predictions: str = predictions_option()


@dataclass(frozen=True)
class ValidateConfig:
    """Settings of ``validate``."""

    EXAMPLES: ClassVar[str] = """
sonoforge validate --external Rio:BUS-BRA/          one folder for each label
sonoforge validate --external clinic:labels.csv     columns file and label
sonoforge validate --bundle RUN/bundle --external Rio:BUS-BRA/
sonoforge validate --bundle RUN/bundle --external Rio:BUS-BRA/ --external Poland:BrEaST/
sonoforge validate --external Rio:BUS-BRA/ --robustness 300    also under shadow, haze, other gain, depth, blur, ...
sonoforge validate --external clinic:labels.csv --classes lesion=benign+malignant,healthy=normal

Without --bundle, it is the shipped bundle.  A table has columns file, label and, if known, patient and device.
"""
    ESSENTIAL: ClassVar[str] = "external bundle classes robustness out"

    bundle: str = option("", help="folder or .zip of a classifier's bundle (default: the shipped one)", metavar="PATH")
    external: tuple[str, ...] = repeated_option(
        (),
        help="labelled images that the model has not seen: a folder, a zip, or a table (.csv)\n"
        "a folder has one folder per label; may be repeated",
        metavar="NAME:PATH",
    )
    classes: tuple[str, ...] = option(
        (),
        help="the bundle's class for each label of another name; one label may cover several classes, joined by +",
        metavar="LABEL=CLASS,...",
    )
    robustness: int = option(
        0,
        help="also test robustness on this many images of each collection (0: none)\n"
        "ten corruptions at three strengths, with the fall of the AUC and whether trust notices",
        limits=(0, None),
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()


@dataclass(frozen=True)
class CompareConfig:
    """Settings of ``sonoforge compare``."""

    EXAMPLES: ClassVar[str] = """
sonoforge compare runs/00003-crossval-BUSI runs/00004-crossval-BUSI
sonoforge compare runs/00003-crossval-BUSI --arms real,gan    arms of one run
sonoforge compare before:old/predictions.csv after:new/predictions.csv
sonoforge compare plain:runs/00003-crossval-BUSI crops:runs/00004-crossval-BUSI outlines:runs/00005-crossval-BUSI
sonoforge compare runs/00003-crossval-BUSI --arms real,gan,duplicates       over all seeds of the run

Differences are from the first run and arm, paired by image and seed.
"""

    runs: tuple[str, ...] = argument(
        help="run folders of crossval or run, or predictions.csv files; NAME:PATH names one in the tables"
    )
    arms: tuple[str, ...] = option(
        (),
        help="arms to compare; with a single run, with each other (default: the first arm of each run)",
        aliases=("arm",),
    )


@dataclass(frozen=True)
class LeakageConfig:
    """Settings of ``leakage``: those of ``crossval``, under every protocol."""

    EXAMPLES: ClassVar[str] = """
sonoforge leakage --data BUSI/ --arms real    what near-duplicates add
sonoforge leakage --data BUSI/ --resume       continue after an interruption
sonoforge leakage --from RUN/predictions.csv            the table again
sonoforge leakage --data BUSI/ --arms real,gan --seeds 3   and what generators add that saw the test images

Leaks are near-duplicates across folds, and generators that saw the test images.
"""
    ESSENTIAL: ClassVar[str] = "data arms folds seeds budget"

    comparison: ComparisonConfig = group(
        ComparisonConfig(),
        title="the comparison",
        of="crossval",
        without=("protocol", "real_shares", "choose", "inner_folds", "test_curves", "log"),
    )
    from_predictions: str = predictions_option()


@dataclass(frozen=True)
class ChecklistsConfig:
    """Settings of ``sonoforge checklists``."""

    EXAMPLES: ClassVar[str] = """
sonoforge checklists runs/00003-run-BUSI
sonoforge checklists runs/00004-crossval-BUSI --json

Writes checklists.html and checklists.md into the run folder.  What no run can know is left open, for the authors.
"""

    run: str = argument(help="folder of a finished run of sonoforge run or crossval")
