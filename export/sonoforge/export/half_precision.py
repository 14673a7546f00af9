"""A classifier in 16 bits: half the size, for GPUs and accelerators; the interface stays float32."""

from __future__ import annotations

import onnx

from sonoforge.export.onnx_derivative import finish
from sonoforge.export.source import Source
from sonoforge.runtime import onnx_file  # noqa: F401 - its telemetry switch comes before the import of onnxruntime


def to_half(model: bytes) -> bytes:
    """Store the weights in float16 and compute in it, with float32 inputs and outputs.

    Args:
        model: A float32 ONNX file.

    Returns:
        The ONNX file: the same inputs, outputs and metadata.  A processor without 16-bit arithmetic computes it in
        float32 and rounds in between, which is slower than the float32 file, not faster.

    Raises:
        GateError: The converted model is not valid.
    """
    # Here, because this import takes a second that other formats need not spend.
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    original = onnx.load_model_from_string(model)
    changed = convert_float_to_float16(onnx.load_model_from_string(model), keep_io_types=True)
    # The converter appends the casts of the inputs; a valid file has them before their use.
    OnnxModel.graph_topological_sort(changed.graph, is_deterministic=True)
    return finish(changed, original)


def write_half(source: Source) -> bytes:
    """Write ``model.fp16.onnx``; see `to_half`."""
    return to_half(source.onnx)
