"""The settings of ``sonoforge gan compare``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.statistics.published_gans import BY_RECIPES, NONE, PAPERS

EXAMPLES = """
sonoforge gan compare --data BUSI --class-name malignant                      the paper's tables: days on a GPU
sonoforge gan compare --data BUSI --class-name malignant --resume             go on; what is measured is kept
sonoforge gan compare --data cbis --class-name malignant --image-size 256     mammograms, see data import
sonoforge gan compare --data BUSI --class-name malignant --held-out 0.2       against images that no generator saw
sonoforge gan compare --recipes stylegan2,wgan-gp --image-size 64 --kimg 5 --milestones 0.5,1 --metric-features bundle
sonoforge gan compare --data BUSI --recipes projected:small-data,stylegan2:few-cores --features mobilenet_v2 --size 64 \
    --minutes 30 --milestones 0.1,0.2,0.4,0.6,0.8,1 --held-out 0.3              the same minutes for each
sonoforge gan compare --from all-2-minutes.csv,best-30-minutes.csv            two comparisons as one
sonoforge gan compare --data herlev --class "" --recipes cytology --size 64 --expand 7 --milestones 1 --kimg 100

The first makes the tables of Ryspayeva and Salykova 2025, the last that of Berezsky and Liashchynskyi 2024; their
published rows stand beside ours as claims. Without a class, one generator of each recipe draws all classes, told which
by projection (began: by concatenation) unless its recipe says otherwise. Cells, and a preset, go to the recipes that
have them.
"""

CYTOLOGY = PAPERS["ga-gan"].recipes
"""The six that Berezsky and Liashchynskyi 2024 compare on cytology."""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan compare``."""

    data: tuple[str, ...] = data_option()
    recipes: tuple[str, ...] = option(
        ("stylegan2", "stylegan3-t"),
        help="comma-separated recipes, each NAME or NAME:PRESET; cytology: " + ",".join(CYTOLOGY),
    )
    milestones: tuple[str, ...] = option(
        ("0.1", "0.5", "1"),
        help="comma-separated shares of each training at which its checkpoint is kept and measured; of 1000 "
        "epochs: after 100, 500 and 1000",
    )
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.0),
        title="each training",
        without=(
            *("recipe", "metrics", "metric_features", "metric_weights", "every", "stop_after"),
            "masks",
        ),
    )
    minutes: float | None = option(
        None,
        help="train each recipe for so long, in place of a number of images: a short training before tells its pace",
        limits=(0.01, None),
    )
    published: str = option(
        BY_RECIPES,
        help="published rows beside ours: stylegan (Ryspayeva and Salykova 2025), ga-gan (Berezsky and Liashchynskyi "
        "2024), none, or by-recipes: of the paper that compares most of the recipes, if one does",
        choices=(BY_RECIPES, *PAPERS, NONE),
    )
    metric_features: tuple[str, ...] = option(
        ("inception",),
        help="comma-separated feature spaces, as of evaluate --features; the table has the first (Inception as in "
        "papers)",
        metavar="SPACE,...",
    )
    metric_weights: str = option("", help="weights of the network among them (default: download)", metavar="FILE")
    count: int | None = option(
        None, help="images that each generates to be measured (default: as many as it was trained on)", limits=(4, None)
    )
    repeats: int = option(100, help="number of random halves for floors and intervals", limits=(5, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    from_tables: tuple[str, ...] = option(
        (),
        help="compare.csv of runs, comma-separated: print their tables as one, draw quality over time again and train "
        "nothing; of a recipe in several, the longest training",
        metavar="FILE,...",
        aliases=("from",),
    )
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest comparison with the same settings, if there is one")
