"""Run TensorRT and TensorRT-RTX engines, after their record has been checked; see `runtime.inference.runners`.

The checks need no GPU and no TensorRT, and come before a byte of the engine is handed to it: its hash, the package
and the exact version that built it, the GPU's compute capability, the ONNX file that it was built from.  An engine
runs native code, so only one that fits its record is loaded, and host code inside engines is never allowed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.export.formats.tensorrt.record import PORTABLE, SUFFIXES, Record, module_of, read_record
from sonoforge.runtime.errors import GateError, SonoforgeError

if TYPE_CHECKING:
    from sonoforge.runtime.inference.runners import Answer

DEVICE = "cuda"

# The vendor's page on engines built without a GPU: "8.0, 8.6, 8.9, 12.0, and later"; 9.0 and 10.0 are no RTX GPUs.
_PORTABLE_SINGLE = ((8, 0), (8, 6), (8, 9))
_PORTABLE_FROM = (12, 0)
_TURING = (7, 5)


def gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of this machine's GPU, such as (8, 9); None without one that torch can use."""
    try:
        import torch  # noqa: PLC0415 - most callers only query what is missing
    except ModuleNotFoundError:
        return None
    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


def missing() -> str:
    """Return why this machine cannot run engines; empty if it can."""
    capability = gpu_capability()
    if capability is None:
        return "needs an NVIDIA GPU with its driver, and a torch with CUDA"
    installed = [module for module in SUFFIXES if importlib.util.find_spec(module)]
    if not installed:
        return "needs pip install 'sonoforge[tensorrt]' (RTX GPUs) or pip install tensorrt (any other NVIDIA GPU)"
    if installed == ["tensorrt_rtx"] and capability != _TURING and not covers([PORTABLE], capability):
        found = ".".join(map(str, capability))
        return f"needs a GPU that TensorRT-RTX knows, found compute capability {found}; pip install tensorrt"
    return ""


def covers(capabilities: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether an engine built for ``["portable"]``, or for names such as ``"SM89"``, may run on a GPU."""
    if list(capabilities) == [PORTABLE]:
        return capability in _PORTABLE_SINGLE or capability >= _PORTABLE_FROM
    return "SM{}{}".format(*capability) in capabilities


def check_engine(path: Path, module_name: str, version: str, capability: tuple[int, int] | None = None) -> Record:
    """Check an engine against its record and against what would run it, without loading any of it.

    Args:
        path: The engine, with its record beside it.
        module_name: The package that would run it: ``tensorrt`` or ``tensorrt_rtx``.
        version: That package's exact ``__version__``.
        capability: Compute capability of the GPU that would run it; None where there is no GPU: it is not checked.

    Raises:
        SonoforgeError: It must not be loaded; the message says why and what to do.
    """
    return _checked(path, module_name, version, capability)[1]


def _checked(path: Path, module_name: str, version: str, capability: tuple[int, int] | None) -> tuple[bytes, Record]:
    """Return the bytes that passed the checks, with the record."""
    record = read_record(path)
    again = f"build it again from {record['source']}, which onnxruntime runs meanwhile"
    if record["module"] != module_name:
        raise SonoforgeError(f"{path}: found an engine of {record['module']}, expected one of {module_name}; {again}")
    if record["version"] != version:
        raise SonoforgeError(
            f"{path}: found an engine of {module_name} {record['version']}, expected {version}, the one that would run "
            f"it; engines load only where exactly their version is installed: {again}"
        )
    # TensorRT-RTX's engines run on Linux and on Windows; plain TensorRT's only where they were built.
    if module_name == "tensorrt" and record["system"] != platform.system():
        raise SonoforgeError(f"{path}: found an engine of {record['system']}, expected {platform.system()}; {again}")
    if capability is not None and not covers(record["capabilities"], capability):
        raise SonoforgeError(
            f"{path}: found an engine for {', '.join(record['capabilities'])}, expected one for this GPU's compute "
            f"capability {capability[0]}.{capability[1]}; {again}"
        )
    source = path.with_name(record["source"])
    if source.is_file():
        _same_hash(source, source.read_bytes(), record["source_sha256"], f"{path.name} was built from another; {again}")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == record["engine_bytes"] else b""
    except OSError as error:
        raise SonoforgeError(f"{path}: cannot be read ({error.strerror}); {again}") from error
    if not data:
        raise SonoforgeError(f"{path}: found {size} bytes, expected {record['engine_bytes']}; copy it again or {again}")
    _same_hash(path, data, record["engine_sha256"], f"copy it again or {again}")
    return data, record


def _same_hash(path: Path, data: bytes, expected: str, remedy: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise SonoforgeError(f"{path}: found SHA-256 {found[:12]}..., expected {expected[:12]}...; {remedy}")


def open_file(path: Path, threads: int = 1) -> Answer:
    """Check an engine by the record beside it, load it onto the GPU and return the function that runs it.

    Our tests run it against a stand-in for the package, not on a GPU.

    Raises:
        SonoforgeError: The checks refuse it, or the package does not load it.
    """
    import torch  # noqa: PLC0415 - the checks do not need it

    name = module_of(path)
    try:
        trt = importlib.import_module(name)
    except ImportError as error:
        raise SonoforgeError(f"{path}: {name} cannot be imported ({error}); pip install {name}") from error
    data, record = _checked(path, name, trt.__version__, torch.cuda.get_device_capability())
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    if hasattr(runtime, "get_engine_validity"):  # TensorRT-RTX alone has it
        validity, diagnostics = runtime.get_engine_validity(data[: runtime.engine_header_size])
        if validity == trt.EngineValidity.INVALID:
            raise SonoforgeError(f"{path}: {name} calls it invalid here (diagnostics {diagnostics}); build it again")
    engine = runtime.deserialize_cuda_engine(data)
    context = None if engine is None else engine.create_execution_context()
    if context is None:
        raise SonoforgeError(f"{path}: {name} does not load it, see its messages above; build it again")
    stream = torch.cuda.Stream()
    dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in _names(record)}

    def answer(inputs: Sequence[NDArray[Any]], _keep: object = (runtime, engine)) -> list[NDArray[Any]]:
        with torch.cuda.stream(stream):  # copies and network on one stream, so that they wait for each other
            tensors = {}
            for (name, profile), values in zip(record["inputs"].items(), inputs, strict=True):
                _check_input(path, name, values, dtypes[name], profile)
                tensors[name] = torch.from_numpy(np.ascontiguousarray(values)).to(DEVICE)
                _done(path, context.set_input_shape(name, values.shape), f"shape {values.shape} of {name}")
            for name in record["outputs"]:
                shape = tuple(context.get_tensor_shape(name))
                tensors[name] = torch.empty(shape, dtype=getattr(torch, dtypes[name].name), device=DEVICE)
            for name, tensor in tensors.items():
                _done(path, context.set_tensor_address(name, tensor.data_ptr()), f"address of {name}")
            _done(path, context.execute_async_v3(stream.cuda_stream), "run")
            return [tensors[name].cpu().numpy() for name in record["outputs"]]

    return answer


def _names(record: Record) -> list[str]:
    """By name, not by position: an engine need not keep the order of the ONNX file."""
    return [*record["inputs"], *record["outputs"]]


def _check_input(path: Path, name: str, values: NDArray[Any], dtype: np.dtype[Any], profile: list[list[int]]) -> None:
    """Refuse an array that the engine would misread: it knows addresses, not shapes."""
    low, _, high = profile
    fits = values.ndim == len(low) and all(
        smallest <= size <= largest for smallest, size, largest in zip(low, values.shape, high, strict=True)
    )
    if values.dtype != dtype or not fits:
        raise SonoforgeError(
            f"{path}: {name}: found {values.dtype} {values.shape}, expected {dtype} {tuple(low)} to {tuple(high)}"
        )


def _done(path: Path, worked: bool, what: str) -> None:
    if not worked:
        raise GateError(f"{path}: TensorRT refused: {what}; see its messages above")
