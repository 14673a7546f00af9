"""Does a training repeat itself bit for bit with several threads, on a busy machine?

``python training/studies/repeatability/run.py [--trainings 50] [--processes 10] [--threads 2] [--busy 1]
[--recipe dcgan-thesis] [--size 64] [--batch 16] [--steps 12]`` trains the same small generator again and again, a few
times in each of several fresh processes, every second time stopped halfway and resumed, while other processes burn the
processor.  It prints how many trainings ended with other weights than most, and the first tick whose loss differs.
Exit code 1 if any did.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import prepare
from sonoforge.training.gan.training_set import make_training_set
from sonoforge.training.phantom.dataset import generate_phantom

MALIGNANT = 2


@dataclasses.dataclass(frozen=True)
class Repeat:
    """One training: hash of all weights and optimisers, and the losses of its ticks."""

    weights: str
    losses: list[float]
    resumed: bool


def train_once(options: argparse.Namespace, *, resumed: bool) -> Repeat:
    """Train, in one go or in two halves."""
    pixels = np.stack([generate_phantom(MALIGNANT, index, 0, options.size)[0].pixels for index in range(options.batch)])
    images = make_training_set(pixels[..., None], None, ("malignant",), options.size)
    settings = GanSettings(
        recipe=options.recipe, image_size=options.size, steps=options.steps, batch=options.batch, tick_steps=3, seed=1
    )
    training = prepare(dataclasses.replace(settings, class_name="malignant"), images, "cpu")
    calls = iter(range(options.steps))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if resumed:
            train_gan(training, folder, stop=lambda: next(calls) >= options.steps // 2 - 1)
        last = train_gan(training, folder, resume=True)
        content = b"".join(path.read_bytes() for path in sorted(last.glob("*.safetensors")))
        rows = [json.loads(line) for line in (folder / "stats.jsonl").read_text(encoding="utf-8").splitlines()]
        return Repeat(hashlib.sha256(content).hexdigest()[:12], [row["discriminator_loss"] for row in rows], resumed)


def work(options: argparse.Namespace) -> None:
    """Be one of the processes: train several times, and print each as a line of JSON."""
    torch.set_num_threads(options.threads)
    chance = np.random.default_rng()
    held = []  # memory of other sizes each time, so that the next training's tensors lie elsewhere
    for number in range(options.trainings):
        print(json.dumps(dataclasses.asdict(train_once(options, resumed=number % 2 == 1))), flush=True)
        held.append(torch.empty(int(chance.integers(1, 1_000_000))))


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep this many other processes computing while inside."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()


def main() -> int:
    """Count the trainings that did not repeat the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--recipe", default="dcgan-thesis")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work(options)
        return 0
    share = ["--child", "--trainings", str(-(-options.trainings // options.processes))]
    repeats: list[Repeat] = []
    with busy(options.busy):
        for _ in range(options.processes):
            command = [sys.executable, __file__, *sys.argv[1:], *share]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            repeats += [Repeat(**json.loads(line)) for line in done.stdout.splitlines()]
    ((usual, same),) = Counter(repeat.weights for repeat in repeats).most_common(1)
    losses = next(repeat.losses for repeat in repeats if repeat.weights == usual)
    print(f"{options.recipe}, {options.threads} threads, {options.busy} busy processes: {same} of {len(repeats)} equal")
    for repeat in repeats:
        if repeat.weights != usual:
            first = next(
                (i for i, pair in enumerate(zip(repeat.losses, losses, strict=True)) if pair[0] != pair[1]), -1
            )
            how = "resumed" if repeat.resumed else "uninterrupted"
            print(f"{how}: {repeat.weights} instead of {usual}; first other loss at tick {first}")
    return int(same < len(repeats))


if __name__ == "__main__":
    sys.exit(main())
