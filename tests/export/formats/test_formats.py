"""Every classifier format: written from the shipped network, run as any file, compared, and refused when damaged."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from corners import corners
from sonoforge.export.formats.onnx_graph import OPSET, metadata_of, to_ort
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import FORMATS
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference import runners
from traces import traces_of_this_machine

OUTPUTS = ("logits", "probabilities", "embedding", "cam")
PROGRAMS = {"onnx": "ONNX", "ort": "ONNX", "torchscript": "torch", "executorch": "ExecuTorch",
            "litert": "LiteRT"}  # fmt: skip
QUICK = ("onnx", "onnx-fp16", "onnx-uint8", "ort", "torchscript", "torchscript-lite")
NAMES = corners([name for name in FORMATS if not name.startswith("tensorrt")], *QUICK)
VARYING = ("ort", "litert")  # two files of a network differ in bytes, as layers are numbered
Written = Callable[[str], Path]


@pytest.fixture
def path(request: pytest.FixtureRequest, written: Written) -> Path:
    """The file of the test's format."""
    name = request.node.callspec.params["name"]
    if absent := FORMATS[name].missing() or runners.missing(name):
        pytest.skip(absent)
    return written(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_answers_as_the_network_does_in_any_batch(name: str, path: Path, source: Source) -> None:
    form, golden = FORMATS[name], open_bundle().golden()
    limit = form.tolerance.of_passes(True)
    answer = runners.open_file(name, path)
    pixels = golden["pixels"]
    for rows in (slice(0, 1), slice(0, 4)):
        fed = pixels[rows] if form.whole_images else source.preprocessing.normalise(pixels[rows])
        for output, values in zip(OUTPUTS, answer([fed]), strict=True):
            expected = golden[output][rows]
            assert values.shape == expected.shape and values.dtype == np.float32
            largest = max(1.0, float(np.abs(golden[output]).max()))
            allowed = limit.probability if output == "probabilities" else limit.relative * largest
            assert np.abs(values - expected).max() <= allowed, output
    if form.precision != "fp32":  # it is another file
        assert np.abs(answer([source.preprocessing.normalise(pixels)])[1] - golden["probabilities"]).max() > 1e-6


@pytest.mark.parametrize("name", corners(QUICK, "ort", "torchscript"))
def test_a_process_of_its_own_gives_the_golden_answers(name: str, path: Path, source: Source) -> None:
    golden, form = open_bundle().golden(), FORMATS[name]
    pixels = golden["pixels"][:3]
    inputs = pixels if form.whole_images else source.preprocessing.normalise(pixels)
    found = runners.run_in_subprocess(name, path, [inputs], batch=2)
    assert np.abs(found[1] - golden["probabilities"][:3]).max() <= form.tolerance.of_passes(True).probability


@pytest.mark.parametrize("name", NAMES)
def test_a_file_tells_nothing_of_the_machine_and_says_what_it_is(name: str, path: Path, source: Source) -> None:
    data = path.read_bytes()
    parts = [data]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts = [archive.read(record) for record in archive.namelist()]
    assert [traces_of_this_machine(part) for part in parts] == [[]] * len(parts) and b"sonoforge-" not in data
    if path.suffix == ".onnx":
        model = onnx.load_model_from_string(data)
        assert metadata_of(model).items() >= metadata_of(onnx.load_model_from_string(source.onnx)).items()
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    elif name == "litert":  # a format without room for notes
        assert data[4:8] == b"TFL3"
    else:
        assert b"sonoforge.use" in data or b"research use, not a medical device" in data


@pytest.mark.parametrize("name", corners([name for name in FORMATS if FORMATS[name].precision != "int8"
                                          and not name.startswith("tensorrt") and name not in VARYING],
                                         "onnx-fp16", "onnx-uint8", "torchscript", "torchscript-lite"))  # fmt: skip
def test_the_same_network_makes_the_same_bytes(name: str, path: Path, source: Source) -> None:
    made = FORMATS[name].write(source)
    assert (made[path.name] if isinstance(made, dict) else made) == path.read_bytes()


@pytest.mark.parametrize("share", [0, 0.02, 0.5])
@pytest.mark.parametrize("name", [name for name in QUICK if name in PROGRAMS] + ["executorch", "litert"])
def test_a_damaged_file_is_refused_in_one_line(name: str, share: float, tmp_path: Path, written: Written) -> None:
    if absent := runners.missing(name):
        pytest.skip(absent)
    whole = written(name).read_bytes() if share and name in QUICK else b"no model" * int(100 * share)
    damaged = tmp_path / f"model{FORMATS[name].suffix}"
    damaged.write_bytes(whole[: int(share * len(whole))])
    said = None if PROGRAMS[name] == "ONNX" else f"{PROGRAMS[name]} cannot load it"
    with pytest.raises(SonoforgeError, match=said) as raised:
        runners.open_file(name, damaged)
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)


def test_lower_precision_is_smaller(written: Written) -> None:
    size = {name: written(name).stat().st_size for name in ("onnx", "onnx-fp16", "onnx-uint8")}
    assert size["onnx-fp16"] < 0.65 * size["onnx"] and size["onnx-uint8"] < size["onnx"] + 10_000
    with pytest.raises(GateError, match=r"^model\.ort: "):
        to_ort(b"not a model")
