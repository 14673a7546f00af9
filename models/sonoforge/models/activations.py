"""Activation functions by name, for the networks whose paper's choice may be changed.

Each is exported to ONNX as one operator, and has the second derivative that gradient penalties take.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

SLOPE = 0.2  # of leaky ReLU: Radford, Metz, Chintala, ICLR 2016, section 4

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(SLOPE),
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


def make_activation(name: str) -> nn.Module:
    """Make one layer.

    Raises:
        ValueError: An unknown name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: found {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
