"""Weights of some classes for networks of others: each class goes on with its own, found by its name.

A class that the weights do not know starts with the mean of those that they do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sonoforge.models.spectral import FIRST_STEPS
from sonoforge.training.gan.starting_weights import StartingWeights

log = logging.getLogger(__name__)

State = Mapping[str, Tensor]

WEIGHT = r"\.parametrizations\.weight\.original"


class _Axis(NamedTuple):
    """Where a layer's spectrally normalised weight has its classes, the last so many of an axis."""

    layer: str  # pattern of its name
    classes: int  # that axis
    outputs: int  # axis of the outputs, of which the normalisation makes rows


_AXES = (
    _Axis(r"first\.0", 0, 1),  # a transposed convolution, into which the class goes after the latents
    _Axis(r".+\.(scale|shift)", 1, 0),
    _Axis(r".+\.class_rows", 0, 0),
)
"""Of the networks of the recipe ``projected``."""


def for_classes(state: State, theirs: Sequence[str], ours: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights of a light generator or a projected discriminator, with other classes or in another order.

    Args:
        state: Its tensors.
        theirs: Its classes.
        ours: Those of the network that it is for.

    Returns:
        All its tensors; what normalises a changed weight is found anew.
    """
    changed = dict(state)
    for name, value in state.items():
        for axis in _AXES:
            if found := re.fullmatch(f"({axis.layer}){WEIGHT}", name):
                weight = _chosen(value, axis.classes, theirs, ours)
                changed[name] = weight
                stem = f"{found[1]}.parametrizations.weight.0"
                if f"{stem}._u" in state:
                    changed[f"{stem}._u"], changed[f"{stem}._v"] = _singular_vectors(weight, axis.outputs)
    return changed


def with_classes(weights: StartingWeights | None, classes: Sequence[str]) -> StartingWeights | None:
    """Return weights to start from, with each class's own at its place among these.

    They stay as they are where either has no classes, both have the same, or the networks are not those of `_AXES`.
    """
    if weights is None or not classes or not weights.classes or tuple(classes) == weights.classes:
        return weights
    if weights.architectures != ("projected",):
        return weights
    new = [name for name in classes if name not in weights.classes]
    log.info(
        "classes that go on with their weights: %s%s",
        ", ".join(name for name in classes if name in weights.classes) or "none",
        f"; that start with the mean of all: {', '.join(new)}" if new else "",
    )
    return weights._replace(
        classes=tuple(classes),
        generator=for_classes(weights.generator, weights.classes, classes),
        discriminator=for_classes(weights.discriminator, weights.classes, classes),
    )


def _chosen(weight: Tensor, axis: int, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    count = weight.shape[axis] - len(theirs)
    shared, own = weight.split([count, len(theirs)], axis)
    mean = own.mean(axis, keepdim=True)
    parts = [own.narrow(axis, theirs.index(name), 1) if name in theirs else mean for name in ours]
    return torch.cat([shared, *parts], axis)


def _singular_vectors(weight: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    """Return the first left and right singular vectors of a weight, one row an output, as torch estimates them."""
    matrix = weight.movedim(outputs, 0).flatten(1)
    left = normalize(matrix.sum(1) + 1e-3, dim=0)
    right = normalize(matrix.T @ left, dim=0)
    for _ in range(FIRST_STEPS):
        left = normalize(matrix @ right, dim=0)
        right = normalize(matrix.T @ left, dim=0)
    return left, right
