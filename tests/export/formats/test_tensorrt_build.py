"""TensorRT engines: built without a GPU, described by their record; what cannot be built is refused with its cause."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from bundle_factory import SIZE, model_bytes
from corners import corners
from sonoforge.export.bundle.classifier import read_network
from sonoforge.export.formats import tensorrt_build
from sonoforge.export.formats.half_precision import to_half, write_half
from sonoforge.export.formats.source import Source, generator_inputs
from sonoforge.export.formats.tensorrt import check_engine
from sonoforge.export.formats.tensorrt_build import build_engine, fold_indices, write_engine
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.gan.generator import load_generator
from traces import traces_of_this_machine

needs_package = pytest.mark.skipif(
    not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install 'sonoforge[tensorrt-rtx]'"
)


def resizing(antialias: int, side: object = 40) -> bytes:
    """A network of one Resize, in any size if ``side`` is a name."""
    graph = helper.make_graph(
        [helper.make_node("Resize", ["input", "", "scales"], ["out"], mode="linear", antialias=antialias)],
        "resize",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, side, 40])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 3, None, 20])],
        [numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


@needs_package
@pytest.mark.parametrize("network", corners(["small", "shipped"], "small"))
def test_a_classifier_becomes_engines_of_two_precisions(network: str, tmp_path: Path) -> None:
    bundle, shown = open_bundle(), Preprocessing(size=SIZE)
    given = Source(nn.Identity(), model_bytes(), np.zeros((3, SIZE, SIZE, 3), np.uint8), shown)
    if network == "shipped":
        shown = bundle.manifest.preprocessing
        given = Source(read_network(bundle), bundle.read("model.onnx"), bundle.golden()["pixels"][:3], shown)
    sizes, shape = {}, [3, shown.size, shown.size]
    for precision, name, lowered in (
        ("fp32", "model.engine", given.onnx),
        ("fp16", "model.fp16.engine", write_half(given)),
    ):
        files = write_engine(given, precision)
        assert list(files) == [name, f"{name}.json"]
        engine, record = files[name], json.loads(files[f"{name}.json"])
        expected = {
            "engine_sha256": hashlib.sha256(engine).hexdigest(),
            "engine_bytes": len(engine),
            "source_sha256": hashlib.sha256(given.onnx).hexdigest(),
            "onnx_sha256": hashlib.sha256(lowered).hexdigest(),
            "precision": precision,
            "inputs": {"input": [[1, *shape], [1, *shape], [8, *shape]]},
            "outputs": ["logits", "probabilities", "embedding", "cam"],
        }
        assert {key: record[key] for key in expected} == expected
        # Nothing of the machine that built it.
        assert traces_of_this_machine(engine) == traces_of_this_machine(files[f"{name}.json"]) == []
        sizes[precision] = len(engine) / len(given.onnx)
        if precision == "fp32":
            assert all(weights in engine for weights in kernels(given.onnx))
        for file, data in files.items():
            (tmp_path / file).write_bytes(data)
        check_engine(tmp_path / name, record["version"], (8, 6))
    if network == "shipped":
        assert 1 < sizes["fp32"] < 1.5  # the blocks that run twice are written twice
        assert 0.5 < sizes["fp16"] < 0.9 * sizes["fp32"]


@needs_package
def test_the_plain_package_builds_for_the_gpu_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: TensorRT-RTX's builder without what TensorRT lacks, under the other name."""
    lacking = ("ComputeCapability", "EngineValidity")
    (tmp_path / "tensorrt.py").write_text(
        "from tensorrt_rtx import *\nfrom tensorrt_rtx import ILogger, Builder\n"
        + "".join(f"globals().pop({name!r}, None)\n" for name in lacking)
        + '__version__ = "11.4.0.106"\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of the process that builds
    monkeypatch.setattr(tensorrt_build.tensorrt, "builder", lambda name: ("tensorrt", "9.0"))
    engine, record = build_engine(model_bytes(), "model.onnx", "fp32")
    assert (record["package"], record["version"], record["capability"]) == ("tensorrt", "11.4.0.106", "9.0")
    assert record["engine_sha256"] == hashlib.sha256(engine).hexdigest()


def kernels(model: bytes) -> list[bytes]:
    """The kernels of a file's convolutions in the order of axes that TensorRT keeps them in."""
    arrays = map(numpy_helper.to_array, onnx.load_from_string(model).graph.initializer)
    return [array.transpose(0, 2, 3, 1).tobytes() for array in arrays if array.ndim == 4]


@needs_package
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (resizing(1), r"Resize: Antialiasing is not supported currently; export the network without its preprocessing"),
        (b"hello", r"model\.onnx: not an ONNX file"),
        (b"", r"model\.onnx: .*no input"),
        (to_half(model_bytes()), r"fp16 .*'fp32'"),
        (resizing(0, "side"), r"input: .*\[0, 3, 0, 40\]"),
    ],
    ids=["antialias", "not ONNX", "no input", "other precision", "free size"],
)
def test_what_cannot_be_built_is_refused_with_its_cause(model: bytes, words: str) -> None:
    with pytest.raises(SonoforgeError, match=words) as caught:
        build_engine(model, "model.onnx", "fp32")
    assert "\n" not in str(caught.value) and not isinstance(caught.value, GateError)


@pytest.mark.skipif(sys.platform == "win32", reason="a script that kills itself by a signal")
def test_a_build_that_ends_without_a_word_fails_the_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nkill -SEGV $$\n")
    silent.chmod(0o755)
    monkeypatch.setattr(tensorrt_build.tensorrt, "builder", lambda name: ("tensorrt_rtx", "any"))
    monkeypatch.setattr(sys, "executable", str(silent))
    with pytest.raises(
        GateError, match=r"model.onnx .fp32.: tensorrt_rtx, while it built an engine, ended with signal 11"
    ):
        build_engine(model_bytes(), "model.onnx", "fp32")


@pytest.mark.slow
@needs_package
def test_a_stylegan2_becomes_an_engine_although_its_axes_are_computed(generators: Any) -> None:
    made = generators("stylegan2", 2)
    model = (made.bundle / "generator.onnx").read_bytes()
    _, record = build_engine(model, "generator.onnx", "fp32")
    assert record["inputs"] == {"latents": [[1, 6], [1, 6], [8, 6]], "psi": [[1]] * 3, "labels": [[1], [1], [8]]}
    assert record["outputs"] == ["images"]
    assert record["source"] == "generator.onnx"
    # What was folded for the parser changes no answer.
    folded = onnx.load_from_string(model)
    assert fold_indices(folded) > 0
    inputs = generator_inputs(load_generator(made.checkpoint), 3, -0.5, seed=1)
    fed = {name: values.numpy() for name, values in inputs.items()}
    images = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, fed)[0]
        for data in (model, folded.SerializeToString())
    ]
    np.testing.assert_array_equal(*images)


def test_arithmetic_with_fractions_is_not_folded() -> None:
    assert fold_indices(onnx.load_from_string(model_bytes())) == 0
