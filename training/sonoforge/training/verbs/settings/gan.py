"""The settings of the verbs that train generators: nothing here needs more than the base install."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sonoforge.runtime.cli.options import argument, group, option, repeated_option
from sonoforge.training.architecture_search.space import NAMES
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.run_options import LogOptions, LpipsOptions, ParallelOptions, TrainingOptions
from sonoforge.training.statistics.published import BY_RECIPES, NONE, PAPERS


@dataclass(frozen=True)
class GanRecipesConfig:
    """Settings of ``sonoforge gan recipes``."""

    EXAMPLES: ClassVar[str] = """
sonoforge gan recipes
sonoforge gan recipes wgan-gp        where each of its numbers is from
sonoforge gan recipes --json
"""

    recipes: tuple[str, ...] = argument((), help="recipes to explain (default: a table of all)")


@dataclass(frozen=True)
class GanTrainConfig(LogOptions, TrainingOptions):
    """Settings of ``sonoforge gan train``; what is left out is as the recipe has it."""

    EXAMPLES: ClassVar[str] = """
sonoforge gan train --data BUSI --class malignant --minutes 10
sonoforge gan train --data BUSI --class malignant    as in the thesis: hours
sonoforge gan train --data BUSI --class malignant --resume
sonoforge gan train --recipe dcgan --minutes 5       on simulated scans
sonoforge gan train --data BUSI --class normal --recipe wgan-gp --image-size 64 --epochs 200
sonoforge gan train --class benign --recipe dcgan --kimg 20 --augmentation ada    on the built-in phantom set
sonoforge gan train --class benign --recipe dcgan --kimg 40 --augmentation ada --resume    that one, for longer
sonoforge gan train --recipe lsgan --conditioning projection    all classes in one generator
sonoforge gan train --data BUSI --class malignant --recipe dgan-wp-tl-wgangp --features vgg16
sonoforge gan train --data BUSI --class malignant --metrics kid,fid --metric-features inception --every 5
sonoforge gan train --recipe stylegan3-t --data BUSI --class malignant --size 512    hours on a GPU
sonoforge gan train --recipe stylegan2 --data BUSI --class malignant --start-from runs/00001-gan-stylegan2-busi-benign
sonoforge gan train --recipe stylegan2 --data BUSI --start-from ffhq.safetensors --freeze-discriminator 4 --class normal
sonoforge gan train --data BUSI --class malignant --recipe projected --preset small-data --features f.safetensors \\
    --minutes 30    as far as half an hour goes, whatever the machine
torchrun --nproc-per-node 4 -m sonoforge.runtime.cli.main gan train --data BUSI --class malignant

Ctrl-C, or SIGTERM, closes the current tick, saves, and ends with exit code 0; a second one stops at once.
With OMP_NUM_THREADS=1 in the environment, a resumed training on a CPU ends with the very weights of an uninterrupted
one.
"""
    ESSENTIAL: ClassVar[str] = "data class_name recipe image_size minutes"

    gan: GanSettings = group(GanSettings(recipe="", preset="", metrics=("kid",)), title="the training")
    minutes: float | None = option(
        None,
        help="train for about this many minutes, with what learns in them\n"
        "by the pace measured on this machine, chooses what is left out of --recipe, --preset, --image-size and "
        "--batch; what cannot learn in the minutes is refused; with --epochs, --steps or --kimg: stop and save after "
        "this time, to --resume later",
        limits=(0.001, None),
    )


CYTOLOGY = PAPERS["ga-gan"].recipes
"""The six that Berezsky and Liashchynskyi 2024 compare on cytology."""
GRID_WITHOUT = ("recipe", "metrics", "metric_features", "metric_weights", "every", "stop_after", "masks")
"""Options of ``gan train`` that a comparison does not take."""
COMPARED = ("kid", "fid", "swd", "inception-score", "ms-ssim", "lpips")
"""Of ``evaluate --metrics``, those that a comparison can have."""


@dataclass(frozen=True)
class GanCompareConfig(LpipsOptions, TrainingOptions):
    """Settings of ``sonoforge gan compare``."""

    EXAMPLES: ClassVar[str] = """
sonoforge gan compare --data BUSI --class malignant     days on a GPU
sonoforge gan compare --data BUSI --class malignant --resume
sonoforge gan compare --recipes dcgan,wgan-gp --image-size 64 --minutes 10
sonoforge gan compare --data cbis --class malignant --image-size 256     mammograms, see data import
sonoforge gan compare --data BUSI --class malignant --held-out 0.2       against images that no generator saw
sonoforge gan compare --recipes stylegan2,wgan-gp --image-size 64 --kimg 5 --milestones 0.5,1 --metric-features bundle
sonoforge gan compare --data BUSI --recipes projected:small-data,stylegan2:few-cores --features mobilenet_v2 \\
    --size 64 --minutes 30 --milestones 0.1,0.2,0.4,0.6,0.8,1 --held-out 0.3    the same minutes for each
sonoforge gan compare --data BUSI --class malignant --recipes dgan-wp-tl-wgangp,dgan-wp-tl-bce --features vgg16 \\
    --grid perceptual-weight=0,0.5,3,5,7,10 --milestones 1 --held-out 0.2 --lpips alexnet \\
    --metrics kid,fid,lpips,ms-ssim,swd    the loss functions of DGAN-WP-TL
sonoforge gan compare --from all-2-minutes.csv,best-30-minutes.csv            two comparisons as one
sonoforge gan compare --data herlev --class "" --recipes cytology --size 64 --expand-to 700 --kimg 100

The first makes the tables of Ryspayeva and Salykova 2025 on StyleGANs, that with --grid theirs on losses, the last that
of Berezsky and Liashchynskyi 2024; published rows stand beside ours as claims. Without a class, one generator of each
recipe draws all classes, told which if it was published so; --conditioning projection tells all (began: by
concatenation). Cells, and a preset, go to the recipes that have them.
"""
    ESSENTIAL: ClassVar[str] = "data recipes class_name image_size minutes"

    recipes: tuple[str, ...] = option(
        ("stylegan2", "stylegan3-t"),
        help="comma-separated recipes, each NAME or NAME:PRESET\ncytology: " + ",".join(CYTOLOGY),
    )
    grid: tuple[str, ...] = repeated_option(
        (),
        help="train each recipe with each of these values of an option of gan train: "
        "perceptual-weight=0,0.1,1; may be repeated",
        metavar="NAME=...",
    )
    milestones: tuple[str, ...] = option(
        ("0.1", "0.5", "1"),
        help="shares of each training at which its checkpoint is kept and measured",
    )
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.0),
        title="each training",
        of="gan train",
        without=GRID_WITHOUT,
    )
    minutes: float | None = option(
        None,
        help="train each recipe for this many minutes\nin place of a number of images; the pace is measured first",
        limits=(0.01, None),
    )
    published: str = option(
        BY_RECIPES,
        help="published rows beside ours: dgan-wp-tl and stylegan (Ryspayeva and Salykova 2025), ga-gan (Berezsky and "
        "Liashchynskyi 2024), none, or by-recipes: of the paper that compares most of the recipes, if one does",
        choices=(BY_RECIPES, *PAPERS, NONE),
    )
    metric_features: tuple[str, ...] = option(
        ("inception",),
        help="feature spaces, as in evaluate --features; the table shows the first (Inception, as in papers)",
        metavar="SPACE,...",
    )
    metric_weights: str = option("", help="weights of the network among them (default: download)", metavar="FILE")
    metrics: tuple[str, ...] = option(
        COMPARED[:4], help="metrics in the table; must include kid and fid", choices=COMPARED
    )
    count: int | None = option(
        None,
        help="number of images to generate for the metrics (default: as many as it was trained on)",
        limits=(4, None),
    )
    repeats: int = option(100, help="number of random halves for noise floors and intervals", limits=(5, None))
    from_tables: tuple[str, ...] = option(
        (),
        help="compare.csv of several runs: print one table and draw quality over time, without training; a "
        "recipe in several counts with its longest training",
        metavar="FILE,...",
        aliases=("from",),
    )


@dataclass(frozen=True)
class TrialsConfig(ParallelOptions):
    """What ``tune`` and ``search`` have in common."""

    pruner: tuple[str, ...] | None = option(
        None,
        help="which trials to stop early by their metric. median: those worse than the median of earlier trials "
        "after a half and three quarters of the budget; halving: those worse than the median after a quarter and a "
        "half; trend: those whose metric falls too slowly, after a half, to reach the median of finished ones; none: "
        "train all to the end",
        choices=("none", "median", "halving", "trend"),
    )
    trial_minutes: float | None = option(None, help="longest time per trial in minutes", limits=(0.001, None))
    second_held_out: float | None = option(
        None,
        help="share of the images, in whole scans, that no trial uses, to evaluate the best trial of each study on; 0: "
        "none (default: 0.2; search --preset paper: 0)",
        limits=(0, 0.5),
    )


@dataclass(frozen=True)
class TuneConfig(TrialsConfig):
    """Settings of ``sonoforge tune``."""

    EXAMPLES: ClassVar[str] = """
sonoforge tune --recipes dcgan --kimg 2 --size 32    simulated scans: minutes
sonoforge tune --data BUSI --class malignant --trials 100
sonoforge tune --data BUSI --class malignant --trials 100 --resume
sonoforge tune --data BUSI --class malignant --recipes dcgan,lsgan,wgan-gp --trials 100 --kimg 50 --jobs 8
sonoforge tune --data BUSI --class malignant --search learning-rate=0.0001:0.001 --search optimiser=adam,rmsprop
sonoforge tune --data BUSI --class malignant --width 32 --batch 16       what is given is fixed, the rest is searched
sonoforge tune --data BUSI --class malignant --trials 100 --cluster 10.0.0.5:6379    on the machines of a Ray cluster

With --jobs 1 and OMP_NUM_THREADS=1 in the environment a search is repeated exactly on a CPU, also if it is killed and
resumed.  With more, what a trial tries depends on which others have ended by then.
"""
    ESSENTIAL: ClassVar[str] = "data class_name recipes trials kimg"

    recipes: tuple[str, ...] = option(("dcgan", "wgan-gp"), help="recipes to tune, one study for each")
    trials: int = option(12, help="number of trials per recipe, including pruned ones", limits=(2, 10_000))
    search: tuple[str, ...] = repeated_option(
        (),
        help="range or values of one parameter, in place of the usual: learning-rate=0.0001:0.001 or batch=8,16; may "
        f"be given several times. Parameters: {', '.join(NAMES)}",
        metavar="NAME=...",
    )
    sampler: str = option("tpe", help="Optuna sampler", choices=("tpe", "random"))
    gan: GanSettings = group(
        GanSettings(class_name="malignant", held_out=0.2, kimg=10.0),
        title="each trial; what is given is not searched",
        of="gan train",
        without=("recipe", "epochs", "steps", "metrics", "every", "stop_after", "tick_steps"),
    )


STAGE_NAMES = ("generator", "discriminator")
SEARCH_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        **{"population": 8, "children": 16, "sample": 4, "metric": "kid", "pruner": ("halving", "trend")},
        # Rates five times the recipe's: with these, networks of this width learn most from some thousand images.
        "gan": {"image_size": 32, "kimg": 2.0, "batch": 16, "width": 8, "learning_rate": 0.0005, "held_out": 0.2},
    },
    # Berezsky and Liashchynskyi 2024, section 4; batch and everything else of a training are as in the recipe.  They
    # hold no images out.
    "paper": {
        **{"population": 100, "children": 25, "sample": 25, "metric": "fid", "pruner": ("none",)},
        "second_held_out": 0.0,
        "gan": {"image_size": 64, "epochs": 30.0, "expand_to": 700, "held_out": 0.0, "metric_features": "inception"},
    },
}
"""What settings that are left out are."""


@dataclass(frozen=True)
class SearchConfig(TrialsConfig):
    """Settings of ``sonoforge search``."""

    EXAMPLES: ClassVar[str] = """
sonoforge search                           on simulated scans, in minutes
sonoforge search --data herlev --jobs 2    24 generators, 24 discriminators
sonoforge search --data herlev --resume    what has ended is kept
sonoforge search --data herlev --stages generator --population 20 --children 80 --size 64 --kimg 20
sonoforge search --data cytology --preset paper --metric-weights inception.pth --device cuda
                                                       as published: 100 + 25 trainings a stage
sonoforge search --data cytology --preset paper --metric-weights inception.pth --strategy cycles --children 2400
                                                       the paper's other account
sonoforge search --data BUSI --class malignant --deterministic --cluster 10.0.0.5:6379     on a Ray cluster

report.html in the run folder is written anew after each trial: open it while the search is under way.  At the end,
the gan train command of the best pair is printed.
"""
    ESSENTIAL: ClassVar[str] = "data class_name preset stages jobs"

    preset: str = option(
        "quick",
        help="quick: minutes to hours; paper: as published\n"
        "quick has a population of 8, 16 children of the best of 4, 2 thousand images shown to each, 32 x"
        " 32 pixels, width 8, batches of 16, learning rates of 0.0005, KID, halving and trend; paper has a "
        "population of 100, 25 children of the best of 25, 30 epochs, 64 x 64 pixels, no pruner, each class expanded "
        "to 700 images, nothing held out, and FID in Inception, whose weights --metric-weights names",
        choices=tuple(SEARCH_PRESETS),
    )
    stages: tuple[str, ...] = option(
        STAGE_NAMES,
        help="networks to search, one after the other\nthe second with the best of the first; a network that "
        "is not searched is that of --generator-cell or --discriminator-cell",
        choices=STAGE_NAMES,
    )
    strategy: str = option(
        "aging",
        help="aging: mutate the best of a sample; its child replaces the oldest; cycles: each time a "
        "population of new random codes, with the weights of the best so far",
        choices=("aging", "cycles"),
    )
    population: int | None = option(None, help="size of the population", limits=(2, 10_000))
    children: int | None = option(
        None,
        help="number of trainings per stage after the first population; with cycles, whole populations",
        limits=(0, 100_000),
    )
    sample: int | None = option(
        None, help="tournament size: members sampled to choose the parent from", limits=(1, 10_000)
    )
    mutation: float = option(0.05, help="mutation probability of each element of a code", limits=(0.001, 1))
    metric: str | None = option(
        None,
        help="metric to minimise on held-out images, or with --preset paper on all; FID of few images is biased",
        choices=("kid", "fid"),
    )
    weights: str = option(
        "inherited",
        help="inherited: initialise a child from its parent's weights, in layers of the same name and shape "
        "(with cycles, from the best's); fresh: at random",
        choices=("inherited", "fresh"),
    )
    gan: GanSettings = group(
        GanSettings(),
        title="each training",
        of="gan train",
        without=(
            *("recipe", "preset", "steps", "metrics", "every", "stop_after", "tick_steps", "start_from", "keep"),
            "norm",
        ),
    )
    deterministic: bool = option(
        False,
        help="breed each child from those at least 8 older, so that the result does not depend on timing or "
        "the number of workers, up to 8",
    )


# Of `looks.LOOKS`, which needs torch.
LOOK_NAMES = ("truncation", "mixing", "interpolation", "path", "equivariance")


@dataclass(frozen=True)
class GanShowConfig(LpipsOptions):
    """Settings of ``sonoforge gan show``."""

    EXAMPLES: ClassVar[str] = """
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what truncation
sonoforge gan show RUN --project scan.png --lpips squeezenet1_1
sonoforge gan show runs/00002-gan-lsgan-busi --class normal --out looks
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what truncation,mixing --count 8 --seed 3
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what path --lpips squeezenet1_1 --samples 1000
sonoforge gan show runs/00001-gan-stylegan3-t-busi-malignant --checkpoint best --what equivariance --samples 500

Written: truncation.png, style-mixing.png, interpolation.png and .gif (looping; no video file), path-length.png,
equivariance.png and .json, and looks.json with every figure and how it was measured.  Paths are measured by LPIPS,
or, without --lpips, in pixels.  Style mixing needs StyleGAN 1
to 3, equivariance StyleGAN3; truncation is by psi in StyleGAN, else by the largest number in a latent.
--project writes projection.png, drawing.png and results.json alone, to projections/SCAN in the run folder.
"""
    ESSENTIAL: ClassVar[str] = "what project class_name checkpoint out"

    run: str = argument(help="run folder of sonoforge gan train, or one of its checkpoints")
    what: tuple[str, ...] = option(
        (),
        help="truncation, mixing, interpolation, path, equivariance (default: all that apply)",
        choices=LOOK_NAMES,
        metavar="NAME,...",
    )
    project: str = option(
        "",
        help="find the nearest drawing to a scan of your own\nand whether the generator could have drawn it, compared "
        "with its own drawings and with scans that it never saw: a copy test of one scan",
        metavar="SCAN",
    )
    class_name: str = option(
        "",
        help="class to show, if the generator has several\nwith --project: to look in (default: all)",
        aliases=("class",),
        renamed=True,
    )
    count: int = option(6, help="number of images in a row or column, or of own drawings to project", limits=(2, 16))
    samples: int = option(
        64,
        help="number of images, or pairs, to measure path length and equivariance on, or of held-out scans to project",
        limits=(2, None),
    )
    seed: int = option(0, help="random seed; the images are those of gan sample with this seed", limits=(0, None))
    checkpoint: str = option("last", help="last, best (lowest KID), or a step number")
    out: str = option("", help="folder for the pictures (default: looks/ in the run folder)")
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
