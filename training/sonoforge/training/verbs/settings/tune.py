"""The settings of ``sonoforge tune``, which ``--help`` lists without torch and Optuna."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, repeated_option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.tuning.parameters import NAMES

# Of `study.SAMPLERS` and `pruning.PRUNERS`, which need Optuna.
SAMPLER_NAMES = ("tpe", "random")
PRUNER_NAMES = ("none", "median", "halving")

EXAMPLES = """
sonoforge tune --recipes dcgan --trials 12 --kimg 2 --image-size 32      on the built-in phantom set: minutes
sonoforge tune --data BUSI --class-name malignant --recipes dcgan,lsgan,wgan-gp --trials 100 --kimg 50 --jobs 8
sonoforge tune --data BUSI --class malignant --search learning-rate=0.0001:0.001 --search optimiser=adam,rmsprop
sonoforge tune --data BUSI --class malignant --width 32 --batch 16       what is given is fixed, the rest is searched
sonoforge tune --data BUSI --class malignant --trials 100 --cluster 10.0.0.5:6379    on the machines of a Ray cluster
sonoforge tune --data BUSI --class malignant --trials 100 --resume       go on; trials that are done are kept

With --jobs 1 and OMP_NUM_THREADS=1 in the environment a search is repeated exactly on a CPU, also if it is killed and
resumed.  With more, what a trial tries depends on which others have ended by then.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge tune``."""

    data: tuple[str, ...] = data_option()
    recipes: tuple[str, ...] = option(("dcgan", "wgan-gp"), help="comma-separated recipes, a study of each")
    trials: int = option(12, help="trials of each recipe, those pruned included", limits=(2, 10_000))
    search: tuple[str, ...] = repeated_option(
        (),
        help="range or values of one parameter, in place of the usual: learning-rate=0.0001:0.001 or batch=8,16; may "
        f"be given several times. Parameters: {', '.join(NAMES)}",
        metavar="NAME=...",
    )
    sampler: str = option("tpe", help="how settings are suggested", choices=SAMPLER_NAMES)
    pruner: str = option(
        "median",
        help="gives trials up by their KID: median: after a half and three quarters of the budget, if worse than the "
        "median of earlier trials; halving: after a quarter and a half, if not in the better half",
        choices=PRUNER_NAMES,
    )
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.2, kimg=10.0),
        title="each trial; what is given is not searched",
        without=("recipe", "epochs", "steps", "metrics", "every", "stop_after", "tick_steps"),
    )
    trial_minutes: float | None = option(
        None, help="minutes that a trial trains at most, if --kimg is not reached before", limits=(0.001, None)
    )
    second_held_out: float = option(
        0.2,
        help="share of the images, whole scans, that no trial reads: the best of each recipe is measured against them, "
        "too; 0: none",
        limits=(0, 0.5),
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    jobs: int | None = option(
        None, help="trials run at a time (default: one a core; 1 on a GPU; on a cluster, what fits)", limits=(1, 1024)
    )
    cluster: str = option(
        "",
        help="run the trials on a Ray cluster: local, started here, or the address of one (HOST:6379)",
        metavar="ADDRESS",
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest search with the same settings, if there is one")
