"""ExecuTorch files answer as torch does and hold nothing of the machine."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sonoforge.export.bundle.classifier import read_network
from sonoforge.export.formats import executorch as executorch_file
from sonoforge.export.formats.executorch import LEFT, lower, quantise, write_executorch, write_executorch_int8
from sonoforge.export.formats.onnx_graph import BundleGraph, run_torch
from sonoforge.export.formats.source import Source
from sonoforge.models.mobilenetv2 import OutlineHead, import_torchvision, mobilenet_v2
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.inference.runners import open_file, run_in_subprocess

SIDE = 64
PREPROCESSING = Preprocessing(size=SIDE)


@pytest.fixture(autouse=True)
def _needs_executorch(request: pytest.FixtureRequest) -> None:
    if executorch_file.missing() and "without" not in request.node.name:
        pytest.skip(executorch_file.missing())


def _net(seed: int, blocks: int = 5) -> Any:
    """A MobileNetV2 of small blocks, with torchvision's names and batch norms that are not the identity."""
    torch.manual_seed(seed)
    settings = [[1, 16, 1, 2], [1, 16, blocks - 1, 1]]  # expansion, maps, blocks, stride
    net = import_torchvision().models.MobileNetV2(num_classes=3, inverted_residual_setting=settings).train()
    with torch.no_grad():
        net.features(torch.randn(8, 3, SIDE, SIDE))
        net.classifier[1].weight.normal_(0, 0.1)
    return net.eval()


def _source(graph: nn.Module) -> Source:
    pixels = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)
    texts = onnx.ModelProto()
    onnx.helper.set_model_props(texts, {"sonoforge.classes": json.dumps(["a", "b", "c"])})
    return Source(graph, texts.SerializeToString(), pixels, PREPROCESSING)


@pytest.fixture(scope="module")
def source() -> Source:
    return _source(BundleGraph([_net(0)], 1.7).eval())


def _inputs(count: int, seed: int = 1) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)
    return PREPROCESSING.normalise(pixels)


@pytest.mark.slow
def test_the_first_blocks_and_the_head_stay_in_float32(source: Source) -> None:
    network: Any = quantise(source.graph, [(torch.from_numpy(_inputs(1)),)], LEFT)
    quantised = {
        list(node.meta["nn_module_stack"].values())[-1][0]  # the name of the layer
        for node in network.graph.nodes
        if str(node.target).startswith("aten.conv2d") and "dequantize" in str(node.args[1].target)
    }
    assert quantised == {"tails.0.5.conv.0.0", "tails.0.5.conv.1", "tails.0.6.0"}


class Twice(nn.Module):
    """Runs one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        again: torch.Tensor = self.convolution(torch.relu(self.convolution(maps)))
        return again


@pytest.mark.slow
def test_both_runs_of_a_layer_are_quantised() -> None:
    torch.manual_seed(0)
    network, inputs = Twice().eval(), torch.randn(1, 8, 4, 4)
    both = quantise(network, [(inputs,)], re.compile("none"))
    weights = [node.args[1] for node in both.graph.nodes if str(node.target).startswith("aten.conv2d")]  # type: ignore[union-attr]
    assert len(weights) == 2 and all("dequantize" in str(node.target) for node in weights)
    assert 0 < (both(inputs) - network(inputs)).abs().max() < 0.02


@pytest.mark.slow
def test_a_network_that_looks_twice_is_small_in_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = mobilenet_v2(3).train()
    net.outline = OutlineHead()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.features(torch.randn(8, 3, 48, 48))
        net.classifier[1].weight.normal_(0, 0.02)
    net.eval()
    source, path = _source(BundleGraph([net], 1.3, look=48).eval()), tmp_path / "model.int8.pte"
    path.write_bytes(write_executorch_int8(source))
    assert path.stat().st_size < 0.4 * len(write_executorch(source))
    inputs = source.preprocessing.normalise(source.calibration)
    found = open_file("executorch-int8", path)([inputs])
    assert 1e-4 < np.abs(found[1] - run_torch(source.graph, inputs)["probabilities"]).max() < 0.1


@pytest.mark.slow
def test_files_keep_their_texts_and_a_transposed_array_gives_the_same_answers(source: Source, tmp_path: Path) -> None:
    from executorch.runtime import Runtime

    (tmp_path / "model.pte").write_bytes(write_executorch(source))
    program = Runtime.get().load_program(tmp_path / "model.pte")
    (text,) = program.load_method("sonoforge.classes").execute([])
    assert json.loads(text) == ["a", "b", "c"]
    inputs, answer = _inputs(2), open_file("executorch", tmp_path / "model.pte")
    transposed = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # other strides, same values
    for ours, theirs in zip(answer([transposed]), answer([inputs]), strict=True):
        assert np.array_equal(ours, theirs)


class _Branching(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_network_that_it_cannot_lower_is_refused_in_one_line(source: Source) -> None:
    with pytest.raises(GateError, match="cannot lower") as raised:
        lower(_Branching(), source)
    assert "\n" not in str(raised.value)


def test_int8_without_calibration_images_is_refused(source: Source) -> None:
    with pytest.raises(SonoforgeError, match="no calibration images"):
        write_executorch_int8(dataclasses.replace(source, calibration=source.calibration[:0]))


def test_without_executorch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SonoforgeError, match=r"is not installed; run .*\[mobile\]'$"):
        open_file("executorch", Path("model.pte"))


@pytest.mark.slow
def test_the_shipped_model_keeps_its_answers_on_busi(shared: Path, tmp_path: Path) -> None:
    bundle = open_bundle()
    paths = sorted(path for path in (shared / "data" / "BUSI").rglob("*.png") if "_mask" not in path.name)
    pixels = np.stack([bundle.manifest.preprocessing.resize(read_image(path)) for path in paths])
    calibration = np.random.default_rng(0).permutation(pixels)[:32]
    graph = read_network(bundle)
    source = Source(graph, bundle.read("model.onnx"), calibration, bundle.manifest.preprocessing)
    mirrored = pixels[::3, :, ::-1]  # the model was trained on all images as they are
    inputs = bundle.manifest.preprocessing.normalise(np.concatenate([pixels, mirrored]))
    (tmp_path / "model.onnx").write_bytes(source.onnx)
    (tmp_path / "model.pte").write_bytes(write_executorch(source))
    (tmp_path / "model.int8.pte").write_bytes(write_executorch_int8(source))
    expected = run_in_subprocess("onnx", tmp_path / "model.onnx", [inputs], batch=16)[1]
    exact = run_in_subprocess("executorch", tmp_path / "model.pte", [inputs])[1]
    near = run_in_subprocess("executorch-int8", tmp_path / "model.int8.pte", [inputs])[1]
    print(f"float32: largest shift {np.abs(exact - expected).max():.1e}")
    assert np.abs(exact - expected).max() < 1e-4
    for kind, rows in (("as they are", slice(len(pixels))), ("mirrored", slice(len(pixels), None))):
        agreement = np.mean(near[rows].argmax(1) == expected[rows].argmax(1))
        shift = np.abs(near[rows] - expected[rows]).max()
        print(f"int8, images {kind}: agreement {agreement:.4f}, largest shift {shift:.3f}")
        assert agreement >= 0.985 and shift <= 0.15
