"""Check what an ONNX file would run, from its bytes, before onnxruntime sees it.

A bundle's hashes show that a file is the one its maker meant, not that the maker meant well.  A graph with a loop may
run for ever, a shape among its constants may request more memory than there is, and weights may be in any file on this
machine. A model file is therefore refused unless it consists of operators that our own exports use and states no larger
size. What a graph computes while it runs cannot be seen from outside: see `inference.trial`.

It reads only the few fields that it needs (ONNX, onnx.proto3) and skips the rest.  The file is a message of Protocol
Buffers ("Encoding"), read without its schema or the onnx package, which the base install lacks; malformed messages
raise `ValueError`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.bundle.manifest import MAX_FILE_BYTES

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
"""Wire types; groups (3 and 4), which ONNX does not have, are refused."""

Value = memoryview | int

OPERATORS = frozenset(json.loads(Path(__file__).with_name("operators.json").read_text(encoding="utf-8")))
"""The operators of every ONNX file that sonoforge writes; none branches, repeats or draws random numbers."""

# The largest of our kinds, StyleGAN3 with all 14 layers, has 1825 operators and 19 041 fields.
_MOST_FIELDS, _MOST_OPERATORS = 200_000, 20_000
_MOST_ELEMENTS = MAX_FILE_BYTES // 4  # as many float32 as a file may hold
_MOST_SCALE = 64.0 * 64.0  # of Resize; a generator doubles the sides of its maps
_DENSEST = 4  # elements to a byte, of the narrowest type, of two bits
_MOST_SIZES = 16  # of one shape; longer constants are not shapes

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


class _RefusedError(ValueError):
    """A well-formed ONNX file that is not acceptable, and why."""


@dataclass
class _Graph:
    """The parts of a graph that are checked."""

    operators: set[str] = field(default_factory=set)  # names, with their domain in front if it is not ONNX's own
    sized: list[tuple[str, list[str]]] = field(default_factory=list)  # operator of `_SIZES`, and its inputs
    values: dict[str, list[float]] = field(default_factory=dict)  # the short constants of numbers, by name


def operators(content: bytes) -> frozenset[str]:
    """Return the names of a file's operators, prefixed with their domain if it is not ONNX's own.

    Raises:
        ValueError: It is not an ONNX file, or `check_graph` refuses it whatever its operators are.
    """
    return frozenset(_read(content).operators)


def check_graph(content: bytes, where: str) -> None:
    """Refuse an ONNX file unless it is of the kind that sonoforge writes."""
    try:
        graph = _read(content)
        if unknown := sorted(graph.operators - OPERATORS):
            raise _RefusedError(f"it uses {', '.join(map(repr, unknown[:5])):.200}, which our exports never do")
        for operator, inputs in graph.sized:
            given = [graph.values.get(inputs[i], []) if i < len(inputs) else [] for i in _SIZES[operator]]
            _check_size(operator, given)
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
        raise _RefusedError("it holds functions or training steps")
    count = 0
    for message in model[_MODEL_GRAPH]:
        parts = walker.pick(message, (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE))
        if parts[_GRAPH_SPARSE]:
            raise _RefusedError("it holds sparse constants")
        count += len(parts[_GRAPH_NODE])
        if count > _MOST_OPERATORS:
            raise _RefusedError(f"it has more than {_MOST_OPERATORS} operators")
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
        graph.sized.append((operator, [text([name]) for name in parts[_NODE_INPUT]]))


def _attribute(walker: Walker, message: memoryview, operator: str) -> list[float]:
    """Check one attribute of an operator; return its numbers, the values of a ``Constant``."""
    whole: list[int] = []
    values: list[float] = []
    for number, kind, value in walker.fields(message):
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            raise _RefusedError(f"{operator!r:.60} holds a graph, as loops and branches do")
        if number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_ALL_SPARSE):
            raise _RefusedError("it holds sparse constants")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            values += _tensor(walker, message_of(number, kind, value))[1]
        elif number in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS):
            whole += walker.numbers(kind, value)
    # Kernels, strides and pads; the numbers of a Constant are arbitrary.
    if operator != "Constant" and _product(whole) > _MOST_ELEMENTS:
        raise _RefusedError(f"{operator!r:.60} has {max(whole, key=abs)} as a setting, beyond any of our exports")
    return values + [float(number) for number in whole[:_MOST_SIZES]]


def _tensor(walker: Walker, message: memoryview) -> tuple[str, list[float]]:
    """Check one constant; return its name and, if it is short and has the type of sizes or scales, its values."""
    dims: list[int] = []
    kind_of_element, name, raw = 0, "", memoryview(b"")
    given: list[float] = []
    for number, kind, value in walker.fields(message):
        short = isinstance(value, int) or len(value) <= 8 * _MOST_SIZES
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise _RefusedError("its weights lie in another file")
        if number == _TENSOR_DIMS:
            dims += walker.numbers(kind, value)
        elif number == _TENSOR_TYPE and kind == VARINT and isinstance(value, int):
            kind_of_element = value
        elif number == _TENSOR_NAME:
            name = text([message_of(number, kind, value)])
        elif number == _TENSOR_RAW:
            raw = message_of(number, kind, value)
        elif number in (_TENSOR_INT32S, _TENSOR_INT64S) and short:
            given += map(float, walker.numbers(kind, value))
        elif number == _TENSOR_FLOATS and short:
            if isinstance(value, int) or kind not in (BYTES, FIXED_32) or len(value) % 4:
                raise ValueError("a constant of numbers holds something else")
            given += np.frombuffer(value, "<f4").astype(float).tolist()
    if any(size < 0 for size in dims) or (0 not in dims and _product(dims) > _DENSEST * len(message)):
        shape = "x".join(map(str, dims[:8]))
        raise _RefusedError(f"a constant of {shape:.80} elements is more than its {len(message)} bytes hold")
    dtype = _DTYPES.get(kind_of_element)
    if dtype and 0 < len(raw) <= 8 * _MOST_SIZES and len(raw) % np.dtype(dtype).itemsize == 0:
        given += np.frombuffer(raw, dtype).astype(float).tolist()
    return name, given


# Operators whose output may be larger than all inputs together: the inputs that give its size.
_SIZES: dict[str, tuple[int, ...]] = {"Expand": (1,), "Range": (0, 1, 2), "Resize": (2, 3)}


def _check_size(operator: str, given: list[list[float]]) -> None:
    """Refuse sizes larger than ours if the inputs that give the size are constants."""
    sizes = given[-1]
    if operator == "Range":
        sizes = []
        if all(len(values) == 1 for values in given):
            start, limit, delta = (values[0] for values in given)
            sizes = [(limit - start) / delta] if delta else [math.inf]
    elif operator == "Resize" and _product(given[0]) > _MOST_SCALE:
        raise _RefusedError(f"'Resize' to {_product(given[0]):.3g} times the size is beyond {_MOST_SCALE:g}")
    if _product(sizes) > _MOST_ELEMENTS:
        raise _RefusedError(f"{operator!r} to {_product(sizes):.3g} elements is beyond {_MOST_ELEMENTS}")


def _product(sizes: list[float] | list[int]) -> float:
    """Multiply the sizes that are not 0; NaN counts as infinity."""
    # Not as whole numbers, whose product may have a million digits: a float is inf before that.
    product = math.prod(abs(float(size)) for size in sizes if size)
    return math.inf if math.isnan(product) else product


class Walker:
    """Reads messages, with a limit on the total number of fields: a hostile file may hold many million empty ones.

    Fields and numbers come in any order and any number of times, as the format allows.  If only one is meant, the last
    one counts; if a message is given twice, its parts are merged.
    """

    def __init__(self, most_fields: int) -> None:
        self._left = most_fields

    def fields(self, message: memoryview) -> Iterator[tuple[int, int, Value]]:
        """Yield number, wire type and value of each field of a message."""
        at = 0
        while at < len(message):
            self._count()
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
        """Return the whole numbers of a field, single or packed, as signed 64 bits."""
        if isinstance(value, int):
            return [signed(value)]
        if kind != BYTES:
            raise ValueError(f"wire type {kind} cannot hold whole numbers")
        found, at = [], 0
        while at < len(value):
            self._count()
            number, at = varint(value, at)
            found.append(signed(number))
        return found

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it has too many parts")


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
