"""Flow matching: a U-Net that learns the velocity from noise to images, and the sampler that follows it.

Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", ICLR 2023, with the straight paths of Liu,
Gong, Liu, "Flow Straight and Fast", ICLR 2023: x_t = (1 - t) x_0 + t x_1 from noise x_0 to an image x_1, whose velocity
is x_1 - x_0.  The U-Net is that of Dhariwal, Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, in
small: residual blocks that time and class steer by scale and shift, self-attention at 16 x 16 and below.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu

from sonoforge.models import layers as parts

WIDTH = 32  # channels at full side
STEPS = 20  # of the sampler
ATTENDED = 16  # largest side with self-attention
_GROUPS = 8
_FREQUENCIES = 64  # of the time's embedding


class _Block(nn.Module):
    """Two convolutions, the second steered by scale and shift, beside a skip."""

    def __init__(self, inputs: int, outputs: int, condition: int, *, attended: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, inputs), nn.GroupNorm(_GROUPS, outputs)])
        self.convolutions = nn.ModuleList([
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1),
        ])  # fmt: skip
        self.steer = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = _Attention(outputs) if attended else nn.Identity()

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.steer(condition)[..., None, None].chunk(2, dim=1)
        hidden = self.convolutions[0](silu(self.norms[0](maps)))
        hidden = self.convolutions[1](silu(self.norms[1](hidden) * (1 + scale) + shift))
        result: Tensor = self.attention(self.skip(maps) + hidden)
        return result


class _Attention(nn.Module):
    """Self-attention of one head beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.mix, self.last = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        query, key, value = (part.flatten(2).transpose(1, 2) for part in self.mix(self.norm(maps)).chunk(3, dim=1))
        seen = scaled_dot_product_attention(query, key, value).transpose(1, 2).unflatten(2, maps.shape[2:])
        result: Tensor = maps + self.last(seen)
        return result


class Generator(nn.Module):
    """Map noise of the image's size, as a latent vector, and a class to an image, by `STEPS` steps of the sampler.

    Args:
        image_size: Side in pixels, S; a multiple of 8.
        channels: C.
        latent_size: C x S x S.
        classes: 0 for none.
        width: Channels at full side; 2, 3 and 4 times as many at the halved ones.

    Raises:
        ValueError: The side is no multiple of 8, or the latent size is another.
    """

    latent_distribution = "normal"

    def __init__(self, image_size: int, channels: int, latent_size: int, classes: int = 0, width: int = WIDTH) -> None:
        super().__init__()
        if image_size % 8:
            raise ValueError(f"image_size: {image_size} is not a multiple of 8")
        if latent_size != channels * image_size**2:
            raise ValueError(f"latent_size: must be {channels * image_size**2}, a number for each pixel, not {latent_size}")
        self.shape, self.latent_size, self.classes = (channels, image_size, image_size), latent_size, classes
        condition = 4 * width
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.embedding = nn.Embedding(classes, condition) if classes else None
        widths = [width, 2 * width, 3 * width, 4 * width]
        sides = [image_size // 2**halvings for halvings in range(len(widths))]
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        down = zip([width, *widths], widths, sides, strict=False)
        self.down = nn.ModuleList([_Block(a, b, condition, attended=side <= ATTENDED) for a, b, side in down])
        self.middle = _Block(widths[-1], widths[-1], condition, attended=True)
        up = zip([*widths[::-1]], [*widths[-2::-1], width], sides[::-1], strict=True)
        self.up = nn.ModuleList([_Block(2 * a, b, condition, attended=side <= ATTENDED) for a, b, side in up])
        self.norm, self.last = nn.GroupNorm(_GROUPS, width), nn.Conv2d(width, channels, 3, padding=1)

    def velocity(self, images: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the velocity (N, C, S, S) at noisy images and times (N,) in [0, 1], of labels (N,) if conditional."""
        frequencies = torch.exp(torch.linspace(0, math.log(1000), _FREQUENCIES, device=images.device))
        angles = times[:, None] * frequencies
        condition = self.time(torch.cat([angles.cos(), angles.sin()], 1))
        if self.embedding is not None:
            if labels is None:
                raise ValueError(f"labels: the network is conditional; give (N,) int64 below {self.classes}")
            condition = condition + self.embedding(labels)
        condition, maps, kept = silu(condition), self.first(images), []
        for number, block in enumerate(self.down):
            maps = block(maps if number == 0 else nn.functional.avg_pool2d(maps, 2), condition)
            kept.append(maps)
        maps = self.middle(maps, condition)
        for number, block in enumerate(self.up):
            maps = block(torch.cat([maps if number == 0 else interpolate(maps, scale_factor=2), kept.pop()], 1), condition)
        velocity: Tensor = self.last(silu(self.norm(maps)))
        return velocity

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Follow the velocity from normal latents (N, Z), and labels (N,) int64, to images (N, C, S, S) in [-1, 1].

        Each step is Heun's but the last, which is Euler's (Karras et al., NeurIPS 2022, algorithm 1).
        """
        images = latents.unflatten(1, self.shape)
        for step in range(STEPS // 2):
            begin, end = (torch.full_like(images[:, 0, 0, 0], 2 * at / STEPS) for at in (step, step + 1))
            slope = self.velocity(images, begin, labels)
            ahead = self.velocity(images + (end - begin)[:, None, None, None] * slope, end, labels)
            images = images + (end - begin)[:, None, None, None] * (slope + ahead) / 2
        return images.clamp(-1, 1)


class NoDiscriminator(nn.Module):
    """Stand where a GAN has its discriminator: flow matching has none, and this one has no weights."""

    def __init__(self, image_size: int, channels: int, classes: int = 0, conditioning: str = "none") -> None:
        super().__init__()
        del image_size, channels, classes, conditioning
        self.none = nn.Parameter(torch.zeros(0))


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights as torch does (He et al. 2015), those of the last layers of blocks 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for own in (module.weight, module.bias):
                own.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(generator=generator)
    if isinstance(network, Generator):
        for last in (network.last, *(own.convolutions[1] for own in network.modules() if isinstance(own, _Block))):
            last.weight.zero_()
            last.bias.zero_()


ARCHITECTURES = {"flow": parts.Architecture(Generator, NoDiscriminator, initialise)}
