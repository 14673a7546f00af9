"""Files made of a bundle's ONNX file: with its notes and operators, always the same, and nothing of the machine."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest

from corners import corners
from sonoforge.export.formats.half_precision import to_half
from sonoforge.export.formats.onnx_graph import OPSET
from sonoforge.export.formats.preprocessing_graph import with_preprocessing
from sonoforge.export.formats.quantisation import to_int8
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from traces import traces_of_this_machine

PREPROCESSING = open_bundle().manifest.preprocessing

MAKE: dict[str, Callable[[bytes], bytes]] = {
    "fp16": to_half,
    "int8": lambda model: to_int8(model, PREPROCESSING.normalise(open_bundle().golden()["pixels"])).data,
    "uint8": lambda model: with_preprocessing(model, PREPROCESSING),
}


@pytest.mark.parametrize("form", MAKE)
def test_it_keeps_metadata_operators_and_no_trace_of_the_machine(form: str, shipped_int8: bytes) -> None:
    model = (SHIPPED / "model.onnx").read_bytes()
    made = shipped_int8 if form == "int8" else MAKE[form](model)
    before, after = onnx.load_model_from_string(model), onnx.load_model_from_string(made)
    notes, kept = ({entry.key: entry.value for entry in file.metadata_props} for file in (after, before))
    assert {key: value for key, value in notes.items() if key != "sonoforge.quantisation"} == kept
    assert {entry.domain: entry.version for entry in after.opset_import}[""] == OPSET
    assert traces_of_this_machine(made) == [] and b"sonoforge-" not in made


@pytest.mark.parametrize("form", corners(MAKE, "fp16", "uint8"))
def test_a_file_is_made_of_the_same_bytes_again(form: str, shipped_int8: bytes) -> None:
    model = (SHIPPED / "model.onnx").read_bytes()
    assert MAKE[form](model) == (shipped_int8 if form == "int8" else MAKE[form](model))
