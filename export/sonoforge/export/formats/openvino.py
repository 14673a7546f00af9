"""Write OpenVINO's own files for Intel's CPUs, GPUs and NPUs, converting the ONNX file without torch.

The ``.xml`` holds the graph and is the file to open; the ``.bin`` beside it, the weights in float32 or float16.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import GateError, SonoforgeError, reason

if TYPE_CHECKING:
    from sonoforge.export.formats.source import Source
    from sonoforge.runtime.inference.runners import Answer

_TELEMETRY = "openvino_telemetry"


def missing() -> str:
    """Return what to install before a file can be written or run; empty if nothing is missing."""
    absent = importlib.util.find_spec("openvino") is None
    return "openvino is not installed; pip install 'sonoforge[openvino]'" if absent else ""


def write_openvino(source: Source, precision: str) -> dict[str, bytes]:
    """Write a classifier in ``fp32`` or ``fp16``, from the ONNX file in that precision.

    OpenVINO's own ``compress_to_fp16`` also rounds the weights that choose the window of a second pass: a probability
    of one of 256 scans of BrEaST moved by 0.019.
    """
    openvino = _openvino()
    data = source.onnx
    if precision == "fp16":
        from sonoforge.export.formats.half_precision import write_half  # noqa: PLC0415 - needs torch; see `open_file`

        data = write_half(source)
    suffix = ".xml" if precision == "fp32" else f".{precision}.xml"
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        graph = Path(folder) / f"{source.stem}{suffix}"
        try:
            openvino.save_model(openvino.Core().read_model(data), graph, compress_to_fp16=False)
        except RuntimeError as error:
            raise GateError(
                f"{graph.name}: OpenVINO cannot convert the ONNX file ({reason(error)}); use the format onnx"
            ) from error
        return {file.name: file.read_bytes() for file in (graph, graph.with_suffix(".bin"))}


def open_file(path: Path, threads: int = 1) -> Answer:
    """Load a file and the ``.bin`` beside it, to compute in float32 on the CPU, or raise `SonoforgeError`."""
    openvino = _openvino()
    # By default, OpenVINO computes in bfloat16 where the processor can: a probability of the shipped bundle's golden
    # images then moves by 0.055.
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    try:
        with _same_signal_stack():
            request = openvino.Core().compile_model(path, "CPU", how).create_infer_request()
    except RuntimeError as error:
        raise SonoforgeError(f"{path}: OpenVINO cannot load it ({reason(error)}); write it again") from error

    def answer(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        outputs = request.infer([np.ascontiguousarray(values) for values in inputs])
        return [values.copy() for values in outputs.values()]  # the next run overwrites them

    return answer


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports every import to Google Analytics."""
    kept = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
        if kept:
            sys.modules[_TELEMETRY] = kept


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux's sigaltstack(2)."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _same_signal_stack() -> Iterator[None]:
    """Restore this thread's signal stack.

    OpenVINO 2026 replaces it with one that it frees with the network, or with another one; the next signal, such as
    Ctrl-C, would then crash the process.
    """
    if sys.platform != "linux":
        yield
        return
    system, before = ctypes.CDLL(None), _SignalStack()
    system.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        system.sigaltstack(ctypes.byref(before), None)
