"""The page on TensorRT: its Python runs as it stands, on a stand-in where it asks for a GPU."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tensorrt_stand_in
from bundle_factory import PREPROCESSING, SIZE, forward, scan, write_bundle
from places import CHECKOUT
from tensorrt_stand_in import VERSION, written

PAGE = CHECKOUT / "export" / "docs" / "tensorrt.md"
FOUND = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
BLOCKS = dict(zip(("build", "check", "run", "alone"), FOUND, strict=True))


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with the engine of its patch network, as working folder."""
    folder = write_bundle(tmp_path / "bundle")
    written(folder)
    Image.fromarray(scan(1)).save(folder / "scan.png")
    monkeypatch.chdir(folder)
    return folder


def run(name: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """Run a block of the page, with texts replaced that this machine or the small network needs otherwise."""
    code, values = BLOCKS[name], dict[str, Any]()
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, str(PAGE), "exec"), values)
    return values


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
def test_the_page_builds_an_engine_that_passes_its_check(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "model.rtx.engine").unlink()
    run("check", ("1.7.1.116", run("build")["record"]["version"]))
    assert capsys.readouterr().out == "fp32 model.onnx\n"


def test_the_page_runs_an_engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonoforge.runtime.inference.classifier import Classifier

    tensorrt_stand_in.install(monkeypatch, bundle / "model.onnx", version=VERSION)
    said = run("run")["said"]
    answer = Classifier(bundle).classify(bundle / "scan.png")
    assert said.probabilities == pytest.approx(answer.probabilities, abs=1e-5)
    assert (said.label, said.set) == (answer.label, answer.set)


def test_the_page_runs_an_engine_without_sonoforge(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt_stand_in.install(monkeypatch, bundle / "model.onnx")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    done: list[str] = []
    stream = SimpleNamespace(
        cuda_stream=tensorrt_stand_in.STREAM,
        wait_stream=lambda other: done.append("wait"),
        synchronize=lambda: done.append("synchronise"),
    )
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    tensors = run("alone", ('device = "cuda"', 'device = "cpu"'), ("256, 256", f"{SIZE}, {SIZE}"))["tensors"]
    grey = 255 * np.broadcast_to(PREPROCESSING["mean"], (1, SIZE, SIZE, 3))  # what normalises to zeros
    np.testing.assert_allclose(tensors["probabilities"].numpy(), forward(grey)["probabilities"], atol=1e-5)
    assert done == ["wait", "synchronise"]
