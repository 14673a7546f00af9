"""What the GAN engine costs over a bare hand-written loop of the same networks, loss and batch.

``python tests/benchmarks/bench_gan.py [--size 64] [--batch 32] [--steps 30] [--rounds 3] [--threads 1]``
prints seconds a step of both and their ratio: medians over all steps of all rounds, in processor time,
so that other work on the machine weighs little.  The engine's steps include averaging, order, latents
and statistics; a tick (samples, checkpoint) is counted apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sonoforge.models.dcgan import Discriminator, Generator, initialise
from sonoforge.training.gan import engine as gan_engine


def bare_loop(images: np.ndarray, size: int, batch: int, steps: int) -> list[float]:
    """Processor seconds of each step of the plainest loop that trains the same networks."""
    generator, discriminator = Generator(size, 1), Discriminator(size, 1)
    for network in (generator, discriminator):
        initialise(network, torch.Generator().manual_seed(0))
        network.to(memory_format=torch.channels_last)
    adams = [torch.optim.Adam(net.parameters(), 0.001, (0.5, 0.999), fused=True) for net in (discriminator, generator)]
    data = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    ones, zeros = torch.ones(batch), torch.zeros(batch)
    starts = []
    for _ in range(steps + 1):
        starts.append(time.process_time())
        fake = generator(torch.randn(batch, 100))
        real = data[torch.randint(len(data), (batch,))]
        adams[0].zero_grad()
        (bce(discriminator(real), ones) + bce(discriminator(fake.detach()), zeros)).backward()
        adams[0].step()
        adams[1].zero_grad()
        discriminator.requires_grad_(False)
        bce(discriminator(fake), ones).backward()
        discriminator.requires_grad_(True)
        adams[1].step()
    return list(np.diff(starts))


def engine(images: np.ndarray, size: int, batch: int, steps: int) -> tuple[list[float], float]:
    """Processor seconds of each step in the engine, and wall seconds of all but the steps."""
    starts = []
    real_batch_indices = gan_engine.batch_indices  # called once, first thing, in every step

    def note_start(*arguments: int) -> NDArray[np.int64]:
        starts.append(time.process_time())
        return real_batch_indices(*arguments)

    with tempfile.TemporaryDirectory() as folder:
        gan_engine.batch_indices = note_start
        start = time.perf_counter()
        settings = gan_engine.GanSettings(image_size=size, batch=batch, steps=steps + 1)
        gan_engine.train_gan(images, settings, Path(folder), "cpu")
        total = time.perf_counter() - start
        gan_engine.batch_indices = real_batch_indices
        row = json.loads((Path(folder) / "stats.jsonl").read_text().splitlines()[0])
    return list(np.diff(starts)), total - row["seconds_per_step"] * (steps + 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 64), ("batch", 32), ("steps", 30), ("rounds", 3), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = np.random.default_rng(0).integers(0, 256, (200, options.size, options.size, 1), dtype=np.uint8)
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(options.rounds):
        bare += bare_loop(images, options.size, options.batch, options.steps)
        seconds, around = engine(images, options.size, options.batch, options.steps)
        ours += seconds
        print(f"start, one tick and end of a training: {around:.2f} s", flush=True)
    print(f"bare {np.median(bare):.4f} s/step, engine {np.median(ours):.4f} s/step")
    print(
        f"{options.size}x{options.size} batch {options.batch}: engine / bare = {np.median(ours) / np.median(bare):.3f}"
    )


if __name__ == "__main__":
    main()
