"""TensorRT engines: built without a GPU, recorded truly, and refused before anything is loaded that does not fit.

No engine runs here, for want of a GPU: the code that runs them meets a stand-in for the package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

import tensorrt_stand_in
from bundle_factory import SIZE, forward, model_bytes
from places import CHECKOUT
from sonoforge.export.formats.onnx_graph import trace
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.tensorrt import build as tensorrt_build
from sonoforge.export.formats.tensorrt import engine as tensorrt_engine
from sonoforge.export.formats.tensorrt.build import build_engine, write_engine, write_engine_fp16, write_engine_int8
from sonoforge.export.formats.tensorrt.engine import check_engine, covers, missing
from sonoforge.export.formats.tensorrt.record import parse_record, read_record, record_path, to_json
from sonoforge.export.formats.tensorrt.source import fold_indices
from sonoforge.export.generators.graph import generator_inputs, trace_generator
from sonoforge.models import dcgan
from sonoforge.runtime.bundle.reader import SHIPPED
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.inference.model_files import open_file, run_in_subprocess
from sonoforge.training.gan.networks import ARCHITECTURES

needs_package = pytest.mark.skipif(
    not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install 'sonoforge[tensorrt]'"
)
VERSION = "1.7.1.116"


def half(model: bytes) -> bytes:
    return bytes(convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True).SerializeToString())


def quantised(
    model: bytes, folder: Path, inputs: Any = None, activations: Any = QuantType.QInt8, **extra: Any
) -> bytes:
    """Static int8; symmetric, with float biases, unless ``extra`` says otherwise."""
    (folder / "float.onnx").write_bytes(model)
    if inputs is None:
        shape = [1, *(d.dim_value for d in onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim[1:])]
        inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            row = next(self.rows, None)
            return None if row is None else {"input": row[None]}

    options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False} | extra
    quantize_static(
        *(folder / "float.onnx", folder / "int8.onnx", Reader()),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        extra_options=options,
    )
    return (folder / "int8.onnx").read_bytes()


def dynamically_quantised(model: bytes, folder: Path) -> bytes:
    (folder / "float.onnx").write_bytes(model)
    quantize_dynamic(folder / "float.onnx", folder / "dynamic.onnx", weight_type=QuantType.QUInt8)
    return (folder / "dynamic.onnx").read_bytes()


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


def source() -> Source:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3)).astype(np.uint8)
    return Source(torch.nn.Identity(), (SHIPPED / "model.onnx").read_bytes(), pixels, IMAGENET, {})


def record_of(engine: bytes, model: bytes = b"", **changes: Any) -> dict[str, Any]:
    """The record of the patch network's engine, as the builder would write it."""
    hashed = hashlib.sha256(model or model_bytes()).hexdigest()
    return {
        "format_version": 1,
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
        "engine_bytes": len(engine),
        "source": "model.onnx",
        "source_sha256": hashed,
        "onnx_sha256": hashed,
        "module": "tensorrt_rtx",
        "version": VERSION,
        "capabilities": ["portable"],
        "precision": "fp32",
        "tf32": False,
        "inputs": {"input": [[1, 3, SIZE, SIZE], [1, 3, SIZE, SIZE], [4, 3, SIZE, SIZE]]},
        "outputs": ["logits", "probabilities", "embedding", "cam"],
        "system": "Linux",
        "produced_by": "sonoforge 0.1.0",
        **changes,
    }


def written(folder: Path, **changes: Any) -> Path:
    """Engine, record and ONNX file side by side; the engine's bytes mean something to the stand-in alone."""
    engine = bytes(range(200))
    path = folder / "model.rtx.engine"
    path.write_bytes(engine)
    record_path(path).write_bytes(to_json(record_of(engine, **changes)))
    (folder / "model.onnx").write_bytes(model_bytes())
    return path


# Building.


@needs_package
def test_the_classifier_becomes_engines_of_three_precisions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = source()
    lowered = {"fp16": half(given.onnx)}

    def to_symmetric_int8(model: bytes, inputs: Any) -> bytes:
        assert inputs.shape == (3, 3, 224, 224)
        assert inputs.dtype == np.float32
        lowered["int8"] = quantised(model, tmp_path, inputs)
        return lowered["int8"]

    monkeypatch.setitem(
        sys.modules,
        "sonoforge.export.formats.half_precision",
        SimpleNamespace(write_half=lambda given: half(given.onnx)),  # type: ignore[arg-type]
    )
    monkeypatch.setitem(
        sys.modules,
        "sonoforge.export.formats.quantisation",
        SimpleNamespace(to_symmetric_int8=to_symmetric_int8),  # type: ignore[arg-type]
    )
    sizes = {}
    for precision, write, name in (
        ("fp32", write_engine, "model.rtx.engine"),
        ("fp16", write_engine_fp16, "model.fp16.rtx.engine"),
        ("int8", write_engine_int8, "model.int8.rtx.engine"),
    ):
        files = write(given)
        assert list(files) == [name, f"{name}.json"]
        engine, record = files[name], json.loads(files[f"{name}.json"])
        assert record["engine_sha256"] == hashlib.sha256(engine).hexdigest()
        assert record["engine_bytes"] == len(engine)
        assert record["source_sha256"] == hashlib.sha256(given.onnx).hexdigest()
        assert record["onnx_sha256"] == hashlib.sha256(lowered.get(precision, given.onnx)).hexdigest()
        assert record["precision"] == precision
        assert record["capabilities"] == ["portable"]
        assert record["inputs"] == {"input": [[1, 3, 224, 224], [1, 3, 224, 224], [8, 3, 224, 224]]}
        assert record["outputs"] == ["logits", "probabilities", "embedding", "cam"]
        # Nothing of the machine that built it.
        for secret in (str(Path.home()), tempfile.gettempdir(), str(CHECKOUT), "site-packages"):
            if len(secret) > 2:
                assert secret.encode() not in engine
                assert secret.encode() not in files[f"{name}.json"]
        sizes[precision] = len(engine) / len(given.onnx)
        if precision == "fp32":
            assert all(weights in engine for weights in kernels(given.onnx))
        for file, data in files.items():
            (tmp_path / file).write_bytes(data)
        check_engine(tmp_path / name, "tensorrt_rtx", record["version"], (8, 6))
    assert 1 < sizes["fp32"] < 1.3
    assert 0.5 < sizes["fp16"] < 0.7
    # Why the page says to prefer fp16 on RTX GPUs.
    assert sizes["fp16"] < sizes["int8"] < 1.3


def kernels(model: bytes) -> list[bytes]:
    """The kernels of a file's convolutions in the order of axes that TensorRT keeps them in."""
    arrays = map(numpy_helper.to_array, onnx.load_from_string(model).graph.initializer)
    return [array.transpose(0, 2, 3, 1).tobytes() for array in arrays if array.ndim == 4]


@needs_package
def test_an_engine_holds_the_weights_that_it_was_built_from() -> None:
    """Bit for bit: those of the one network, and not those of the other."""
    for seed in (0, 1):
        engine, _ = build_engine(model_bytes(seed), "model.onnx", precision="fp32")
        assert [kernels(model_bytes(other))[0] in engine for other in (0, 1)] == [seed == 0, seed == 1]


@needs_package
def test_capabilities_change_the_engine_and_stand_in_its_record() -> None:
    model = half(model_bytes())
    portable, _ = build_engine(model, "model.onnx", precision="fp16")
    turing, record = build_engine(
        model, "model.onnx", precision="fp16", capabilities=("SM75", "SM86"), profile=(2, 3, 5)
    )
    assert record["capabilities"] == ["SM75", "SM86"]
    assert [shape[0] for shape in record["inputs"]["input"]] == [2, 3, 5]
    assert len(turing) != len(portable)


# What, how, and the words that the one line must have.
REFUSED: dict[str, tuple[Callable[[Path], bytes], dict[str, Any], str]] = {
    "antialias": (
        lambda _: resizing(1),
        {},
        r"Resize: Antialiasing is not supported currently; export the network without its preprocessing",
    ),
    "zero-points": (
        lambda folder: quantised(model_bytes(), folder, activations=QuantType.QUInt8, ActivationSymmetric=False),
        {"precision": "int8"},
        r"QuantizeLinear: Non-zero zero point is not supported; quantise with int8 .* zero points of 0",
    ),
    "int32-bias": (
        lambda folder: quantised(model_bytes(), folder, QuantizeBias=True),
        {"precision": "int8"},
        r"DequantizeLinear: .*input has type Int32.*; quantise with .* float32 biases",
    ),
    "dynamic-int8": (
        lambda folder: dynamically_quantised(model_bytes(), folder),
        {"precision": "int8"},
        r"DynamicQuantizeLinear: is not supported \(and \d+ more\); quantise with",
    ),
    "turing-fp32": (
        lambda _: model_bytes(),
        {"capabilities": ("SM75",)},
        r"FP32 GEMM is not supported; build it of an fp16",
    ),
    "unknown-gpu": (
        lambda _: model_bytes(),
        {"capabilities": ("SM68",)},
        r"found 'SM68', expected some of SM75, SM80, .*SM120.* \(did you mean SM8\d\?\); .* plain TensorRT",
    ),
    "not-onnx": (lambda _: b"hello", {}, r"model\.onnx: not an ONNX file"),
    "no-input": (lambda _: b"", {}, r"model\.onnx: found no input"),
    "other-precision": (
        lambda _: half(model_bytes()),
        {},
        r"found fp16 weights, expected precision 'fp32': the file decides it",
    ),
    "free-size": (lambda _: resizing(0, "side"), {}, r"input: found shape \[0, 3, 0, 40\].*only the batch free"),
    "profile": (lambda _: model_bytes(), {"profile": (2, 1, 4)}, r"found batches \(2, 1, 4\), expected growing"),
    "timing": (lambda _: model_bytes(), {"timing_cache": Path("x")}, r"TensorRT-RTX measures no kernels"),
    "module": (lambda _: model_bytes(), {"module": "tensorflow"}, r"found 'tensorflow', expected tensorrt_rtx or"),
}


@needs_package
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_refused_with_its_cause(case: str, tmp_path: Path) -> None:
    make, options, words = REFUSED[case]
    with pytest.raises(SonoforgeError, match=words) as caught:
        build_engine(make(tmp_path), "model.onnx", **{"precision": "fp32", "module": "tensorrt_rtx"} | options)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, GateError)


def test_plain_tensorrt_asks_for_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_build, "gpu_capability", lambda: None)
    monkeypatch.setattr(tensorrt_build.importlib.util, "find_spec", lambda name: name == "tensorrt")
    with pytest.raises(
        SonoforgeError, match="measures kernels on the GPU that it builds for, and this machine has none"
    ):
        build_engine(model_bytes(), "model.onnx", precision="fp32")
    monkeypatch.setattr(tensorrt_build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SonoforgeError, match=r"pip install 'sonoforge\[tensorrt\]'"):
        build_engine(model_bytes(), "model.onnx", precision="fp32")
    with pytest.raises(SonoforgeError, match="tensorrt is not installed; pip install tensorrt"):
        build_engine(model_bytes(), "model.onnx", precision="fp32", module="tensorrt")


@pytest.mark.skipif(sys.platform == "win32", reason="a script that kills itself by a signal")
def test_a_build_that_ends_without_a_word_fails_the_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nkill -SEGV $$\n")
    silent.chmod(0o755)
    monkeypatch.setattr(tensorrt_build.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(sys, "executable", str(silent))
    with pytest.raises(GateError, match=r"model.onnx: tensorrt_rtx ended with signal 11 while it built"):
        build_engine(model_bytes(), "model.onnx", precision="fp32", module="tensorrt_rtx")


@needs_package
def test_a_dcgan_becomes_an_engine_with_a_fixed_batch() -> None:
    torch.manual_seed(0)
    small = dcgan.Generator(32, 1, 8, width=4).eval()
    model = trace(small, {"latents": torch.randn(2, 8)}, ["images"], ({},), {})
    engine, record = build_engine(model, "generator.onnx", precision="fp32")
    assert record["inputs"] == {"latents": [[2, 8]] * 3}
    assert len(engine) > sum(values.nbytes for values in small.parameters())


@needs_package
def test_a_stylegan2_becomes_an_engine_although_its_axes_are_computed() -> None:
    torch.manual_seed(0)
    styled = ARCHITECTURES["stylegan2"].generator(
        image_size=16, channels=1, latent_size=6, classes=2, style_size=8, channel_max=4, channel_base=64,
        mapping_layers=2,
    )  # fmt: skip
    graph = trace_generator(styled.eval()).eval()
    examples = generator_inputs(styled, 2, 0.7, seed=0)
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = tuple({} if name == "psi" else {0: batch} for name in examples)
    model = trace(graph, examples, ["images"], shapes, {}, optimise=False)
    _, record = build_engine(model, "generator.onnx", precision="fp32", profile=(1, 4, 16))
    assert record["inputs"] == {"latents": [[1, 6], [4, 6], [16, 6]], "psi": [[1]] * 3, "labels": [[1], [4], [16]]}
    assert record["outputs"] == ["images"]
    assert record["source"] == "generator.onnx"
    # What was folded for the parser changes no answer.
    folded = onnx.load_from_string(model)
    assert fold_indices(folded) > 0
    fed = {name: values.numpy() for name, values in generator_inputs(styled, 3, -0.5, seed=1).items()}
    images = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, fed)[0]
        for data in (model, folded.SerializeToString())
    ]
    np.testing.assert_array_equal(*images)


def test_arithmetic_with_fractions_is_not_folded() -> None:
    assert fold_indices(onnx.load_from_string(model_bytes())) == 0


# The record, and refusals before anything is loaded; none of it needs the package.


def test_a_fitting_engine_passes_and_gives_its_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert check_engine(path, "tensorrt_rtx", VERSION, (8, 9)) == record_of(path.read_bytes())
    assert check_engine(path, "tensorrt_rtx", VERSION)["precision"] == "fp32"
    (tmp_path / "model.onnx").unlink()  # the fallback may live elsewhere
    assert check_engine(path, "tensorrt_rtx", VERSION)["precision"] == "fp32"


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"module": "tensorrt"}, (), r"found an engine of tensorrt, expected one of tensorrt_rtx; build it again from"),
        (
            {"version": "1.7.1.117"},
            (),
            r"of tensorrt_rtx 1\.7\.1\.117, expected 1\.7\.1\.116, the one that would run it",
        ),
        ({}, ("tensorrt_rtx", "1.7.1.1160"), r"of tensorrt_rtx 1\.7\.1\.116, expected 1\.7\.1\.1160"),
        ({"capabilities": ["SM86", "SM120"]}, (), r"for SM86, SM120, expected one for .* compute capability 8\.9"),
        ({}, ("tensorrt_rtx", VERSION, (9, 0)), r"for portable, expected one for .* compute capability 9\.0"),
        (
            {"source_sha256": "a" * 64},
            (),
            r"model\.onnx: found SHA-256 .*expected aaaaaaaaaaaa.* was built from another",
        ),
        ({"engine_sha256": "b" * 64}, (), r"engine: found SHA-256 .*, expected bbbbbbbbbbbb\.\.\.; copy it again"),
        ({"engine_bytes": 201}, (), r"found 200 bytes, expected 201; copy it again or build it again"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_loaded(
    changes: dict[str, Any],
    arguments: tuple[Any, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path, **changes)
    name, version, capability = (*arguments, *("tensorrt_rtx", VERSION, (8, 9))[len(arguments) :])
    with pytest.raises(SonoforgeError, match=words) as caught:
        check_engine(path, name, version, capability)
    assert "\n" not in str(caught.value)
    assert "onnxruntime runs meanwhile" in str(caught.value)
    deserialised = tensorrt_stand_in.install(
        monkeypatch, tmp_path / "model.onnx", version=version, capability=capability
    )
    with pytest.raises(SonoforgeError, match=words):
        tensorrt_engine.open_file(path)
    assert deserialised == []


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(SonoforgeError, match="found SHA-256"):
        check_engine(path, "tensorrt_rtx", VERSION, (8, 9))


def test_plain_engines_are_of_their_system_and_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engine.platform, "system", lambda: "Linux")
    path = written(tmp_path, module="tensorrt", capabilities=["SM90"], system="Windows")
    with pytest.raises(SonoforgeError, match="found an engine of Windows, expected Linux"):
        check_engine(path, "tensorrt", VERSION, (9, 0))
    check_engine(written(tmp_path, system="Windows"), "tensorrt_rtx", VERSION, (8, 9))  # these are not
    path = written(tmp_path, module="tensorrt", capabilities=["SM90"])
    check_engine(path, "tensorrt", VERSION, (9, 0))
    with pytest.raises(SonoforgeError, match=r"compute capability 8\.9"):
        check_engine(path, "tensorrt", VERSION, (8, 9))


def test_portable_engines_cover_the_vendors_list() -> None:
    runs = {(8, 0), (8, 6), (8, 9), (12, 0), (12, 1)}
    for capability in (*runs, (7, 5), (8, 7), (9, 0), (10, 0), (11, 0)):
        assert covers(["portable"], capability) == (capability in runs)
    assert covers(["SM75", "SM121"], (12, 1))
    assert not covers(["SM75", "SM121"], (12, 0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("tf32"), "tf32 is missing"),
        (lambda record: record.update(extra=1), "unknown key 'extra'"),
        (lambda record: record.update(tf32=0), "tf32: found 0, expected bool"),
        (lambda record: record.update(format_version=2), "format_version: found 2, expected 1"),
        (lambda record: record.update(source="../model.onnx"), r"source: found '\.\./model\.onnx', expected a plain"),
        (lambda record: record.update(engine_sha256="A" * 64), "engine_sha256: .* expected 64 lower-case hex"),
        (lambda record: record.update(precision="bf16"), "precision: found 'bf16', expected fp32, fp16, int8"),
        (lambda record: record.update(capabilities=["portable", "SM86"]), "capabilities: found"),
        (lambda record: record.update(capabilities=[]), "capabilities: found"),
        (lambda record: record.update(inputs={"input": [[1, 3], [2, 3], [1, 3]]}), "inputs: found"),
        (lambda record: record.update(inputs={"input": [[1, 3], [1, 3]]}), "inputs: found"),
        (lambda record: record.update(outputs=["logits", "logits"]), "outputs: found"),
    ],
)
def test_records_are_read_strictly(change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    record = read_record(path)
    change(record)
    record_path(path).write_bytes(to_json(record))
    with pytest.raises(SonoforgeError, match=words) as caught:
        check_engine(path, "tensorrt_rtx", VERSION, (8, 9))
    assert str(caught.value).startswith(str(record_path(path)))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000], ids=range(6))
def test_rubbish_is_no_record(data: bytes) -> None:
    with pytest.raises(SonoforgeError):
        parse_record(data)


def test_an_engine_without_its_record_is_not_loaded(tmp_path: Path) -> None:
    path = written(tmp_path)
    record_path(path).unlink()
    with pytest.raises(SonoforgeError, match="an engine without its record is not loaded"):
        check_engine(path, "tensorrt_rtx", VERSION)


# Running, with a stand-in for the package.


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
    assert "found compute capability 9.0; pip install tensorrt" in missing()


# The recipe for int8 answers as float does: what is built is worth building.


def test_symmetric_int8_keeps_the_labels_of_a_random_network(tmp_path: Path) -> None:
    inputs = np.random.default_rng(1).normal(size=(16, 3, SIZE, SIZE)).astype(np.float32)
    lowered = quantised(model_bytes(), tmp_path, inputs)
    labels = [
        onnxruntime.InferenceSession(model).run(["logits"], {"input": inputs})[0].argmax(1)
        for model in (model_bytes(), lowered)
    ]
    assert np.mean(labels[0] == labels[1]) > 0.8


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="tensorrt is installed here")
def test_engines_for_servers_name_the_package_that_builds_them(tmp_path: Path) -> None:
    from sonoforge.export.verbs.export import Config, main

    with pytest.raises(SonoforgeError, match=r"tensorrt-server-fp16: tensorrt is not installed; pip install tensorrt$"):
        main(Config(run="shipped", formats=("tensorrt-server-fp16",), out=str(tmp_path / "out")))
