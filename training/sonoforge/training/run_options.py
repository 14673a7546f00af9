"""The options that verbs with run folders have in common.  Needs no more than ``--help`` does."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option, groups_option


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Of a verb that measures."""

    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()


@dataclass(frozen=True, kw_only=True)
class LpipsOptions:
    """Of a verb that measures LPIPS."""

    lpips: str = option(
        "",
        help="network of LPIPS: a .safetensors file of SqueezeNet 1.1, VGG16 or AlexNet, or squeezenet1_1, vgg16 or "
        "alexnet to download it",
        metavar="NET",
    )
    lpips_heads: str = option("", help="LPIPS heads, .safetensors (default: torchmetrics' own)", metavar="FILE")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
    """Of a verb that trains."""

    data: tuple[str, ...] = data_option()
    groups_from: str = groups_option()
    resume: bool = option(
        False,
        help="continue the latest run with the same settings, if there is one\n"
        "gan train and train: else the latest that is shorter and has the same settings, for longer",
    )


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Of a verb whose run can be sent to a tracker."""

    log: str = option(
        "",
        help="also send the run to a tracker: mlflow:URI, such as mlflow:http://localhost:5000, or wandb:offline\n"
        "settings, figures, sheets of generated images, and the bundle; no image of a patient, no file name",
        metavar="TRACKER",
    )


@dataclass(frozen=True, kw_only=True)
class ParallelOptions(TrainingOptions):
    """Of a verb that trains many networks, side by side."""

    jobs: int | None = option(
        None,
        help="trainings to run in parallel (default: one per core; 1 on a GPU; as many as fit on a cluster)",
        limits=(1, 1024),
    )
    cluster: str = option(
        "",
        help="run the trainings on a Ray cluster: local, to start one here, or its address (HOST:6379)",
        metavar="ADDRESS",
    )
