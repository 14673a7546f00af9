"""Do the other model files of a bundle answer its golden images on this machine, too?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.bundle import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.model_files import answer_apart, missing

TOLERANCES = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.25}
"""Largest difference of a probability by precision.

Golden images are simulated scans, which a model may be unsure of: this is more than the gate of the export allows on
the model's own kind of image (measured with the shipped model: fp16 0.005, int8 0.08).
"""


def compare_formats(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """Let the other model files of a bundle answer the golden images, each in a process of its own.

    Returns:
        By format: ``file``, ``status`` (``passed``, ``failed`` or ``not run``), ``tolerance`` in probabilities and
        ``max_abs_difference``, or the ``reason``.
    """
    golden = bundle.golden()
    tensors = bundle.manifest.preprocessing.normalise(golden["pixels"])
    rows: dict[str, dict[str, Any]] = {}
    for name, entry in bundle.manifest.files.items():
        if not entry.format or name == "model.onnx":
            continue
        row: dict[str, Any] = {"file": name, "status": "not run"}
        rows[entry.format] = row
        reason = missing(entry.format)
        if reason:
            row["reason"] = reason
            continue
        row["tolerance"] = TOLERANCES[entry.precision]
        inputs = golden["pixels"] if entry.format.endswith("-uint8") else tensors
        with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
            for beside in (name, f"{name}.json"):  # an engine's record
                if beside in bundle.manifest.files:
                    (Path(folder) / beside).write_bytes(bundle.read(beside))
            try:
                probabilities = answer_apart(entry.format, Path(folder) / name, [inputs])[1]
                row["max_abs_difference"] = float(np.abs(probabilities - golden["probabilities"]).max())
                if not row["max_abs_difference"] <= row["tolerance"]:
                    found = f"{row['max_abs_difference']:.2g}, expected at most {row['tolerance']:g}"
                    row["reason"] = f"{name}: a probability of a golden image differs by {found}"
            except SonoforgeError as error:
                row["reason"] = str(error).replace(f"{folder}/", "")
        row["status"] = "failed" if "reason" in row else "passed"
    return rows
