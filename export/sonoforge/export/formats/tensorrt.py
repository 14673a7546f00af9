"""Check engines of TensorRT and TensorRT-RTX against their records before loading them, and run them.

The record beside an engine, ``NAME.engine.json``, says what built it and from what.  An engine is native code for a
GPU, and its own header says too little, so a foreign, stale or damaged one must be refused before any of it is loaded.
The record is read strictly, without TensorRT or a GPU; then hash, package, exact version, compute capability and ONNX
file are compared.  Host code inside engines is never allowed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.manifest import (
    Readers,
    digest,
    fields,
    file_name,
    load_json,
    one_of,
    text,
    whole,
    wrong,
)
from sonoforge.runtime.errors import GateError, SonoforgeError, install_extra, not_installed, refusing, require

if TYPE_CHECKING:
    from sonoforge.runtime.inference.runners import Answer

FORMAT_VERSION = 2
PACKAGES = ("tensorrt_rtx", "tensorrt")
"""By import name; the first builds on any machine, the second on a GPU, for that GPU alone."""
PRECISIONS = ("fp32", "fp16")
DEVICE = "cuda"
_LARGEST_RECORD = 64_000

Record = dict[str, Any]
"""The content of a record, checked by `parse_record`."""


def record_path(engine: Path) -> Path:
    """Return the path of an engine's record: ``model.engine.json`` for ``model.engine``."""
    return engine.with_name(engine.name + ".json")


def to_json(record: Record) -> bytes:
    """Return a record as the content of its file."""
    return (json.dumps(record, indent=2) + "\n").encode()


def _inputs(name: str, value: Any) -> dict[str, list[list[int]]]:
    """Check that each input has three shapes of equal rank that grow from the smallest to the largest."""

    def is_profile(shapes: Any) -> bool:
        return (
            isinstance(shapes, list)
            and len(shapes) == 3
            and all(isinstance(shape, list) for shape in shapes)
            and len({len(shape) for shape in shapes}) == 1
            and all(type(size) is int for shape in shapes for size in shape)
            and all(0 < low <= typical <= high for low, typical, high in zip(*shapes, strict=True))
        )

    if not isinstance(value, dict) or not value or not all(map(is_profile, value.values())):
        raise wrong(name, value, "names with their smallest, typical and largest shapes")
    return value


def _outputs(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise wrong(name, value, "names")
    if len(set(value)) < len(value):
        raise wrong(name, value, "different names")
    return value


_READERS: Readers = {
    "format_version": partial(whole, low=FORMAT_VERSION, high=FORMAT_VERSION),
    "engine_sha256": digest,
    "engine_bytes": partial(whole, low=1, high=10**12),
    "source": file_name,  # of the float32 ONNX file beside the engine
    "source_sha256": digest,
    "onnx_sha256": digest,  # of the ONNX file that was built: the source itself, or the source in a lower precision
    "package": partial(one_of, expected=PACKAGES),
    "version": text,  # of the package
    "capability": text,  # compute capability of the GPU that it was built for, or ``any``
    "precision": partial(one_of, expected=PRECISIONS),
    "inputs": _inputs,  # in the ONNX file's order
    "outputs": _outputs,  # in the ONNX file's order, which the engine need not keep
    "produced_by": text,
}


def parse_record(data: bytes) -> Record:
    """Check the keys, types and values of a record's file content; otherwise raise a one-line `SonoforgeError`."""
    if len(data) > _LARGEST_RECORD:
        raise SonoforgeError(f"has more than {_LARGEST_RECORD} bytes, too many for the record of an engine")
    return fields("record", load_json(data, "record"), _READERS)


def read_record(engine: Path) -> Record:
    """Read the record beside an engine; without one, or if `parse_record` refuses it, raise a `SonoforgeError`."""
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


def supports(package: str, capability: tuple[int, int]) -> bool:
    """Whether a package's engines run on a GPU of this compute capability, such as (8, 9).

    The vendor's pages: TensorRT from Turing on; TensorRT-RTX's engines built without a GPU on "8.0, 8.6, 8.9, 12.0, and
    later"; 9.0 and 10.0 are not RTX GPUs.
    """
    if package != PACKAGES[0]:
        return capability >= (7, 5)
    return capability in ((8, 0), (8, 6), (8, 9)) or capability >= (12, 0)


def missing() -> str:
    """Return the reason why this machine cannot run engines; empty if it can."""
    if (capability := _gpu()) is None:
        return "needs an NVIDIA GPU with its driver, and a torch with CUDA"
    fitting = [package for package in PACKAGES if supports(package, capability)]
    if not fitting:
        return "needs a GPU that TensorRT supports, not compute capability {}.{}; use onnx".format(*capability)
    return not_installed(extra_of(fitting[0]), "|".join(fitting))


def extra_of(package: str) -> str:
    """Return the extra that installs a package."""
    return package.replace("_", "-")


def _gpu() -> tuple[int, int] | None:
    """Return the compute capability of this machine's GPU, or None without one, or without torch."""
    try:
        import torch  # noqa: PLC0415 - most callers only ask what is missing
    except ModuleNotFoundError:
        return None
    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


def builder(name: str) -> tuple[str, str]:
    """Return the package that builds here, and the compute capability that its engines are for, or ``any``.

    It is the first installed one that supports this GPU.  Without such a GPU only TensorRT-RTX can build.  ``name`` is
    for errors.
    """
    require(name, extra_of(PACKAGES[0]), "|".join(PACKAGES))
    gpu = _gpu()
    installed = [package for package in PACKAGES if importlib.util.find_spec(package)]
    here = [package for package in installed if gpu and supports(package, gpu)]
    package = (here or installed)[0]
    if package == PACKAGES[0]:
        return package, "any"
    if gpu is None or not here:
        remedy = install_extra(extra_of(PACKAGES[0]))
        raise SonoforgeError(f"{name}: {package} builds on a GPU that it supports; to build without, run {remedy}")
    return package, "{}.{}".format(*gpu)


def check_engine(path: Path, version: str, capability: tuple[int, int]) -> tuple[bytes, Record]:
    """Check an engine against its record and the machine, without loading it; return its bytes and its record.

    ``version`` is the package's exact ``__version__``, ``capability`` the GPU's. Raise `SonoforgeError` with the reason
    and the remedy if it must not be loaded.
    """
    record = read_record(path)
    again = f"build it again from {record['source']}, which onnxruntime runs meanwhile"
    if record["version"] != version:  # engines load only where exactly their version is installed
        raise SonoforgeError(
            f"{path}: is an engine of {record['package']} {record['version']}, not of the installed {version}; {again}"
        )
    found = "{}.{}".format(*capability)
    if not supports(record["package"], capability) or record["capability"] not in ("any", found):
        built = f"was built for compute capability {record['capability']}"
        raise SonoforgeError(f"{path}: {built}, and is not for this GPU's compute capability {found}; {again}")
    source = path.with_name(record["source"])
    if source.is_file() and hashlib.sha256(source.read_bytes()).hexdigest() != record["source_sha256"]:
        raise SonoforgeError(f"{source}: is not the file that {path.name} was built from; {again}")
    with refusing(f"{path}: cannot be read", again, kinds=OSError):
        size = path.stat().st_size
        data = path.read_bytes() if size == record["engine_bytes"] else b""
    if not data:
        raise SonoforgeError(f"{path}: is {size} bytes long, not {record['engine_bytes']}; copy it again or {again}")
    if hashlib.sha256(data).hexdigest() != record["engine_sha256"]:
        raise SonoforgeError(f"{path}: its SHA-256 is not the one in its record; copy it again or {again}")
    return data, record


def open_file(path: Path, threads: int = 1) -> Answer:
    """Check an engine, load it onto the GPU and return the function that runs it, or raise `SonoforgeError`.

    Our tests run it against a stand-in for the package, not on a GPU.
    """
    import torch  # noqa: PLC0415 - the checks do not need it

    package = read_record(path)["package"]
    try:
        trt = importlib.import_module(package)
    except ImportError as error:
        remedy = f"run {install_extra(extra_of(package))}"
        raise SonoforgeError(f"{path}: is for {package}, not importable ({error}); {remedy}") from error
    data, record = check_engine(path, trt.__version__, torch.cuda.get_device_capability())
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    if package == PACKAGES[0]:  # the other has no such check
        validity, diagnostics = runtime.get_engine_validity(data[: runtime.engine_header_size])
        if validity == trt.EngineValidity.INVALID:
            raise SonoforgeError(f"{path}: TensorRT calls it invalid here (diagnostics {diagnostics}); build it again")
    engine = runtime.deserialize_cuda_engine(data)
    context = None if engine is None else engine.create_execution_context()
    if context is None:
        raise SonoforgeError(f"{path}: TensorRT does not load it, see its messages above; build it again")
    stream = torch.cuda.Stream()
    # By name, not by position: an engine need not keep the order of the ONNX file.
    names = (*record["inputs"], *record["outputs"])
    dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}

    def check_input(name: str, values: NDArray[Any], profile: list[list[int]]) -> None:
        """Refuse an array that the engine would misread, because engines receive addresses, not shapes."""
        low, _, high = profile
        fits = values.ndim == len(low) and all(
            smallest <= size <= largest for smallest, size, largest in zip(low, values.shape, high, strict=True)
        )
        if values.dtype != dtypes[name] or not fits:
            expected = f"{dtypes[name]} {tuple(low)} to {tuple(high)}"
            raise SonoforgeError(f"{path}: {name}: {values.dtype} {values.shape} is not {expected}")

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
