"""Flow matching: a U-Net that learns the velocity from noise to images, and the sampler that follows it.

Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", ICLR 2023, with the straight paths of Liu,
Gong, Liu, "Flow Straight and Fast", ICLR 2023: x_t = (1 - t) x_0 + t x_1 from noise x_0 to an image x_1, whose velocity
is x_1 - x_0.  The U-Net is that of Dhariwal, Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, in
small: residual blocks that time and class steer by scale and shift, self-attention at 8 x 8 and below.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
    scaled_dot_product_attention,
    silu,
)

from sonoforge.models.layers import Architecture, check_conditioning, draw_weights

WIDTH = 32  # channels of the largest maps
# Of the largest maps, a multiple of 8.  Each of their places holds a square of pixels, as in "Simple Diffusion"
# (Hoogeboom, Heek, Salimans, ICML 2023, section 3.2).
SIDE = 32
CODER_WIDTHS = (24, 48, 64)  # channels of the autoencoder's maps at the image's side, a half and a quarter of it
SHRUNK = 4  # times that its maps' side is smaller than the image's
MULTIPLES = (1, 2, 2, 2)  # of the width, at the largest maps and after each halving
STEPS = 20  # of the sampler
# Steps are shorter near the noise, where coarse structure is decided (Esser et al., ICML 2024, section 5.3.2).
SHIFT = 4.0
TIMES = tuple(step / (step + SHIFT * (STEPS - step)) for step in range(STEPS))  # at which they begin
ATTENDED = 8  # largest side with self-attention
_GROUPS = 8
_FREQUENCIES = 64  # of the time's embedding


class _Block(nn.Module):
    """Two convolutions, the second steered by scale and shift, beside a skip."""

    def __init__(self, inputs: int, outputs: int, condition: int, *, attended: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, inputs), nn.GroupNorm(_GROUPS, outputs)])
        self.first, self.last = (nn.Conv2d(width, outputs, 3, padding=1) for width in (inputs, outputs))
        self.steer = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = _Attention(outputs) if attended else nn.Identity()

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.steer(condition)[..., None, None].chunk(2, dim=1)
        hidden = self.first(silu(self.norms[0](maps)))
        hidden = self.last(silu(self.norms[1](hidden) * (1 + scale) + shift))
        result: Tensor = self.attention(self.skip(maps) + hidden)
        return result


class _Attention(nn.Module):
    """Self-attention of one head beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.mix, self.last = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        # (N, 1, H x W, C): the exporters require an axis of heads.
        parts = (part.flatten(2).transpose(1, 2)[:, None] for part in self.mix(self.norm(maps)).chunk(3, dim=1))
        seen = scaled_dot_product_attention(*parts)[:, 0].transpose(1, 2).unflatten(2, maps.shape[2:])
        result: Tensor = maps + self.last(seen)
        return result


class _Residual(nn.Module):
    """Two convolutions beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.first, self.last = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = maps + self.last(silu(self.first(silu(self.norm(maps)))))
        return result


class Autoencoder(nn.Module):
    """Map images (N, C, S, S) in [-1, 1] to maps (N, Z, S / 4, S / 4) of variance 1, and back.

    In small the one of Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022,
    section 3.1. It is trained before the flow and then fixed.
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        fine, middle, coarse = CODER_WIDTHS
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, middle, 3, padding=1), _Residual(middle),
            nn.Conv2d(middle, coarse, 4, 2, 1), _Residual(coarse),
            nn.GroupNorm(_GROUPS, coarse), nn.SiLU(), nn.Conv2d(coarse, depth, 3, padding=1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(depth, coarse, 3, padding=1), _Residual(coarse), _Residual(coarse),
            nn.Upsample(scale_factor=2), nn.Conv2d(coarse, middle, 3, padding=1), _Residual(middle), _Residual(middle),
            nn.Upsample(scale_factor=2), nn.Conv2d(middle, fine, 3, padding=1), _Residual(fine),
            nn.GroupNorm(_GROUPS, fine), nn.SiLU(), nn.Conv2d(fine, channels, 3, padding=1),
        )  # fmt: skip
        self.mean = nn.Parameter(torch.zeros(depth, 1, 1), requires_grad=False)
        self.deviation = nn.Parameter(torch.ones(depth, 1, 1), requires_grad=False)

    def encode(self, images: Tensor) -> Tensor:
        """Return the maps of images."""
        maps: Tensor = (self.encoder(images) - self.mean) / self.deviation
        return maps

    def decode(self, maps: Tensor) -> Tensor:
        """Return the images of maps."""
        images: Tensor = self.decoder(maps * self.deviation + self.mean)
        return images


class Generator(nn.Module):
    """Map noise, as a latent vector, and a class to an image, by `STEPS` steps of the sampler.

    The flow is of maps: squares of pixels, or those of an autoencoder. Masks are further channels with a time of their
    own (Bao et al., "One Transformer Fits All Distributions", ICML 2023): the one network draws images with their
    masks, images alone, and images into given masks.

    Args:
        image_size: Side in pixels, S; a multiple of `SIDE`, or below it of 8.
        channels: C, image and masks together.
        classes: 0 for none.
        masks: K, the last of the C channels.
        width: Channels of the largest maps; the halved ones have `MULTIPLES` of it.
        depth: Channels of the autoencoder's maps, of a quarter of the image's side; 0 for a flow of pixels.

    Raises:
        ValueError: The side or the width does not fit.
    """

    latent_distribution = "normal"

    def __init__(
        self, image_size: int, channels: int, classes: int = 0, masks: int = 0, width: int = WIDTH, depth: int = 0
    ) -> None:
        super().__init__()
        side = image_size // SHRUNK if depth else min(SIDE, image_size)
        if side % 8 or image_size % side:
            raise ValueError(f"image_size: {image_size} is not a multiple of {side if side % 8 == 0 else 8}")
        if width % _GROUPS:
            raise ValueError(f"width: {width} is not a multiple of {_GROUPS}")
        self.patch, condition = image_size // side, 4 * width
        own = [depth or (channels - masks) * self.patch**2, masks * self.patch**2]
        self.parts = own[: 2 if masks else 1]  # channels of the maps: of image and masks
        self.shape = (sum(own), side, side)
        self.latent_size = math.prod(self.shape)
        self.classes, self.masks = classes, masks
        self.autoencoder = Autoencoder(channels - masks, depth).requires_grad_(False) if depth else None
        times = 2 * _FREQUENCIES * len(self.parts)
        self.time = nn.Sequential(nn.Linear(times, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.embedding = nn.Embedding(classes, condition) if classes else None
        widths = [width * share for share in MULTIPLES]
        sides = [side // 2**halvings for halvings in range(len(widths))]
        self.first = nn.Conv2d(sum(own), width, 3, padding=1)
        down = zip([width, *widths], widths, sides, strict=False)
        self.down = nn.ModuleList([_Block(a, b, condition, attended=side <= ATTENDED) for a, b, side in down])
        self.middle = _Block(widths[-1], widths[-1], condition, attended=True)
        up = zip(widths[::-1], [*widths[-2::-1], width], sides[::-1], strict=True)
        self.up = nn.ModuleList([_Block(2 * a, b, condition, attended=side <= ATTENDED) for a, b, side in up])
        self.norm, self.last = nn.GroupNorm(_GROUPS, width), nn.Conv2d(width, sum(own), 3, padding=1)
        self.polished = False

    def polish(self) -> None:
        """Let the autoencoder's decoder learn, and nothing else."""
        self.polished = True
        self.requires_grad_(False)
        if self.autoencoder is not None:
            self.autoencoder.decoder.requires_grad_(True)

    def encode(self, samples: Tensor) -> Tensor:
        """Return the maps (N, M, s, s) of samples (N, C, S, S)."""
        images, masks = samples[:, : samples.shape[1] - self.masks], samples[:, samples.shape[1] - self.masks :]
        coder = self.autoencoder
        maps = pixel_unshuffle(images, self.patch) if coder is None else coder.encode(images)
        return torch.cat([maps, pixel_unshuffle(masks, self.patch)], 1) if self.masks else maps

    def decode(self, maps: Tensor) -> Tensor:
        """Return the samples (N, C, S, S) in [-1, 1] of maps (N, M, s, s)."""
        of_image, of_masks = maps[:, : self.parts[0]], maps[:, self.parts[0] :]
        coder = self.autoencoder
        images = pixel_shuffle(of_image, self.patch) if coder is None else coder.decode(of_image)
        both = [images, pixel_shuffle(of_masks, self.patch)] if self.masks else [images]
        return torch.cat(both, 1).clamp(-1, 1)

    def velocity(self, maps: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the velocity (N, M, s, s) at noisy maps, with labels (N,) if conditional.

        Times are in [0, 1]: (N, 1), or (N, 2) of image and masks; one row may be for all.
        """
        angles = (times[..., None] * torch.logspace(0, 3, _FREQUENCIES, device=maps.device)).flatten(1)
        condition = self.time(torch.cat([angles.cos(), angles.sin()], 1).to(maps.dtype))
        if self.embedding is not None:
            if labels is None:
                raise ValueError(f"labels: the network is conditional; give (N,) int64 below {self.classes}")
            condition = condition + self.embedding(labels)
        condition, maps, kept = silu(condition), self.first(maps), []
        for number, block in enumerate(self.down):
            maps = block(maps if number == 0 else avg_pool2d(maps, 2), condition)
            kept.append(maps)
        maps = self.middle(maps, condition)
        for number, block in enumerate(self.up):
            maps = maps if number == 0 else interpolate(maps, scale_factor=2)
            maps = block(torch.cat([maps, kept.pop()], 1), condition)
        velocity: Tensor = self.last(silu(self.norm(maps)))
        return velocity

    def forward(self, latents: Tensor, labels: Tensor | None = None, masks: Tensor | None = None) -> Tensor:
        """Follow the velocity from normal latents (N, Z) to samples (N, C, S, S) in [-1, 1].

        Args:
            latents: (N, Z).
            labels: (N,) int64 of a conditional network.
            masks: Those to draw into, (N, K, S, S) in [-1, 1]; without them masks are drawn, too.
        """
        maps = latents.unflatten(1, self.shape)
        given = None if masks is None else pixel_unshuffle(masks, self.patch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.polished):
            for time in TIMES:
                maps = self.step(maps, torch.full((1,), time, device=maps.device), labels, given)
        return self.decode(maps if given is None else torch.cat([maps[:, : self.parts[0]], given], 1))

    def step(self, maps: Tensor, time: Tensor, labels: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        """Take one Euler step from maps (N, M, s, s) at a time (1,) of `TIMES`; ``given`` holds maps of masks."""
        even = SHIFT * time / (1 + (SHIFT - 1) * time) + 1 / STEPS  # when the next one begins, in equal steps
        length = even / (even + SHIFT * (1 - even)) - time
        if given is not None:
            maps = torch.cat([maps[:, : self.parts[0]], given], 1)
        of_masks = [time if given is None else torch.ones_like(time)] if self.masks else []
        moved: Tensor = maps + length * self.velocity(maps, torch.stack([time, *of_masks], 1), labels)
        return moved


class NoDiscriminator(nn.Module):
    """Stand where a GAN has its discriminator: flow matching has none.

    It learns nothing, and keeps the weights of one that judged the autoencoder's images, for a later training.
    """

    def __init__(self, classes: int = 0, conditioning: str = "none", **options: object) -> None:
        super().__init__()
        check_conditioning(conditioning, classes, ("none", "projection"))  # there is one way, of the U-Net
        del options
        self.none = nn.Parameter(torch.zeros(0))
        self.kept: Mapping[str, Tensor] = {}

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update(self.kept)

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], *_: object) -> None:
        self.kept = {name: value.clone() for name, value in state_dict.items() if name != "none"}


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw He's normal weights; 0 for the last layer and what steers and ends each block, which begin as identities."""
    if not isinstance(network, Generator):
        return
    draw_weights(network, generator, lambda weight: nn.init.kaiming_normal_(weight, generator=generator))
    for block in network.modules():
        if isinstance(block, _Block):
            nn.init.zeros_(block.last.weight)
            nn.init.zeros_(block.steer.weight)
    nn.init.zeros_(network.last.weight)


ARCHITECTURES = {
    "flow": Architecture(Generator, NoDiscriminator, initialise, velocity=True, needs=("flow matching",)),
}
