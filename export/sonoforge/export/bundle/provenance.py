"""What made a bundle: packages with their versions and licences, as in a software bill of materials."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

_PACKAGES = (
    *("sonoforge", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "safetensors"),
    *("executorch", "torchao", "tensorrt_rtx", "tensorrt"),
)


def provenance() -> dict[str, Any]:
    """Describe the programs; names of the machine, its user and its folders stay out.

    Returns:
        ``packages``: ``name``, ``version``, ``licence`` and ``purl`` (package URL) of each that is installed;
        ``python``; ``machine``.
    """
    packages = []
    for name in _PACKAGES:
        try:
            about: Any = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        licence = about.get("License-Expression") or about.get("License") or "not stated"
        packages.append(
            {
                "name": name,
                "version": about["Version"],
                "licence": licence.splitlines()[0][:80],
                "purl": f"pkg:pypi/{name.replace('_', '-')}@{about['Version']}",
            }
        )
    return {
        "packages": packages,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the version of each of those packages: what a single file was made with."""
    return {entry["name"]: entry["version"] for entry in provenance()["packages"]}
