"""What a training step of StyleGAN2 costs against the same networks written in plain operations.

``python tests/benchmarks/bench_stylegan.py [--size 64] [--batch 8] [--base 16384] [--most 512] [--steps 3]
[--rounds 3]`` prints seconds of a step (both losses, forward and backward, without regularisation or optimiser; the
median of all steps of all rounds, in processor time, so that other work on the machine weighs little) and the peak
memory beyond that of the networks themselves, each measured in a process of its own; and both ratios, fast by slow.
The plain networks are those of `tests/support/stylegan_reference.py`.  The rounds take turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import softplus

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import stylegan_reference as reference
from sonoforge.models.stylegan.discriminator import Discriminator, ResidualSettings
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.stylegan2 import Generator

MIB = 1024  # of the kibibytes that Linux counts in


def measure(path: str, size: int, batch: int, base: int, most: int, steps: int) -> dict[str, object]:
    """Run steps of the ``fast`` or the ``slow`` networks in this process."""
    torch.manual_seed(0)
    generator = Generator(StyledSettings(size, 3, 512, channel_base=base, channel_max=most, mixing=0))
    discriminator = Discriminator(ResidualSettings(size, 3, channel_base=base, channel_max=most))
    if path == "fast":
        for network in (generator, discriminator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    real = torch.rand(batch, 3, size, size) * 2 - 1
    latents = torch.randn(batch, 512)
    for network in (generator, discriminator):  # their gradients belong to both
        for values in network.parameters():
            values.grad = torch.zeros_like(values)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    seconds = []
    for _ in range(steps + 1):
        began = time.process_time()
        if path == "fast":
            fake = generator(latents)
            loss = softplus(discriminator(fake.detach())[0]).mean() + softplus(-discriminator(real)[0]).mean()
        else:
            fake = reference.generate(generator, latents)
            loss = softplus(reference.judge(discriminator, fake.detach())).mean()
            loss = loss + softplus(-reference.judge(discriminator, real)).mean()
        loss.backward()
        discriminator.requires_grad_(False)
        score = discriminator(fake)[0] if path == "fast" else reference.judge(discriminator, fake)
        softplus(-score).mean().backward()
        discriminator.requires_grad_(True)
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    return {"seconds": seconds[1:], "mib": peak - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (("size", 64), ("batch", 8), ("base", 16384), ("most", 512), ("steps", 3), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--path", choices=("fast", "slow"), help="measure one of the two, in this process")
    options = parser.parse_args()
    numbers = (options.size, options.batch, options.base, options.most, options.steps)
    if options.path:
        print(json.dumps(measure(options.path, *numbers)))
        return
    seconds: dict[str, list[float]] = {"fast": [], "slow": []}
    memory: dict[str, list[float]] = {"fast": [], "slow": []}
    names = ("size", "batch", "base", "most", "steps")
    arguments = [f"--{name}={number}" for name, number in zip(names, numbers, strict=True)]
    for _ in range(options.rounds):
        for path in seconds:
            command = [sys.executable, __file__, f"--path={path}", *arguments]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            seconds[path] += found["seconds"]
            memory[path].append(found["mib"])
    print(f"{options.size}x{options.size}, batch {options.batch}, {torch.get_num_threads()} threads")
    time_of, memory_of = ({path: statistics.median(of[path]) for path in of} for of in (seconds, memory))
    for path in seconds:
        print(f"  {path}: {time_of[path]:.2f} s a step, {memory_of[path]:.0f} MiB")
    print(f"  fast by slow: {time_of['fast'] / time_of['slow']:.2f} in time,", end=" ")
    print(f"{memory_of['fast'] / memory_of['slow']:.2f} in memory")


if __name__ == "__main__":
    main()
