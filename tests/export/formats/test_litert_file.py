"""LiteRT's file: the same answers, one image at a time."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from refusals import assert_cannot_load
from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats import litert as litert_file
from sonoforge.export.formats.source import Source
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.runners import open_file, run_in_subprocess
from traces import traces_of_this_machine


@pytest.mark.slow
@pytest.mark.skipif(find_spec("litert_torch") is None, reason="litert-torch is not installed")
def test_it_answers_as_the_network_does(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = open_bundle()
    source = Source(read_network(bundle), bundle.read("model.onnx"), np.zeros((0,)), bundle.manifest.preprocessing, {})
    path = tmp_path / "model.tflite"
    path.write_bytes(data := litert_file.write_litert(source))
    assert data[4:8] == b"TFL3" and traces_of_this_machine(data) == []  # the format's identifier
    assert capfd.readouterr().out == ""
    golden = bundle.golden()
    outputs = run_in_subprocess("litert", path, [bundle.manifest.preprocessing.normalise(golden["pixels"])], batch=4)
    for name, values in zip(("logits", "probabilities", "embedding", "cam"), outputs, strict=True):
        assert np.abs(values - golden[name]).max() < 1e-4 * max(1.0, float(np.abs(golden[name]).max()))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SonoforgeError, match="LiteRT cannot load it"):
        open_file("litert", path)


@pytest.mark.skipif(bool(litert_file.missing()), reason=litert_file.missing())
@pytest.mark.parametrize("data", [b"", b"not a model", b"\x1c\x00\x00\x00TFL3" + bytes(100)])
def test_a_damaged_file_is_refused_in_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    assert_cannot_load(lambda: open_file("litert", path), "LiteRT", path)
