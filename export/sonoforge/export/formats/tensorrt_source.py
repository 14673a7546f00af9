"""Prepare an ONNX file for TensorRT's parser: shapes of the inputs, precision, axes as constants."""

from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sonoforge.export.formats.tensorrt import PRECISIONS
from sonoforge.runtime.errors import SonoforgeError


class Network(NamedTuple):
    """An ONNX file that is ready to be parsed."""

    onnx: bytes  # its bytes, after `fold_indices`
    inputs: dict[str, list[list[int]]]  # for each name the smallest, typical and largest shape, in the file's order
    outputs: list[str]  # names in the file's order


def prepare(data: bytes, name: str, precision: str, profile: tuple[int, int, int]) -> Network:
    """Read an ONNX file, check its precision and shapes, and fold its indices.

    ``profile`` is the smallest, typical and largest batch, for inputs whose batch is free.

    Raises:
        SonoforgeError: Not an ONNX file, of another precision, or with free sizes other than the batch.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise SonoforgeError(f"{name}: not an ONNX file ({error})") from error
    graph = model.graph
    operators = {node.op_type for node in graph.node}
    found = "fp16" if any(item.data_type == TensorProto.FLOAT16 for item in graph.initializer) else "fp32"
    if operators & {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}:
        found = "int8"
    if precision not in PRECISIONS or found != precision:
        raise SonoforgeError(f"{name}: has {found} weights, so precision cannot be {precision!r}")
    stored = {item.name for item in graph.initializer}
    inputs = {}
    for item in graph.input:
        if item.name in stored:
            continue
        sizes = [size.dim_value if size.HasField("dim_value") else 0 for size in item.type.tensor_type.shape.dim]
        if any(size < 1 for size in sizes[1:]):
            raise SonoforgeError(f"{name}: {item.name}: shape {sizes} (0: free) must be free in the batch alone")
        inputs[item.name] = [[batch if size < 1 else size for size in sizes] for batch in profile]
    if not inputs:
        raise SonoforgeError(f"{name}: the ONNX file has no input")
    folded = fold_indices(model)
    return Network(model.SerializeToString() if folded else data, inputs, [item.name for item in graph.output])


def fold_indices(model: onnx.ModelProto) -> int:
    """Replace integer arithmetic on constants by its result, in place; return the number of nodes removed.

    The exporter writes the axes of a mean as a Reshape of a constant, which TensorRT cannot evaluate.  Floating-point
    arithmetic is not folded, so answers stay the same to the bit.
    """
    graph = model.graph
    known = {
        item.name: numpy_helper.to_array(item) for item in graph.initializer if item.data_type == TensorProto.INT64
    }
    kept, folded = [], 0
    for node in graph.node:
        values = _known_result(model, node, known)
        if values is None:
            kept.append(node)
            continue
        folded += 1
        for output, value in zip(node.output, values, strict=True):
            known[output] = value
            graph.initializer.append(numpy_helper.from_array(value, output))
    del graph.node[:]
    graph.node.extend(kept)
    return folded


def _known_result(
    model: onnx.ModelProto, node: onnx.NodeProto, known: dict[str, NDArray[Any]]
) -> list[NDArray[np.int64]] | None:
    """Return a node's outputs if all of its inputs are known and all outputs are integers."""
    holds_graph = any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for item in node.attribute)
    if node.domain or holds_graph or not all(name in known for name in node.input):
        return None
    alone = helper.make_graph(
        [node],
        "alone",
        [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in dict.fromkeys(node.input)],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output],
    )
    evaluator = ReferenceEvaluator(helper.make_model(alone, opset_imports=model.opset_import))
    results = evaluator.run(None, {name: known[name] for name in node.input})
    values = [np.asarray(value) for value in results]
    return values if all(value.dtype == np.int64 for value in values) else None
