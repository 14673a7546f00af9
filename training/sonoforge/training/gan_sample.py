"""``sonoforge gan sample``: generate images that say themselves that they are synthetic."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import torch

from sonoforge.runtime.commandline import Outcome, closest, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.images import Pixels, grid_picture
from sonoforge.training.gan.interpolation import path
from sonoforge.training.gan.networks import (
    PORTION,
    generate_pixels,
    latent_distribution,
    load_generator,
    sample_latent,
    sample_portions,
)
from sonoforge.training.gan.synthetic import describe_origin, open_target, write_picture

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --count 227
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --checkpoint best --seed 7 --out generated/malignant
sonoforge gan sample runs/00001-gan-lsgan-busi --class-name normal --count 10000 --out normal.zip
sonoforge gan sample runs/00001-gan-lsgan-busi --class-name normal --truncation 1.5 --out normal.npz
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --count 4 --interpolate 9

With masks trained jointly, each image comes with its mask: NAME.png and NAME_mask.png.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan sample``."""

    run: str = option(help="run folder of sonoforge gan train, or one of its checkpoints", positional=True)
    count: int = option(64, help="images to generate; with --interpolate, strips", minimum=1)
    class_name: str = option("", help="class to generate, for a generator of several", aliases=("class",))
    seed: int = option(0, help="image i depends on (seed, i) alone", minimum=0)
    truncation: float | None = option(None, help="largest number in a latent: fewer odd images", minimum=0.01)
    interpolate: int | None = option(None, help="write strips of so many images between two", minimum=2, maximum=100)
    out: str = option("", help="folder, .zip or .npz for the images (default: generated/ in the run folder)")
    checkpoint: str = option("last", help="last, best (nearest to the real images), or a step number")
    batch: int = option(64, help="images at a time on a GPU", minimum=1)
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")


def main(config: Config) -> Outcome:
    """Generate the images and write them with their manifest.

    Raises:
        SonoforgeError: No such checkpoint or class, or the target holds something else.
    """
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    about = gan_checkpoint.describe(checkpoint)
    label = _find_label(config.class_name, about)
    origin = describe_origin(checkpoint, config.seed, about.classes[label] if label is not None else about.class_name)
    if config.truncation is not None:
        origin["truncation"] = config.truncation
    generator = load_generator(checkpoint, config.device)
    if config.interpolate:
        return _write_strips(config, checkpoint, generator, label, origin)
    name = f"{checkpoint.name}-seed-{config.seed}" + (f"-{config.class_name}" if label is not None else "")
    target = Path(config.out) if config.out else checkpoint.parent.parent / "generated" / name
    portions = sample_portions(
        generator, config.count, config.seed, label, truncation=config.truncation, batch=config.batch
    )
    with open_target(target, origin, config.count, about.image_channels) as write:
        for pixels in portions:
            write(pixels)
    log.info("%d synthetic images in %s", config.count, target)
    return Outcome({"target": str(target), "count": config.count, **origin})


def _find_label(name: str, about: gan_checkpoint.Description) -> int | None:
    if not about.classes:
        if name not in ("", about.class_name):
            raise SonoforgeError(
                f"--class-name: found {name!r}, expected {about.class_name!r}: the only class it knows"
            )
        return None
    if name not in about.classes:
        found = f"found {name!r}" if name else "missing"
        hint = closest(name, about.classes)
        raise SonoforgeError(f"--class-name: {found}, expected one of {', '.join(about.classes)}{hint}")
    return about.classes.index(name)


def _write_strips(
    config: Config,
    checkpoint: Path,
    generator: torch.nn.Module,
    label: int | None,
    origin: dict[str, object],
) -> Outcome:
    """Write one PNG a strip: image i, then the way to image i + 1."""
    steps = config.interpolate or 0
    folder = Path(config.out) if config.out else checkpoint.parent.parent / "generated" / "interpolations"
    about = gan_checkpoint.describe(checkpoint)
    paths = []
    for index in range(config.count):
        first, last = (sample_latent(generator, config.seed, index + side, config.truncation)[0] for side in (0, 1))
        latents = path(first, last, steps, latent_distribution(generator))
        pixels = _generate(generator, latents, label)[..., : about.image_channels]
        strip = grid_picture(pixels, columns=steps)
        paths.append(folder / f"interpolation-{checkpoint.name}-{config.seed}-{index:05d}.png")
        write_picture(paths[-1], strip, {**origin, "index": index})
    log.info("%d strips of %d synthetic images in %s", config.count, steps, folder)
    return Outcome({"target": str(folder), "count": config.count, "strips": [str(p) for p in paths], **origin})


def _generate(generator: torch.nn.Module, latents: torch.Tensor, label: int | None) -> Pixels:
    parts = []
    for part in latents.split(PORTION):
        labels = None if label is None else torch.full((len(part),), label)
        parts.append(generate_pixels(generator, part, labels))
    return np.concatenate(parts)
