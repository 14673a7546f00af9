"""Derived files of a network with a second pass, whose layers run twice: each weight is stored once, answers stay."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from sonoforge.export.formats.half_precision import to_half
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.inference.onnx_session import session_options


@pytest.fixture(scope="module")
def inputs() -> NDArray[np.float32]:
    bundle = open_bundle()
    return bundle.manifest.preprocessing.normalise(bundle.golden()["pixels"])


@pytest.fixture(scope="module")
def model() -> bytes:
    """The shipped network, which has a second pass."""
    return (SHIPPED / "model.onnx").read_bytes()


def probabilities(model: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, session_options(threads=1))
    return np.concatenate([session.run(["probabilities"], {"input": one[None]})[0] for one in inputs])


def test_int8_runs_where_sums_must_not_overflow_and_is_a_third_of_the_size(
    model: bytes, inputs: NDArray[np.float32], shipped_int8: bytes
) -> None:
    assert len(shipped_int8) <= 0.36 * len(model)
    assert np.abs(probabilities(shipped_int8, inputs) - probabilities(model, inputs)).max() < 0.15
    stored = {tensor.name: tensor for tensor in onnx.load_model_from_string(shipped_int8).graph.initializer}
    types = [stored[name].data_type for name in stored if name.endswith("weight_quantized")]
    assert types.count(onnx.TensorProto.UINT8) > 30  # what onnxruntime would fail to make of shared int8 weights


def test_half_precision_is_half_the_size(model: bytes, inputs: NDArray[np.float32]) -> None:
    half = to_half(model, 10)
    assert len(half) < 0.54 * len(model)
    assert np.abs(probabilities(half, inputs) - probabilities(model, inputs)).max() < 0.03
