"""What the GAN engine costs over a bare hand-written loop of the same networks, loss and batch.

``python training/studies/speed/gan.py [--recipe dcgan] [--size 64] [--batch 32] [--steps 20] [--rounds 3]``
prints seconds a generator step of both and their ratio: medians over all steps of all rounds, in processor time, so
that other work on the machine weighs little.  The engine's steps include averaging, order, latents and statistics; a
tick (samples, checkpoint) is counted apart.  The rounds take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sonoforge.models import dcgan
from sonoforge.training.gan import engine as gan_engine
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import prepare
from sonoforge.training.gan.training_set import make_training_set

RECIPES = ("dcgan-thesis", "dcgan", "wgan-gp")


def bare_dcgan(generator: nn.Module, discriminator: nn.Module, data: Tensor, batch: int) -> Callable[[], None]:
    """One step of the plainest loop with cross-entropy."""
    rate = 0.001 if isinstance(generator, dcgan.ThesisGenerator) else 0.0002
    adams = [torch.optim.Adam(net.parameters(), rate, (0.5, 0.999), fused=True) for net in (discriminator, generator)]
    ones, zeros = torch.ones(batch), torch.zeros(batch)

    def step() -> None:
        fake = generator(torch.randn(batch, 100))
        real = data[torch.randint(len(data), (batch,))]
        adams[0].zero_grad()
        (bce(discriminator(real)[0], ones) + bce(discriminator(fake.detach())[0], zeros)).backward()
        adams[0].step()
        adams[1].zero_grad()
        discriminator.requires_grad_(False)
        bce(discriminator(fake)[0], ones).backward()
        discriminator.requires_grad_(True)
        adams[1].step()

    return step


def bare_wgan_gp(generator: nn.Module, discriminator: nn.Module, data: Tensor, batch: int) -> Callable[[], None]:
    """One step of the plainest loop of Gulrajani 2017, algorithm 1, with five turns of the critic."""
    adams = [torch.optim.Adam(net.parameters(), 0.0001, (0.0, 0.9), fused=True) for net in (discriminator, generator)]

    def step() -> None:
        for turn in range(5):
            with torch.set_grad_enabled(turn == 4):
                fake = generator(torch.randn(batch, 100))
            real = data[torch.randint(len(data), (batch,))]
            between = torch.lerp(fake.detach(), real, torch.rand(batch, 1, 1, 1)).requires_grad_(True)
            (slope,) = torch.autograd.grad(discriminator(between)[0].sum(), between, create_graph=True)
            loss = discriminator(fake.detach())[0].mean() - discriminator(real)[0].mean()
            adams[0].zero_grad()
            (loss + 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()).backward()
            adams[0].step()
        adams[1].zero_grad()
        discriminator.requires_grad_(False)
        (-discriminator(fake)[0].mean()).backward()
        discriminator.requires_grad_(True)
        adams[1].step()

    return step


def bare_loop(recipe: str, images: np.ndarray, size: int, batch: int, steps: int) -> list[float]:
    """Processor seconds of each step of the plainest loop that trains the same networks."""
    thesis = recipe == "dcgan-thesis"
    generator, discriminator = (
        (dcgan.ThesisGenerator, dcgan.ThesisDiscriminator) if thesis else (dcgan.Generator, dcgan.Discriminator)
    )
    options = {"norm": "none"} if recipe == "wgan-gp" else {}
    networks = generator(size, 1, 100), discriminator(size, 1, **options)
    for network in networks:
        dcgan.initialise(network, torch.Generator().manual_seed(0))
        network.to(memory_format=torch.channels_last)
    data = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    step = (bare_wgan_gp if recipe == "wgan-gp" else bare_dcgan)(*networks, data, batch)
    starts = []
    for _ in range(steps + 1):
        starts.append(time.process_time())
        step()
    return list(np.diff(starts))


def engine(recipe: str, images: np.ndarray, size: int, batch: int, steps: int) -> tuple[list[float], float]:
    """Processor seconds of each step in the engine, and wall seconds of all but the steps."""
    starts = []
    real_update = gan_engine.update_generator  # called once in every step

    def note_start(*arguments: Any) -> dict[str, Tensor]:
        starts.append(time.process_time())
        return real_update(*arguments)

    with tempfile.TemporaryDirectory() as folder:
        gan_engine.update_generator = note_start
        start = time.perf_counter()
        settings = GanSettings(recipe=recipe, image_size=size, batch=batch, steps=steps + 1)
        training = prepare(settings, make_training_set(images, None, ("any",), size), "cpu")
        gan_engine.train_gan(training, Path(folder))
        total = time.perf_counter() - start
        gan_engine.update_generator = real_update
        row = json.loads((Path(folder) / "stats.jsonl").read_text().splitlines()[0])
    return list(np.diff(starts)), total - row["seconds_per_step"] * (steps + 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="dcgan")
    for name, default in (("size", 64), ("batch", 32), ("steps", 20), ("rounds", 3), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = np.random.default_rng(0).integers(0, 256, (200, options.size, options.size, 1), dtype=np.uint8)
    bare: list[float] = []
    ours: list[float] = []
    around: list[float] = []
    arguments = (options.recipe, images, options.size, options.batch, options.steps)
    for _ in range(options.rounds):
        bare += bare_loop(*arguments)
        steps, rest = engine(*arguments)
        ours += steps
        around.append(rest)
    ratio = np.median(ours) / np.median(bare)
    print(f"{options.recipe}, {options.size}x{options.size}, batch {options.batch}, {options.threads} threads")
    print(f"bare loop {np.median(bare):.4f} s a step, engine {np.median(ours):.4f} s a step: ratio {ratio:.3f}")
    print(f"around the steps (start, one tick, one checkpoint): {np.median(around):.2f} s a training")


if __name__ == "__main__":
    main()
