"""The most memory that a piece of work took, on a GPU or, under Linux, in this process."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import torch

_PROC = Path("/proc/self")
_RESET_PEAK = "5"  # proc(5), clear_refs
GIB = 2**30


class PeakMemory:
    """What `measured_memory` found out."""

    gib: float | None = None  # known once the work is over; None where it cannot be measured


@contextlib.contextmanager
def measured_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the peak of the memory in use while inside, beyond what was in use before.

    On a GPU what torch allocated there; on a CPU the pages of this process, which Linux alone counts so.  Work that
    runs beside it in the same process counts, too.
    """
    found = PeakMemory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found.gib = (torch.cuda.max_memory_allocated(device) - before) / GIB
        return
    started = _reset_peak()
    yield found
    if started is not None:
        peak = _kib("VmHWM")
        found.gib = None if peak is None else (peak - started) * 1024 / GIB


def _reset_peak() -> int | None:
    """Return freed memory to the system and start to measure anew; returns the KiB in use, None if it cannot."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what an earlier training freed would be taken for this one's start
        (_PROC / "clear_refs").write_text(_RESET_PEAK)
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl, a container that forbids it
        return None
    return _kib("VmRSS")


def _kib(name: str) -> int | None:
    match = re.search(rf"^{name}:\s+(\d+) kB", (_PROC / "status").read_text(), re.MULTILINE)
    return int(match[1]) if match else None
