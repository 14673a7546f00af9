"""The one table of what a classifier can be exported to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sonoforge.export.formats.executorch import write_executorch, write_executorch_int8
from sonoforge.export.formats.half_precision import write_half
from sonoforge.export.formats.ort import write_ort
from sonoforge.export.formats.preprocessing_graph import write_uint8
from sonoforge.export.formats.quantisation import write_int8
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.tensorrt.build import write_engine, write_engine_fp16, write_engine_int8
from sonoforge.export.formats.torchscript import write_lite, write_torchscript
from sonoforge.export.gate.tolerance import CLOSE, EXACT, HALF, INT8, RESIZED, Tolerance

Writer = Callable[[Source], dict[str, bytes]]


@dataclass(frozen=True)
class Format:
    """One row.

    Attributes:
        file: Its file in the bundle; a writer may add a second one beside it.
        precision: Of weights and arithmetic: ``fp32``, ``fp16`` or ``int8``.
        write: From the network to files by name; None for the bundle's own ``model.onnx``, which is always there.
        tolerance: How far its answers may be from the network's.
        packages: What must be installed to write it, by import name.
        extra: The extra that installs them; empty: they are installed by their own names.
        runs_on: Where it runs, and by what.
        batch: Images at a time when it is checked.
        whole_images: Whether it takes uint8 images of any size, (1, height, width, channels), not normalised tensors.
    """

    file: str
    precision: str
    write: Writer | None
    tolerance: Tolerance
    runs_on: str
    packages: tuple[str, ...] = ()
    extra: str = "export"
    batch: int = 8
    whole_images: bool = False


def _one(file: str, write: Callable[[Source], bytes]) -> Writer:
    return lambda source: {file: write(source)}


_EXECUTORCH = ("executorch", "torchao")
_RTX = ("tensorrt_rtx",)
_PLAIN = ("tensorrt",)
_SERVER = "any NVIDIA GPU, the very one that it was built on: TensorRT of the same version"
_NVIDIA = "NVIDIA RTX GPUs: TensorRT-RTX of the same version"

FORMATS: dict[str, Format] = {
    "onnx": Format("model.onnx", "fp32", None, EXACT, "anywhere: ONNX Runtime, in a browser too"),
    "onnx-fp16": Format(
        "model.fp16.onnx",
        "fp16",
        _one("model.fp16.onnx", write_half),
        HALF,
        "GPUs and NPUs: ONNX Runtime; half the size",
    ),
    "onnx-int8": Format(
        "model.int8.onnx", "int8", _one("model.int8.onnx", write_int8), INT8, "CPUs and phones: ONNX Runtime; a third"
    ),
    "onnx-uint8": Format(
        "model.uint8.onnx",
        "fp32",
        _one("model.uint8.onnx", write_uint8),
        RESIZED,
        "as onnx, from pixels of any size: nothing to prepare",
        whole_images=True,
    ),
    "ort": Format("model.ort", "fp32", _one("model.ort", write_ort), EXACT, "reduced builds of ONNX Runtime"),
    "torchscript": Format(
        "model.torchscript.pt",
        "fp32",
        _one("model.torchscript.pt", write_torchscript),
        CLOSE,
        "libtorch: C++ and Python",
    ),
    "torchscript-lite": Format(
        "model.ptl", "fp32", _one("model.ptl", write_lite), CLOSE, "PyTorch Mobile, which is no longer developed"
    ),
    "executorch": Format(
        "model.pte",
        "fp32",
        _one("model.pte", write_executorch),
        CLOSE,
        "Android and iOS: ExecuTorch with XNNPACK",
        _EXECUTORCH,
        "mobile",
    ),
    "executorch-int8": Format(
        "model.int8.pte",
        "int8",
        _one("model.int8.pte", write_executorch_int8),
        INT8,
        "Android and iOS: ExecuTorch with XNNPACK",
        _EXECUTORCH,
        "mobile",
    ),
    "tensorrt": Format("model.rtx.engine", "fp32", write_engine, CLOSE, _NVIDIA, _RTX, "tensorrt"),
    "tensorrt-fp16": Format("model.fp16.rtx.engine", "fp16", write_engine_fp16, HALF, _NVIDIA, _RTX, "tensorrt"),
    "tensorrt-int8": Format("model.int8.rtx.engine", "int8", write_engine_int8, INT8, _NVIDIA, _RTX, "tensorrt"),
    # Data-centre GPUs have no TensorRT-RTX: an engine of plain TensorRT is built on the machine that will run it.
    "tensorrt-server": Format(
        "model.engine", "fp32", partial(write_engine, module="tensorrt"), CLOSE, _SERVER, _PLAIN, ""
    ),
    "tensorrt-server-fp16": Format(
        "model.fp16.engine", "fp16", partial(write_engine_fp16, module="tensorrt"), HALF, _SERVER, _PLAIN, ""
    ),
    "tensorrt-server-int8": Format(
        "model.int8.engine", "int8", partial(write_engine_int8, module="tensorrt"), INT8, _SERVER, _PLAIN, ""
    ),
}
