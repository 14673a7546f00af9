"""Examine this installation: what is installed, what can run, and what to install for the rest.

It downloads nothing. It imports only the base install, and the packages that run TorchScript and ExecuTorch files, such
as torch, to find out whether they load; it only looks up the other extras.
"""

import importlib
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from sonoforge.runtime import machine
from sonoforge.runtime.errors import SonoforgeError, install_extra, pip_install, reason

_BASE = ("numpy", "onnxruntime", "packaging", "pillow", "pydicom")
_UNIONS = ("all", "dev")  # of the other extras, and tools of developers
_MODULES = {"pillow": "PIL"}  # of the base install, where the import has another name


def examine() -> dict[str, Any]:
    """Return what ``sonoforge doctor --json`` prints, see ``sonoforge settings doctor``."""
    try:
        lines = metadata.requires("sonoforge") or []
        names = metadata.metadata("sonoforge").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from a folder
        lines, names = list(_BASE), []
    requirements = [Requirement(line) for line in lines]
    versions, problems = _import_base([item for item in requirements if _applies(item)])
    bundle, programs = (None, {}) if problems else _own_parts(problems)
    return {
        "ok": not problems,
        "problems": problems,
        "machine": {**machine.describe(), "gpus": _gpus(), "free_disk_bytes": shutil.disk_usage(Path.cwd()).free},
        "base": versions,
        "extras": {name: examine_extra(name, requirements) for name in names if name not in _UNIONS},
        "programs": programs,
        "bundle": bundle,
    }


def _applies(requirement: Requirement, extra: str = "") -> bool:
    """Whether this machine needs a package for an extra, or for the base install."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def examine_extra(name: str, requirements: Sequence[Requirement]) -> dict[str, Any]:
    """Compare what an extra requires on this machine with what is installed."""
    installed, missing = {}, []
    for item in requirements:
        if _applies(item) or not _applies(item, name):
            continue
        try:
            version = installed[item.name] = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            missing.append(f"{item.name}{item.specifier}")
            continue
        if not item.specifier.contains(version, prereleases=True):
            missing.append(f"{item.name}{item.specifier} (found {version})")
    install = install_extra(name) if missing else ""
    return {"complete": not missing, "installed": installed, "missing": missing, "install": install}


def _import_base(base: Sequence[Requirement]) -> tuple[dict[str, str | None], list[str]]:
    """Import what the runtime cannot do without; return the versions and what is wrong.

    The module counts, not the package: onnxruntime-gpu also provides the module onnxruntime.
    """
    versions: dict[str, str | None] = {}
    problems = []
    for item in base:
        package = f"{item.name}{item.specifier}"
        try:
            module = importlib.import_module(_MODULES.get(item.name.lower(), item.name))
            versions[item.name] = version = str(module.__version__)
        except Exception as error:  # a package for another processor or Python fails in many ways
            versions[item.name] = None
            problems.append(f"{item.name}: cannot be imported ({reason(error)}); run {pip_install(package)}")
            continue
        if not item.specifier.contains(version, prereleases=True):
            problems.append(f"{item.name}: is {version}, not {item.specifier}; run {pip_install('-U', package)}")
    return versions, problems


def _own_parts(problems: list[str]) -> tuple[dict[str, str] | None, dict[str, str]]:
    """Return the shipped bundle's name and version, and why each program cannot run; append to the problems."""
    # Not above: these import numpy, which may be what is broken.
    from sonoforge.runtime.bundle.reader import open_bundle  # noqa: PLC0415
    from sonoforge.runtime.inference.runners import RUNNERS, missing  # noqa: PLC0415

    bundle = None
    try:
        found = open_bundle()
        bundle = {"name": found.manifest.name, "version": found.manifest.version}
        if not found.is_shipped:
            problems.append(f"{found.path}: was changed, so it is not the bundle shipped; install sonoforge again")
    except SonoforgeError as error:
        problems.append(str(error))
    return bundle, {name: missing(name).removeprefix(f"{name}: ") for name in RUNNERS}


def _gpus() -> list[str]:
    """Return the name, memory and driver of each GPU as NVIDIA's own program prints them; empty without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
