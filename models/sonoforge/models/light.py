"""A light generator for few images: one convolution at each side, and skips from coarse maps to fine ones.

Liu, Zhu, Song, Elgammal, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis"
(FastGAN), ICLR 2021, section 3.1 and figure 3: gated linear units, batch and spectral normalisation, and skip-layer
excitation, in which maps gate the channels of others 16 times as large.  One convolution at each side: as Sauer,
Chitta, Müller, Geiger, "Projected GANs Converge Faster", NeurIPS 2021 (appendix, FastGAN-lite).

Changed here: no noise is added to the maps, so that a seed draws the same image in every exported format; classes enter
by conditional batch normalisation; and the generator may draw into label maps, with SPADE's normalisation (Park, Liu,
Wang, Zhu, CVPR 2019) in place of the batch's.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, glu, interpolate, silu

from sonoforge.models import doublings, smallest_side
from sonoforge.models.labels import one_hot
from sonoforge.models.layers import ConditionalBatchNorm
from sonoforge.models.spade import KeptMaps, MapSettings, SpatiallyAdaptiveNorm
from sonoforge.models.spectral import convolution, normalised

CHANNELS = (16, 8, 4, 2, 2, 1, 0.5, 0.25)  # times the width, at the smallest maps and after each doubling: its code
REACH = 4  # doublings from gating maps to gated ones (section 3.1)
MAP_FEATURES = 32  # channels between a label map and its scales and shifts


class _Up(nn.Module):
    """Twice the side: nearest neighbour, convolution, normalisation, gated linear unit."""

    def __init__(self, inputs: int, outputs: int, classes: int, structures: int) -> None:
        super().__init__()
        self.convolution = convolution(inputs, 2 * outputs, 3, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(2 * outputs)
        self.by_class, self.by_map = classes > 0, structures > 0
        if classes:
            self.norm = ConditionalBatchNorm(2 * outputs, classes)
        if structures:
            self.norm = SpatiallyAdaptiveNorm(2 * outputs, structures, MAP_FEATURES)

    def forward(self, maps: Tensor, condition: Tensor | None, inside: Tensor | None) -> Tensor:
        wide = self.convolution(interpolate(maps, scale_factor=2))
        if self.by_map:
            return glu(self.norm(wide, inside), 1)
        return glu(self.norm(wide, condition) if self.by_class else self.norm(wide), 1)


class _SkipLayerExcitation(nn.Module):
    """Coarse maps gate the channels of fine ones (section 3.1, equation 1)."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.gather = normalised(nn.Conv2d(coarse, fine, 4, bias=False))
        self.gate = normalised(nn.Conv2d(fine, fine, 1, bias=False))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        pooled = coarse if coarse.shape[2] == 4 else adaptive_avg_pool2d(coarse, 4)
        gated: Tensor = fine * self.gate(silu(self.gather(pooled))).sigmoid()
        return gated


class Generator(KeptMaps):
    """Latent vector, and class or label map, to image; channels are `CHANNELS` times the width."""

    def __init__(self, settings: MapSettings) -> None:
        super().__init__(settings)
        image_size, structures = settings.image_size, settings.structures
        base = smallest_side(image_size)
        widths = [max(1, round(settings.width * share)) for share in CHANNELS[: doublings(image_size, base) + 1]]
        # The class enters with the latents, too.
        self.first = nn.Sequential(
            normalised(nn.ConvTranspose2d(settings.latent_size + settings.classes, 2 * widths[0], base, bias=False)),
            nn.BatchNorm2d(2 * widths[0]),
            nn.GLU(1),
        )
        self.blocks = nn.ModuleList([
            _Up(inputs, outputs, settings.classes, structures) for inputs, outputs in pairwise(widths)
        ])  # fmt: skip
        self.skips = nn.ModuleList([
            _SkipLayerExcitation(coarse, fine) for coarse, fine in zip(widths, widths[REACH:], strict=False)
        ])  # fmt: skip
        self.to_image = convolution(widths[-1], settings.channels - structures, 3)

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        maps: Tensor | None = None,
        images: Tensor | None = None,
    ) -> Tensor:
        """Draw images (N, C, S, S) in [-1, 1], whose last K channels are the given label maps.

        See `spade.Generator.forward`; labels (N,) int64 are for a network with classes, and there is no encoder.
        """
        del images
        condition = one_hot(labels, self.classes, latents.dtype) if self.classes else None
        if self.structures and maps is None:
            maps = self.choose_maps(latents)
        inside = None if maps is None else (maps + 1) / 2
        # On the sphere, as in the authors' code: only the direction of a latent vector matters.
        vectors = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        vectors = vectors if condition is None else torch.cat([vectors, condition], 1)
        levels: list[Tensor] = [self.first(vectors[:, :, None, None])]
        for number, block in enumerate(self.blocks, start=1):
            hidden = block(levels[-1], condition, inside)
            if number >= REACH:
                hidden = self.skips[number - REACH](levels[number - REACH], hidden)
            levels.append(hidden)
        drawn = self.to_image(levels[-1]).tanh()
        return drawn if maps is None else torch.cat([drawn, maps], 1)
