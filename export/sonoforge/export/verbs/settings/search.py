"""The settings of ``sonoforge search``, which ``--help`` lists without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.gan.options import GanSettings

# Of `evolution.STRATEGIES`, `early_stopping.PROXIES` and `children.STAGES`, which need torch.
STRATEGY_NAMES = ("aging", "cycles")
PROXY_NAMES = ("halving", "trend")
STAGE_NAMES = ("generator", "discriminator")

EXAMPLES = """
sonoforge search                                       both networks on the built-in phantom set, in minutes
sonoforge search --data herlev --jobs 2                24 generators, then 24 discriminators, at 32 x 32
sonoforge search --data herlev --stages generator --population 20 --children 80 --size 64 --kimg 20
sonoforge search --data cytology --preset paper --device cuda        as published: 100 + 25 trainings a stage
sonoforge search --data cytology --preset paper --strategy cycles --children 2400     the paper's other account
sonoforge search --data BUSI --class malignant --deterministic --cluster 10.0.0.5:6379     on a Ray cluster
sonoforge search --data herlev --resume                go on; children that have ended are kept

report.html in the run folder is written anew after each child: open it while the search is under way.  At the end,
the gan train command of the best pair is printed.
"""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        **{"population": 8, "children": 16, "sample": 4, "metric": "kid", "proxies": PROXY_NAMES},
        # Rates five times the recipe's: with these, networks of this width learn most from some thousand images.
        "gan": {"image_size": 32, "kimg": 2.0, "batch": 16, "width": 8, "learning_rate": 0.0005},
    },
    # Berezsky and Liashchynskyi 2024; batch and everything else of a training are as in the recipe.
    "paper": {
        **{"population": 100, "children": 25, "sample": 25, "metric": "fid", "proxies": ("none",)},
        "gan": {"image_size": 64, "epochs": 30.0},
    },
}
"""What settings that are left out are."""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge search``."""

    data: tuple[str, ...] = data_option()
    preset: str = option(
        "quick",
        help="quick: population of 8, 16 children, the best of 4 is the parent, 2 thousand images shown to each, 32 x "
        "32 pixels, width 8, batches of 16, rates of 0.0005, KID, both proxies; paper: population of 100, 25 children, "
        "the best of 25, 30 epochs, 64 x 64 pixels, FID, no proxies",
        choices=tuple(PRESETS),
    )
    stages: tuple[str, ...] = option(
        STAGE_NAMES,
        help="comma-separated networks that are searched, one after the other, the second beside the best of the "
        "first; beside a network that is not searched stands --generator-cell or --discriminator-cell",
        choices=STAGE_NAMES,
    )
    strategy: str = option(
        "aging",
        help="aging: the best of a sample is mutated, its child joins the population, and the oldest leaves; cycles: a "
        "population of new random codes each time, all with the weights of the best so far",
        choices=STRATEGY_NAMES,
    )
    population: int | None = option(None, help="members of a population", limits=(2, 10_000))
    children: int | None = option(
        None,
        help="trainings of a stage after those of its first population; of cycles, in whole populations",
        limits=(0, 100_000),
    )
    sample: int | None = option(None, help="members drawn at random that compete to be a parent", limits=(1, 10_000))
    mutation: float = option(0.05, help="probability with which each element of a code changes", limits=(0.001, 1))
    metric: str | None = option(
        None, help="that is to be lowest, on held-out images; FID of few images is biased", choices=("kid", "fid")
    )
    proxies: tuple[str, ...] | None = option(
        None,
        help="comma-separated: what ends trainings early. halving: after a quarter and a half of the budget, those "
        "worse than the median there; trend: after a half, those whose metric does not fall fast enough to reach the "
        "median of those that ended; none: all are trained to their end",
        choices=(*PROXY_NAMES, "none"),
    )
    weights: str = option(
        "inherited",
        help="inherited: a child starts with its parent's trained weights where name and shape of a layer agree (of "
        "cycles, the best's); fresh: with new ones",
        choices=("inherited", "fresh"),
    )
    gan: GanSettings = group(
        GanSettings(held_out=0.2),
        title="each training",
        without=("recipe", "preset", "steps", "metrics", "every", "stop_after", "tick_steps", "start_from", "keep"),
    )
    child_minutes: float | None = option(
        None, help="minutes that a child trains at most, if its budget is not reached before", limits=(0.001, None)
    )
    second_held_out: float = option(
        0.2,
        help="share of the images, whole scans, that no child reads: the best of each stage is measured against them, "
        "too; 0: none",
        limits=(0, 0.5),
    )
    deterministic: bool = option(
        False,
        help="choose each child by those born at least 8 before it, so that the result does not depend on timing or "
        "on the number of workers, up to 8",
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    jobs: int | None = option(
        None,
        help="children trained at a time (default: one a core; 1 on a GPU, which several small ones may share; on a "
        "cluster, what fits)",
        limits=(1, 1024),
    )
    cluster: str = option(
        "",
        help="train the children on a Ray cluster: local, started here, or the address of one (HOST:6379)",
        metavar="ADDRESS",
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest search with the same settings, if there is one")
