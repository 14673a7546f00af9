"""Foreign files run in processes of their own: whatever they do, they are refused in one line."""

from __future__ import annotations

import itertools
import marshal
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import bundle_factory as factory
from program import refused, succeed
from sonoforge.runtime.bundle.classification import read_preprocessing
from sonoforge.runtime.bundle.reader import SHIPPED, BundleError
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference import runners, trial
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.onnx_session import load_session
from sonoforge.runtime.verbs import verify

posix = pytest.mark.skipif(os.name != "posix", reason="a shell script stands for the interpreter")


@pytest.fixture
def bundle(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A foreign bundle, untried."""
    monkeypatch.setattr(trial, "_passed", set())
    return Path(shutil.copytree(bundle, tmp_path / "b"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return factory.write_scans(tmp_path / "scans", [0]) / "0.png"


def interpreter(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell script stand for the child's interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def with_more(add: Callable[[onnx.ModelProto], str]) -> bytes:
    """The patch network with more operators, the last of which gives a number that its logits are moved by."""
    model = onnx.load_model_from_string(factory.model_bytes())
    for node in model.graph.node:
        node.output[:] = ["plain" if name == "logits" else name for name in node.output]
        node.input[:] = ["plain" if name == "logits" else name for name in node.input]
    last = add(model)
    model.graph.node.append(helper.make_node("ReduceMean", [last], ["one"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["plain", "one"], ["logits"]))
    return model.SerializeToString()


@posix
@pytest.mark.parametrize("signal", ["SEGV", "ABRT", "KILL"])
def test_a_model_that_crashes_its_engine_is_refused(
    bundle: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str
) -> None:
    interpreter(tmp_path, f"cat > /dev/null; kill -{signal} $$", monkeypatch)
    line = refused("classify", picture, "--bundle", bundle)
    assert "model.onnx: onnxruntime ends with signal" in line


@posix
def test_one_that_ends_before_it_has_read_its_model_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(tmp_path, "printf 'no\\033[2J good\\n' >&2; exit 3", monkeypatch)
    with pytest.raises(BundleError, match=r"ends with exit code 3 \(no\?\[2J good\)"):
        Classifier(bundle)


def endless(model: onnx.ModelProto) -> str:
    """Hours of work, on the network's input, so that none is done while it is loaded."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1500, 1500]), "side"))
    model.graph.node.append(helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0))
    model.graph.node.append(helper.make_node("Expand", ["mean", "side"], ["product0"]))
    for number in range(5000):
        names = [f"product{number}", "product0"]
        model.graph.node.append(helper.make_node("MatMul", names, [f"product{number + 1}"]))
    return "product5000"


def copies_without_end(model: onnx.ModelProto) -> str:
    """An output that grows to 2**16 copies of the image: 3 GB of 48 kB."""
    names = ["input", *(f"copies{number}" for number in range(16))]
    for before, after in itertools.pairwise(names):
        model.graph.node.append(helper.make_node("Concat", [before, before], [after], axis=0))
    return names[-1]


@posix
def test_models_that_work_on_and_on_are_refused_and_a_further_file_is_a_problem_of_its_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SECONDS", 1)
    factory.add_file(bundle, "model.int8.onnx", with_more(endless), "onnx-int8", "int8")
    with pytest.raises(BundleError, match="within 1 s of processor time"):
        Classifier(bundle, file="model.int8.onnx")
    outcome = verify.main(verify.VerifyConfig(str(bundle)))
    (problem,) = outcome.result["problems"]
    assert outcome.exit_code == 1 and "model.int8.onnx: " in problem and "within 1 s of processor time" in problem


@posix
def test_a_busy_machine_condemns_no_model(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter(tmp_path, "exec sleep 600", monkeypatch)
    monkeypatch.setattr(trial, "WAIT_SECONDS", 0.3)
    with pytest.raises(BundleError, match=r"could not be tried .*\(no answer") as untried:
        Classifier(bundle)
    assert "do not use" not in str(untried.value)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits a process's memory")
def test_a_model_that_swallows_memory_is_refused(bundle: Path) -> None:
    factory.replace_file(bundle, "model.onnx", with_more(copies_without_end))
    with pytest.raises(BundleError, match=r"model\.onnx: onnxruntime cannot run it \(.*; do not use this bundle"):
        Classifier(bundle)


def test_one_that_passed_is_not_tried_again(bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = succeed("classify", picture, "--bundle", bundle).json["results"][0]["label"]

    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert Classifier(bundle).classify(picture).label == label
    assert Classifier().model == Classifier(SHIPPED).model  # nor is the shipped one


@posix
def test_a_trial_leaves_no_byte_code_that_its_limits_cut_off(bundle: Path, tmp_path: Path) -> None:
    """Of packages that were installed without byte code, which whoever imports them first writes."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    code = f"from sonoforge.runtime import Classifier; Classifier({str(bundle)!r})"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:]
    written = list(tmp_path.rglob("*.pyc"))
    assert written and all(marshal.loads(file.read_bytes()[16:]) for file in written)


def changed_weights(name: str, value: float) -> bytes:
    model = onnx.load_model_from_string(factory.model_bytes())
    (tensor,) = (item for item in model.graph.initializer if item.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return model.SerializeToString()


@pytest.mark.parametrize(("name", "value"), [("head_1x1", np.nan), ("head", np.inf)])
def test_answers_that_are_no_numbers_are_refused(bundle: Path, picture: Path, name: str, value: float) -> None:
    factory.replace_file(bundle, "model.onnx", changed_weights(name, value))
    assert "not finite numbers" in refused("classify", picture, "--bundle", bundle)


def test_answers_of_another_shape_and_raw_errors_are_one_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that answers on some images as it did not on its golden one, or fails as onnxruntime does."""
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    classifier = Classifier(bundle)
    pixels = np.zeros((2, factory.SIZE, factory.SIZE, 3), np.uint8)
    for answer, said in (
        ({"return_value": [np.zeros((2, 1), np.float32)] * 4}, r"logits has the shape \(2, 1\), not \(2, 3\)"),
        ({"return_value": [np.full((2, 3), np.nan, np.float32)] * 4}, "logits holds numbers that are not finite"),
        ({"side_effect": RuntimeException("bad\nnode")}, r"onnxruntime cannot run it \(bad node\)"),
    ):
        monkeypatch.setattr(classifier, "_session", Mock(**{f"run.{key}": value for key, value in answer.items()}))
        with pytest.raises(BundleError, match=rf"model\.onnx: {said}"):
            classifier.predict(pixels)


def test_only_our_own_line_is_printed_of_a_model_that_cannot_be_loaded(capfd: pytest.CaptureFixture[str]) -> None:
    model = onnx.load_model_from_string(factory.model_bytes())
    model.graph.node[-1].op_type = "Gemm"
    plain = factory.model_bytes()
    for content in (
        model.SerializeToString(),
        plain.replace(b"maps", b"m\xffps", 1),
        plain.replace(b"cam", b"c\xffm"),
        plain.replace(b"sonoforge.prep", b"sonoforge.\xffrep"),
    ):
        with pytest.raises(BundleError, match="onnxruntime cannot load it"):
            load_session(content, "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_file_answers_in_a_subprocess_as_in_this_process(bundle: Path) -> None:
    model = bundle / "model.onnx"
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


@posix
def test_nothing_is_imported_from_the_users_folder(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('taken from the wrong folder')\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("open(__file__ + '.ran', 'w')\n")
    (tmp_path / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    interpreter(tmp_path, f'unset PYTHONSAFEPATH\nexec {sys.executable} "$@"', monkeypatch)  # as Python 3.10 ignores it
    # An empty entry means the working folder; relative ones count from there, and stay.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "mine", os.environ.get("PYTHONPATH", "")]))
    inputs = np.zeros((2, 3, factory.SIZE, factory.SIZE), np.float32)
    answers = runners.run_in_subprocess("onnx", Path("model.onnx"), [inputs])
    assert answers[0].shape == (2, len(factory.CLASSES))
    assert (tmp_path / "mine" / "sitecustomize.py.ran").exists()


def test_a_program_that_hangs_is_ended(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(runners, "_LONGEST", 0.5)
    with pytest.raises(GateError, match=r"model\.onnx: .* did not end within 0\.5 seconds"):
        runners.run_in_subprocess("onnx", bundle / "model.onnx", [np.zeros((1, 2), np.float32)])


def test_which_files_run_for_those_who_trust_their_maker_alone() -> None:
    assert not any(map(runners.needs_trust, ("onnx", "onnx-int8", "ort")))
    programs = ("torchscript", "torchscript-lite", "executorch", "tensorrt-fp16", "unknown")
    assert all(map(runners.needs_trust, (*programs, "litert")))  # the last is data, but nothing checks it
