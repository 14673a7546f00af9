"""Feature vectors for the tests of distances, plain normal ones and such as a network gives; and other libraries."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scans import draw_scan
from sonoforge.models.mobilenetv2 import import_torchvision

Rows = NDArray[np.float64]


def other_library(module: str) -> Any:
    """Import a module of torch-fidelity or torchmetrics: they import torchvision, which may lack its operators."""
    import_torchvision()
    return importlib.import_module(module)


def rows(count: int, width: int, seed: int) -> Rows:
    """Independent standard normal numbers (count, width)."""
    return np.random.default_rng(seed).normal(size=(count, width))


def network_rows(count: int, width: int, first_seed: int, blur: int = 1) -> NDArray[np.float32]:
    """Embed drawn scans by a convolutional network of fixed random weights: correlated, 0 or more, some always 0.

    Args:
        count: How many scans.
        width: Of the vectors.
        first_seed: Of the scans; seeds 100 apart share none of up to 100 scans.
        blur: Side of the box that the scans are blurred with, odd.
    """
    scans = torch.from_numpy(np.stack([draw_scan(first_seed + number, 32) for number in range(count)]))
    images = nn.functional.avg_pool2d(scans[:, None].double() / 127.5 - 1, blur, 1, blur // 2)
    generator = torch.Generator().manual_seed(7)
    channels = (1, 16, 32, width)
    for inputs, outputs in pairwise(channels):
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator, dtype=torch.float64)
        images = nn.functional.conv2d(images, kernel / (4.5 * inputs) ** 0.5, stride=2, padding=1).relu()
    return images.mean((2, 3)).float().numpy()
