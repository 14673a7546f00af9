"""Does the exported file answer as the trained network does?  The gate of every bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from sonoforge.export.formats.onnx_graph import BundleGraph
from sonoforge.export.gate.tolerance import SECOND_LOOK
from sonoforge.runtime.bundle.classification import OUTPUTS
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.inference.onnx_session import session_options

TOLERANCE = 1e-4
"""Largest absolute difference of float32 logits and probabilities that is allowed to a network that looks once."""


def run_torch(graph: nn.Module, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Run the network's own graph on normalised images (N, 3, S, S)."""
    with torch.inference_mode():
        outputs = graph.eval()(torch.from_numpy(inputs))
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}


def compare(
    graph: BundleGraph, model: bytes, pixels: NDArray[np.uint8], preprocessing: Preprocessing, images: str
) -> dict[str, Any]:
    """Compare torch and onnxruntime on the same images.

    Args:
        graph: What was exported.
        model: The ONNX file.
        pixels: (N, S, S, 3) uint8 images.
        preprocessing: How pixels become inputs.
        images: What the images are, for the record.

    Returns:
        ``max_abs`` by output, ``labels_equal``, ``images`` and their ``count``, ``tolerance``, versions.
    """
    session = onnxruntime.InferenceSession(model, session_options(threads=1), providers=["CPUExecutionProvider"])
    worst = dict.fromkeys(OUTPUTS, 0.0)
    equal = 0
    for image in pixels:
        inputs = preprocessing.normalise(image[None])
        ours = run_torch(graph, inputs)
        theirs = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {session.get_inputs()[0].name: inputs}), strict=True))
        for name in OUTPUTS:
            worst[name] = float(np.maximum(worst[name], np.abs(ours[name] - theirs[name]).max()))  # which keeps NaN
        equal += int(ours["logits"].argmax() == theirs["logits"].argmax())
    return {
        "max_abs": worst,
        "labels_equal": equal,
        "count": len(pixels),
        "images": images,
        "tolerance": TOLERANCE * (SECOND_LOOK if graph.look else 1),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def check(parity: dict[str, Any]) -> None:
    """Refuse a file that does not answer as the network does.

    Raises:
        GateError: Logits or probabilities differ by more than ``tolerance``, or a label differs.
    """
    worst = float(np.maximum(parity["max_abs"]["logits"], parity["max_abs"]["probabilities"]))
    if not worst <= parity["tolerance"] or parity["labels_equal"] != parity["count"]:
        raise GateError(
            f"parity: torch and onnxruntime differ by {worst:.2e} (allowed {parity['tolerance']:.0e}) and agree on "
            f"{parity['labels_equal']} of {parity['count']} labels; no bundle was written"
        )
