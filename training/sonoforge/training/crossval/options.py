"""Declare the options of a comparison of arms, shared by the verbs that run one."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, setting
from sonoforge.training.classifier.settings import CHOOSABLE, ClassifierOptions
from sonoforge.training.crossval.arms import FORMS
from sonoforge.training.data.data_option import phantom_images
from sonoforge.training.gan.options import GAN_TITLE, GanSettings
from sonoforge.training.run_options import ParallelOptions
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, OFFICIAL

PROTOCOLS = ("sealed", LEAVE_ONE_OUT, OFFICIAL, "thesis", "single")
PROTOCOLS_HELP = (
    "sealed: no leakage; thesis: plain folds, as published; single: one plain 80/20 split; leave-one-collection-out: "
    "test each collection with models trained on the others; official: the split published with the data (column split "
    "of groups.csv or metadata.csv)"
)


@dataclass(frozen=True)
class ComparisonConfig(ParallelOptions):
    """Options of ``crossval`` and ``run``."""

    protocol: str = option(
        "sealed",
        help="how images are split\n" + PROTOCOLS_HELP,
        choices=PROTOCOLS,
        metavar="NAME",
    )
    arms: tuple[str, ...] = option(("real", "gan"), help="what to train on; the first is the baseline\n" + FORMS)
    real_shares: tuple[float, ...] = setting(
        (),
        "crossval.real_shares",
        help="shares of the real images, such as 0.25,0.5,0.75,1: train every arm on each",
    )
    folds: int | None = option(
        None,
        help="number of folds\ndefault: 10; phantom: 5; official, single: 1; leave-one-collection-out: one per "
        "collection",
        limits=(1, 100),
    )
    seed: int = option(0, help="random seed of split and training", limits=(0, None))
    seeds: int = option(1, help="repeat everything with this many seeds", limits=(1, 100))
    classifier: ClassifierOptions = group(
        ClassifierOptions(), key="classifier", title="the classifier; its budget sets the defaults", flags="budget"
    )
    choose: tuple[str, ...] = setting(
        (),
        "crossval.choose",
        help="settings to choose inside each training fold, on inner folds (nested cross-validation): "
        "learning-rate=0.0002,0.001; several make a grid: learning-rate=0.0002,0.001,epochs=3,8; any of "
        + ", ".join(name.replace("_", "-") for name in CHOOSABLE)
        + ", and dose of arms that add images; values x inner folds extra trainings",
    )
    inner_folds: int = setting(
        3, "crossval.inner_folds", help="number of inner folds for crossval.choose", limits=(2, 20)
    )
    # The classes are those of the data; nothing is measured, and the last checkpoint draws.
    generator: GanSettings = group(
        GanSettings(recipe=""),
        title=GAN_TITLE,
        key="gan",
        flags="recipe",
        prefix="gan-",
        without=(
            *("class_name", "seed", "metrics", "expand_to"),
            *("metric_features", "metric_weights", "held_out"),
        ),
    )
    images: int = phantom_images(240)
    comparator_weights: tuple[str, ...] = setting(
        (),
        "crossval.comparator_weights",
        help="ImageNet weights of the comparators' networks: NAME=FILE.safetensors,... or a folder of such files "
        "(default: torchvision's download)",
    )
