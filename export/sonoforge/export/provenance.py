"""What made a bundle: packages with their versions, as in a software bill of materials, and the weights' hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from typing import Any

from torch import nn

_PACKAGES = (
    *("sonoforge", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "safetensors"),
    *("executorch", "torchao", "tensorrt_rtx", "tensorrt"),
)


def provenance(graph: nn.Module) -> dict[str, Any]:
    """Describe the programs and the weights.

    Names of the machine, its user and its folders stay out.

    Args:
        graph: The network.

    Returns:
        ``packages``: name, version, licence and package URL of each that is installed, ``python``, ``machine``, and
        ``weights_sha256`` over names, shapes and values of the network's parameters and buffers.
    """
    packages = []
    for name in _PACKAGES:
        try:
            about: Any = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        version = about["Version"]
        licence = about.get("License-Expression") or about.get("License") or "not stated"
        packages.append(
            {
                "name": name,
                "version": version,
                "licence": licence.splitlines()[0][:80],
                "purl": f"pkg:pypi/{name.replace('_', '-')}@{version}",
            }
        )
    digest = hashlib.sha256()
    for name, value in sorted(graph.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return {
        "packages": packages,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "weights_sha256": digest.hexdigest(),
    }
