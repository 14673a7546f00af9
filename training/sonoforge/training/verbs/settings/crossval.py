"""The settings of ``sonoforge crossval``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.classifier.options import CHOOSABLE, ClassifierOptions
from sonoforge.training.crossval.arms import FORMS
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT
from sonoforge.training.gan.options import GanSettings

EXAMPLES = """
sonoforge crossval --data BUSI/                        sealed 10 folds, real images against real + GAN
sonoforge crossval --data BUSI/ --arms real,gan,duplicates,classical --seeds 3
sonoforge crossval --data BUSI/ --arms real,gan:0.5,gan,gan:2,gan-all,generated,untrained,shuffled
sonoforge crossval --data BUSI/ --arms real,gan --real-shares 0.25,0.5,0.75,1
sonoforge crossval --data BUSI/ --arms real --choose learning-rate=0.0002,0.001,0.005
sonoforge crossval --data BUSI/ --arms real,gan --choose dose=0.5,1,2
sonoforge crossval --data BUSI/ --data BrEaST/ --protocol leave-one-collection-out --arms real
sonoforge crossval --data BUSI/ --protocol thesis --budget thesis --device cuda
sonoforge crossval --data BUSI/ --gan-recipe stylegan2 --gan-augmentation ada --gan-size 128 --gan-kimg 200
sonoforge crossval --data BUSI/ --resume               continue a run that was interrupted
sonoforge crossval --data BUSI/ --cluster 10.0.0.5:6379 --jobs 60   folds on the machines of a Ray cluster
sonoforge crossval --from RUN/predictions.csv          the tables again, from the predictions alone
"""


@dataclass(frozen=True)
class ComparisonConfig:
    """Settings of a comparison of arms: of ``crossval``, and of ``run``."""

    data: tuple[str, ...] = data_option()
    protocol: str = option(
        "sealed",
        help="sealed: no leakage; leave-one-collection-out: each collection tested by models trained on the "
        "others; thesis: plain folds, as published; single: one plain 80/20 split",
        choices=("sealed", LEAVE_ONE_OUT, "thesis", "single"),
    )
    arms: tuple[str, ...] = option(("real", "gan"), help="comma-separated; the first is the baseline. " + FORMS)
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


@dataclass(frozen=True)
class Config(ComparisonConfig):
    """Settings of ``crossval``."""

    from_predictions: str = option(
        "",
        help="predictions.csv of a run, or .csv.gz: print its tables again and train nothing",
        metavar="FILE",
        aliases=("from",),
    )
