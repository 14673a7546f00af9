"""Running model files of each format, in this process and in a subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

import bundle_factory as factory
from sonoforge.runtime.bundle.classification import read_preprocessing
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference import onnx_session, runners
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.verbs import verify


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b") / "model.onnx"


def test_a_file_answers_in_a_subprocess_as_in_this_process(model: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, factory.SIZE, factory.SIZE, 3)).astype(np.uint8)
    inputs = read_preprocessing("preprocessing", factory.PREPROCESSING).normalise(pixels)
    here = runners.open_file("onnx", model)([inputs])
    subprocess_outputs = runners.run_in_subprocess("onnx", model, [inputs], batch=2)
    expected = factory.forward(pixels)
    for found, other, name in zip(here, subprocess_outputs, expected, strict=True):
        assert np.abs(found - other).max() < 1e-5
        assert np.abs(found - expected[name]).max() < 1e-4


def test_a_file_that_is_no_model_is_refused_in_one_line_that_names_it_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(b"not a model")
    with pytest.raises(SonoforgeError, match=r"^model\.onnx: not an ONNX file"):
        runners.open_file("onnx", Path("model.onnx"))
    with pytest.raises(GateError, match=r"^model\.onnx: .*ended with exit code 1: not an ONNX file") as error:
        runners.run_in_subprocess("onnx", Path("model.onnx"), [np.zeros((1, 2), np.float32)])
    assert str(tmp_path) not in str(error.value)


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
        "import sonoforge.runtime.inference.runners as files\n"
        "files.RUNNERS['onnx'] = 'crashing'\n"
        "from pathlib import Path\nfiles._run_task(Path(sys.argv[-1]))\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(GateError, match=f"ended with signal {int(signal.SIGSEGV)}"):
        runners.run_in_subprocess("onnx", tmp_path / "x.onnx", [np.zeros((1, 2), np.float32)])


STARTS_ONE = """
import subprocess, sys
child = "import time; from sonoforge.runtime.inference import runners; runners.leave_with_parent();"
child += "print('ready', flush=True); time.sleep(600)"
with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True) as process:
    print(process.stdout.readline().strip(), process.pid, flush=True)
    process.wait()
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_program_that_runs_a_file_leaves_with_the_one_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_ONE], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        word, child = parent.stdout.readline().split()
        assert word == "ready"
        parent.kill()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            os.kill(int(child), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it outlived the process that had started it")


def weights_moved_out(folder: Path) -> bytes:
    """The patch network with one weight moved to a file in the working folder, as onnx itself writes it."""
    model = onnx.load_model_from_string(factory.model_bytes())
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    (folder / "kernel.bin").write_bytes(kernel.raw_data)
    onnx.external_data_helper.set_external_data(kernel, "kernel.bin")
    kernel.ClearField("raw_data")
    return model.SerializeToString()


def test_weights_outside_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = factory.write_bundle(tmp_path / "b")
    factory.replace_file(folder, "model.onnx", weights_moved_out(tmp_path))
    (folder / "kernel.bin").write_bytes((tmp_path / "kernel.bin").read_bytes())
    said = "model.onnx: its weights lie in another file"
    with pytest.raises(SonoforgeError, match=said):
        Classifier(folder)
    with pytest.raises(SonoforgeError, match=said):
        runners.open_file("onnx", folder / "model.onnx")
    outcome = verify.main(verify.VerifyConfig(str(folder)))
    assert outcome.exit_code == 1 and said in outcome.result["problems"][0]
    with pytest.raises(SonoforgeError, match="cannot be read"):
        runners.open_file("onnx", tmp_path / "absent.onnx")


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for the interpreter")
def test_nothing_is_imported_from_the_users_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('taken from the wrong folder')\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("open(__file__ + '.ran', 'w')\n")
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nunset PYTHONSAFEPATH\nexec {sys.executable} "$@"\n')  # as Python 3.10 ignores it
    script.chmod(0o755)
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(script))
    # An empty entry means the working folder; relative ones count from there, and stay.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "mine", os.environ.get("PYTHONPATH", "")]))
    inputs = np.zeros((2, 3, factory.SIZE, factory.SIZE), np.float32)
    answers = runners.run_in_subprocess("onnx", Path("model.onnx"), [inputs])
    assert answers[0].shape == (2, len(factory.CLASSES))
    assert (tmp_path / "mine" / "sitecustomize.py.ran").exists()


def test_a_program_that_hangs_is_ended(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(runners, "_LONGEST", 0.5)
    with pytest.raises(GateError, match=r"model\.onnx: .* did not end within 0\.5 seconds"):
        runners.run_in_subprocess("onnx", model, [np.zeros((1, 2), np.float32)])


def test_a_program_that_cannot_say_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise OSError("no\ndriver")

    monkeypatch.setattr(onnx_session, "missing", missing, raising=False)
    assert runners.missing("onnx") == "onnx: its runner is broken (no driver); install it again"


def test_which_files_run_for_those_who_trust_their_maker_alone() -> None:
    names = ("onnx", "onnx-int8", "ort", "torchscript", "torchscript-lite", "executorch", "tensorrt-fp16", "unknown")
    assert [runners.needs_trust(name) for name in names] == [False, False, False, *[True] * 5]
    assert runners.needs_trust("openvino-fp16") and runners.needs_trust("litert")  # data, but nothing checks it
