"""The 8-bit file: what it keeps of the float32 answers, which layers it spares, and when it refuses."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bundle_factory import model_bytes
from sonoforge.export.formats.onnx_graph import OPSET
from sonoforge.export.formats.quantisation import Criterion, to_int8
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.inference.onnx_session import session_options

CLASSES = ("normal", "benign", "malignant")


def probabilities(model: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, session_options(threads=1))
    return np.concatenate([session.run(["probabilities"], {"input": one[None]})[0] for one in inputs])


@pytest.fixture(scope="module")
def inputs() -> NDArray[np.float32]:
    return IMAGENET.normalise(
        np.stack([IMAGENET.resize(Image.fromarray(one)) for one in open_bundle().golden()["pixels"]])
    )


@pytest.fixture(scope="module")
def int8(single_look: bytes, inputs: NDArray[np.float32]) -> bytes:
    return to_int8(single_look, inputs).data


def dequantised_weights(model: bytes) -> dict[str, tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8]]]:
    """Weights (values, scales, zero points) of the convolutions that read them through DequantizeLinear."""
    graph = onnx.load_model_from_string(model).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    maker = {node.output[0]: node for node in graph.node}
    found = {}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] not in arrays:
            found[node.name] = tuple(arrays[name] for name in maker[node.input[1]].input)
    return found


def in_float(model: bytes) -> set[str]:
    """Names of the convolutions that a file says to keep in float32."""
    notes = {entry.key: entry.value for entry in onnx.load_model_from_string(model).metadata_props}
    return set(json.loads(notes["sonoforge.quantisation"])["float32"])


@pytest.mark.slow
def test_weights_are_off_by_half_a_step_of_their_channel(single_look: bytes, int8: bytes) -> None:
    graph = onnx.load_model_from_string(single_look).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    original = {node.name: arrays[node.input[1]] for node in graph.node if node.op_type == "Conv"}
    quantised = dequantised_weights(int8)
    kept = {*list(original)[:5], *list(original)[-1:]}  # the first five and the activation maps
    # `to_int8` keeps whatever else its criterion asks for.
    assert set(original) - set(quantised) == kept | in_float(int8)
    assert len(original) - len(quantised) <= 10
    for name, (values, scales, zeros) in quantised.items():
        assert values.dtype == np.int8 and scales.shape == (len(values),) and not zeros.any()
        steps = scales[:, None, None, None]
        error = np.abs(values * steps - original[name]) / steps
        assert error.max() <= 0.501 and error.max() > 0.3  # rounded, and not stored in float


@pytest.mark.slow
def test_biases_have_scales_and_no_zero_points_and_the_file_is_small(int8: bytes) -> None:
    graph = onnx.load_model_from_string(int8).graph
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    made = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    biases = [node for node in made if stored.get(node.input[0]) == TensorProto.INT32]
    assert len(biases) == 53 - len(in_float(int8)) and {len(node.input) for node in biases} == {2}
    assert set(stored) <= {name for node in graph.node for name in node.input}
    assert 6 <= len(in_float(int8)) <= 10 and len(int8) <= 3_200_000


def test_it_is_quiet_and_leaves_logging_alone(capfd: pytest.CaptureFixture[str]) -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    rng = np.random.default_rng(0)
    to_int8(model_bytes(), rng.normal(size=(4, 3, 64, 64)).astype(np.float32), Criterion(1.0, 1.0, 0.0, size=10))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers and logging.getLogger().level == level


@pytest.mark.slow  # minutes
def test_real_images_keep_their_labels(shared: Path) -> None:
    """Calibrated on every sixth of 780 BUSI images, judged on all: all but one move as little as the gate allows."""
    model, how = (SHIPPED / "model.onnx").read_bytes(), open_bundle().manifest.preprocessing
    root = shared / "data" / "BUSI"
    files = sorted(path for path in root.rglob("*.png") if "mask" not in path.name)
    truth = np.array([CLASSES.index(path.parent.name) for path in files])
    pixels = np.stack([how.resize(read_image(path)) for path in files])
    judged = slice(None, None, 6)
    result = to_int8(model, how.normalise(pixels[judged]))
    exact = np.concatenate([probabilities(model, how.normalise(part)) for part in np.split(pixels, 10)])
    found = np.concatenate([probabilities(result.data, how.normalise(part)) for part in np.split(pixels, 10)])
    shifts = np.abs(exact - found).max(axis=1)
    assert np.sort(shifts)[-2] <= 0.15 and shifts.max() <= 0.2
    assert (exact.argmax(1) == found.argmax(1)).mean() >= 0.985
    for index in range(3):
        before, after = ((answers[truth == index].argmax(1) == index).mean() for answers in (exact, found))
        assert after >= before - 0.01
    assert len(result.data) <= 3_300_000
    assert result.agreement >= 0.985
    assert result.probability_shift == pytest.approx(shifts[judged].max(), abs=1e-6)


def planted(scale: float) -> bytes:
    """Eight convolutions; one channel between the fifth and the sixth is ``scale`` times too large and put right.

    In float32 that changes nothing.  In 8 bits, the other channels of the fifth's output share a range that leaves them
    no levels, so the fifth and the sixth have to stay in float32.
    """
    rng = np.random.default_rng(0)
    nodes, arrays, value, width = [], {}, "input", 3
    for index in range(8):
        kernel = rng.normal(size=(8, width, 3, 3)) / np.sqrt(9 * width / 2)
        if index == 4:
            kernel[0] *= scale
        if index == 5:
            kernel[:, 0] /= scale
        arrays[f"kernel_{index}"] = kernel.astype(np.float32)
        made = helper.make_node("Conv", [value, f"kernel_{index}"], [f"c{index}"], f"conv_{index}", pads=[1] * 4)
        nodes += [made, helper.make_node("Relu", [f"c{index}"], [f"r{index}"], f"relu_{index}")]
        value, width = f"r{index}", 8
    arrays["head"] = rng.normal(size=(3, 8)).astype(np.float32)
    arrays["head_1x1"] = arrays["head"][:, :, None, None]
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["embedding"], "flatten"),
        helper.make_node("Gemm", ["embedding", "head"], ["logits"], "gemm", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
        helper.make_node("Conv", [value, "head_1x1"], ["cam"], "maps"),
    ]
    shapes = {"logits": ["b", 3], "probabilities": ["b", 3], "embedding": ["b", 8], "cam": ["b", 3, 16, 16]}
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["b", 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(40, 3, 16, 16)).astype(np.float32)


def test_layers_that_suffer_stay_in_float32_until_the_criterion_holds(noise: NDArray[np.float32]) -> None:
    criterion = Criterion(0.05, 0.05, 0.9, size=10)  # this network is small, and its file mostly names
    calm = to_int8(planted(1.0), noise, criterion)
    result = to_int8(planted(3000.0), noise, criterion)
    always = {"conv_0", "conv_1", "conv_2", "conv_3", "maps"}
    assert set(calm.kept_in_float) == always
    assert set(result.kept_in_float) >= always | {"conv_4", "conv_5"}
    assert len(result.kept_in_float) < 9  # not everything
    shift = np.abs(probabilities(result.data, noise) - probabilities(planted(3000.0), noise)).max()
    assert shift == pytest.approx(result.probability_shift, abs=1e-6) and shift <= 0.05


@pytest.mark.parametrize(
    "criterion",
    [Criterion(probability_shift=1e-7, size=10), Criterion(mixture_shift=1e-7, size=10), Criterion(size=0.1)],
)
def test_a_criterion_that_nothing_holds_is_refused_in_one_line(
    criterion: Criterion, noise: NDArray[np.float32]
) -> None:
    with pytest.raises(GateError, match=r"^int8: .* use fp16") as caught:
        to_int8(planted(1.0), noise, criterion)
    assert "\n" not in str(caught.value)


def test_int8_runs_where_sums_must_not_overflow_and_is_a_third_of_the_size(shipped_int8: bytes) -> None:
    bundle = open_bundle()
    shipped, seen = bundle.read("model.onnx"), bundle.manifest.preprocessing.normalise(bundle.golden()["pixels"])
    assert len(shipped_int8) <= 0.36 * len(shipped)
    assert np.abs(probabilities(shipped_int8, seen) - probabilities(shipped, seen)).max() < 0.15
    stored = {tensor.name: tensor for tensor in onnx.load_model_from_string(shipped_int8).graph.initializer}
    types = [stored[name].data_type for name in stored if name.endswith("weight_quantized")]
    assert types.count(onnx.TensorProto.UINT8) > 20  # what onnxruntime would fail to make of shared int8 weights
