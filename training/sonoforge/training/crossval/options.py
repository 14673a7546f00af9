"""The options of a comparison of arms, shared by the verbs that run one."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option
from sonoforge.training.classifier.settings import CHOOSABLE, ClassifierOptions
from sonoforge.training.crossval.arms import FORMS
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.run_options import LogOptions, ParallelOptions
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, OFFICIAL


@dataclass(frozen=True)
class ComparisonConfig(LogOptions, ParallelOptions):
    """Settings of a comparison of arms: of ``crossval``, and of ``run``."""

    protocol: str = option(
        "sealed",
        help="sealed: no leakage; thesis: plain folds, as published; single: one plain 80/20 split\n"
        "leave-one-collection-out: test each collection with models trained on the others; "
        "official: the split published with the data, by the column split of groups.csv or metadata.csv",
        choices=("sealed", LEAVE_ONE_OUT, OFFICIAL, "thesis", "single"),
    )
    arms: tuple[str, ...] = option(("real", "gan"), help="what to train on; the first arm is the baseline\n" + FORMS)
    real_shares: tuple[float, ...] = option(
        (),
        help="shares of the real images, such as 0.25,0.5,0.75,1: train every arm on each, and report how many"
        " real images the generated ones are worth",
    )
    folds: int | None = option(
        None,
        help="number of folds (default: 10; phantom: 5; official, single: 1; leave-one-collection-out: one per "
        "collection)",
        limits=(1, 100),
    )
    seed: int = option(0, help="random seed of the split and the training", limits=(0, None))
    seeds: int = option(1, help="number of seeds to repeat everything with", limits=(1, 100))
    classifier: ClassifierOptions = group(ClassifierOptions(), title="the classifier")
    choose: tuple[str, ...] = option(
        (),
        help="settings to choose inside each training fold, on inner folds (nested cross-validation): "
        "learning-rate=0.0002,0.001; several make a grid: learning-rate=0.0002,0.001,epochs=3,8; any of "
        + ", ".join(name.replace("_", "-") for name in CHOOSABLE)
        + ", and dose of arms that add images",
        metavar="NAME=VALUE,VALUE,...",
    )
    inner_folds: int = option(3, help="with --choose: number of inner folds", limits=(2, 20))
    # The classes are those of the data; KID chooses the best checkpoint.
    generator: GanSettings = group(
        GanSettings(),
        title="the generators",
        prefix="gan_",
        of="gan train",
        without=("class_name", "seed", "metrics", "expand_to"),
    )
    gan_checkpoint: str = option(
        "last",
        help="last, or best: the one with the lowest KID on a tenth of the training fold, which is held out "
        "from the generator",
        choices=("last", "best"),
    )
    images: int = option(240, help="with --data phantom: number of images", limits=(30, None))
    comparator_weights: tuple[str, ...] = option(
        (),
        help="ImageNet weights of the comparators' networks: NAME=FILE.safetensors,... or a folder of such files "
        "(default: torchvision's download)",
        metavar="FILES",
    )
    test_curves: bool = option(
        False,
        help="evaluate on the held-out fold after each epoch, for the learning curve only (budget thesis: always)",
    )
