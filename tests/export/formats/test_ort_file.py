"""The .ort file: the same answers, nothing of the host, and the operators that a reduced build needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bundle_factory import model_bytes
from sonoforge.export.formats.ort import required_operators, to_ort
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.inference.runners import run_in_subprocess
from traces import traces_of_this_machine

PREPROCESSING = open_bundle().manifest.preprocessing


@pytest.fixture(scope="module")
def ort() -> bytes:
    return to_ort((SHIPPED / "model.onnx").read_bytes())


def test_it_answers_as_the_onnx_file_does(ort: bytes, tmp_path: Path) -> None:
    assert ort[4:8] == b"ORTM"  # the format's identifier
    (tmp_path / "model.ort").write_bytes(ort)
    golden = open_bundle().golden()
    outputs = run_in_subprocess("ort", tmp_path / "model.ort", [PREPROCESSING.normalise(golden["pixels"])])
    for name, values in zip(("logits", "probabilities", "embedding", "cam"), outputs, strict=True):
        assert np.abs(values - golden[name]).max() < 1e-4 * max(1.0, float(np.abs(golden[name]).max()))


def test_it_keeps_the_metadata_and_no_trace_of_the_machine(ort: bytes) -> None:
    expected = onnxruntime.InferenceSession(SHIPPED / "model.onnx").get_modelmeta().custom_metadata_map
    assert onnxruntime.InferenceSession(ort).get_modelmeta().custom_metadata_map == expected
    assert traces_of_this_machine(ort) == [] and b"sonoforge-" not in ort


def test_a_reduced_build_learns_which_operators_it_needs(ort: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    text = required_operators(ort)
    rows = [line.split(";") for line in text.splitlines()]
    operators = {operator for _, _, names in rows for operator in names.split(",")}
    assert {"Conv", "Gemm", "Softmax"} <= operators
    assert "/" not in text and capfd.readouterr() == ("", "")
    # The outline is read with a Sigmoid, which the patch network lacks.
    assert "Sigmoid" not in required_operators(to_ort(model_bytes())) and "Sigmoid" in operators


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(GateError, match=r"^model\.ort: "):
        to_ort(b"not a model")
