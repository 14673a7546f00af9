"""Model files are run by their own programs, apart from the process that asks."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import bundle_factory as factory
from sonoforge.runtime import model_files
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b") / "model.onnx"


def test_a_file_answers_apart_as_it_does_here(model: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, factory.SIZE, factory.SIZE, 3)).astype(np.uint8)
    inputs = Preprocessing.from_dict(factory.PREPROCESSING).normalise(pixels)
    here = model_files.open_file("onnx", model)([inputs])
    apart = model_files.answer_apart("onnx", model, [inputs], batch=2)
    expected = factory.forward(pixels)
    for found, other, name in zip(here, apart, expected, strict=True):
        assert np.abs(found - other).max() < 1e-5
        assert np.abs(found - expected[name]).max() < 1e-4


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="found 'tflite-int8', expected one that begins with onnx"):
        model_files.program("tflite-int8")
    assert "tflite" in model_files.missing("tflite")


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(SonoforgeError, match=r"model\.onnx: onnxruntime cannot load it"):
        model_files.open_file("onnx", tmp_path / "model.onnx")
    with pytest.raises(GateError, match=r"ended with exit code 1: .*onnxruntime cannot load it"):
        model_files.answer_apart("onnx", tmp_path / "model.onnx", [np.zeros((1, 2), np.float32)])


@pytest.mark.skipif(os.name != "posix", reason="signals end processes on POSIX only")
def test_a_program_that_crashes_takes_nothing_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashing.py").write_text(
        "import os, signal\n"
        "def missing(): return ''\n"
        "def open_file(path, threads): os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    script = tmp_path / "python"
    # The child runs the module as __main__, whose table is its own: replace it by a start-up script.
    script.write_text(
        f"#!{sys.executable}\nimport runpy, sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "import sonoforge.runtime.model_files as files\n"
        "files.PROGRAMS['onnx'] = 'crashing'\n"
        "from pathlib import Path\nfiles._answer_task(Path(sys.argv[-1]))\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(GateError, match=f"ended with signal {int(signal.SIGSEGV)}"):
        model_files.answer_apart("onnx", tmp_path / "x.onnx", [np.zeros((1, 2), np.float32)])
