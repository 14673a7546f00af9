"""The device a training runs on, and how exactly it repeats itself there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric

from sonoforge.runtime.errors import SonoforgeError


def open_fabric(device: str) -> Fabric:
    """Open the device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SonoforgeError: Another name, or a device that is not there.
    """
    name, _, number = device.partition(":")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda") or (number and (name == "cpu" or not number.isdigit())):
        raise SonoforgeError(f"device: found {device!r}, expected auto, cpu, cuda or cuda:N")
    if name == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise SonoforgeError(
            f"device: {device} is not there ({torch.cuda.device_count()} CUDA devices); use --device cpu"
        )
    return Fabric(accelerator=name, devices=1 if name == "cpu" else [int(number or 0)])


@contextlib.contextmanager
def deterministic_kernels(device: torch.device) -> Iterator[None]:
    """Only deterministic kernels while inside, on the CPU, where exact resumption is promised."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    try:
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
            memory.fill_uninitialized_memory = False  # a cost of its own, for code that reads before it writes
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filled
