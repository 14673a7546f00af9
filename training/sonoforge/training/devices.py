"""Choose a training run's device, and control its determinism and memory."""

import contextlib
import ctypes
import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.machine import memory, peak_memory


def find_device(device: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SonoforgeError: The name is unknown, or this machine does not have the device.
    """
    name, _, number = device.partition(":")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        keep_freed_memory()
    if name not in ("cpu", "cuda") or (number and (name == "cpu" or not number.isdigit())):
        raise SonoforgeError(f"device: must be auto, cpu, cuda or cuda:N, not {device!r}")
    if name == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise SonoforgeError(
            f"device: {device} does not exist ({torch.cuda.device_count()} CUDA devices found); use device cpu"
        )
    return torch.device("cpu") if name == "cpu" else torch.device("cuda", int(number or 0))


def device_name(device: torch.device) -> str:
    """Describe a device for the record: the GPU, or how many cores are used."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} cores)"


# Parameters of mallopt(3) in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@functools.cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed tensors instead of returning it to the system.

    A training step frees and allocates the same large tensors again.  By default glibc maps each anew, and the kernel
    zeroes every page on first touch, which takes a third to half of the time with MobileNetV2 on a CPU. Other C
    libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


SPARE = 2**30  # bytes
_HEAP = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _HeapUse(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _HEAP)


def return_spare_memory() -> None:
    """Return freed memory to the system if it is more than `SPARE`; `keep_freed_memory` would keep it.

    If a large update's tensors do not fit into the holes that the previous one left, memory would keep growing.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _HeapUse
        use = library.mallinfo2()
        if (memory("RssAnon") or 0) - use.uordblks - use.hblkhd > SPARE:
            library.malloc_trim(0)
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl, an old glibc
        return


@contextlib.contextmanager
def deterministic_kernels(device: torch.device) -> Iterator[None]:
    """Use only deterministic kernels inside, on a CPU: exact resumption is promised there (with one thread)."""
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


_PEAK = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5)
GIB = 2**30


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute only in the calling thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def measured_memory(device: torch.device) -> Iterator[dict[str, float | None]]:
    """Measure the peak memory used inside, beyond what was in use before: ``gib``, None where it cannot be measured.

    On a GPU it counts torch's allocations; on a CPU this process's pages (on Linux only), including its other work.
    """
    found: dict[str, float | None] = {"gib": None}  # set at the end
    started = reset_peak(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        yield found
        found["gib"] = (torch.cuda.max_memory_allocated(device) - before) / GIB
        return
    yield found
    peak = peak_memory()
    if started is not None and peak is not None:
        found["gib"] = (peak - started) / GIB


def reset_peak(device: torch.device) -> int | None:
    """Return freed memory to the system, and restart the measurement of the peak.

    Returns:
        The bytes in use by this process; None on a GPU, or if they cannot be measured.
    """
    gc.collect()  # networks and optimisers refer to each other
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _PEAK.write_text(_RESET_PEAK)
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl, a container that forbids it
        return None
    return memory("VmRSS")
