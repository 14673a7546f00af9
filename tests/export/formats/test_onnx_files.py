"""Files made of a bundle's ONNX file: the same answers, notes and operators, always the same bytes, no trace of a host.

The shipped network has a second pass, whose layers run twice; each of its weights is stored once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bundle_factory import model_bytes
from corners import corners
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import OPSET
from sonoforge.export.formats.ort import required_operators, to_ort
from sonoforge.export.formats.preprocessing_graph import with_preprocessing
from sonoforge.export.formats.quantisation import to_int8
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.inference.onnx_session import session_options
from sonoforge.runtime.inference.runners import run_in_subprocess
from traces import traces_of_this_machine

PREPROCESSING = open_bundle().manifest.preprocessing
MODEL = (SHIPPED / "model.onnx").read_bytes()
INPUTS = PREPROCESSING.normalise(open_bundle().golden()["pixels"])

MAKE: dict[str, Callable[[bytes], bytes]] = {
    "ort": to_ort,
    "fp16": to_half,
    "int8": lambda model: to_int8(model, INPUTS).data,
    "uint8": lambda model: with_preprocessing(model, PREPROCESSING),
}


def notes(model: bytes) -> dict[str, str]:
    return dict(onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map)


def probabilities(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, session_options(threads=1))
    return np.concatenate([np.asarray(session.run(["probabilities"], {"input": one[None]})[0]) for one in INPUTS])


@pytest.mark.parametrize("form", MAKE)
def test_it_keeps_metadata_operators_and_no_trace_of_the_machine(form: str, shipped_int8: bytes) -> None:
    made = shipped_int8 if form == "int8" else MAKE[form](MODEL)
    assert {key: value for key, value in notes(made).items() if key != "sonoforge.quantisation"} == notes(MODEL)
    if form != "ort":
        assert {entry.domain: entry.version for entry in onnx.load_model_from_string(made).opset_import}[""] == OPSET
    assert traces_of_this_machine(made) == [] and b"sonoforge-" not in made


@pytest.mark.parametrize("form", corners([form for form in MAKE if form != "ort"], "fp16", "uint8"))
def test_a_file_is_made_of_the_same_bytes_again(form: str, shipped_int8: bytes) -> None:
    assert MAKE[form](MODEL) == (shipped_int8 if form == "int8" else MAKE[form](MODEL))


def test_int8_runs_where_sums_must_not_overflow_and_is_a_third_of_the_size(shipped_int8: bytes) -> None:
    assert len(shipped_int8) <= 0.36 * len(MODEL)
    assert np.abs(probabilities(shipped_int8) - probabilities(MODEL)).max() < 0.15
    stored = {tensor.name: tensor for tensor in onnx.load_model_from_string(shipped_int8).graph.initializer}
    types = [stored[name].data_type for name in stored if name.endswith("weight_quantized")]
    assert types.count(onnx.TensorProto.UINT8) > 30  # what onnxruntime would fail to make of shared int8 weights


def test_half_precision_is_half_the_size() -> None:
    half = to_half(MODEL, 10)
    assert len(half) < 0.54 * len(MODEL)
    assert np.abs(probabilities(half) - probabilities(MODEL)).max() < 0.03


def test_ort_answers_as_the_onnx_file_does(tmp_path: Path) -> None:
    (tmp_path / "model.ort").write_bytes(ort := to_ort(MODEL))
    assert ort[4:8] == b"ORTM"  # the format's identifier
    golden = open_bundle().golden()
    outputs = run_in_subprocess("ort", tmp_path / "model.ort", [INPUTS])
    for name, values in zip(("logits", "probabilities", "embedding", "cam"), outputs, strict=True):
        assert np.abs(values - golden[name]).max() < 1e-4 * max(1.0, float(np.abs(golden[name]).max()))
    with pytest.raises(GateError, match=r"^model\.ort: "):
        to_ort(b"not a model")


def test_a_reduced_build_learns_which_operators_it_needs(capfd: pytest.CaptureFixture[str]) -> None:
    text = required_operators(to_ort(MODEL))
    operators = {operator for line in text.splitlines() for operator in line.split(";")[2].split(",")}
    assert {"Conv", "Gemm", "Softmax"} <= operators
    assert "/" not in text and capfd.readouterr() == ("", "")
    # The outline is read with a Sigmoid, which the patch network lacks.
    assert "Sigmoid" not in required_operators(to_ort(model_bytes())) and "Sigmoid" in operators
