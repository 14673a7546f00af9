"""TensorRT engines and their records: checked before an engine is loaded, and run.

The record beside an engine, ``NAME.engine.json``, says what it was built from and where it may run.  An engine is
native code for a GPU whose own header says too little, so a foreign, stale or damaged one must be refused before any
of it is loaded.  The record is read strictly, without TensorRT or a GPU; then hash, package and exact version, compute
capability and ONNX file are compared.  Host code inside engines is never allowed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import platform
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.manifest import (
    ManifestError,
    Readers,
    boolean,
    digest,
    fields,
    file_name,
    load_json,
    one_of,
    text,
    whole,
)
from sonoforge.runtime.errors import GateError, SonoforgeError

if TYPE_CHECKING:
    from sonoforge.runtime.inference.runners import Answer

FORMAT_VERSION = 1
SUFFIXES = {"tensorrt_rtx": ".rtx.engine", "tensorrt": ".engine"}
PRECISIONS = ("fp32", "fp16", "int8")
PORTABLE = "portable"

DEVICE = "cuda"

# The vendor's page on engines built without a GPU: "8.0, 8.6, 8.9, 12.0, and later"; 9.0 and 10.0 are not RTX GPUs.
_PORTABLE_SINGLE = ((8, 0), (8, 6), (8, 9))
_PORTABLE_FROM = (12, 0)
_TURING = (7, 5)

_LARGEST_RECORD = 64_000


class Record(TypedDict):
    """The content of a record."""

    format_version: int
    engine_sha256: str
    engine_bytes: int
    source: str  # file name of the float32 ONNX file beside the engine
    source_sha256: str
    onnx_sha256: str  # of the ONNX file that was built: the source itself, or the source in a lower precision
    module: str
    version: str
    capabilities: list[str]
    precision: str
    tf32: bool
    inputs: dict[str, list[list[int]]]  # smallest, typical and largest shape, in the ONNX file's order
    outputs: list[str]  # in the ONNX file's order, which the engine need not keep
    system: str
    produced_by: str


def record_path(engine: Path) -> Path:
    """Return the path of an engine's record: ``model.rtx.engine.json`` for ``model.rtx.engine``."""
    return engine.with_name(engine.name + ".json")


def module_of(engine: Path) -> str:
    """Return the package that an engine is for, by its suffix; another name is a `SonoforgeError`."""
    for module, suffix in SUFFIXES.items():
        if engine.name.endswith(suffix):
            return module
    raise SonoforgeError(f"{engine}: an engine's name ends with {' or '.join(SUFFIXES.values())}")


def to_json(record: Record) -> bytes:
    """Return a record as the content of its file."""
    return (json.dumps(record, indent=2) + "\n").encode()


def read_record(engine: Path) -> Record:
    """Read the record beside an engine.

    Raises:
        SonoforgeError: There is none, or `parse_record` refuses it.
    """
    path = record_path(engine)
    try:
        with path.open("rb") as file:
            return parse_record(file.read(_LARGEST_RECORD + 1))
    except OSError as error:
        raise SonoforgeError(
            f"{path}: cannot be read ({error.strerror}), and an engine without its record is not loaded; build it again"
        ) from error
    except SonoforgeError as error:
        raise SonoforgeError(f"{path}: {error}; build the engine again") from error


def parse_record(data: bytes) -> Record:
    """Check the keys, types and values of a record's file content.

    Raises:
        SonoforgeError: One line: which key, what was found, what was expected.
    """
    if len(data) > _LARGEST_RECORD:
        raise SonoforgeError(f"more than {_LARGEST_RECORD} bytes are not the record of an engine")

    def must(fit: Callable[[Any], bool], expected: str) -> Callable[[str, Any], Any]:
        def read(name: str, value: Any) -> Any:
            if not fit(value):
                raise ManifestError(f"{name}: found {value!r:.80}, expected {expected}")
            return value

        return read

    def are_texts(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)

    def is_profile(value: Any) -> bool:
        """Whether three shapes of one rank grow from the smallest to the largest."""
        if not isinstance(value, list) or len(value) != 3 or not all(isinstance(shape, list) for shape in value):
            return False
        if len({len(shape) for shape in value}) != 1 or not all(type(size) is int for shape in value for size in shape):
            return False
        return all(0 < low <= typical <= high for low, typical, high in zip(*value, strict=True))

    readers: Readers = {
        "format_version": partial(whole, low=FORMAT_VERSION, high=FORMAT_VERSION),
        "engine_sha256": digest,
        "engine_bytes": partial(whole, low=1, high=10**12),
        "source": file_name,
        "source_sha256": digest,
        "onnx_sha256": digest,
        "module": partial(one_of, expected=tuple(SUFFIXES)),
        "version": text,
        "capabilities": must(
            lambda value: (
                value == [PORTABLE] or (are_texts(value) and all(re.fullmatch("SM[0-9]{2,3}", name) for name in value))
            ),
            f"{PORTABLE!r} alone, or names such as 'SM89'",
        ),
        "precision": partial(one_of, expected=PRECISIONS),
        "tf32": boolean,
        "inputs": must(
            lambda value: isinstance(value, dict) and bool(value) and all(map(is_profile, value.values())),
            "for each name its smallest, typical and largest shape",
        ),
        "outputs": must(lambda value: are_texts(value) and len(set(value)) == len(value), "different names"),
        "system": text,
        "produced_by": text,
    }
    return cast(Record, fields("record", load_json(data, "record"), readers))


def gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of this machine's GPU, such as (8, 9); None without one that torch can use."""
    try:
        import torch  # noqa: PLC0415 - most callers only ask what is missing
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
        return "needs a GPU that TensorRT-RTX supports, not compute capability {}.{}; pip install tensorrt".format(
            *capability
        )
    return ""


def covers(capabilities: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether an engine built for ``["portable"]``, or for names such as ``"SM89"``, may run on a GPU."""
    if list(capabilities) == [PORTABLE]:
        return capability in _PORTABLE_SINGLE or capability >= _PORTABLE_FROM
    return "SM{}{}".format(*capability) in capabilities


def check_engine(
    path: Path, module_name: str, version: str, capability: tuple[int, int] | None = None
) -> tuple[bytes, Record]:
    """Check an engine against its record and the machine, without loading it; return its bytes and its record.

    Args:
        path: The engine, with its record beside it.
        module_name: The package that would run it: ``tensorrt`` or ``tensorrt_rtx``.
        version: That package's exact ``__version__``.
        capability: Compute capability of the GPU that would run it; None: not checked.

    Raises:
        SonoforgeError: It must not be loaded; the message says why and what to do.
    """
    record = read_record(path)
    again = f"build it again from {record['source']}, which onnxruntime runs meanwhile"

    def refuse(found: str, needed: str, remedy: str = again) -> SonoforgeError:
        return SonoforgeError(f"{path}: is {found}, not {needed}; {remedy}")

    if record["module"] != module_name:
        raise refuse(f"an engine of {record['module']}", f"of {module_name}")
    if record["version"] != version:  # engines load only where exactly their version is installed
        raise refuse(f"an engine of {module_name} {record['version']}", f"of the installed {version}")
    # TensorRT-RTX's engines run on Linux and on Windows; plain TensorRT's only where they were built.
    if module_name == "tensorrt" and record["system"] != platform.system():
        raise refuse(f"an engine for {record['system']}", f"for {platform.system()}")
    if capability is not None and not covers(record["capabilities"], capability):
        own = f"{capability[0]}.{capability[1]}"
        raise refuse(f"an engine for {', '.join(record['capabilities'])}", f"for this GPU's compute capability {own}")
    source = path.with_name(record["source"])
    if source.is_file() and hashlib.sha256(source.read_bytes()).hexdigest() != record["source_sha256"]:
        raise SonoforgeError(f"{source}: is not the file that {path.name} was built from; {again}")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == record["engine_bytes"] else b""
    except OSError as error:
        raise SonoforgeError(f"{path}: cannot be read ({error.strerror}); {again}") from error
    if not data:
        raise refuse(f"{size} bytes long", str(record["engine_bytes"]), f"copy it again or {again}")
    if hashlib.sha256(data).hexdigest() != record["engine_sha256"]:
        raise SonoforgeError(f"{path}: its SHA-256 is not the one in its record; copy it again or {again}")
    return data, record


def open_file(path: Path, threads: int = 1) -> Answer:
    """Check an engine, load it onto the GPU and return the function that runs it.

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
    data, record = check_engine(path, name, trt.__version__, torch.cuda.get_device_capability())
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
    # By name, not by position: an engine need not keep the order of the ONNX file.
    names = (*record["inputs"], *record["outputs"])
    dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}

    def check_input(name: str, values: NDArray[Any], profile: list[list[int]]) -> None:
        """Refuse an array that the engine would misread: it gets addresses, not shapes."""
        low, _, high = profile
        fits = values.ndim == len(low) and all(
            smallest <= size <= largest for smallest, size, largest in zip(low, values.shape, high, strict=True)
        )
        if values.dtype != dtypes[name] or not fits:
            expected = f"{dtypes[name]} {tuple(low)} to {tuple(high)}"
            raise SonoforgeError(f"{path}: {name}: found {values.dtype} {values.shape}, expected {expected}")

    def done(worked: bool, what: str) -> None:
        if not worked:
            raise GateError(f"{path}: TensorRT refused: {what}; see its messages above")

    def answer(inputs: Sequence[NDArray[Any]], _keep: object = (runtime, engine)) -> list[NDArray[Any]]:
        with torch.cuda.stream(stream):  # copies and network on one stream, so that they wait for each other
            tensors = {}
            for (name, profile), values in zip(record["inputs"].items(), inputs, strict=True):
                check_input(name, values, profile)
                tensors[name] = torch.from_numpy(np.ascontiguousarray(values)).to(DEVICE)
                done(context.set_input_shape(name, values.shape), f"shape {values.shape} of {name}")
            for name in record["outputs"]:
                shape = tuple(context.get_tensor_shape(name))
                tensors[name] = torch.empty(shape, dtype=getattr(torch, dtypes[name].name), device=DEVICE)
            for name, tensor in tensors.items():
                done(context.set_tensor_address(name, tensor.data_ptr()), f"address of {name}")
            done(context.execute_async_v3(stream.cuda_stream), "run")
            return [tensors[name].cpu().numpy() for name in record["outputs"]]

    return answer
