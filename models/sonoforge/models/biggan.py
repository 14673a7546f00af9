"""BigGAN: wide residual blocks, class-conditional batch normalisation, self-attention.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", ICLR 2019.  Section 3:
a class embedding shared by all layers, and skip-z: the latent vector is cut into chunks, one for the first layer and
one for each block.  Section 3.1: orthogonal initial weights.  Appendix B: figure 15, the blocks; tables 4 to 6, the
layers at 128, 256 and 512 pixels, except that self-attention here always stands at 64x64; 32 and 64 pixels follow the
authors' code.  Both networks are spectrally normalised (Miyato, Kataoka, Koyama, Yoshida, ICLR 2018).

Generalised: 224 has the blocks of 128, starting from 7x7 maps; images below 128 pixels have attention at half their
side. Without classes, only the latent chunks steer the normalisation.
"""

import functools
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from sonoforge.models import doublings, smallest_side
from sonoforge.models import layers as parts
from sonoforge.models.layers import convolution as spectral_convolution

WIDTH = 96  # base of the paper's channel multipliers (table 1)
EMBEDDING = 128  # length of the shared class embedding (appendix B)
_ATTENTION_SIDE = 64  # of the maps, at most


class _Widths(NamedTuple):
    """Channels as multiples of the width: before and after each generator block, and after each discriminator block."""

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    reductions: int  # blocks of the discriminator, the first ones, that halve the side


# By how often the smallest side is doubled.
_WIDTHS = {
    3: _Widths((4, 4, 4, 4), (4, 4, 4, 4), 2),
    4: _Widths((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    5: _Widths((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    6: _Widths((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    7: _Widths((16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7),
}


def _widths(image_size: int) -> _Widths:
    return _WIDTHS[doublings(image_size, smallest_side(image_size))]


def _attention_side(image_size: int) -> int:
    """Return the largest side of maps up to 64 and half the image's side."""
    side = smallest_side(image_size)
    while 2 * side <= min(_ATTENTION_SIDE, image_size // 2):
        side *= 2
    return side


convolution = functools.partial(spectral_convolution, epsilon=parts.EPSILON)


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return parts.normalised(nn.Linear(inputs, outputs, bias), parts.EPSILON)


class _UpBlock(nn.Module):
    """Double the side (figure 15, a and b)."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([parts.ConditionalBatchNorm(width, condition) for width in (inputs, outputs)])
        self.convolutions = nn.ModuleList([convolution(inputs, outputs, 3), convolution(outputs, outputs, 3)])
        self.skip = convolution(inputs, outputs, 1)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        hidden = interpolate(relu(self.norms[0](maps, condition)), scale_factor=2)
        hidden = self.convolutions[1](relu(self.norms[1](self.convolutions[0](hidden), condition)))
        # The 1x1 convolution first: the same result at a quarter of the cost.
        result: Tensor = hidden + interpolate(self.skip(maps), scale_factor=2)
        return result


class Generator(nn.Module):
    """Map a latent vector and a class to an image.

    A latent has at least 1 number for the first layer and each block; the paper uses 20 for each, 120 at 128 pixels.
    """

    latent_distribution = "normal"

    def __init__(self, image_size: int, channels: int, latent_size: int, classes: int = 0, width: int = WIDTH) -> None:
        super().__init__()
        widths = [width * multiple for multiple in _widths(image_size).generator]
        if latent_size < len(widths):
            raise ValueError(f"latent_size: {latent_size} is below {len(widths)}, one for each block")
        self.base = smallest_side(image_size)
        self.latent_size = latent_size
        self.classes = classes
        self.chunks = tuple(len(part) for part in torch.arange(latent_size).tensor_split(len(widths)))
        embedding = EMBEDDING if classes else 0
        self.embedding = nn.Embedding(classes, EMBEDDING) if classes else None
        self.first = _linear(self.chunks[0], widths[0] * self.base**2)
        self.blocks = nn.ModuleList([
            _UpBlock(inputs, outputs, chunk + embedding)
            for (inputs, outputs), chunk in zip(pairwise(widths), self.chunks[1:], strict=True)
        ])  # fmt: skip
        # The attention's place: the number of blocks before it.
        self.attended = doublings(_attention_side(image_size), self.base)
        self.attention = parts.SelfAttention(widths[self.attended])
        self.norm = nn.BatchNorm2d(widths[-1], parts.EPSILON)
        self.last = convolution(widths[-1], channels, 3)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map normal latents (N, Z) and, if conditional, labels (N,) int64 to images (N, C, S, S) in [-1, 1]."""
        ends = tuple(accumulate(self.chunks))
        # Slices, as ONNX would hold the parts of `split` in a sequence, which the runtime does not take.
        first, *conditions = (latents[:, start:end] for start, end in pairwise((0, *ends)))
        if self.embedding is not None:
            if labels is None:
                raise ValueError(f"labels: the network is conditional; give (N,) int64 below {self.classes}")
            embedded = self.embedding(labels)
            conditions = [torch.cat([embedded, chunk], 1) for chunk in conditions]
        maps: Tensor = self.first(first).unflatten(1, (-1, self.base, self.base))
        for number, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True), start=1):
            maps = block(maps, condition)
            if number == self.attended:
                maps = self.attention(maps)
        images: Tensor = self.last(relu(self.norm(maps))).tanh()
        return images


class _DownBlock(nn.Module):
    """Halve the side (figure 15, c); the first block has no ReLU before its convolutions."""

    def __init__(self, inputs: int, outputs: int, *, first: bool, halves: bool) -> None:
        super().__init__()
        self.first, self.halves = first, halves
        self.convolutions = nn.ModuleList([convolution(inputs, outputs, 3), convolution(outputs, outputs, 3)])
        self.skip = convolution(inputs, outputs, 1) if halves or inputs != outputs else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.convolutions[1](relu(self.convolutions[0](maps if self.first else relu(maps))))
        if self.halves:  # the mean and a 1x1 convolution commute: the mean first is cheaper
            hidden, maps = avg_pool2d(hidden, 2), avg_pool2d(maps, 2)
        result: Tensor = hidden + self.skip(maps)
        return result


class Discriminator(parts.ScoredLayers):
    """Map an image to one score, which is large if it looks real. The paper's conditioning is projection."""

    def __init__(
        self, image_size: int, channels: int, classes: int = 0, conditioning: str = "none", width: int = WIDTH
    ) -> None:
        super().__init__()
        multiples, reductions = _widths(image_size).discriminator, _widths(image_size).reductions
        widths = [channels, *(width * multiple for multiple in multiples)]
        layers: list[nn.Module] = []
        side = image_size
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            halves = number < reductions
            layers.append(_DownBlock(inputs, outputs, first=number == 0, halves=halves))
            side = side // 2 if halves else side
            if halves and side == _attention_side(image_size):
                layers.append(parts.SelfAttention(outputs))
        self.layers = nn.Sequential(*layers)
        self.head = parts.ScoreHead(widths[-1], classes, conditioning, _linear)

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, S, S) in [-1, 1] to features (N, F)."""
        return relu(self.layers(images)).sum((2, 3))


ARCHITECTURES = {"biggan": parts.Architecture(Generator, Discriminator)}
