"""The settings of ``sonoforge gan show``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option

# Of `looks.LOOKS`, which needs torch.
LOOK_NAMES = ("truncation", "mixing", "interpolation", "path", "equivariance")

EXAMPLES = """
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what truncation,mixing --count 8 --seed 3
sonoforge gan show runs/00000-gan-stylegan2-busi-malignant --what path --lpips squeezenet1_1 --samples 1000
sonoforge gan show runs/00001-gan-stylegan3-t-busi-malignant --checkpoint best --what equivariance --samples 500
sonoforge gan show runs/00002-gan-lsgan-busi --class-name normal --out looks-of-normal

Written: truncation.png, style-mixing.png, interpolation.png and .gif (looping; no video file), path-length.png,
equivariance.png and .json, and looks.json with every figure and how it was measured.  Style mixing needs StyleGAN 1
to 3, equivariance StyleGAN3; truncation is by psi in StyleGAN, else by the largest number in a latent.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan show``."""

    run: str = argument(help="run folder of sonoforge gan train, or one of its checkpoints")
    what: tuple[str, ...] = option(
        (),
        help="comma-separated: truncation, mixing, interpolation, path, equivariance (default: all that apply)",
        choices=LOOK_NAMES,
        metavar="NAME,...",
    )
    class_name: str = option("", help="class to show, for a generator of several")
    count: int = option(6, help="images of a row or column", limits=(2, 16))
    samples: int = option(64, help="images, or pairs, to measure path length and equivariance on", limits=(2, None))
    seed: int = option(0, help="of images; image i is that of gan sample with this seed", limits=(0, None))
    lpips: str = option(
        "",
        help="network of LPIPS, for the perceptual path length: a .safetensors file of SqueezeNet 1.1, VGG16 or "
        "AlexNet, or squeezenet1_1, vgg16 or alexnet to download it (default: the path length in pixels)",
        metavar="NET",
    )
    lpips_heads: str = option("", help="LPIPS heads, .safetensors (default: torchmetrics' own)", metavar="FILE")
    checkpoint: str = option("last", help="last, best (nearest to the real images), or a step number")
    out: str = option("", help="folder for the pictures (default: looks/ in the run folder)")
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
