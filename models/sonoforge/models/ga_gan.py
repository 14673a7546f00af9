"""GA-GAN: a generator and a discriminator of cells found by a genetic algorithm.

Berezsky and Liashchynskyi, "Method of generative-adversarial networks searching architectures for biomedical images
synthesis", Radio Electronics, Computer Science, Control, 2024: 64x64 pixels, three channels, four classes; spectral
normalisation of every convolution, transposed convolution and linear layer; the layers of tables 1 to 4.  An
up-sampling block's convolution has twice the channels of its gated linear unit: table 2 prints C and C / 2, and the
first block of table 1 ends with as many channels as it begins with.

Generalised: one cell for each doubling from 4x4 (224 pixels: 7x7) to the image, and channels that halve towards the
image from at most 16 times the width, as at 64 pixels.  Decided here: the inside of self-attention (its gate that
begins at 0, pooled keys and values, widths: Zhang et al. 2019); tanh at the output; spectral normalisation of the class
embedding (Miyato and Koyama 2018); a 3x3 convolution over all channels in the down-sampling block (separable in section
3 but not in table 4); and, without classes, plain batch normalisation in the generator.

A cell is written ``{N, C, [ATTN]}``: N nodes; C, one digit for each edge, those from the first node before those from
the second, and so on, with a dash between; and the cells that self-attention follows.  ``{4, 235-66-7, [4]}`` has edges
2, 3 and 5 from node 1 to nodes 2, 3 and 4.  A node sums its incoming edges; the first one is the cell's input, the last
its output.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from sonoforge.models import doublings, layers, smallest_side

NODES = (3, 5)  # least and most nodes of a cell
_COMMON = {1: "convolution 1x1", 2: "convolution 3x3", 3: "convolution 5x5", 4: "separable convolution 3x3"}
_COMMON |= {5: "zero", 6: "skip"}
# The operation of each digit, by network; section 3 explains 1, 2, 3, 5, 6 and 7 by example, and 4 and 8 follow.
OPERATIONS: Mapping[str, Mapping[int, str]] = {
    "generator": _COMMON,
    "discriminator": {**_COMMON, 7: "max-pool 3x3", 8: "average-pool 3x3"},
}

# Nodes, edges and cells, in a text without spaces.
_FORM = re.compile(r"\{([0-9]+),([0-9]+(?:-[0-9]+)*)(?:,\[((?:[1-9][0-9]*(?:,[1-9][0-9]*)*)?)\])?\}")
_PUBLISHED_SIZE = 64  # pixels
_LARGEST_ATTENTION = 64  # side of maps: the paper's largest; memory grows with its fourth power


@dataclass(frozen=True)
class Code:
    """A cell, and the numbers of the cells followed by self-attention."""

    nodes: int
    edges: tuple[tuple[int, ...], ...]  # for each node but the last, the digits of its edges to all later nodes
    attention: tuple[int, ...] = ()  # numbers of cells, from 1, in ascending order

    def __str__(self) -> str:
        """Return the code as the paper writes it, without the last part where there is no attention."""
        edges = "-".join("".join(map(str, group)) for group in self.edges)
        attention = f", [{', '.join(map(str, self.attention))}]" if self.attention else ""
        return f"{{{self.nodes}, {edges}{attention}}}"


def parse(text: str, network: str) -> Code:
    """Read a code of a ``generator`` or ``discriminator``, whose operations differ; spaces do not matter.

    Raises:
        ValueError: The form is not ``{4, 235-66-7, [4]}`` or ``{3, 12-6}``, or a number is out of range.
    """
    form = _FORM.fullmatch("".join(text.split()))
    if form is None:
        raise ValueError(f"{text!r} is not a code such as {{4, 235-66-7, [4]}}")
    nodes, groups, cells = int(form[1]), form[2].split("-"), sorted(map(int, re.findall("[0-9]+", form[3] or "")))
    if not NODES[0] <= nodes <= NODES[1]:
        raise ValueError(f"{text!r} has {nodes} nodes, not {NODES[0]} to {NODES[1]}")
    wanted = list(range(nodes - 1, 0, -1))
    if [len(group) for group in groups] != wanted:
        edges = "-".join(map(str, wanted))
        raise ValueError(f"{text!r} needs groups of {edges} edges: one edge from each node to each later node")
    if unknown := set(map(int, form[2].replace("-", ""))) - set(OPERATIONS[network]):
        digits = ", ".join(f"{digit} ({name})" for digit, name in OPERATIONS[network].items())
        raise ValueError(f"{text!r} has operation {min(unknown)}; those of a {network} are {digits}")
    if len(set(cells)) < len(cells):
        raise ValueError(f"{text!r} has self-attention twice after a cell")
    return Code(nodes, tuple(tuple(map(int, group)) for group in groups), tuple(cells))


def cell_sides(network: str, image_size: int) -> tuple[int, ...]:
    """Return the map side of each cell in a network; a cell precedes each doubling or halving."""
    least = smallest_side(image_size)
    sides = tuple(least * 2**number for number in range(doublings(image_size, least)))
    return sides if network == "generator" else tuple(2 * side for side in reversed(sides))


def attention_cells(network: str, image_size: int) -> tuple[int, ...]:
    """Return the numbers of the cells that self-attention may follow: cells with maps of at most 64x64."""
    sides = enumerate(cell_sides(network, image_size), start=1)
    return tuple(cell for cell, side in sides if side <= _LARGEST_ATTENTION)


# The codes of the paper by name, for its 64x64 pixels: section 3, and its tables of the two cells that were found.
#
# The tables print sums of layers (L0 is node 1), each of which is an edge; missing edges are zero.  The generator
# (table 2): L1 = 3x3(L0), L2 = L1 + separable(L0), L3 = L2 + 3x3(L1) + 3x3(L0).  The discriminator (table 4): L1 =
# 3x3(L0), L2 = L1 + separable(L0), L3 = average-pool(L2), L4 = L0 + L3 + average-pool(L2); so three edges are zero,
# where section 5 speaks of one.  The input of the separable convolution is not printed: L1 has its edge, so it is
# L0.  The paper's example of a code to mutate, 107590 (section 3), has unknown digits.
PUBLISHED: Mapping[str, Mapping[str, Code]] = {
    "generator": {"found": parse("{4, 242-62-6, [3, 4]}", "generator")},
    "discriminator": {
        "fixed": parse("{4, 235-66-7, [4]}", "discriminator"),
        "found": parse("{5, 2456-655-88-6, [1, 2]}", "discriminator"),
    },
}


def resolve(text: str, network: str, image_size: int) -> Code:
    """Return a code, or one of the paper's by name, for a network of this size.

    A named code keeps its self-attention at maps of the same side, where they exist.

    Raises:
        ValueError: The text is neither, or no network has this size.
    """
    named = PUBLISHED[network].get(text.strip())
    if named is None:
        names = ", or the name " + " or ".join(PUBLISHED[network])
        try:
            return parse(text, network)
        except ValueError as error:
            raise ValueError(f"{network}_cell: {error}{names}") from None
    published = cell_sides(network, _PUBLISHED_SIZE)
    kept = {published[cell - 1] for cell in named.attention}
    sides = cell_sides(network, image_size)
    return replace(named, attention=tuple(cell for cell, side in enumerate(sides, start=1) if side in kept))


WIDTH = 64  # channels of the discriminator's first layer; the generator's last maps have twice as many
ACTIVATION = "elu"
_MOST = 16  # times the width, at the smallest maps


def _activated_convolution(kernel: int) -> Callable[[int, str], nn.Module]:
    return lambda width, activation: _activated(layers.convolution(width, width, kernel), width, activation)


def _separable(width: int, activation: str) -> nn.Module:
    depthwise = layers.normalised(nn.Conv2d(width, width, 3, padding=1, groups=width))
    return _activated(nn.Sequential(depthwise, layers.convolution(width, width, 1)), width, activation)


def _activated(layer: nn.Module, width: int, activation: str) -> nn.Module:
    return nn.Sequential(layer, layers.make_activation(activation), nn.BatchNorm2d(width))


# By the names of `OPERATIONS`; a zero edge has no layer.
_LAYERS: dict[str, Callable[[int, str], nn.Module]] = {
    "convolution 1x1": _activated_convolution(1),
    "convolution 3x3": _activated_convolution(3),
    "convolution 5x5": _activated_convolution(5),
    "separable convolution 3x3": _separable,
    "skip": lambda *_: nn.Identity(),
    "max-pool 3x3": lambda *_: nn.MaxPool2d(3, stride=1, padding=1),
    "average-pool 3x3": lambda *_: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}


class Cell(nn.Module):
    """Maps to maps of the same shape: every node sums its incoming edges, and the cell's input is added at the end.

    Self-attention, where it follows, adds a third summand (table 1, L11 = L8 + L10 + L9).  Each convolution is followed
    by activation and batch normalisation.  Layers are named by their edge and operation, so that networks of different
    codes share the names of common layers.  ``network`` is the code's, ``generator`` or ``discriminator``.
    """

    def __init__(self, code: Code, network: str, width: int, *, attends: bool, activation: str = ACTIVATION) -> None:
        super().__init__()
        self.nodes = code.nodes
        self.edges = nn.ModuleDict()
        for node, group in enumerate(code.edges, start=1):
            for later, digit in enumerate(group, start=node + 1):
                name = OPERATIONS[network][digit]
                if name != "zero":
                    self.edges[f"{node}-{later} {name}".replace(" ", "-")] = _LAYERS[name](width, activation)
        self.attention = layers.SelfAttention(width) if attends else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, width, H, W) to the same shape."""
        values = [maps] + [torch.zeros_like(maps)] * (self.nodes - 1)
        for name, layer in self.edges.items():  # those from a node come after all those to it
            node, later = int(name[0]), int(name[2])
            values[later - 1] = values[later - 1] + layer(values[node - 1])
        own: Tensor = self.attention(values[-1])
        return maps + own


@dataclass(frozen=True)
class Cells:
    """The code of a network's cells, and the activation of all its layers."""

    cell: str = "found"  # code, or the name of one of the paper's
    activation: str = ACTIVATION  # in place of every ELU; see `layers.ACTIVATIONS`


FOUND = Cells()


def _build(cells: Cells, network: str, image_size: int, widths: list[int]) -> nn.ModuleList:
    code = resolve(cells.cell, network, image_size)
    allowed = attention_cells(network, image_size)
    if wrong := [number for number in code.attention if number not in allowed]:
        raise ValueError(
            f"{network}_cell: {code} has self-attention after cell {wrong[0]}, not some of "
            f"{', '.join(map(str, allowed))}: those with maps of at most 64x64 at {image_size} pixels"
        )
    return nn.ModuleList([
        Cell(code, network, width, attends=number in code.attention, activation=cells.activation)
        for number, width in enumerate(widths, start=1)
    ])  # fmt: skip


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return layers.normalised(nn.Linear(inputs, outputs, bias))


class Generator(nn.Module):
    """Map a latent vector, of length 128 in the paper, and a class to an image; it ends with 2 ``width`` channels."""

    latent_distribution = "normal"

    def __init__(
        self,
        image_size: int,
        channels: int,
        latent_size: int,
        classes: int = 0,
        width: int = WIDTH,
        cells: Cells = FOUND,
    ) -> None:
        super().__init__()
        stages = doublings(image_size, smallest_side(image_size))
        # The channels before each cell, and after the last up-sampling.
        widths = [width * min(_MOST, 2 ** (stages - number + 1)) for number in range(stages + 1)]
        self.latent_size = latent_size
        self.classes = classes
        self.first = layers.normalised(nn.ConvTranspose2d(latent_size, widths[0], smallest_side(image_size)))
        self.activation = layers.make_activation(cells.activation)
        self.cells = _build(cells, "generator", image_size, widths[:-1])
        norm = partial(layers.ConditionalBatchNorm, condition=classes) if classes else nn.BatchNorm2d
        self.ups = nn.ModuleList([layers.GatedUp(*pair, norm, bias=True) for pair in pairwise(widths)])
        self.last = nn.Sequential(
            layers.convolution(widths[-1], widths[-1], 3), layers.convolution(widths[-1], channels, 3)
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map normal latents (N, Z) and, if conditional, labels (N,) int64 to images (N, C, S, S) in [-1, 1]."""
        condition = layers.one_hot(labels, self.classes, latents.dtype) if self.classes else None
        maps = self.activation(self.first(latents[:, :, None, None]))
        for cell, up in zip(self.cells, self.ups, strict=True):
            maps = up(cell(maps), condition)
        images: Tensor = self.last(maps).tanh()
        return images


class _DownSampling(nn.Module):
    """Halve the side: convolution, four pixels to four channels, convolution, activation."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [layers.convolution(inputs, outputs, 3), layers.convolution(4 * outputs, outputs, 1)]
        )
        self.activation = layers.make_activation(activation)

    def forward(self, maps: Tensor) -> Tensor:
        rearranged = pixel_unshuffle(self.convolutions[0](maps), 2)
        halved: Tensor = self.activation(self.convolutions[1](rearranged))
        return halved


class Discriminator(layers.ScoredLayers):
    """Map an image to one score, which is large if it looks real. The paper's conditioning is projection."""

    def __init__(
        self,
        image_size: int,
        channels: int,
        classes: int = 0,
        conditioning: str = "none",
        width: int = WIDTH,
        cells: Cells = FOUND,
    ) -> None:
        super().__init__()
        stages = doublings(image_size, smallest_side(image_size))
        widths = [width * min(_MOST, 2**number) for number in range(stages + 1)]
        self.first = layers.convolution(channels, widths[0], 3)
        self.activation = layers.make_activation(cells.activation)
        self.cells = _build(cells, "discriminator", image_size, widths[:-1])
        self.downs = nn.ModuleList(
            [_DownSampling(inputs, outputs, cells.activation) for inputs, outputs in pairwise(widths)]
        )
        self.head = layers.ScoreHead(widths[-1], classes, conditioning, _linear)

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, S, S) in [-1, 1] to features (N, F)."""
        maps: Tensor = self.activation(self.first(images))
        for cell, down in zip(self.cells, self.downs, strict=True):
            maps = down(cell(maps))
        return maps.sum((2, 3))


ARCHITECTURES = {
    "ga-gan": layers.Architecture(
        lambda cell="found", activation=ACTIVATION, **options: Generator(**options, cells=Cells(cell, activation)),
        lambda cell="found", activation=ACTIVATION, **options: Discriminator(**options, cells=Cells(cell, activation)),
        cells=True,
        free_hidden=("activation",),
    )
}
