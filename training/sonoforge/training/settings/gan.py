"""Declare the options of the verbs that train generators; importable on the base install."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.cli.options import group, option, repeated_option, setting
from sonoforge.training.architecture_search.space import NAMES
from sonoforge.training.data.data_option import phantom_images
from sonoforge.training.gan.options import FLAGGED, GAN_TITLE, GanSettings
from sonoforge.training.gan.recipes import give_recipe
from sonoforge.training.phantom import PHANTOM_IMAGES
from sonoforge.training.run_options import LpipsOptions, ParallelOptions, TrainingOptions
from sonoforge.training.statistics.published import PAPERS


@dataclass(frozen=True)
class GanTrainConfig(TrainingOptions):
    """Options of ``gan train``; the recipe fills in what is left out."""

    gan: GanSettings = group(
        GanSettings(recipe="", preset="", metrics=("kid",)), key="gan", title=GAN_TITLE, flags=FLAGGED
    )
    minutes: float | None = option(
        None,
        help="train for about this long\n"
        "measures this machine's pace and chooses whatever is left out of recipe, preset, image size and batch; "
        "refuses what cannot learn in the time; with --epochs, --steps or --kimg: stop and save after this time, to "
        "--resume later",
        limits=(0.001, None),
    )
    images: int = phantom_images(PHANTOM_IMAGES)


CYTOLOGY = PAPERS["ga-gan"].recipes
"""The six recipes that Berezsky and Liashchynskyi 2024 compare on cytology."""
GRID_WITHOUT = ("recipe", "metrics", "metric_features", "metric_weights", "masks")
"""Settings ``gan.*`` that a comparison does not accept."""
COMPARED = ("kid", "fid", "swd", "inception-score", "ms-ssim", "lpips")
"""Metrics that a comparison can have."""


@dataclass(frozen=True)
class GanCompareConfig(LpipsOptions, TrainingOptions):
    """Options of ``gan compare``."""

    recipes: tuple[str, ...] = option(
        ("stylegan2", "stylegan3-t"),
        help="recipes, NAME, NAME:PRESET or FILE.py\ncytology: " + ",".join(CYTOLOGY),
        metavar="NAME,...",
        own=give_recipe,
    )
    grid: tuple[str, ...] = repeated_option(
        (),
        help="train with each of these values\nperceptual-weight=0,0.1,1: any setting gan.*; may be repeated",
        metavar="NAME=X,X",
    )
    milestones: tuple[float, ...] = option(
        (0.1, 0.5, 1.0), help="measure at these shares of a training", metavar="X,..."
    )
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.0),
        key="gan",
        title=GAN_TITLE,
        flags="class_name image_size kimg",
        without=GRID_WITHOUT,
    )
    minutes: float | None = option(
        None,
        help="train each recipe this long\ninstead of a number of images; the pace is measured first",
        limits=(0.01, None),
    )
    metric_features: tuple[str, ...] = setting(
        ("inception",),
        "metrics.features",
        help="feature spaces, as in evaluate --features; the table shows the first (Inception, as in papers)",
    )
    metric_weights: str = setting("", "metrics.weights", help="weights of the feature network (default: download)")
    metrics: tuple[str, ...] = option(
        COMPARED[:4],
        help="metrics, kid and fid among them\n" + ", ".join(COMPARED),
        choices=COMPARED,
        metavar="NAME,...",
    )
    count: int | None = setting(
        None,
        "metrics.count",
        help="number of images to generate for the metrics (default: as many as it was trained on)",
        limits=(4, None),
    )
    repeats: int = setting(
        100, "metrics.repeats", help="number of random halves for noise floors and intervals", limits=(5, None)
    )


STAGE_NAMES = ("generator", "discriminator")
SEARCHES: Mapping[str, Mapping[str, Any]] = json.loads(Path(__file__).with_name("searches.json").read_text("utf-8"))
"""What `gan search` can search for, the metric that it minimises, and the settings that are left out.

The learning rates of ``cells`` are five times the recipe's: with these, networks of its width learn most from some
thousand images. ``cells-paper`` is as in Berezsky and Liashchynskyi 2024, section 4, which holds no images out; batch
and everything else are as in the recipe.
"""


@dataclass(frozen=True)
class GanSearchConfig(ParallelOptions):
    """Options of ``gan search``."""

    what: str = option(
        "settings",
        help="search for: settings, cells or cells-paper\n"
        "settings: of each recipe, for the lowest KID (Optuna); cells: of both networks of ga-gan, by evolution: "
        "a population of 8, 16 children of the best of 4, 2 thousand images shown to each, 32 x 32 pixels, width 8, "
        "batches of 16, learning rates of 0.0005, KID; cells-paper: as published: a population of "
        "100, 25 children of the best of 25, 30 epochs, 64 x 64 pixels, no pruner, each class expanded to 700 images, "
        "nothing held out, and FID in Inception, whose weights gan.metric_weights names",
        choices=tuple(SEARCHES),
        metavar="WHAT",
    )
    recipes: tuple[str, ...] = option(("dcgan", "wgan-gp"), help="settings: one search for each", metavar="NAME,...")
    trials: int = option(12, help="settings: trials per recipe\nincluding pruned ones", limits=(2, 10_000))
    over: tuple[str, ...] = repeated_option(
        (),
        help="settings: range or values of a parameter\n"
        "instead of the default: learning-rate=0.0001:0.001 or batch=8,16; may be repeated. "
        f"Parameters: {', '.join(NAMES)}",
        metavar="NAME=...",
    )
    stages: tuple[str, ...] = option(
        STAGE_NAMES,
        help="cells: networks to search, in order\nthe second beside the best of the first; a network that "
        "is not searched is gan.generator_cell or gan.discriminator_cell",
        choices=STAGE_NAMES,
        metavar="NAME,...",
    )
    pruner: str | None = setting(
        None,
        "search.pruner",
        help="median: stop a trial early that is worse than the median of earlier ones after half or three quarters of "
        "the budget; none: train all to the end (default: median; cells-paper: none)",
        choices=("none", "median"),
    )
    second_held_out: float | None = setting(
        None,
        "search.second_held_out",
        help="share of the images, in whole scans, that no trial uses, to evaluate the best trial of each study on; 0: "
        "none (default: 0.2; cells-paper: 0)",
        limits=(0, 0.5),
    )
    strategy: str = setting(
        "aging",
        "search.strategy",
        help="cells: aging: mutate the best of a sample; its child replaces the oldest; cycles: each time a "
        "population of new random codes, with the weights of the best so far",
        choices=("aging", "cycles"),
    )
    population: int | None = setting(
        None, "search.population", help="cells: size of the population", limits=(2, 10_000)
    )
    children: int | None = setting(
        None,
        "search.children",
        help="cells: number of training runs per stage after the first population; with cycles, whole populations",
        limits=(0, 100_000),
    )
    sample: int | None = setting(
        None,
        "search.sample",
        help="cells: tournament size: members sampled to choose the parent from",
        limits=(1, 10_000),
    )
    mutation: float = setting(
        0.05, "search.mutation", help="cells: mutation probability of each element of a code", limits=(0.001, 1)
    )
    weights: str = setting(
        "inherited",
        "search.weights",
        help="cells: inherited: initialise a child from its parent's weights, in layers of the same name and shape "
        "(with cycles, from the best's); fresh: at random",
        choices=("inherited", "fresh"),
    )
    gan: GanSettings = group(
        GanSettings(),
        key="gan",
        title=GAN_TITLE,
        flags="class_name image_size kimg",
        without=("recipe", "steps", "metrics", "tick_steps"),
    )
