"""TensorRT engines: run on a stand-in for the package, for want of a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tensorrt_stand_in
from bundle_factory import SIZE, forward
from sonoforge.export.formats import tensorrt as tensorrt_engine
from sonoforge.export.formats.tensorrt import missing
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference.runners import open_file, run_in_subprocess
from tensorrt_stand_in import written


@pytest.mark.parametrize(
    "names", [("logits", "probabilities", "embedding", "cam"), ("cam", "embedding", "logits", "probabilities")]
)
def test_answers_come_by_name_in_the_records_order(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, outputs=list(names))
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx")
    answer = open_file("tensorrt", path)
    assert deserialised == [path.read_bytes()]
    pixels = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3)).astype(np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inputs = (((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)).astype(np.float32)  # not contiguous
    expected = forward(pixels)
    for rows in (slice(0, 3), slice(1, 2)):
        found = answer([inputs[rows]])
        for name, values in zip(names, found, strict=True):
            np.testing.assert_allclose(values, expected[name][rows], atol=1e-4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((5, 3, SIZE, SIZE), np.float32), r"input: found float32 \(5, 3, 64, 64\), expected float32 \(1, 3"),
        (np.zeros((1, 3, SIZE, SIZE)), r"input: found float64"),
        (np.zeros((3, SIZE, SIZE), np.float32), r"input: found float32 \(3, 64, 64\)"),
    ],
)
def test_inputs_outside_the_profile_are_refused(
    values: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx")
    with pytest.raises(SonoforgeError, match=words):
        open_file("tensorrt", path)([values])


def test_what_the_package_does_not_load_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", valid=False)
    with pytest.raises(SonoforgeError, match=r"calls it invalid here \(diagnostics 32\)"):
        open_file("tensorrt", path)
    assert deserialised == []
    tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", loads=False)
    with pytest.raises(SonoforgeError, match="does not load it"):
        open_file("tensorrt", path)
    with pytest.raises(SonoforgeError, match=r"ends with \.rtx\.engine or \.engine"):
        open_file("tensorrt", tmp_path / "model.onnx")


def test_without_a_gpu_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert missing() == "needs an NVIDIA GPU with its driver, and a torch with CUDA"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(GateError, match="needs an NVIDIA GPU"):
        run_in_subprocess("tensorrt-fp16", written(tmp_path), [np.zeros((1, 3, SIZE, SIZE), np.float32)])


def test_with_a_gpu_the_package_that_fits_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []
    monkeypatch.setattr(tensorrt_engine.importlib.util, "find_spec", lambda name: name in installed or None)
    for capability in ((8, 9), (9, 0)):
        monkeypatch.setattr(tensorrt_engine, "gpu_capability", lambda found=capability: found)
        installed[:] = []
        assert "pip install 'sonoforge[tensorrt]'" in missing()
        installed[:] = ["tensorrt"]
        assert missing() == ""
        installed[:] = ["tensorrt_rtx"]
        assert missing() == ("" if capability == (8, 9) else missing())
    assert "9.0; pip install tensorrt" in missing()
