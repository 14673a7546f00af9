"""Weights stored in half precision: half the file, the same answers to the bit; what does not fit stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from sonoforge.export.formats.half_precision import SMALLEST, round_to_half, store_in_half
from sonoforge.export.formats.onnx_graph import trace


def answer(model: bytes, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: Any = session.run(None, {"images": images.numpy()})[0]
    return np.asarray(found)


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
