"""The device a training runs on, and how exactly it repeats itself there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from sonoforge.runtime.errors import SonoforgeError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# It says on stderr which precision was asked for, each time a device is opened.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def find_device(device: str) -> torch.device:
    """Return the device of this name, for a single process.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SonoforgeError: Another name, or a device that this machine does not have.
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
    return torch.device(name, int(number or 0)) if name == "cuda" else torch.device(name)


def open_fabric(device: str, precision: Any = "32-true") -> Fabric:
    """Open the device, in each of the processes that ``torchrun`` started, or in this one alone.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under ``torchrun`` without N, as each process takes its own.
        precision: Fabric's name of it.

    Raises:
        SonoforgeError: Another name, a device that is not there, or a precision that it does not have.
    """
    from lightning_fabric import Fabric  # noqa: PLC0415 - sampling, in the export extra too, does without it

    found = find_device(device)
    name, number = found.type, device.partition(":")[2]
    if precision == "16-mixed" and name == "cpu":
        raise SonoforgeError("precision: float16 needs a GPU; use --precision bf16 or --device cuda")
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        devices: Any = 1 if name == "cpu" else [found.index]
        return Fabric(accelerator=name, devices=devices, precision=precision)
    if number:
        raise SonoforgeError(
            f"device: found {device} under torchrun, expected cuda: each process takes a device itself"
        )
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return Fabric(accelerator=name, devices=local, num_nodes=world // local, strategy="ddp", precision=precision)


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
