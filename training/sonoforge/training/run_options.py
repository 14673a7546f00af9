"""Declare options shared by verbs that make run folders; importable on the base install."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, group, option, runs_folder, setting
from sonoforge.training.data.cache import CacheSettings
from sonoforge.training.data.data_option import data_option, groups_option


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a verb that measures."""

    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), key="cache", title="the cache of decoded images")
    out: str = runs_folder()


@dataclass(frozen=True, kw_only=True)
class LpipsOptions:
    """Options of a verb that measures LPIPS."""

    lpips: str = option(
        "",
        help="network of LPIPS, such as squeezenet1_1\n"
        "squeezenet1_1, vgg16 or alexnet to download it, or a .safetensors file of one",
        metavar="NET",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
    """Options of a verb that trains."""

    data: tuple[str, ...] = data_option()
    groups_from: str = groups_option()
    resume: bool = option(
        False,
        help="continue the latest run with the same settings\n"
        "gan train: or, if there is none, the latest shorter one with the same settings",
    )


@dataclass(frozen=True, kw_only=True)
class ParallelOptions(TrainingOptions):
    """Options of a verb that trains many networks in parallel."""

    jobs: int | None = option(
        None,
        help="training runs at a time\ndefault: one per core; 1 on a GPU; as many as fit on a cluster",
        limits=(1, 1024),
    )
    cluster: str = option(
        "",
        help="run on a Ray cluster: local or HOST:6379\nlocal: start one here",
        metavar="ADDRESS",
    )


@dataclass(frozen=True)
class EvaluationInput(RunOptions):
    """Where both sets come from, and how to make them comparable."""

    real: str = argument("", help="real images; or a run of gan train, without FAKE", aliases=("data",))
    fake: str = argument("", help="generated images, or a run of gan train")
    class_name: str = option(
        "",
        help="class of the real images, or all\ndefault: the class recorded in FAKE",
        aliases=("class",),
        renamed=True,
    )
    image_size: int | None = option(
        None, help="side in pixels at which to compare\ndefault: FAKE's", limits=(16, 1024), aliases=("size",)
    )
    channels: str = setting("auto", "images.channels", help="1: compare as greyscale", choices=("auto", "1", "3"))
    count: int | None = option(
        None, help="number of images to generate from a run\ndefault: as many as REAL has", limits=(2, None)
    )
    checkpoint: str = option("last", help="last, best or a step number")
    seed: int = option(0, help="random seed", limits=(0, None))
