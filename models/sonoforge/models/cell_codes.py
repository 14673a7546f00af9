"""The codes of GA-GAN's cells: what a network does between its up-sampling or down-sampling blocks.

Berezsky and Liashchynskyi 2024 write a cell as ``{N, C, [ATTN]}``: N nodes; C, one digit for each edge, those from the
first node before those from the second, and so on, with a dash between; and the cells that self-attention follows.
``{4, 235-66-7, [4]}`` has edges 2, 3 and 5 from node 1 to nodes 2, 3 and 4.  A node sums its incoming edges; the first
one is the cell's input, the last its output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sonoforge.models import doublings, smallest_side

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
    """A cell, and the numbers of a network's cells that self-attention follows."""

    nodes: int
    edges: tuple[tuple[int, ...], ...]  # for each node but the last, the digits of its edges to all later nodes
    attention: tuple[int, ...] = ()  # numbers of cells, from 1, in ascending order

    def __str__(self) -> str:
        """Return the code as the paper writes it, without the last part where there is no attention."""
        edges = "-".join("".join(map(str, group)) for group in self.edges)
        attention = f", [{', '.join(map(str, self.attention))}]" if self.attention else ""
        return f"{{{self.nodes}, {edges}{attention}}}"


def parse(text: str, network: str) -> Code:
    """Read a code; spaces do not matter.

    Args:
        text: Such as ``{4, 235-66-7, [4]}``; without self-attention ``{3, 12-6}`` or ``{3, 12-6, []}``.
        network: ``generator`` or ``discriminator``, whose operations differ.

    Raises:
        ValueError: Another form, or a number out of range.
    """
    form = _FORM.fullmatch("".join(text.split()))
    if form is None:
        raise ValueError(f"found {text!r}, expected a code such as {{4, 235-66-7, [4]}}")
    nodes, groups, cells = int(form[1]), form[2].split("-"), sorted(map(int, re.findall("[0-9]+", form[3] or "")))
    if not NODES[0] <= nodes <= NODES[1]:
        raise ValueError(f"found {text!r} with {nodes} nodes, expected {NODES[0]} to {NODES[1]}")
    wanted = list(range(nodes - 1, 0, -1))
    if [len(group) for group in groups] != wanted:
        edges = "-".join(map(str, wanted))
        raise ValueError(f"found {text!r}, expected groups of {edges} edges: one from each node to each later node")
    if unknown := set(map(int, form[2].replace("-", ""))) - set(OPERATIONS[network]):
        digits = ", ".join(f"{digit} ({name})" for digit, name in OPERATIONS[network].items())
        raise ValueError(f"found {text!r} with operation {min(unknown)}, expected those of a {network}: {digits}")
    if len(set(cells)) < len(cells):
        raise ValueError(f"found {text!r} with self-attention twice after a cell")
    return Code(nodes, tuple(tuple(map(int, group)) for group in groups), tuple(cells))


def cell_sides(network: str, image_size: int) -> tuple[int, ...]:
    """Return the side of the maps of each cell of a network: one cell before each doubling, or halving.

    Raises:
        ValueError: There is no network of this size.
    """
    least = smallest_side(image_size)
    sides = tuple(least * 2**number for number in range(doublings(image_size, least)))
    return sides if network == "generator" else tuple(2 * side for side in reversed(sides))


def attention_cells(network: str, image_size: int) -> tuple[int, ...]:
    """Return the numbers of the cells that self-attention may follow: those of maps of at most 64x64.

    Raises:
        ValueError: There is no network of this size.
    """
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
        ValueError: It is neither, or there is no network of this size.
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
