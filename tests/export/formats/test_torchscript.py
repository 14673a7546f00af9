"""TorchScript files beyond what every format must do: texts and weights."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sonoforge.export.formats import torchscript as torchscript_file
from sonoforge.export.formats.onnx_graph import BundleGraph
from sonoforge.export.formats.source import Source
from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.preprocessing import Preprocessing


def test_torch_reads_the_file_and_its_texts_without_sonoforge(source: Source, written: Callable[[str], Path]) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))  # torch numbers what it traces, one after another
    texts = {"sonoforge.classes": ""}
    network = torch.jit.load(str(written("torchscript")), _extra_files=texts)
    inputs = torch.from_numpy(source.preprocessing.normalise(source.calibration[:1]))
    with torch.inference_mode():
        assert torch.equal(network(inputs)[1].argmax(1), source.graph(inputs)[1].argmax(1))
    assert json.loads(texts["sonoforge.classes"]) == list(open_bundle().classes)


def test_the_lite_file_is_run_by_the_lite_interpreter(
    written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("the full interpreter was asked"))
    torchscript_file.open_file(written("torchscript-lite"))
    with zipfile.ZipFile(written("torchscript-lite")) as archive:
        assert archive.testzip() is None and "archive/bytecode.pkl" in archive.namelist()


def test_a_network_that_looks_twice_answers_and_stores_its_weights_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = mobilenet_v2(3)
    net.outline = OutlineHead()
    with torch.no_grad():
        net.outline.cells.bias.fill_(2.0)
    graph, inputs = BundleGraph([net], 1.3, look=64).eval(), torch.randn(3, 3, 96, 96)
    with torch.inference_mode():
        expected = [output.numpy() for output in graph(inputs)]
    source = Source(graph, b"", np.zeros((0, 96, 96, 3), np.uint8), Preprocessing(size=96))
    for name, kind in (("model.pt", ""), ("model.ptl", "lite")):
        data = torchscript_file.write_torchscript(source, kind)
        (tmp_path / name).write_bytes(data)
        assert len(data) < 9.5e6
        for ours, theirs in zip(torchscript_file.open_file(tmp_path / name)([inputs.numpy()]), expected, strict=True):
            assert np.abs(ours - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())
