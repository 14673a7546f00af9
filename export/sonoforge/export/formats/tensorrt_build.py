"""Build engines of TensorRT and TensorRT-RTX from ONNX files, each in a separate process.

TensorRT-RTX builds on any machine, without a GPU; its engines are compiled further where they run.  TensorRT builds for
the GPU of the machine where it runs; `tensorrt.builder` chooses.

Networks are strongly typed: the ONNX file decides the precision, never a flag of the builder.  TF32 is off, so that
float32 is float32.

Each build has its own process because TensorRT uses only the first logger of a process, and because a build after a
failed one may come out larger.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.export.formats import tensorrt
from sonoforge.runtime.errors import GateError, SonoforgeError, refusing
from sonoforge.runtime.inference.runners import leave_with_parent, run_module

if TYPE_CHECKING:
    import onnx

    from sonoforge.export.formats.source import GeneratorSource, Source

BATCHES = (1, 1, 8)  # smallest, typical and largest, for inputs whose batch is free
_RUN_ONNX = "run the ONNX file with onnxruntime"
_RESIZE_FIRST = "export the network without its preprocessing, and resize before it"
# The cause within an error message, most specific form first.
_CAUSES = (
    r'"([^"]{8,})"',  # (antialias == 0) && "Antialiasing is not supported currently."
    r"API Usage Error \((.*?)\. In ",  # ITensor::getDimensions: Error Code 4: API Usage Error (... In checkType at ...)
    r"\] (.*?)\. In ",  # Error Code 1: Myelin ([pass.cpp:337: ...] Cannot compile operation ... In compileGraph at ...)
    r"Assertion failed: .*?: (.*?)(?:\. |$)",  # Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point ...
)


def build_engine(
    onnx_file: bytes,
    name: str,
    precision: str,
    source: bytes | None = None,
) -> tuple[bytes, tensorrt.Record]:
    """Build an engine and its record in a separate process; two builds do not give the same bytes.

    Args:
        onnx_file: The file to build from, in the precision of the engine.
        name: Name of the float32 ONNX file beside the engine, such as ``model.onnx``.
        precision: ``fp32`` or ``fp16``; must be ``onnx_file``'s.
        source: The float32 ONNX file itself, if ``onnx_file`` was derived from it.

    Raises:
        SonoforgeError: TensorRT cannot build it; the message gives the cause.
        GateError: The building process ended without an engine or a cause.
    """
    package, capability = tensorrt.builder(name)
    ready, inputs, outputs = _prepare(onnx_file, name, precision)
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as temporary:
        folder = Path(temporary)
        (folder / "network.onnx").write_bytes(ready)
        (folder / "inputs.json").write_text(json.dumps([package, inputs]), encoding="utf-8")
        done = run_module("sonoforge.export.formats.tensorrt_build", folder, folder)
        title = f"{name} ({precision}): {package}"
        if not (folder / "result.json").is_file():
            raise GateError(f"{title}, while it built an engine, {(done or 'ended with no result')[:230]}")
        result: dict[str, str] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if result["error"]:
            remedy = _RESIZE_FIRST if "Antialiasing" in result["error"] else _RUN_ONNX
            raise SonoforgeError(f"{title} {result['version']}: {result['error']}; {remedy}")
        engine = (folder / "engine").read_bytes()
    from importlib.metadata import version  # noqa: PLC0415 - slow to import

    record = {
        "format_version": tensorrt.FORMAT_VERSION,
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "engine_bytes": len(engine),
        "source": name,
        "source_sha256": hashlib.sha256(onnx_file if source is None else source).hexdigest(),
        "onnx_sha256": hashlib.sha256(onnx_file).hexdigest(),
        "package": package,
        "version": result["version"],
        "capability": capability,
        "precision": precision,
        "inputs": inputs,
        "outputs": outputs,
        "produced_by": f"sonoforge {version('sonoforge')}",
    }
    return engine, tensorrt.parse_record(tensorrt.to_json(record))  # the reader must accept what the writer wrote


def write_engine(source: Source | GeneratorSource, precision: str = "fp32") -> dict[str, bytes]:
    """Return an engine with float32 inputs and outputs, and its record, by file name.

    Build fp16 from ``write_half``'s file, which keeps layers that lose too much in float32.
    """
    from sonoforge.export.formats.half_precision import write_half  # noqa: PLC0415 - the building process needs none

    onnx_file = write_half(source) if precision == "fp16" else source.onnx
    engine, record = build_engine(onnx_file, f"{source.stem}.onnx", precision, source=source.onnx)
    name = source.stem + ("" if precision == "fp32" else f".{precision}") + ".engine"
    return {name: engine, f"{name}.json": tensorrt.to_json(record)}


def _prepare(data: bytes, name: str, precision: str) -> tuple[bytes, dict[str, list[list[int]]], list[str]]:
    """Check an ONNX file's precision and shapes; return it for TensorRT's parser, its inputs' shapes and outputs."""
    # Imported here, because the building process imports this module too and does not need them.
    import onnx  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415

    with refusing(f"{name}: not an ONNX file", kinds=DecodeError):
        model = onnx.load_model_from_string(data)
    graph = model.graph
    found = "fp16" if any(item.data_type == onnx.TensorProto.FLOAT16 for item in graph.initializer) else "fp32"
    if {node.op_type for node in graph.node} & {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}:
        found = "int8"
    if precision not in tensorrt.PRECISIONS or found != precision:
        raise SonoforgeError(f"{name}: has {found} weights, so precision cannot be {precision!r}")
    inputs = {}
    for item in graph.input:
        sizes = [size.dim_value if size.HasField("dim_value") else 0 for size in item.type.tensor_type.shape.dim]
        if any(size < 1 for size in sizes[1:]):
            raise SonoforgeError(f"{name}: {item.name}: shape {sizes} (0: free) must be free only in the batch")
        inputs[item.name] = [[batch if size < 1 else size for size in sizes] for batch in BATCHES]
    if not inputs:
        raise SonoforgeError(f"{name}: the ONNX file has no input")
    return (
        model.SerializeToString() if fold_indices(model) else data,
        inputs,
        [item.name for item in graph.output],
    )


def fold_indices(model: onnx.ModelProto) -> int:
    """Replace integer arithmetic on constants with its result, in place; return the number of nodes removed.

    The exporter writes the axes of a mean as a Reshape of a constant, which TensorRT cannot evaluate.  Floating-point
    arithmetic is not folded, so answers stay the same to the bit.
    """
    import numpy as np  # noqa: PLC0415 - see `_prepare`
    from onnx import AttributeProto, TensorProto, helper, numpy_helper  # noqa: PLC0415
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415

    graph = model.graph
    known = {
        item.name: numpy_helper.to_array(item) for item in graph.initializer if item.data_type == TensorProto.INT64
    }
    kept = []
    for node in graph.node:
        holds_graph = any(item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for item in node.attribute)
        if not node.domain and not holds_graph and all(name in known for name in node.input):
            given = [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in dict.fromkeys(node.input)]
            made = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
            alone = helper.make_model(helper.make_graph([node], "alone", given, made), opset_imports=model.opset_import)
            results = ReferenceEvaluator(alone).run(None, {name: known[name] for name in node.input})
            values = [np.asarray(result) for result in results]
            if all(value.dtype == np.int64 for value in values):
                known |= zip(node.output, values, strict=True)
                graph.initializer.extend(map(numpy_helper.from_array, values, node.output))
                continue
        kept.append(node)
    folded = len(graph.node) - len(kept)
    del graph.node[:]
    graph.node.extend(kept)
    return folded


def _build(trt: Any, inputs: Mapping[str, Any], folder: Path) -> bytes:
    """Build and return the serialised engine with the vendor's Python API."""
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
    for name, (low, typical, high) in inputs.items():
        shapes.set_shape(name, low, typical, high)
    config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SonoforgeError(_cause((messages or ["no engine and no message"])[0]))
    return bytes(engine)


def _cause(text: str) -> str:
    """Return the cause within one of TensorRT's error messages."""
    line = " ".join(text.split())
    found = next((match[1] for pattern in _CAUSES if (match := re.search(pattern, line))), line)
    return found.rstrip(".")[:240]


def _main(folder: Path) -> None:
    """Build from the files that `build_engine` wrote: the only part that loads TensorRT."""
    package, inputs = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    trt = importlib.import_module(package)
    result = {"version": trt.__version__, "error": ""}
    try:
        (folder / "engine").write_bytes(_build(trt, inputs, folder))
    except SonoforgeError as error:
        result["error"] = str(error)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    leave_with_parent()
    _main(Path(sys.argv[1]))
