"""Do the other model files of a bundle answer its golden images on this machine, too?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.container import lay_out
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference.model_files import NOT_TRUSTED, missing, run_in_subprocess, runs_code

OUTPUTS = ("logits", "probabilities", "embedding", "cam")
"""Outputs of a model file, in order."""

TOLERANCES = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.25}
"""Largest difference of a probability by precision.

Golden images are simulated scans, which a model may be unsure of: this is more than the gate of the export allows on
the model's own kind of image (measured with the shipped model: fp16 0.005, int8 0.08).
"""


def compare_formats(bundle: Bundle, trust: bool = False) -> dict[str, dict[str, Any]]:
    """Let the other model files of a bundle answer the golden images, each in a process of its own.

    Args:
        bundle: Whose files.
        trust: Run the files that are programs, too.

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
        reason = NOT_TRUSTED if runs_code(entry.format) and not trust else missing(entry.format)
        if reason:
            row["reason"] = reason
            continue
        row["tolerance"] = TOLERANCES[entry.precision]
        inputs = golden["pixels"] if entry.format.endswith("-uint8") else tensors
        with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
            try:
                outputs = run_in_subprocess(
                    entry.format, lay_out(bundle.manifest.files, bundle.read, name, Path(folder)), [inputs]
                )
                row["max_abs_difference"] = _difference(name, outputs, golden)
                if not row["max_abs_difference"] <= row["tolerance"]:
                    found = f"{row['max_abs_difference']:.2g}, expected at most {row['tolerance']:g}"
                    row["reason"] = f"{name}: a probability of a golden image differs by {found}"
            except SonoforgeError as error:
                row["reason"] = str(error).replace(f"{folder}/", "")
        row["status"] = "failed" if "reason" in row else "passed"
    return rows


def _difference(name: str, outputs: list[NDArray[Any]], golden: dict[str, NDArray[Any]]) -> float:
    """Return the largest difference of a probability.

    Raises:
        GateError: The outputs are not those of a classifier, or hold no numbers.
    """
    found, expected = [output.shape for output in outputs], [golden[output].shape for output in OUTPUTS]
    if found != expected:
        raise GateError(f"{name}: found outputs of shapes {found}, expected {expected}; export it again")
    difference = float(np.abs(outputs[1] - golden["probabilities"]).max())
    if not np.isfinite(difference):
        raise GateError(f"{name}: found a probability that is not a number; export it again")
    return difference
