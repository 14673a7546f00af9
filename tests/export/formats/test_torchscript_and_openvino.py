"""TorchScript and OpenVINO files beyond what every format must do: texts, weights, telemetry, signals."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import bundle_factory
from sonoforge.export.formats import openvino as openvino_file
from sonoforge.export.formats import torchscript as torchscript_file
from sonoforge.export.formats.onnx_graph import BundleGraph
from sonoforge.export.formats.source import Source
from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.preprocessing import IMAGENET


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
    for name in ("model.pt", "model.ptl"):
        data = torchscript_file.trace_file(graph, (torch.zeros(2, 3, 96, 96),), lite=name.endswith(".ptl"))
        (tmp_path / name).write_bytes(data)
        assert len(data) < 9.5e6
        for ours, theirs in zip(torchscript_file.open_file(tmp_path / name)([inputs.numpy()]), expected, strict=True):
            assert np.abs(ours - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())


needs_openvino = pytest.mark.skipif(bool(openvino_file.missing()), reason=openvino_file.missing())


@needs_openvino
def test_what_openvino_cannot_convert_is_refused() -> None:
    model = onnx.load_model_from_string(bundle_factory.model_bytes())
    model.graph.node[0].op_type = "NoSuchOperator"
    source = Source(nn.Identity(), model.SerializeToString(), np.zeros((0,)), IMAGENET, {})
    with pytest.raises(GateError, match=r"^model\.xml: OpenVINO"):
        openvino_file.write_openvino(source, "fp32")


@needs_openvino
@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks are Linux's here")
def test_openvino_s_telemetry_is_never_loaded_and_a_signal_after_files_were_closed_is_handled(
    tmp_path: Path, written: Callable[[str], Path]
) -> None:
    """A stand-in of the package that would send, before the real one, if that is installed."""
    sent = f"from pathlib import Path\nPath({str(tmp_path / 'sent')!r}).touch()\nclass Telemetry: ...\n"
    (tmp_path / "openvino_telemetry.py").write_text(sent)
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM, str(tmp_path), str(written("openvino"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, ["False", "False", "interrupted"]), done.stderr
    assert (tmp_path / "sent").exists()  # only when this very test imported it


PROGRAM = """
import os, signal, sys
from pathlib import Path
from sonoforge.export.formats import openvino
folder, path = map(Path, sys.argv[1:])
sys.path.insert(0, str(folder))
first, second = openvino.open_file(path), openvino.open_file(path)
print("torch" in sys.modules, "openvino_telemetry" in sys.modules)
import openvino_telemetry
del first
del second
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
