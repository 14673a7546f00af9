"""``sonoforge gan sample``: generate images that say themselves that they are synthetic."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import torch

from sonoforge.runtime.commandline import Outcome, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.images import Pixels, grid_picture
from sonoforge.training.gan.interpolation import path
from sonoforge.training.gan.networks import (
    PORTION,
    Truncation,
    check_truncation,
    generate_pixels,
    label_batch,
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
sonoforge gan sample runs/00002-gan-stylegan2-busi-malignant --psi 0.7 --count 227
sonoforge gan sample runs/00000-gan-dcgan-thesis-busi-malignant --count 4 --interpolate 9

For better single images of less variety: --psi for StyleGAN 1 to 3 (the truncation of styles, Karras 2019), and
--truncation for the others with normal latents (that of latents, Brock 2019; not began).
With masks trained jointly, each image comes with its mask: NAME.png and NAME_mask.png.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan sample``."""

    run: str = option(help="run folder of sonoforge gan train, or one of its checkpoints", positional=True)
    count: int = option(64, help="images to generate; with --interpolate, strips", minimum=1)
    class_name: str = option("", help="class to generate, for a generator of several", aliases=("class",))
    seed: int = option(0, help="image i depends on (seed, i) alone", minimum=0)
    psi: float | None = option(
        None, help="StyleGAN: draw styles to their mean, 1: not at all, 0: one image for all", minimum=-2, maximum=2
    )
    psi_cutoff: int | None = option(None, help="StyleGAN: draw so many coarse styles only (default: all)", minimum=1)
    truncation: float | None = option(
        None, help="generators without styles: largest number in a latent, for fewer odd images", minimum=0.01
    )
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
    label = gan_checkpoint.find_label(config.class_name, about)
    origin = describe_origin(checkpoint, config.seed, about.classes[label] if label is not None else about.class_name)
    if config.truncation is not None:
        origin["truncation"] = config.truncation
    truncation = _truncation(config)
    if truncation is not None:
        origin["psi"] = truncation.psi
        if truncation.cutoff is not None:
            origin["psi_cutoff"] = truncation.cutoff
    generator = load_generator(checkpoint, config.device)
    if config.interpolate:
        return _write_strips(config, checkpoint, generator, label, truncation, origin)
    name = f"{checkpoint.name}-seed-{config.seed}" + (f"-{config.class_name}" if label is not None else "")
    name += "".join(f"-{key}-{origin[key]}" for key in ("truncation", "psi", "psi_cutoff") if key in origin)
    target = Path(config.out) if config.out else checkpoint.parent.parent / "generated" / name
    portions = sample_portions(
        generator, config.count, config.seed, label, clip=config.truncation, truncation=truncation, batch=config.batch
    )
    with open_target(target, origin, config.count, about.image_channels) as write:
        for pixels in portions:
            write(pixels)
    log.info("%d synthetic images in %s", config.count, target)
    return Outcome({"target": str(target), "count": config.count, **origin})


def _truncation(config: Config) -> Truncation | None:
    if config.psi is not None:
        return Truncation(config.psi, config.psi_cutoff)
    if config.psi_cutoff is not None:
        raise SonoforgeError("--psi-cutoff: found without --psi; say how far styles are drawn, such as --psi 0.7")
    return None


def _write_strips(
    config: Config,
    checkpoint: Path,
    generator: torch.nn.Module,
    label: int | None,
    truncation: Truncation | None,
    origin: dict[str, object],
) -> Outcome:
    """Write one PNG a strip: image i, then the way to image i + 1."""
    if truncation is not None:
        check_truncation(generator, truncation)
    steps = config.interpolate or 0
    folder = Path(config.out) if config.out else checkpoint.parent.parent / "generated" / "interpolations"
    about = gan_checkpoint.describe(checkpoint)
    paths = []
    for index in range(config.count):
        first, last = (sample_latent(generator, config.seed, index + side, config.truncation)[0] for side in (0, 1))
        latents = path(first, last, steps, latent_distribution(generator))
        pixels = _generate(generator, latents, label, truncation)[..., : about.image_channels]
        strip = grid_picture(pixels, columns=steps)
        paths.append(folder / f"interpolation-{checkpoint.name}-{config.seed}-{index:05d}.png")
        write_picture(paths[-1], strip, {**origin, "index": index})
    log.info("%d strips of %d synthetic images in %s", config.count, steps, folder)
    return Outcome({"target": str(folder), "count": config.count, "strips": [str(p) for p in paths], **origin})


def _generate(
    generator: torch.nn.Module, latents: torch.Tensor, label: int | None, truncation: Truncation | None
) -> Pixels:
    parts = []
    for part in latents.split(PORTION):
        parts.append(generate_pixels(generator, part, label_batch(generator, label, len(part)), truncation))
    return np.concatenate(parts)
