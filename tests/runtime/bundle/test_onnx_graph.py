"""Model files that are refused before their engine sees them: written by the onnx package, read without it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bundle_factory as factory
from sonoforge.runtime.bundle.onnx_graph import OPERATORS, check_graph, operators
from sonoforge.runtime.bundle.reader import BundleError, open_bundle


def file(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = ()) -> onnx.ModelProto:
    """A model of these operators."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(list(nodes), "g", [value], [value], list(constants)))


def constant(name: str, values: Any, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


ADD = helper.make_node("Add", ["x", "x"], ["y"])


def refused(model: onnx.ModelProto | bytes) -> str:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(BundleError) as caught:
        check_graph(content, "model.onnx")
    said = str(caught.value)
    assert said.startswith("model.onnx: ")
    assert "\n" not in said and len(said) < 400
    return said


def test_operators_are_those_that_onnx_reads() -> None:
    for content in (factory.model_bytes(), open_bundle().read("model.onnx")):
        expected = {node.op_type for node in onnx.load_model_from_string(content).graph.node}
        assert operators(content) == expected
        check_graph(content, "model.onnx")


def test_the_domain_belongs_to_the_name() -> None:
    nodes = [helper.make_node("Add", ["x", "x"], ["a"], domain="com.evil"), helper.make_node("Mul", ["x", "x"], ["b"])]
    assert operators(file(nodes).SerializeToString()) == {"com.evil.Add", "Mul"}
    assert "'com.evil.Add'" in refused(file(nodes))
    nodes = [helper.make_node("Add", ["x", "x"], ["a"], domain="ai.onnx")]
    check_graph(file(nodes).SerializeToString(), "model.onnx")


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "Tile", "ConstantOfShape", "RandomNormal", "NonZero", ""])
def test_operators_that_no_export_uses_are_refused(operator: str) -> None:
    assert operator not in OPERATORS
    assert f"{operator!r}" in refused(file([helper.make_node(operator, ["x"], ["y"])]))


def with_graph(name: str) -> onnx.ModelProto:
    inner = file([helper.make_node("Loop", ["x"], ["y"])]).graph
    return file([helper.make_node("Add", ["x", "x"], ["y"], **{name: inner if name == "body" else [inner]})])


def with_function() -> onnx.ModelProto:
    model, node = file([ADD]), helper.make_node("Add", ["a", "a"], ["b"])
    model.functions.append(helper.make_function("", "Add", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))
    return model


def with_sparse_constant() -> onnx.ModelProto:
    model, values, places = file([ADD]), constant("v", [1.0], np.float32), constant("i", [3])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1_000_000_000]))
    return model


def outside(*, said: bool = True) -> onnx.TensorProto:
    """A constant in another file, which is said of it or not."""
    tensor = constant("w", [1, 2])
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    if not said:
        tensor.ClearField("data_location")
    return tensor


def one(operator: str, inputs: str, *constants: onnx.TensorProto, **settings: Any) -> onnx.ModelProto:
    """A model of one operator; of its inputs ``_`` is left out."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return file([helper.make_node(operator, names, ["y"], **settings)], constants)


def weight(dims: list[int], data: bytes) -> onnx.ModelProto:
    return file([], [TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=data)])


def counted(*values: float, dtype: type = np.int64) -> onnx.ModelProto:
    return one("Range", "a b c", *(constant(name, value, dtype) for name, value in zip("abc", values, strict=True)))


def enlarged(*scales: float) -> onnx.ModelProto:
    return one("Resize", "x _ s", constant("s", scales, np.float32))


HUGE = 2**40
SIZE = helper.make_node("Constant", [], ["s"], value_ints=[65536, 65536])


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "a loop's body": (with_graph("body"), "'Add' holds a graph"),
    "a list of graphs": (with_graph("bodies"), "'Add' holds a graph"),
    "functions": (with_function(), "functions"),
    "sparse": (with_sparse_constant(), "sparse"),
    "outside": (file([], [outside()]), "another file"),
    "outside unsaid": (file([], [outside(said=False)]), "another file"),
    "outside, in an attribute": (one("Constant", "", value=outside()), "another file"),
    "too few values": (weight([65536, 65536], b"1234"), "a constant of 65536x65536 elements"),
    "a negative size": (weight([-4, -4], b"1234" * 16), "a constant of -4x-4 elements"),
    "expanded": (one("Expand", "x s", constant("s", [65536, 65536])), "'Expand' to 4.29e+09 elements"),
    "expanded by an attribute": (
        file([SIZE, helper.make_node("Expand", ["x", "s"], ["y"])]),
        "'Expand' to 4.29e+09 elements",
    ),
    "counted": (counted(0, HUGE, 1), "'Range' to 1.1e+12 elements"),
    "counted in tiny steps": (counted(0, 1, 1e-12, dtype=np.float32), "'Range' to 1e+12 elements"),
    "counted in steps of nothing": (counted(0, 1, 0), "'Range' to inf elements"),
    "enlarged": (enlarged(1, 1, 1e6, 1e6), "'Resize' to 1e+12 times the size"),
    "enlarged to a size": (
        one("Resize", "x _ _ s", constant("s", [1, 3, 99999, 99999])),
        "'Resize' to 3e+10 elements",
    ),
    "enlarged by no number": (enlarged(*[np.nan] * 4), "'Resize' to inf times the size"),
    "enlarged by floats of their own field": (
        one("Resize", "x _ s", helper.make_tensor("s", TensorProto.FLOAT, [2], [1e6, 1e6])),
        "'Resize' to 1e+12 times the size",
    ),
    "padded": (one("Conv", "x w", pads=[HUGE, 0, 0, 0]), f"'Conv' has {HUGE} as a setting"),
    "too many": (file([ADD] * 20_001), "20000 operators"),
}


@pytest.mark.parametrize("kind", ["pads", "dims"])
def test_products_of_a_million_digits_are_not_computed(kind: str) -> None:
    sizes = [2**62] * 150_000
    model = one("Conv", "x w", pads=sizes) if kind == "pads" else weight(sizes, b"1234")
    started = time.process_time()
    assert "beyond" in refused(model) or "constant" in refused(model)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("kind", REFUSED)
def test_graphs_that_no_export_has_are_refused(kind: str) -> None:
    model, said = REFUSED[kind]
    assert said in refused(model)


def test_sizes_of_our_exports_and_names_that_look_like_places_pass() -> None:
    inputs = {"Expand": ["x shape", "x computed"], "Range": ["zero computed one"], "Slice": ["x zero end"]}
    inputs |= {"Resize": ["x _ _ shape", "x _ twice"], "Add": ["location x"]}
    nodes = [
        helper.make_node(name, ["" if word == "_" else word for word in words.split()], ["y"])
        for name, several in inputs.items()
        for words in several
    ]
    values = {"shape": [8, 3, 1024, 1024], "zero": 0, "one": 1, "end": 2**63 - 1, "location": [1]}
    constants = [constant(name, value) for name, value in values.items()]
    model = file(nodes, [*constants, constant("twice", [1, 1, 2, 2], np.float32)])
    helper.set_model_props(model, {"sonoforge.classes": json.dumps(["location", "allocation"])})
    check_graph(model.SerializeToString(), "model.onnx")


def test_bytes_that_are_no_model_are_refused() -> None:
    cut = (b"\x3a", b"\x3a\xff\xff\xff\xff\x7f", b"\x3b\x3c", b"\xff" * 20, b"\x3a\x04\x0a\x02\x22\xff")
    for content in (b"", b"not a model", *cut):
        assert "not an ONNX file" in refused(content)


def test_a_file_of_millions_of_nothings_is_refused() -> None:
    nothings = b"\x0a\x00" * 3_000_000  # operators without a name, two bytes each
    length = b"\x80\x9b\xee\x02"  # 6 000 000, as Protocol Buffers write it
    assert "too many parts" in refused(b"\x3a" + length + nothings)


def test_parts_of_a_graph_that_is_given_twice_are_all_read() -> None:
    """Protocol Buffers join a message that is given twice, so that one half may hide behind the other."""
    innocent, other = factory.model_bytes(), file([helper.make_node("Loop", ["x"], ["y"])]).SerializeToString()
    joined = onnx.load_model_from_string(innocent + other)
    assert "Loop" in {node.op_type for node in joined.graph.node}
    assert "'Loop'" in refused(innocent + other)
