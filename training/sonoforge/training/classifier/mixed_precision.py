"""Training in bfloat16, where that is faster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def bfloat16(net: nn.Module, device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Run what is inside in bfloat16 autocast; weights stay in float32.

    On a CPU, the depthwise convolutions of stride 2 stay in float32, too: in bfloat16, their backward pass has no fast
    kernel there and takes 3 to 40 times as long, half of the time of a whole training step.
    """
    slow: list[Any] = []
    if enabled and device.type == "cpu":
        slow = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and max(m.stride) > 1]
    for layer in slow:
        layer.forward = _in_float32(layer)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            yield
    finally:
        for layer in slow:
            del layer.forward


def _in_float32(layer: nn.Conv2d) -> Any:
    forward = layer.forward

    def run(inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return forward(inputs.float())

    return run
