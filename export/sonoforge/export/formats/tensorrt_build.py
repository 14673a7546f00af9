"""Build TensorRT and TensorRT-RTX engines from ONNX files, each in a process of its own.

TensorRT-RTX builds on any machine, without a GPU; its engines are compiled further where they run.  Plain TensorRT
times its kernels on the GPU that it builds for.  Networks are strongly typed: the ONNX file decides the precision,
never a flag of the builder.  TF32 is off, so that float32 is float32.

Each build has its own process because TensorRT uses only the first logger of a process, and because a build after a
failed one may come out larger.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import platform
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sonoforge.export.formats.tensorrt import (
    FORMAT_VERSION,
    PORTABLE,
    SUFFIXES,
    Record,
    gpu_capability,
    parse_record,
    to_json,
)
from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.errors import GateError, SonoforgeError, did_you_mean
from sonoforge.runtime.inference.runners import how_it_ended, leave_with_parent, run_module
from sonoforge.training.data.cache import default_folder

if TYPE_CHECKING:
    from sonoforge.export.formats.source import GeneratorSource, Source

_RUN_ONNX = "run the ONNX file with onnxruntime"
_SYMMETRIC = "quantise with int8 activations and weights, zero points of 0 and float32 biases, as format tensorrt-int8"
# Part of an operator's name or of the parser's message -> remedy.
_REMEDIES = {
    "Antialiasing": "export the network without its preprocessing, and resize before it",
    "DynamicQuantizeLinear": _SYMMETRIC,
    "ConvInteger": _SYMMETRIC,
    "MatMulInteger": _SYMMETRIC,
    "zero point": _SYMMETRIC,
    "zero_point": _SYMMETRIC,
    "Int32": _SYMMETRIC,
    "FP32 GEMM": "build it from an fp16 ONNX file, or for SM80 and later",
    "capabilities": "other GPUs need plain TensorRT",
}
# The cause within an error message, most specific form first, of versions 10 to 11 and RTX 1.7.
_CAUSES = (
    r'"([^"]{8,})"',  # (antialias == 0) && "Antialiasing is not supported currently."
    r"API Usage Error \((.*?)\. In ",  # ITensor::getDimensions: Error Code 4: API Usage Error (... In checkType at ...)
    r"\] (.*?)\. In ",  # Error Code 1: Myelin ([pass.cpp:337: ...] Cannot compile operation ... In compileGraph at ...)
    r"Assertion failed: .*?: (.*?)(?:\. |$)",  # Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point ...
)


@dataclass(frozen=True)
class Target:
    """The package that builds an engine, and the GPUs and batches to build for."""

    module: str = "tensorrt_rtx"  # or ``tensorrt``
    # GPUs such as ``("SM86", "SM89")``; none: all GPUs of TensorRT-RTX's portable engines, or for plain TensorRT the
    # GPU of this machine.
    capabilities: tuple[str, ...] = ()
    profile: tuple[int, int, int] = (1, 1, 8)  # smallest, typical and largest batch, for inputs whose batch is free
    timing_cache: Path | None = None  # where plain TensorRT keeps its measurements, for a quicker next build


def build_engine(
    onnx: bytes, name: str, precision: str, target: Target = Target(), source: bytes | None = None
) -> tuple[bytes, Record]:
    """Build an engine and its record in a process of its own; two builds do not give the same bytes.

    Args:
        onnx: The file to build from, in the precision of the engine.
        name: Name of the float32 ONNX file beside the engine, such as ``model.onnx``.
        precision: ``fp32``, ``fp16`` or ``int8``, of ``onnx``; it is checked.
        target: The package that builds it, and its GPUs and batches.
        source: The float32 ONNX file itself, if ``onnx`` was derived from it.

    Raises:
        SonoforgeError: TensorRT cannot build it; the message names the cause.
        GateError: The building process ended without an engine or a cause.
    """
    capabilities = _check_target(name, target)
    # Imported here, because the building process imports this module too and does not need onnx.
    from sonoforge.export.formats.tensorrt_source import prepare  # noqa: PLC0415

    network = prepare(onnx, name, precision, target.profile)
    cache = target.timing_cache
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as temporary:
        folder = Path(temporary)
        (folder / "network.onnx").write_bytes(network.onnx)
        if cache is not None and cache.is_file():
            (folder / "timing.cache").write_bytes(cache.read_bytes())
        task = {
            "module": target.module,
            "inputs": network.inputs,
            "capabilities": target.capabilities,
            "timing": cache is not None,
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        done = run_module("sonoforge.export.formats.tensorrt_build", folder, folder)
        title = f"{name} ({precision}): {target.module}"
        if not (folder / "result.json").is_file():
            ended = (how_it_ended(done) or "no result")[:220]
            raise GateError(f"{title}, while it built an engine, ended with {ended}")
        result: dict[str, str] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if result["error"]:
            remedy = next((text for sign, text in _REMEDIES.items() if sign in result["error"]), _RUN_ONNX)
            raise SonoforgeError(f"{title} {result['version']}: {result['error']}; {remedy}")
        if cache is not None:
            write_bytes(cache, (folder / "timing.cache").read_bytes())
        engine = (folder / "engine").read_bytes()
    from importlib.metadata import version  # noqa: PLC0415 - slow to import

    record: Record = {
        "format_version": FORMAT_VERSION,
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "engine_bytes": len(engine),
        "source": name,
        "source_sha256": hashlib.sha256(onnx if source is None else source).hexdigest(),
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "module": target.module,
        "version": result["version"],
        "capabilities": capabilities,
        "precision": precision,
        "tf32": False,
        "inputs": network.inputs,
        "outputs": network.outputs,
        "system": platform.system(),
        "produced_by": f"sonoforge {version('sonoforge')}",
    }
    return engine, parse_record(to_json(record))  # the reader must accept what the writer wrote


def write_engine(
    source: Source | GeneratorSource, precision: str = "fp32", module: str = "tensorrt_rtx"
) -> dict[str, bytes]:
    """Return an engine with float32 inputs and outputs, and its record, by file name.

    fp16 is built from ``write_half``'s file, in which layers that lose too much stay in float32; int8 from symmetric
    int8.  TensorRT-RTX has int8 only for the weights of matrix products, in a larger file than fp16, which is the
    better choice on RTX GPUs.  ``tensorrt`` builds on the GPU that will run it.
    """
    from sonoforge.export.formats.half_precision import write_half  # noqa: PLC0415 - the building process needs neither
    from sonoforge.export.formats.quantisation import to_symmetric_int8  # noqa: PLC0415

    onnx = source.onnx
    if precision == "fp16":
        onnx = write_half(source)
    elif precision == "int8":
        own = cast("Source", source)  # generators have no such format
        onnx = to_symmetric_int8(onnx, own.preprocessing.normalise(own.calibration))
    # Plain TensorRT times every kernel on its GPU, once for all later builds.
    cache = default_folder() / "tensorrt-timing.cache" if module == "tensorrt" else None
    target = Target(module=module, timing_cache=cache)
    engine, record = build_engine(onnx, f"{source.stem}.onnx", precision, target, source=source.onnx)
    name = source.stem + ("" if precision == "fp32" else f".{precision}") + SUFFIXES[module]
    return {name: engine, f"{name}.json": to_json(record)}


def _check_target(name: str, target: Target) -> list[str]:
    """Refuse impossible targets before a process is started; return the capabilities for the record."""
    module, profile = target.module, target.profile
    if module not in SUFFIXES:
        raise SonoforgeError(f"{name}: module: {module!r} is not {' or '.join(SUFFIXES)}")
    if not importlib.util.find_spec(module):
        extra = "'sonoforge[tensorrt]'" if module == "tensorrt_rtx" else module
        raise SonoforgeError(f"{name}: {module} is not installed; pip install {extra}")
    if not 0 < profile[0] <= profile[1] <= profile[2]:
        raise SonoforgeError(f"{name}: profile: batches {profile} must be above 0 and not decrease")
    if module == "tensorrt_rtx":
        if target.timing_cache is not None:
            raise SonoforgeError(f"{name}: timing_cache: TensorRT-RTX measures no kernels; leave it out")
        return list(target.capabilities) or [PORTABLE]
    if target.capabilities:
        raise SonoforgeError(f"{name}: capabilities: TensorRT builds for this machine's GPU alone; leave them out")
    capability = gpu_capability()
    if capability is None:
        raise SonoforgeError(
            f"{name}: tensorrt measures kernels on the GPU that it builds for, but this machine has none; build there, "
            "or with tensorrt_rtx"
        )
    return ["SM{}{}".format(*capability)]


def _build_task(folder: Path) -> None:
    """Build from the files that `build_engine` wrote: the only part that loads TensorRT."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    trt = importlib.import_module(task["module"])
    result = {"version": trt.__version__, "error": ""}
    try:
        (folder / "engine").write_bytes(_build(trt, task, folder))
    except SonoforgeError as error:
        result["error"] = str(error)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _build(trt: Any, task: Mapping[str, Any], folder: Path) -> bytes:
    """Return the serialised engine, by the vendor's Python API, which is the same in versions 10 and 11."""
    messages: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keep errors instead of printing them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                messages.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse((folder / "network.onnx").read_bytes()):
        first = parser.get_error(0)
        cause = "is not supported" if first.desc() == "false" else _cause(first.desc())  # the text of a bare check
        more = f" (and {parser.num_errors - 1} more)" if parser.num_errors > 1 else ""
        raise SonoforgeError(f"{first.node_operator() or 'the file'}: {cause}{more}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for name, (low, typical, high) in task["inputs"].items():
        shapes.set_shape(name, low, typical, high)
    config.add_optimization_profile(shapes)
    names = [item for item in dir(trt.ComputeCapability) if item.startswith("SM")]  # CURRENT would need a GPU
    for capability in task["capabilities"]:
        if capability not in names:
            known = ", ".join(sorted(names, key=lambda item: int(item[2:])))
            hint = did_you_mean(capability, names)
            raise SonoforgeError(f"capabilities: {capability!r} is not one of {known}{hint}")
    if task["capabilities"]:
        config.num_compute_capabilities = len(task["capabilities"])
        for index, capability in enumerate(task["capabilities"]):
            config.set_compute_capability(getattr(trt.ComputeCapability, capability), index)
    cache = folder / "timing.cache"
    if task["timing"]:
        config.set_timing_cache(config.create_timing_cache(cache.read_bytes() if cache.is_file() else b""), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SonoforgeError(_cause((messages or ["no engine and no message"])[0]))
    if task["timing"]:
        cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def _cause(text: str) -> str:
    """Return the cause within one of TensorRT's error messages."""
    line = " ".join(text.split())
    found = next((match[1] for pattern in _CAUSES if (match := re.search(pattern, line))), line)
    return found.rstrip(".")[:240]


if __name__ == "__main__":
    leave_with_parent()
    _build_task(Path(sys.argv[1]))
