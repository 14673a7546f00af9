"""Half precision: the 16-bit file, and weights stored in 16 bits that answer the same to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from sonoforge.export.formats.half_precision import SMALLEST, round_to_half, store_in_half, to_half
from sonoforge.export.formats.onnx_graph import trace
from sonoforge.export.formats.table import HALF
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.onnx_session import open_file

PREPROCESSING = open_bundle().manifest.preprocessing


@pytest.fixture(scope="module")
def model() -> bytes:
    return (SHIPPED / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def half(model: bytes) -> bytes:
    return to_half(model)


def test_weights_are_the_float32_ones_rounded_once_and_the_interface_stays_float32(model: bytes, half: bytes) -> None:
    before = {t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(model).graph.initializer}
    changed = onnx.load_model_from_string(half)
    after = {t.name: numpy_helper.to_array(t) for t in changed.graph.initializer}
    weights = [name for name in before if before[name].ndim == 4]
    assert len(weights) == 54  # MobileNetV2's 52 convolutions, those of the outline and of the map
    for name in weights:
        # The converter lifts what would vanish in 16 bits to 1e-7.
        assert np.allclose(after[name], before[name].astype(np.float16), rtol=0, atol=1.2e-7)
        assert after[name].dtype == np.float16
    for item in (*changed.graph.input, *changed.graph.output):
        assert item.type.tensor_type.elem_type == TensorProto.FLOAT
    assert len(half) < 0.53 * len(model)


def test_real_images_keep_their_labels_and_probabilities(model: bytes, tmp_path: Path, shared: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(to_half(model, 40))  # what chooses the window stays in float32
    files = sorted(path for path in (shared / "data" / "BUSI").rglob("*.png") if "mask" not in path.name)[::16]
    inputs = PREPROCESSING.normalise(np.stack([PREPROCESSING.resize(read_image(path)) for path in files]))
    exact = open_file(SHIPPED / "model.onnx")([inputs])[1]
    rounded = open_file(tmp_path / "half.onnx")([inputs])[1]
    assert np.abs(exact - rounded).max() <= HALF.of_passes(True).probability
    assert (exact.argmax(1) == rounded.argmax(1)).all()


def answer(model: bytes, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images.numpy()})[0])


def exported(network: nn.Module, images: torch.Tensor) -> bytes:
    return trace(network.eval(), {"images": images}, ["scores"], ({},), {}, optimise=False)


def test_rounded_weights_take_half_the_room_and_answer_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))
    images = torch.randn(2, 3, 12, 12)
    before = exported(network, images)
    assert store_in_half(before) == before, "random float32 weights are no half-precision numbers"
    round_to_half(network)
    rounded = exported(network, images)
    stored = store_in_half(rounded)
    assert len(stored) < 0.55 * len(rounded)
    np.testing.assert_array_equal(answer(stored, images), answer(rounded, images))
    difference = np.abs(answer(stored, images) - answer(before, images)).max()
    assert 0 < difference < 5e-3
    onnx.checker.check_model(onnx.load_model_from_string(stored))


def test_small_tensors_and_numbers_out_of_range_stay() -> None:
    torch.manual_seed(0)
    network = nn.Linear(SMALLEST, 2)
    with torch.no_grad():
        network.weight[0, 0] = 1e6  # infinite in half precision
    images = torch.randn(2, SMALLEST)
    model = exported(network, images)
    assert store_in_half(model) == model
    before = {name: value.clone() for name, value in network.state_dict().items()}
    round_to_half(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
