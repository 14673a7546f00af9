"""A stand-in for ``tensorrt_rtx`` and ``tensorrt``: what running an engine asks of their interface, without a GPU.

It answers by onnxruntime, but only as the package would let it: inputs are read and outputs written at the addresses
that were given, in shapes that were set before, and calls that come too early fail as the package's do.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bundle_factory import SIZE, model_bytes
from sonoforge.export.formats import tensorrt as tensorrt_engine
from sonoforge.export.formats.tensorrt import record_path, to_json

DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
STREAM = 7
VERSION = "1.7.1.116"


class Context:
    """Stands for ``IExecutionContext``."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.inputs = {item.name: DTYPES[item.type] for item in session.get_inputs()}
        self.outputs = [item.name for item in session.get_outputs()]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return name in self.inputs

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if set(self.shapes) != set(self.inputs):
            return (-1,)
        zeros = {key: np.zeros(shape, self.inputs[key]) for key, shape in self.shapes.items()}
        return tuple(self.session.run([name], zeros)[0].shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return name in (*self.inputs, *self.outputs)

    def execute_async_v3(self, stream_handle: int) -> bool:
        complete = set(self.addresses) == {*self.inputs, *self.outputs} and set(self.shapes) == set(self.inputs)
        if stream_handle != STREAM or not complete:
            return False
        values = {}
        for name, dtype in self.inputs.items():
            size = int(np.prod(self.shapes[name])) * np.dtype(dtype).itemsize
            data = ctypes.string_at(self.addresses[name], size)
            values[name] = np.frombuffer(data, dtype).reshape(self.shapes[name])
        for name, result in zip(self.outputs, self.session.run(self.outputs, values), strict=True):
            ctypes.memmove(self.addresses[name], result.tobytes(), result.nbytes)
        return True


def install(
    patch: pytest.MonkeyPatch,
    model: Path,
    *,
    package: str = "tensorrt_rtx",
    version: str = "1.7.1.116",
    capability: tuple[int, int] = (8, 9),
    valid: bool = True,
    loads: bool = True,
) -> list[bytes]:
    """Make this process believe that it has a GPU and the package; return what will have been deserialised."""
    import torch

    deserialised: list[bytes] = []

    class Runtime:
        def __init__(self, *_: object) -> None:
            """Take a logger."""

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            deserialised.append(data)
            session = onnxruntime.InferenceSession(str(model))
            dtypes = {item.name: DTYPES[item.type] for item in (*session.get_inputs(), *session.get_outputs())}
            engine = {"create_execution_context": lambda: Context(session), "get_tensor_dtype": dtypes.__getitem__}
            return SimpleNamespace(**engine) if loads else None

    class RuntimeOfRtx(Runtime):
        engine_header_size = 64

        def get_engine_validity(self, header: bytes) -> tuple[str, int]:
            assert len(header) <= 64
            return ("VALID", 0) if valid else ("INVALID", 32)

    class Logger:
        ERROR = 1

        def __init__(self, *_: object) -> None:
            """Take a severity."""

    module, rtx = ModuleType(package), package == "tensorrt_rtx"
    contents = {
        "__version__": version,
        "__spec__": ModuleSpec(package, None),
        "Runtime": RuntimeOfRtx if rtx else Runtime,
        "Logger": Logger,
        **({"EngineValidity": SimpleNamespace(INVALID="INVALID")} if rtx else {}),
        "nptype": lambda dtype: dtype,
    }
    for name, value in contents.items():
        setattr(module, name, value)
    patch.setitem(sys.modules, package, module)
    patch.setattr(tensorrt_engine, "DEVICE", "cpu")
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    patch.setattr(torch.cuda, "Stream", lambda: SimpleNamespace(cuda_stream=STREAM))
    patch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    return deserialised


def record_of(engine: bytes, model: bytes = b"", **changes: Any) -> dict[str, Any]:
    """The record of the patch network's engine, as the builder would write it."""
    hashed = hashlib.sha256(model or model_bytes()).hexdigest()
    return {
        "format_version": 2,
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "engine_bytes": len(engine),
        "source": "model.onnx",
        "source_sha256": hashed,
        "onnx_sha256": hashed,
        "package": "tensorrt_rtx",
        "version": VERSION,
        "capability": "any",
        "precision": "fp32",
        "inputs": {"input": [[1, 3, SIZE, SIZE], [1, 3, SIZE, SIZE], [4, 3, SIZE, SIZE]]},
        "outputs": ["logits", "probabilities", "embedding", "cam"],
        "produced_by": "sonoforge 0.1.0",
        **changes,
    }


def written(folder: Path, **changes: Any) -> Path:
    """Engine, record and ONNX file side by side; the engine's bytes mean something to the stand-in alone."""
    engine = bytes(range(200))
    path = folder / "model.engine"
    path.write_bytes(engine)
    record_path(path).write_bytes(to_json(record_of(engine, **changes)))
    (folder / "model.onnx").write_bytes(model_bytes())
    return path
