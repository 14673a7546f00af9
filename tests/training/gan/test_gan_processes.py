"""Several processes train as one: started by torchrun, on CPUs with gloo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gan_trainings import read_rows, write_pictures
from program import sonoforge

SMALL = ["--class-name", "malignant", "--size", "32", "--batch", "8", "--tick-steps", "1", "--device", "cpu"]
SCALARS = ("discriminator_loss", "generator_loss", "real_score", "fake_score", "gradient-penalty", "convergence")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 16)


def _train(processes: int, recipe: str, pictures: Path, out: Path, *options: str) -> tuple[Path, str]:
    """Train in this process, or in several that torchrun starts; return the run folder and the log."""
    arguments = ["gan", "train", "--metrics", "none", "--recipe", recipe, "--data", str(pictures), *SMALL]
    arguments += ["--out", str(out), "--cache", str(out.parent / "cache"), *options]
    if processes == 1:
        code, _, log = sonoforge(*arguments)
    else:
        launcher = ["torch.distributed.run", "--nproc-per-node", str(processes), "--standalone", "-m"]
        command = [sys.executable, "-m", *launcher, "sonoforge.runtime.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        code, log = done.returncode, done.stderr
    assert code == 0, log
    (run,) = out.iterdir()
    return run, log


# With beta1 = 0 Adam's first moves are the signs of gradients, so those at rounding level part ways: ten updates of
# the critic of wgan-gp are compared, four of the others.
@pytest.mark.parametrize(("recipe", "steps"), [("wgan-gp", "2"), ("lsgan", "4"), ("began", "4")])
def test_two_processes_have_the_losses_of_one_with_the_double_batch(
    recipe: str, steps: str, pictures: Path, tmp_path: Path
) -> None:
    """Batch normalisation in the generator, a gradient penalty, and BEGAN's k: all as of the joined batch."""
    width = ("--width", "8", "--steps", steps)
    one, _ = _train(1, recipe, pictures, tmp_path / "one", *width)
    two, text = _train(2, recipe, pictures, tmp_path / "two", *width)
    assert text.count("run folder") == 1, "the main process alone logs"
    for left, right in zip(read_rows(one), read_rows(two), strict=True):
        assert left["images"] == right["images"]
        for name in SCALARS:
            if name in left:
                assert right[name] == pytest.approx(left[name], abs=1e-5), (name, left["step"])
