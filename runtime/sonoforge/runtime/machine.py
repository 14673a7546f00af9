"""Describe this machine: processor, cores and memory."""

import importlib
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

_CPU_FILE = Path("/proc/cpuinfo")


def cores() -> int:
    """Return the number of cores that this process may use, or of all cores if the system does not report it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_model(source: Path = _CPU_FILE) -> str:
    """Return the processor's name, such as ``AMD EPYC``, or its architecture if the system reports no name."""
    try:
        pairs = [line.partition(":") for line in source.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:  # not Linux
        pairs = []
    values = {key.strip(): value.strip() for key, _, value in reversed(pairs)}  # of the first processor, and the board
    name = values.get("model name") or values.get("Model") or values.get("Hardware")
    return name or platform.processor() or platform.machine() or "unknown"


def describe() -> dict[str, Any]:
    """Return ``cpu``, ``cores``, ``platform`` and ``python`` of this machine, for JSON."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def memory(kind: str) -> int | None:
    """Return this process's bytes of a kind that Linux reports (proc(5)), such as ``VmRSS``; None without a report."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{kind}:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else None


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes, or None if the system does not report it.

    Prefers Linux's ``VmHWM``, as ``ru_maxrss`` of a child process includes its parent's (getrusage(2), execve).
    """
    if (peak := memory("VmHWM")) is not None:
        return peak
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:  # Windows
        return None
    most = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else 1024 * most
