"""Several processes train as one: started by torchrun, on CPUs with gloo.

All is computed in float64.  In float32 the two sums of a batch differ by rounding, which Adam's first moves, the signs
of gradients, turn into other weights: how far the losses then part depends on the processor.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from gan_trainings import read_rows, write_pictures
from program import succeed

STEPS = {"wgan-gp": 2, "lsgan": 4, "began": 4}
SMALL = ["--class", "malignant", "--size", "32", "--set", "gan.batch=8", "--set", "gan.tick_steps=1", "--device", "cpu"]
ROUNDING = 1e-9
"""Of losses around 10 after thousands of sums in float64, whose numbers are exact to 1e-16; a batch that is not joined
changes them by 3e-4 and more."""
SCALARS = ("discriminator_loss", "generator_loss", "real_score", "fake_score", "gradient-penalty", "convergence")


def _command(recipe: str, folder: Path) -> list[str]:
    """Train on the pictures in the folder's parent."""
    options = [
        "--data",
        str(folder.parent / "pictures"),
        "--set",
        f"cache.folder={folder.parent / 'cache'}",
        "--set",
        "gan.metrics=none",
    ]
    options += [
        "--recipe",
        recipe,
        "--set",
        "gan.width=8",
        "--steps",
        str(STEPS[recipe]),
        "--out",
        str(folder / recipe),
    ]
    return ["gan", "train", *SMALL, *options]


def _train_in_turn(commands: list[list[str]]) -> str:
    """Run the commands in one of the processes; return what it logs."""
    return "".join(succeed(*command).err for command in commands)


@pytest.fixture(scope="module", autouse=True)
def _float64() -> Iterator[None]:
    """Compute in float64 in this process and those forked from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings by all recipes in two processes; torchrun's own launcher forks them, with all modules imported."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "pictures").mkdir()
    write_pictures(folder / "pictures", 16)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="test", rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0",
        max_restarts=0, start_method="fork",
    )  # fmt: skip
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    logs = elastic_launch(config, _train_in_turn)([_command(recipe, folder / "two") for recipe in STEPS])
    for number, handler in before.items():  # the launcher leaves its own, and later tests send Ctrl-C to this process
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    assert [logs[rank].count("run folder") for rank in (0, 1)] == [3, 0], "the main process alone logs"
    return folder / "two"


@pytest.mark.parametrize("recipe", STEPS)
def test_two_processes_have_the_losses_of_one_with_the_double_batch(recipe: str, two: Path) -> None:
    """Batch normalisation in the generator, a gradient penalty, and BEGAN's k: all as of the joined batch."""
    succeed(*_command(recipe, two.parent / "one"))
    rows = [read_rows(run) for processes in ("one", "two") for run in (two.parent / processes / recipe).iterdir()]
    for left, right in zip(*rows, strict=True):
        assert left["images"] == right["images"]
        for name in SCALARS:
            if name in left:
                assert right[name] == pytest.approx(left[name], abs=ROUNDING), (name, left["step"])
