"""What a training step of StyleGAN2 costs against the same networks written in plain operations.

``python training/studies/speed/stylegan.py [--size 64] [--batch 8] [--base 16384] [--most 512] [--steps 3]
[--rounds 3]`` prints seconds of a step (both losses, forward and backward, without regularisation or optimiser; the
median of all steps of all rounds, in processor time, so that other work on the machine weighs little) and the peak
memory beyond that of the networks themselves, each measured in a process of its own; and both ratios, fast by slow.
The plain networks are those of `tests/support/stylegan_reference.py`.  The rounds take turns.

With ``--gpu``, seconds a kimg and GPU memory of whole trainings of StyleGAN2 and StyleGAN3-T in the engine, with
regularisation, augmentation and averaging, in each precision, of ``--steps`` steps after as many that do
not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import softplus

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

import stylegan_reference as reference
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.stylegan2 import Discriminator, Generator, ResidualSettings

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
    start = peak()
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
    return {"seconds": seconds[1:], "mib": peak() - start}


def peak() -> float:
    """Most memory so far in MiB, of this program alone: what `resource` tells begins with that of the one before."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / MIB


def train_on_gpu(size: int, batch: int, steps: int) -> None:
    """Print what a thousand images cost in each recipe and precision."""
    from sonoforge.training.gan.engine import train_gan
    from sonoforge.training.gan.options import PRECISIONS, GanSettings
    from sonoforge.training.gan.training import prepare
    from sonoforge.training.gan.training_set import make_training_set

    rng = np.random.default_rng(0)
    images = make_training_set(rng.integers(0, 256, (256, size, size, 1), np.uint8), None, ("any",), size)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {size}x{size}, batch {batch}, preset small-data")
    for recipe in ("stylegan2", "stylegan3-t"):
        for precision in PRECISIONS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            settings = GanSettings(
                recipe=recipe,
                preset="small-data",
                image_size=size,
                batch=batch,
                steps=2 * steps,
                tick_steps=steps,
                precision=precision,
            )
            with tempfile.TemporaryDirectory() as folder:
                train_gan(prepare(settings, images, "cuda"), Path(folder))
                row = json.loads((Path(folder) / "stats.jsonl").read_text().splitlines()[-1])
            seconds = 1000 / batch * row["seconds_per_step"]
            print(f"  {recipe}, {precision}: {seconds:.1f} s/kimg, {row['memory_gib']:.1f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (("size", 64), ("batch", 8), ("base", 16384), ("most", 512), ("steps", 3), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--path", choices=("fast", "slow"), help="measure one of the two, in this process")
    parser.add_argument("--gpu", action="store_true", help="measure whole trainings on a GPU")
    options = parser.parse_args()
    if options.gpu:
        train_on_gpu(options.size, options.batch, options.steps)
        return
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
