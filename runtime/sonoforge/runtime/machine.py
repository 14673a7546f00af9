"""This machine: processor, instruction sets that speed up networks, energy counter and memory."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

# Name in Linux or macOS -> common name, of those that speed up convolutions or 8-bit products.
_INSTRUCTIONS = {
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx_vnni": "avx-vnni",
    "avx512_vnni": "avx512-vnni",
    "avx512_bf16": "avx512-bf16",
    "amx_int8": "amx-int8",
    "amx_bf16": "amx-bf16",
    "asimd": "neon",
    "asimdhp": "neon-fp16",
    "asimddp": "neon-dot",
    "i8mm": "i8mm",
    "sve": "sve",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_FP16": "neon-fp16",
    "hw.optional.arm.FEAT_DotProd": "neon-dot",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512",
}
_CPU_FILE, _ENERGY_FOLDER = Path("/proc/cpuinfo"), Path("/sys/class/powercap")


def cores() -> int:
    """Return the number of cores that this process may use, or of all cores if the system does not report it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_model(source: Path = _CPU_FILE) -> str:
    """Return the processor's name, such as ``AMD EPYC``, or its architecture if the system reports no name."""
    values = _cpu_values(source)
    name = values.get("model name") or values.get("Model") or values.get("Hardware")
    if not name and platform.system() == "Darwin":
        name = _sysctl("-n", "machdep.cpu.brand_string").strip()
    return name or platform.processor() or platform.machine() or "unknown"


def cpu_instructions(source: Path = _CPU_FILE) -> list[str] | None:
    """Return the instruction sets that speed up networks, or None if the system does not list them."""
    values = _cpu_values(source)
    listed = set((values.get("flags") or values.get("Features") or "").split())
    if platform.system() == "Darwin":
        pairs = (line.partition(": ") for line in _sysctl("hw.optional").splitlines())
        listed |= {name for name, _, value in pairs if value.strip() == "1"}
    return list(dict.fromkeys(common for name, common in _INSTRUCTIONS.items() if name in listed)) if listed else None


def describe() -> dict[str, Any]:
    """Return ``cpu``, ``instructions``, ``cores``, ``platform`` and ``python`` of this machine, for JSON."""
    return {
        "cpu": cpu_model(),
        "instructions": cpu_instructions(),
        "cores": cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def energy_joules(folder: Path = _ENERGY_FOLDER) -> float | None:
    """Return the energy counter of all processor packages in joules, or None if it cannot be read.

    Linux's powercap (RAPL) counters, which on most systems only the administrator may read.  They wrap around to 0
    after some hours, so a difference may be negative.
    """
    try:
        packages = [
            item for item in folder.iterdir() if item.name.count(":") == 1 and item.name.startswith("intel-rapl")
        ]
        return sum(int((item / "energy_uj").read_text()) for item in packages) / 1e6 if packages else None
    except (OSError, ValueError):
        return None


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes, or None if the system does not report it.

    Prefers Linux's ``VmHWM``, as ``ru_maxrss`` of a child process includes its parent's (getrusage(2), execve).
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        resource: Any = importlib.import_module("resource")
    except ImportError:  # Windows
        return None
    most = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else 1024 * most


def _cpu_values(source: Path) -> dict[str, str]:
    """Return the entries of the first processor and the board in /proc/cpuinfo; empty on other systems."""
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    values: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    return values


def _sysctl(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - Apple's own program by its full path
            ["/usr/sbin/sysctl", *arguments], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
