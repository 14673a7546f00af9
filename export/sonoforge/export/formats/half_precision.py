"""Write ONNX files that compute in 16 bits, for GPUs and accelerators."""

import numpy as np
import onnx
from onnx import numpy_helper

from sonoforge.export.formats.onnx_graph import LOOK, answers_of, finish, metadata_of, named
from sonoforge.export.formats.source import GeneratorSource, Source
from sonoforge.export.formats.table import HALF
from sonoforge.runtime.errors import GateError

_HEAD = ("Gemm", "ReduceMean", "Softmax", "Div")

_SHARE = 0.8  # largest change of a probability on the calibration images, as a share of the gate's limit

# How many first convolutions to keep in float32, in the order tried: all later layers inherit their rounding.
_KEPT = (0, 2, 5, 10, 20)
# The same with a second pass, where the first layers also choose the window: on 292 scans, keeping 0, 5, 20 and 40
# moved probabilities by at most 0.041, 0.033, 0.012 and 0.0024.
_WINDOW = 40


def to_half(model: bytes, kept: int = 0) -> bytes:
    """Convert a float32 ONNX file to float16 weights and arithmetic, with float32 inputs and outputs.

    The first ``kept`` convolutions stay in float32; if there are any, so does everything after the last feature map. A
    processor without 16-bit arithmetic computes in float32 and rounds in between, which is slower than float32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - takes a second
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    copy = named(model)
    metadata = metadata_of(copy)
    _tensor_constants(copy)
    if LOOK in metadata:
        _halve_layers(copy.graph, kept)
        return finish(copy, metadata)
    names = []
    if kept:
        convolutions = [node.name for node in copy.graph.node if node.op_type == "Conv"]
        names = convolutions[:kept] + [node.name for node in copy.graph.node if node.op_type in _HEAD]
    changed = convert_float_to_float16(copy, keep_io_types=True, node_block_list=names)
    # The converter appends the casts of the inputs; a valid file has them before their use.
    OnnxModel.graph_topological_sort(changed.graph, is_deterministic=True)
    return finish(changed, metadata)


def _halve_layers(graph: onnx.GraphProto, kept: int) -> None:
    """Convert the convolutional layers of a network with a second pass to 16 bits, in place; ``kept`` as in `to_half`.

    Everything else stays in float32: in 16 bits, positions in an image of 256 pixels would be off by an eighth of a
    pixel.  onnxruntime's converter would round between any two nodes that it leaves alone.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    first = [node.input[1] for node in graph.node if node.op_type == "Conv"][:kept]
    layers: dict[str, onnx.NodeProto] = {}  # by what they make
    for node in graph.node:
        own = [value for value in node.input if value and value not in stored and value not in constants]
        inside = node.op_type in ("Clip", "Relu", "Add") and all(value in layers for value in own)
        if (node.op_type == "Conv" and node.input[1] not in first) or inside:
            layers |= dict.fromkeys(node.output, node)
    halved: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        inside = bool(node.output) and node.output[0] in layers
        for place, value in enumerate(node.input):
            if inside and value in stored:
                if value not in halved:
                    values = numpy_helper.to_array(stored[value]).astype(np.float16)
                    stored[value].CopyFrom(numpy_helper.from_array(values, value))
                    halved.add(value)
            elif value and inside != (value in layers):
                name = f"{value}_{'half' if inside else 'single'}"
                if name not in halved:
                    to = onnx.TensorProto.FLOAT16 if inside else onnx.TensorProto.FLOAT
                    nodes.append(onnx.helper.make_node("Cast", [value], [name], name, to=to))
                    halved.add(name)
                node.input[place] = name
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _tensor_constants(model: onnx.ModelProto) -> None:
    """Turn plain-number constants into tensors: the converter leaves other constants in 32 bits."""
    types = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name in types:
            (attribute,) = node.attribute
            values = np.array(onnx.helper.get_attribute_value(attribute), types[attribute.name])
            attribute.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(values)))


def write_half(source: Source | GeneratorSource) -> bytes:
    """Write ONNX in float16, keeping as little of a classifier in float32 as its calibration images allow.

    Raise `GateError` if probabilities move by more than `_SHARE` of the limit whatever is kept.
    """
    if isinstance(source, GeneratorSource):
        return to_half(source.onnx)
    limit = _SHARE * HALF.of_passes(source.has_second_pass).probability
    inputs = source.preprocessing.normalise(source.calibration)
    exact = answers_of(source.onnx, inputs, "probabilities")
    shifts = []
    for kept in (_WINDOW,) if source.has_second_pass else _KEPT:
        data = to_half(source.onnx, kept)
        shifts.append(float(np.abs(answers_of(data, inputs, "probabilities") - exact).max()))
        if shifts[-1] <= limit:
            return data
    raise GateError(f"fp16: probabilities move by {min(shifts):.2g}, more than {limit:g}; use fp32")
