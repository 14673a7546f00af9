"""What an ONNX file would run, read from its bytes before onnxruntime sees it.

A bundle's hashes say that a file is the one its maker meant, not that the maker meant well.  A graph with a loop may
run for ever, a shape among its constants may ask for more memory than there is, and weights may lie in any file of this
machine.  So a model file is refused unless it consists of operators that our own exports use, and states no size beyond
theirs.  What a graph computes while it runs cannot be told from outside: see `inference.trial`.

Only the few fields needed are read (ONNX, onnx.proto3); the rest is skipped.  The file is a message of Protocol Buffers
("Encoding"), which is walked without its schema; whatever is no message is a `ValueError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.bundle.manifest import MAX_FILE_BYTES

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
"""Wire types; groups (3 and 4), which ONNX does not have, are refused."""

Value = memoryview | int

_NAMES = """
Abs Add BatchNormalization Cast CastLike Clip Concat Constant Conv ConvTranspose DequantizeLinear Div Einsum Elu
Equal Erf Expand Floor Gather Gemm Identity LeakyRelu Less MatMul Max MaxPool Min Mul Neg Pow QuantizeLinear Range
Reciprocal ReduceL2 ReduceMax ReduceMean ReduceSum Relu Reshape Resize Shape Sigmoid Sin Slice Softmax Split Sqrt
Squeeze Sub Tanh Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())
"""The operators of every ONNX file that sonoforge writes; none branches, repeats or draws random numbers."""

# The largest of our kinds, StyleGAN3 of all 14 layers, has 1825 operators and 19 041 fields.
_MOST_FIELDS, _MOST_OPERATORS = 200_000, 20_000
# As many float32 as a file may hold.
_MOST_ELEMENTS = MAX_FILE_BYTES // 4
# A generator doubles the sides of its maps; 64 x 64 is far from that.
_MOST_SCALE = 64.0 * 64.0
# Elements to a byte: the narrowest type, of two bits, has four.
_DENSEST = 4

# Numbers of fields in onnx.proto3.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS = 3, 5, 6, 8
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE, _ATTRIBUTE_ALL_SPARSE = 10, 11, 22, 23
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_INT64S = 1, 2, 4, 5, 7
_TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 9, 13, 14

# Types of elements that sizes and scales have, TensorProto.DataType.
_DTYPES = {1: "<f4", 6: "<i4", 7: "<i8"}
_MOST_SIZES = 16
"""Sizes of one shape; longer constants are none."""


class _RefusedError(ValueError):
    """What is wrong with a sound ONNX file: what was found and what was expected."""


class _Node(NamedTuple):
    operator: str
    inputs: list[str]


@dataclass
class _Graph:
    """What the checks need of a graph."""

    operators: set[str] = field(default_factory=set)  # names, with their domain in front where it is not ONNX's own
    nodes: list[_Node] = field(default_factory=list)  # those whose inputs say how large their output is
    values: dict[str, list[float]] = field(default_factory=dict)  # the short constants of numbers, by name


def operators(content: bytes) -> frozenset[str]:
    """Return the names of a file's operators, with their domain in front where it is not ONNX's own.

    Raises:
        ValueError: It is no ONNX file, or one that `check_graph` refuses whatever its operators are.
    """
    return frozenset(_read(content).operators)


def check_graph(content: bytes, where: str) -> None:
    """Refuse an ONNX file that is not of the kind that sonoforge writes.

    Raises:
        BundleError: It is no ONNX file; or has other operators than ours, graphs within operators, functions, weights
            in other files, or constants that ask for sizes beyond any of ours.  The message begins with ``where``.
    """
    try:
        graph = _read(content)
        unknown = sorted(graph.operators - OPERATORS)
        if unknown:
            raise _RefusedError(
                f"found {', '.join(map(repr, unknown[:5])):.200}, expected the operators of our exports"
            )
        for node in graph.nodes:
            _check_size(node, graph.values)
    except _RefusedError as error:
        raise BundleError(f"{where}: {error}; do not trust this file") from error
    except ValueError as error:
        raise BundleError(f"{where}: not an ONNX file ({error}); copy it again") from error


def _read(content: bytes) -> _Graph:
    walker, graph = Walker(_MOST_FIELDS), _Graph()
    model = walker.pick(memoryview(content), (_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS))
    if not model[_MODEL_GRAPH]:
        raise ValueError("it holds no graph")
    if model[_MODEL_TRAINING] or model[_MODEL_FUNCTIONS]:
        raise _RefusedError("found functions or training steps, expected operators alone")
    count = 0
    for message in model[_MODEL_GRAPH]:
        parts = walker.pick(message, (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE))
        if parts[_GRAPH_SPARSE]:
            raise _RefusedError("found sparse constants, expected dense ones")
        count += len(parts[_GRAPH_NODE])
        if count > _MOST_OPERATORS:
            raise _RefusedError(f"found more than {_MOST_OPERATORS} operators, expected no more")
        for tensor in parts[_GRAPH_INITIALIZER]:
            name, values = _tensor(walker, tensor)
            graph.values[name] = values
        for node in parts[_GRAPH_NODE]:
            _add_node(walker, node, graph)
    return graph


def _add_node(walker: Walker, message: memoryview, graph: _Graph) -> None:
    parts = walker.pick(message, (_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN))
    domain, operator = text(parts[_NODE_DOMAIN]), text(parts[_NODE_OPERATOR])
    graph.operators.add(operator if domain in ("", "ai.onnx") else f"{domain}.{operator}")
    values: list[float] = []
    for attribute in parts[_NODE_ATTRIBUTE]:
        values += _attribute(walker, attribute, operator)
    if operator == "Constant":
        graph.values |= {text([output]): values for output in parts[_NODE_OUTPUT]}
    if operator in _SIZES:
        graph.nodes.append(_Node(operator, [text([name]) for name in parts[_NODE_INPUT]]))


def _attribute(walker: Walker, message: memoryview, operator: str) -> list[float]:
    """Check one attribute of an operator and return the numbers that a ``Constant`` gives by it."""
    whole: list[int] = []
    values: list[float] = []
    for number, kind, value in walker.fields(message):
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            raise _RefusedError(f"found a graph within {operator!r:.60}, as loops and branches have, expected none")
        if number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_ALL_SPARSE):
            raise _RefusedError("found sparse constants, expected dense ones")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            values += _tensor(walker, message_of(number, kind, value))[1]
        elif number in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS):
            whole += walker.numbers(kind, value)
    # Kernels, strides and pads; a Constant's are numbers as any other.
    if operator != "Constant" and _product(whole) > _MOST_ELEMENTS:
        raise _RefusedError(
            f"found {max(whole, key=abs)} as a setting of {operator!r:.60}, expected a size of our exports"
        )
    return values + [float(number) for number in whole[:_MOST_SIZES]]


def _tensor(walker: Walker, message: memoryview) -> tuple[str, list[float]]:
    """Check one constant; return its name and, of a short one of numbers that sizes and scales have, the values."""
    dims: list[int] = []
    kind_of_element, name, raw = 0, "", memoryview(b"")
    given: list[float] = []
    for number, kind, value in walker.fields(message):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise _RefusedError("found weights that lie in another file, expected all inside")
        if number == _TENSOR_DIMS:
            dims += walker.numbers(kind, value)
        elif number == _TENSOR_TYPE and kind == VARINT and isinstance(value, int):
            kind_of_element = value
        elif number == _TENSOR_NAME:
            name = text([message_of(number, kind, value)])
        elif number == _TENSOR_RAW:
            raw = message_of(number, kind, value)
        elif number in (_TENSOR_INT32S, _TENSOR_INT64S) and _short(value):
            given += map(float, walker.numbers(kind, value))
        elif number == _TENSOR_FLOATS and _short(value):
            given += _floats(kind, value)
    if any(size < 0 for size in dims) or (0 not in dims and _product(dims) > _DENSEST * len(message)):
        found = "x".join(map(str, dims[:8]))
        raise _RefusedError(
            f"found a constant of {found:.80} elements, expected as many as its {len(message)} bytes hold"
        )
    dtype = _DTYPES.get(kind_of_element)
    if dtype and 0 < len(raw) <= 8 * _MOST_SIZES and len(raw) % np.dtype(dtype).itemsize == 0:
        given += np.frombuffer(raw, dtype).astype(float).tolist()
    return name, given


def _short(value: Value) -> bool:
    return isinstance(value, int) or len(value) <= 8 * _MOST_SIZES


def _floats(kind: int, value: Value) -> Iterator[float]:
    if isinstance(value, int) or kind not in (BYTES, FIXED_32) or len(value) % 4:
        raise ValueError("a constant of numbers holds something else")
    yield from np.frombuffer(value, "<f4").astype(float).tolist()


# Of the operators whose output may be larger than all inputs together: which inputs say how large.
_SIZES: dict[str, tuple[int, ...]] = {"Expand": (1,), "Range": (0, 1, 2), "Resize": (2, 3)}


def _check_size(node: _Node, values: dict[str, list[float]]) -> None:
    """Refuse sizes beyond ours that constants ask for."""
    given = [values.get(node.inputs[place], []) if place < len(node.inputs) else [] for place in _SIZES[node.operator]]
    if node.operator == "Range":
        sizes = _steps(given)
    elif node.operator == "Resize":
        scales, sizes = given
        if _product(scales) > _MOST_SCALE:
            raise _RefusedError(
                f"found 'Resize' to {_product(scales):.3g} times the size, expected {_MOST_SCALE:g} at most"
            )
    else:
        sizes = given[0]
    if _product(sizes) > _MOST_ELEMENTS:
        found = f"found {node.operator!r} to {_product(sizes):.3g} elements"
        raise _RefusedError(f"{found}, expected {_MOST_ELEMENTS} at most")


def _steps(given: Sequence[list[float]]) -> list[float]:
    """Return how many numbers ``Range`` makes; nothing where that is computed."""
    if not all(len(values) == 1 for values in given):
        return []
    start, limit, delta = (values[0] for values in given)
    return [(limit - start) / delta] if delta else [math.inf]


def _product(sizes: Sequence[float]) -> float:
    """Multiply sizes, those of 0 left out; what is no number is too large."""
    # Not as whole numbers, whose product may have a million digits: a float is inf before that.
    product = math.prod(abs(float(size)) for size in sizes if size)
    return math.inf if math.isnan(product) else product


class Walker:
    """Reads messages, up to a number of fields in all: a hostile file may consist of many million empty ones.

    Fields and numbers come in any order and any number of times, as the format allows; where only one is meant, the
    last one counts, and parts of a message that is given twice are read as one.
    """

    def __init__(self, most_fields: int) -> None:
        self._left = most_fields

    def fields(self, message: memoryview) -> Iterator[tuple[int, int, Value]]:
        """Yield number, wire type and value of each field of a message."""
        at = 0
        while at < len(message):
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many parts")
            tag, at = varint(message, at)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value, at = varint(message, at)
                yield number, kind, value
                continue
            if kind == BYTES:
                size, at = varint(message, at)
            elif kind in (FIXED_64, FIXED_32):
                size = 8 if kind == FIXED_64 else 4
            else:
                raise ValueError(f"unknown wire type {kind}")
            if at + size > len(message):
                raise ValueError("it is cut off")
            yield number, kind, message[at : at + size]
            at += size

    def pick(self, message: memoryview, wanted: tuple[int, ...]) -> dict[int, list[memoryview]]:
        """Return the messages and texts of some fields, by number."""
        found: dict[int, list[memoryview]] = {number: [] for number in wanted}
        for number, kind, value in self.fields(message):
            if number in found:
                found[number].append(message_of(number, kind, value))
        return found

    def numbers(self, kind: int, value: Value) -> list[int]:
        """Return the whole numbers of one field of many, each by itself or all packed, as signed 64 bits."""
        if isinstance(value, int):
            return [signed(value)]
        if kind != BYTES:
            raise ValueError(f"found wire type {kind} instead of whole numbers")
        found, at = [], 0
        while at < len(value):
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has too many parts")
            number, at = varint(value, at)
            found.append(signed(number))
        return found


def message_of(number: int, kind: int, value: Value) -> memoryview:
    """Return the value of a field that holds a message, a text or packed numbers."""
    if kind != BYTES or isinstance(value, int):
        raise ValueError(f"field {number} has wire type {kind}")
    return value


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it is cut off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number is too long")


def signed(number: int) -> int:
    """Return 64 bits as two's complement."""
    return number - (1 << 64) if number >> 63 else number


def text(values: list[memoryview]) -> str:
    """Return the last of the values as text; empty without any."""
    return bytes(values[-1]).decode("utf-8") if values else ""
