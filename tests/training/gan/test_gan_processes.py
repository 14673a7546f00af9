"""Several processes train as one: started by torchrun, on CPUs with gloo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gan_trainings import read_rows, write_pictures
from program import sonoforge

# With beta1 = 0 Adam's first moves are the signs of gradients, so those at rounding level part ways: ten updates of
# the critic of wgan-gp are compared, four of the others.
STEPS = {"wgan-gp": 2, "lsgan": 4, "began": 4}
SMALL = ["--class-name", "malignant", "--size", "32", "--batch", "8", "--tick-steps", "1", "--device", "cpu"]
SCALARS = ("discriminator_loss", "generator_loss", "real_score", "fake_score", "gradient-penalty", "convergence")
IN_TURN = """
import json, sys
from sonoforge.runtime.cli import main
sys.exit(max(main.run(arguments) for arguments in json.loads(sys.argv[1])))
"""


def _command(recipe: str, folder: Path) -> list[str]:
    """Train on the pictures in the folder's parent."""
    options = ["--data", str(folder.parent / "pictures"), "--cache", str(folder.parent / "cache"), "--metrics", "none"]
    options += ["--recipe", recipe, "--width", "8", "--steps", str(STEPS[recipe]), "--out", str(folder / recipe)]
    return ["gan", "train", *SMALL, *options]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings by all recipes in two processes, which torchrun starts once, as that takes longer than to train."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "pictures").mkdir()
    write_pictures(folder / "pictures", 16)
    (folder / "in_turn.py").write_text(IN_TURN)
    commands = json.dumps([_command(recipe, folder / "two") for recipe in STEPS])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launcher, str(folder / "in_turn.py"), commands], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run folder") == len(STEPS), "the main process alone logs"
    return folder / "two"


@pytest.mark.parametrize("recipe", STEPS)
def test_two_processes_have_the_losses_of_one_with_the_double_batch(recipe: str, two: Path) -> None:
    """Batch normalisation in the generator, a gradient penalty, and BEGAN's k: all as of the joined batch."""
    done = sonoforge(*_command(recipe, two.parent / "one"))
    assert done.code == 0, done.err
    rows = [read_rows(run) for processes in ("one", "two") for run in (two.parent / processes / recipe).iterdir()]
    for left, right in zip(*rows, strict=True):
        assert left["images"] == right["images"]
        for name in SCALARS:
            if name in left:
                assert right[name] == pytest.approx(left[name], abs=1e-5), (name, left["step"])
