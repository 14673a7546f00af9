"""``sonoforge doctor``: what is installed here, what can run, and what to install for the rest.

JSON: ``ok``, ``problems`` (lines: what is wrong with the base install), ``machine`` ({"python", "platform", "cpu",
"instructions", "cores", "gpus", "free_disk_bytes"}), ``base`` ({package: version or null}), ``extras`` ({name:
{"complete", "installed": {package: version}, "missing": [requirements], "install"}}), ``providers`` ({onnxruntime's
name: {"available", "for", "install"}}), ``programs`` ({first part of a format's name: "" or why its files cannot be
run here}), ``bundle`` ({"name", "version"}, or null without one).

Nothing is downloaded.  Imported are the base install and, to tell whether they load, the packages that run TorchScript
and ExecuTorch files, such as torch; the other extras are only looked up.  Exit code 0; 1 when the base install is
broken.
"""

from __future__ import annotations

import importlib
import logging
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime import machine
from sonoforge.runtime.cli.options import Outcome

EXAMPLES = """
sonoforge doctor
sonoforge doctor --json

exit code: 0, whatever is missing; 1 when the base install itself is broken
"""

log = logging.getLogger(__name__)

_UNIONS = ("all", "dev")  # of the other extras, and tools of developers
_MODULES = {"pillow": "PIL"}  # of the base install, where the import has another name

# onnxruntime's providers that can speed an answer up: for what, and how to have them.  The packages all hold the
# module "onnxruntime", so one takes the place of the other.  Sources: onnxruntime.ai, "Execution providers" and
# "Install"; NVIDIA's and AMD's own pages for the last of theirs.
_INSTEAD = "pip uninstall onnxruntime; pip install {}"
_PROVIDERS = {
    "CPUExecutionProvider": ("any processor", "comes with onnxruntime"),
    "CUDAExecutionProvider": ("NVIDIA GPUs", _INSTEAD.format("onnxruntime-gpu")),
    "TensorrtExecutionProvider": (
        "NVIDIA GPUs",
        _INSTEAD.format("onnxruntime-gpu") + ", and NVIDIA's TensorRT libraries (pip install tensorrt)",
    ),
    "NvTensorRTRTXExecutionProvider": ("NVIDIA RTX GPUs", _INSTEAD.format("onnxruntime-trt-rtx")),
    "MIGraphXExecutionProvider": ("AMD GPUs on Linux", _INSTEAD.format("onnxruntime-migraphx") + ", beside AMD's ROCm"),
    "OpenVINOExecutionProvider": ("Intel processors and GPUs", _INSTEAD.format("onnxruntime-openvino")),
    "DmlExecutionProvider": ("GPUs on Windows", _INSTEAD.format("onnxruntime-directml")),
    "CoreMLExecutionProvider": ("Apple devices", "comes with onnxruntime on macOS"),
    "QNNExecutionProvider": ("Qualcomm processors on Windows", _INSTEAD.format("onnxruntime-qnn")),
}


@dataclass(frozen=True)
class Config:
    """``sonoforge doctor`` has no settings of its own."""


class Requirement(NamedTuple):
    """One line of a package's requirements: ``name[extras]wanted; marker``."""

    name: str
    extras: tuple[str, ...]
    wanted: str
    extra: str
    conditional: bool


def main(config: Config) -> Outcome:
    """Examine this installation; see the top of this module for the result and the exit code."""
    requirements = [parse_requirement(line) for line in _distribution_requires()]
    base = [item for item in requirements if not item.extra] or [
        Requirement(name, (), "", "", False) for name in ("numpy", "onnxruntime", "pillow")
    ]
    versions, problems = _import_base(base)
    bundle, programs = (None, {}) if problems else _own_parts(problems)
    result = {
        "ok": not problems,
        "problems": problems,
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu": machine.cpu_model(),
            "instructions": machine.cpu_instructions(),
            "cores": machine.cores(),
            "gpus": _gpus(),
            "free_disk_bytes": shutil.disk_usage(Path.cwd()).free,
        },
        "base": versions,
        "extras": examine_extras(requirements),
        "providers": _providers(),
        "programs": programs,
        "bundle": bundle,
    }
    _print(result)
    return Outcome(result, "sonoforge verify" if result["ok"] else "", 0 if result["ok"] else 1)


def parse_requirement(line: str) -> Requirement:
    """Read one line of a package's metadata, such as ``torch>=2.6; extra == 'train'`` (PEP 508).

    Of its marker only the extra and the names of systems are read; any other condition, or the name of another system,
    makes it ``conditional``: it may not be for this machine.
    """
    text, _, marker = line.partition(";")
    found = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?\s*(.*)", text)
    name, extras, wanted = found.groups() if found else (text.strip(), None, "")
    extra = re.search(r"""\bextra\s*==\s*['"]([^'"]+)['"]""", marker)
    rest = marker.replace(extra[0], "") if extra else marker
    system = re.compile(r"""\bsys_platform\s*==\s*['"](\w+)['"]""")
    systems, others = system.findall(rest), system.sub("", rest)
    conditional = bool(systems and sys.platform not in systems) or bool(re.search(r"==|!=|<|>|\bin\b", others))
    inside = tuple(part.strip() for part in (extras or "").split(",") if part.strip())
    return Requirement(name, inside, wanted.strip().strip("()"), extra[1] if extra else "", conditional)


def examine_extras(requirements: Sequence[Requirement]) -> dict[str, dict[str, Any]]:
    """Tell for each extra what of it is installed.

    An extra may name other extras of sonoforge itself: their packages count as its own.
    """
    names = dict.fromkeys(item.extra for item in requirements if item.extra and item.extra not in _UNIONS)
    return {name: _examine_extra(name, requirements) for name in names}


def _examine_extra(name: str, requirements: Sequence[Requirement]) -> dict[str, Any]:
    installed, lacking = {}, []
    for item in _requirements_of(name, requirements, set()):
        version = _version(item.name)
        if version is not None:
            installed[item.name] = version
        if (version is None and not item.conditional) or (version is not None and _too_old(version, item.wanted)):
            found = f" (found {version})" if version else ""
            lacking.append(f"{item.name}{item.wanted}{found}")
    install = f"pip install 'sonoforge[{name}]'" if lacking else ""
    return {"complete": not lacking, "installed": installed, "missing": lacking, "install": install}


def _requirements_of(extra: str, requirements: Sequence[Requirement], seen: set[str]) -> list[Requirement]:
    seen.add(extra)
    found: list[Requirement] = []
    for item in requirements:
        if item.extra != extra:
            continue
        if item.name.lower() != "sonoforge":
            found.append(item)
        for other in item.extras if item.name.lower() == "sonoforge" else ():
            if other not in seen:
                found += _requirements_of(other, requirements, seen)
    return found


def _distribution_requires() -> list[str]:
    try:
        return metadata.requires("sonoforge") or []
    except metadata.PackageNotFoundError:
        return []


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _too_old(version: str, wanted: str) -> bool:
    """Whether a version is below the ``>=`` of a requirement; other conditions are left to pip."""
    minimum = re.search(r">=\s*([0-9.]+)", wanted)
    return bool(minimum) and _numbers(version) < _numbers(minimum[1])  # type: ignore[index]


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release part: ``2.13.0+cpu`` is (2, 13, 0)."""
    release = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def _import_base(base: Sequence[Requirement]) -> tuple[dict[str, str | None], list[str]]:
    """Import what the runtime cannot do without; return the versions and what is wrong.

    The module counts, not the package: onnxruntime-gpu holds the module onnxruntime, too.
    """
    versions: dict[str, str | None] = {}
    problems = []
    for item in base:
        try:
            module = importlib.import_module(_MODULES.get(item.name.lower(), item.name))
            versions[item.name] = str(module.__version__)
        except Exception as error:  # a package for another processor or Python fails in many ways
            versions[item.name] = None
            reason = " ".join(str(error).split())[:160]
            problems.append(f"{item.name}: cannot be imported ({reason}); pip install '{item.name}{item.wanted}'")
            continue
        if _too_old(str(versions[item.name]), item.wanted):
            problems.append(f"{item.name}: found {versions[item.name]}, expected {item.wanted}; pip install -U it")
    return versions, problems


def _own_parts(problems: list[str]) -> tuple[dict[str, str] | None, dict[str, str]]:
    """Return the shipped bundle's name and version, adding to the problems, and what each program says."""
    # Not above: these import numpy, and a broken numpy is what this verb is asked about.
    from sonoforge.runtime.bundle.reader import open_bundle  # noqa: PLC0415
    from sonoforge.runtime.errors import SonoforgeError  # noqa: PLC0415
    from sonoforge.runtime.inference.model_files import PROGRAMS, missing  # noqa: PLC0415

    bundle = None
    try:
        manifest = open_bundle().manifest
        bundle = {"name": manifest.name, "version": manifest.version}
    except SonoforgeError as error:
        problems.append(str(error))
    return bundle, {name: missing(name).removeprefix(f"{name}: ") for name in PROGRAMS}


def _providers() -> dict[str, dict[str, Any]]:
    """Tell which of onnxruntime's providers are there; those it names and we do not know are listed, too."""
    try:
        available = list(importlib.import_module("onnxruntime").get_available_providers())
    except Exception:  # told by _import_base
        available = []
    unknown = ("never used by sonoforge", "")
    return {
        name: {
            "available": name in available,
            "for": _PROVIDERS.get(name, unknown)[0],
            "install": "" if name in available else _PROVIDERS.get(name, unknown)[1],
        }
        for name in dict.fromkeys([*available, *_PROVIDERS])
    }


def _gpus() -> list[str]:
    """Return what NVIDIA's own program tells: name, memory and driver of each GPU; empty without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _print(result: dict[str, Any]) -> None:
    here = result["machine"]
    instructions = "not readable" if here["instructions"] is None else ", ".join(here["instructions"]) or "none of note"
    log.info("machine     %s, %d cores; Python %s, %s", here["cpu"], here["cores"], here["python"], here["platform"])
    log.info("            instructions: %s", instructions)
    log.info("            GPUs: %s", "; ".join(here["gpus"]) or "none that nvidia-smi sees")
    log.info("            free disk here: %.1f GB", here["free_disk_bytes"] / 1e9)
    log.info("base        %s", ", ".join(f"{name} {version or 'MISSING'}" for name, version in result["base"].items()))
    if result["bundle"]:
        log.info("bundle      %s %s, shipped", result["bundle"]["name"], result["bundle"]["version"])
    log.info("\nextras")
    for name, extra in result["extras"].items():
        state = "complete" if extra["complete"] else f"{extra['install']}  (missing: {', '.join(extra['missing'])})"
        log.info("  %-10s  %s", name, state)
    if not result["extras"]:
        log.info("  not known: sonoforge runs from a folder and is not installed")
    log.info("\nmodel files%s", "" if result["programs"] else ": not known before the base install works")
    for name, reason in result["programs"].items():
        log.info("  %-12s  %s", name, reason or "can be run")
    log.info("\nonnxruntime's providers (classify and bench use the CPU's)")
    for name, provider in result["providers"].items():
        state = "there" if provider["available"] else provider["install"]
        log.info("  %-31s  %s: %s", name, provider["for"], state)
    for problem in result["problems"]:
        log.error("problem     %s", problem)
    log.info("\nresult      %s", "the base install works" if result["ok"] else "the base install is BROKEN")
