"""The settings of the verbs that write bundles: nothing here needs more than the base install."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sonoforge.runtime.cli.options import argument, group, option, repeated_option, runs_folder
from sonoforge.training.crossval.options import ComparisonConfig
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option
from sonoforge.training.gan.options import GanSettings


@dataclass(frozen=True)
class RunConfig(ComparisonConfig):
    """Settings of ``run``: those of ``crossval``, and the final model."""

    EXAMPLES: ClassVar[str] = """
sonoforge run                                          the whole way on simulated ultrasound, in minutes
sonoforge run --data BUSI/                             10 sealed folds of both arms, then a bundle and a report
sonoforge run --data BUSI/ --budget thesis --protocol thesis --device cuda
sonoforge run --data BUSI/ --resume                    continue a run that was interrupted
sonoforge run --data BUSI/ --out s3://bucket/runs      the run folder at a URL
"""
    ESSENTIAL: ClassVar[tuple[str, ...]] = (
        "data",
        "arms",
        "folds",
        "seeds",
        "budget",
        "weights",
        "gan_recipe",
        "out",
        "resume",
        "jobs",
    )

    final_arm: str = option("real", help="arm of the final model, which is trained on all images")
    name: str = option("", help="name of the model in the bundle (default: the data set's)")


# Of `evolution.STRATEGIES`, `early_stopping.PROXIES` and `children.STAGES`, which need torch.
STRATEGY_NAMES = ("aging", "cycles")
PROXY_NAMES = ("halving", "trend")
STAGE_NAMES = ("generator", "discriminator")


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
class SearchConfig:
    """Settings of ``sonoforge search``."""

    EXAMPLES: ClassVar[str] = """
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
    ESSENTIAL: ClassVar[tuple[str, ...]] = (
        "data",
        "preset",
        "stages",
        "strategy",
        "class_name",
        "image_size",
        "kimg",
        "jobs",
        "out",
        "resume",
    )

    data: tuple[str, ...] = data_option()
    preset: str = option(
        "quick",
        help="quick: minutes to hours; paper: as published\n"
        "quick has a population of 8, 16 children of the best of 4, 2 thousand images shown to each, 32 x"
        " 32 pixels, width 8, batches of 16, learning rates of 0.0005, KID and both proxies; paper has a "
        "population of 100, 25 children of the best of 25, 30 epochs, 64 x 64 pixels, FID and no proxies",
        choices=tuple(PRESETS),
    )
    stages: tuple[str, ...] = option(
        STAGE_NAMES,
        help="networks to search, one after the other, the second with the best of the first; a network that "
        "is not searched is that of --generator-cell or --discriminator-cell",
        choices=STAGE_NAMES,
    )
    strategy: str = option(
        "aging",
        help="aging: mutate the best of a sample; its child replaces the oldest; cycles: each time a "
        "population of new random codes, with the weights of the best so far",
        choices=STRATEGY_NAMES,
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
        None, help="metric to minimise on held-out images; FID of few images is biased", choices=("kid", "fid")
    )
    proxies: tuple[str, ...] | None = option(
        None,
        help="which trainings to stop early. halving: those worse than the median after a quarter and a half "
        "of the budget; trend: those whose metric falls too slowly, after a half, to reach the median of "
        "finished ones; none: train all to the end",
        choices=(*PROXY_NAMES, "none"),
    )
    weights: str = option(
        "inherited",
        help="inherited: initialise a child from its parent's weights, in layers of the same name and shape "
        "(with cycles, from the best's); fresh: at random",
        choices=("inherited", "fresh"),
    )
    gan: GanSettings = group(
        GanSettings(held_out=0.2),
        title="each training",
        of="gan train",
        without=("recipe", "preset", "steps", "metrics", "every", "stop_after", "tick_steps", "start_from", "keep"),
    )
    child_minutes: float | None = option(
        None, help="minutes that a child trains at most, if its budget is not reached before", limits=(0.001, None)
    )
    second_held_out: float = option(
        0.2,
        help="share of the images, in whole scans, that no child uses, to evaluate the best of each stage on (0: none)",
        limits=(0, 0.5),
    )
    deterministic: bool = option(
        False,
        help="breed each child from those at least 8 older, so that the result does not depend on timing or "
        "the number of workers, up to 8",
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    jobs: int | None = option(
        None,
        help="children to train in parallel (default: one per core; 1 on a GPU, which several small ones can "
        "share; as many as fit on a cluster)",
        limits=(1, 1024),
    )
    cluster: str = option(
        "",
        help="train the children on a Ray cluster: local, to start one here, or its address (HOST:6379)",
        metavar="ADDRESS",
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the latest search with the same settings, if there is one")


# Of `formats.table.FORMATS`, whose writers need torch.
FORMAT_NAMES = (
    "onnx",
    "onnx-fp16",
    "onnx-int8",
    "onnx-uint8",
    "ort",
    "torchscript",
    "torchscript-lite",
    "executorch",
    "executorch-int8",
    "tensorrt",
    "tensorrt-fp16",
    "tensorrt-int8",
    "tensorrt-server",
    "tensorrt-server-fp16",
    "tensorrt-server-int8",
)
GENERATOR_FORMAT_NAMES = ("onnx", "onnx-fp16", "torchscript", "executorch", "tensorrt", "tensorrt-fp16")


@dataclass(frozen=True)
class ExportConfig:
    """Settings of ``export``."""

    EXAMPLES: ClassVar[str] = """
sonoforge export runs/00003-run-BUSI                              model.onnx alone
sonoforge export runs/00003-run-BUSI --formats all                every format that this machine can write
sonoforge export runs/00003-run-BUSI --formats onnx-int8,executorch --data BUSI/ --out phone --zip
sonoforge export my_bundle.zip --formats tensorrt-fp16 --data scans/ --out server
sonoforge export shipped --formats onnx-int8 --data BUSI/ --out small
sonoforge export runs/00003-run-all --evidence runs/00004-crossval-all --evidence runs/00005-validate
sonoforge export shipped --evidence runs/00005-validate --out carded    the network as it is, its card with more
sonoforge export runs/00005-gan-stylegan2-busi-malignant          a generator, for gan sample --bundle
sonoforge export runs/00005-gan-stylegan2-busi-malignant --reference shipped    and KID on the device
sonoforge export runs/00005-gan-stylegan2-busi-malignant --half-weights    half the size
sonoforge export runs/00005-gan-stylegan2-busi-malignant --evidence runs/00006-evaluate    its figures on the card

all leaves out what this machine cannot write or cannot check; given by name, a file that nothing here can run, such
as a TensorRT engine without a GPU, goes in unchecked and is marked so.

exit code: 0 every file in the bundle is as it should be; 1 one failed its gate and was left out; 2 wrong usage or input
"""

    run: str = argument(help="run folder of run, train or gan train; or a bundle (folder, .zip, or shipped)")
    formats: tuple[str, ...] = option(
        ("onnx",), help=f"all, or any of {', '.join(FORMAT_NAMES)}; of a generator {', '.join(GENERATOR_FORMAT_NAMES)}"
    )
    data: str = option(
        "",
        help="folder of images to check the files on, or phantom for simulated breast scans (default: the run's own)",
    )
    checkpoint: str = option("", help="generator: best, last or a step number (default: best, if KID was measured)")
    evidence: tuple[str, ...] = repeated_option(
        (),
        help="another run to quote in the model card; may be repeated\n"
        "for a classifier, runs of the same recipe: crossval with sealed folds or --protocol "
        "leave-one-collection-out, or validate --robustness on networks trained without the collection; "
        "for a generator, its run of evaluate",
        metavar="RUN",
    )
    reference: str = option(
        "",
        help="generator: classifier's bundle (folder, .zip, or shipped) in whose features to record the "
        "training images, so that the app can measure KID",
        metavar="BUNDLE",
    )
    half_weights: bool = option(
        False,
        help="generator: store the weights in half precision: half the size, at the same speed",
    )
    out: str = option("", help="folder of the bundle (default: RUN/bundle, or the bundle itself)")
    zip: bool = option(False, help="also pack the bundle as OUT.zip")
