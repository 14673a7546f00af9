"""The options of a comparison of arms, shared by the verbs that run one."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.classifier.options import CHOOSABLE, ClassifierOptions
from sonoforge.training.crossval.arms import FORMS
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.gan.options import GanSettings


@dataclass(frozen=True)
class ComparisonConfig:
    """Settings of a comparison of arms: of ``crossval``, and of ``run``."""

    data: tuple[str, ...] = data_option()
    protocol: str = option(
        "sealed",
        help="sealed: no leakage; leave-one-collection-out: test each collection with models trained on the others; "
        "thesis: plain folds, as published; single: one plain 80/20 split",
        choices=("sealed", LEAVE_ONE_OUT, "thesis", "single"),
    )
    arms: tuple[str, ...] = option(("real", "gan"), help="what to train on; the first arm is the baseline\n" + FORMS)
    real_shares: tuple[float, ...] = option(
        (),
        help="shares of the real images, such as 0.25,0.5,0.75,1: every arm with each, and how many real images the "
        "generated ones are worth",
    )
    folds: int | None = option(
        None,
        help="number of folds (default: 10; phantom: 5; single: 1; leave-one-collection-out: one a collection)",
        limits=(1, 100),
    )
    seed: int = option(0, help="seed of split and training", limits=(0, None))
    seeds: int = option(1, help="repeat everything with this many seeds", limits=(1, 100))
    classifier: ClassifierOptions = group(ClassifierOptions(), title="the classifier")
    choose: tuple[str, ...] = option(
        (),
        help="settings to choose inside each training fold, on inner folds (nested cross-validation): "
        "learning-rate=0.0002,0.001; several make a grid: learning-rate=0.0002,0.001,epochs=3,8; any of "
        + ", ".join(name.replace("_", "-") for name in CHOOSABLE)
        + ", and dose of arms that add images",
        metavar="NAME=VALUE,VALUE,...",
    )
    inner_folds: int = option(3, help="with --choose: inner folds of each training fold", limits=(2, 20))
    # The classes are those of the data; KID chooses the best checkpoint.
    generator: GanSettings = group(
        GanSettings(),
        title="the generators",
        prefix="gan_",
        of="gan train",
        without=("class_name", "seed", "metrics"),
    )
    gan_checkpoint: str = option(
        "last",
        help="last, or best: lowest KID on a tenth of the training fold that the generator does not see",
        choices=("last", "best"),
    )
    images: int = option(240, help="number of phantom images, with --data phantom", limits=(30, None))
    comparator_weights: tuple[str, ...] = option(
        (),
        help="ImageNet weights of the comparators' networks: NAME=FILE.safetensors,... or a folder of such files "
        "(default: torchvision's download)",
        metavar="FILES",
    )
    test_curves: bool = option(
        False,
        help="measure the held-out fold after each epoch, for a picture alone (budget thesis: always)",
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    jobs: int | None = option(
        None, help="folds run at a time (default: one a core; 1 on a GPU; on a cluster, what fits)", limits=(1, 1024)
    )
    cluster: str = option(
        "",
        help="run the folds on a Ray cluster: local, started here, or the address of one (HOST:6379)",
        metavar="ADDRESS",
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest run with the same settings")
