"""The space of codes: its random members and their mutations.

An element of a code is its number of nodes, the operation of one edge, or whether self-attention follows one cell.
Where the number of nodes grows by one, the new node is the last, with an edge from each other one; where it shrinks,
the last node and its edges go.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sonoforge.models.ga_gan.codes import NODES, OPERATIONS, Code, attention_cells


class Space(NamedTuple):
    """All codes of one network at one image size."""

    network: str  # `generator` or `discriminator`
    attention: tuple[int, ...]  # numbers of the cells that self-attention may follow

    @property
    def operations(self) -> tuple[int, ...]:
        """The digits that an edge may have."""
        return tuple(OPERATIONS[self.network])


def space_of(network: str, image_size: int) -> Space:
    """Return the space of a network's codes at this image size."""
    return Space(network, attention_cells(network, image_size))


def random_code(space: Space, rng: np.random.Generator) -> Code:
    """Draw a code: each number of nodes, then each operation and each self-attention, is equally likely."""
    nodes = int(rng.integers(NODES[0], NODES[1] + 1))
    edges = tuple(tuple(_operation(space, rng) for _ in range(nodes - node)) for node in range(1, nodes))
    return Code(nodes, edges, tuple(cell for cell in space.attention if rng.random() < 0.5))


def mutate(code: Code, space: Space, rate: float, rng: np.random.Generator) -> Code:
    """Change each element with the same probability, each to any other value that it may have.

    The number of nodes changes by one.

    Args:
        code: Of the space.
        space: Of codes.
        rate: Probability with which an element changes.
        rng: Source of the changes.

    Returns:
        A code of the space; the same one where no element changed.
    """
    if rng.random() < rate:
        code = _other_nodes(code, space, int(rng.choice(_nodes_beside(code))), rng)
    edges = tuple(
        tuple(_other_operation(digit, space, rng) if rng.random() < rate else digit for digit in group)
        for group in code.edges
    )
    attention = tuple(cell for cell in space.attention if (cell in code.attention) != (rng.random() < rate))
    return Code(code.nodes, edges, attention)


def _nodes_beside(code: Code) -> list[int]:
    return [nodes for nodes in (code.nodes - 1, code.nodes + 1) if NODES[0] <= nodes <= NODES[1]]


def _other_nodes(code: Code, space: Space, nodes: int, rng: np.random.Generator) -> Code:
    if nodes > code.nodes:
        return _grown(code, tuple(_operation(space, rng) for _ in range(code.nodes)))
    return Code(nodes, tuple(group[:-1] for group in code.edges[:-1]), code.attention)


def _grown(code: Code, new: tuple[int, ...]) -> Code:
    """Add a last node, with one edge from each other."""
    groups = (*code.edges, ())
    edges = tuple((*group, digit) for group, digit in zip(groups, new, strict=True))
    return Code(code.nodes + 1, edges, code.attention)


def _operation(space: Space, rng: np.random.Generator) -> int:
    return int(rng.choice(space.operations))


def _other_operation(digit: int, space: Space, rng: np.random.Generator) -> int:
    return int(rng.choice([other for other in space.operations if other != digit]))
