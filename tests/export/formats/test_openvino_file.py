"""OpenVINO's files: the same answers, read from a folder or a zip, without a word to anybody."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import bundle_factory
from places import CHECKOUT
from refusals import assert_cannot_load
from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats import openvino as openvino_file
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import FORMATS
from sonoforge.export.verbs.export import ExportConfig, main
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.runners import run_in_subprocess
from sonoforge.runtime.verbs import bench, verify
from traces import traces_of_this_machine

pytestmark = pytest.mark.skipif(bool(openvino_file.missing()), reason=openvino_file.missing())
NAMES = ("openvino", "openvino-fp16")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files of the shipped network."""
    folder, bundle = tmp_path_factory.mktemp("written"), open_bundle()
    pixels = bundle.golden()["pixels"]
    source = Source(read_network(bundle), bundle.read("model.onnx"), pixels, bundle.manifest.preprocessing, {})
    for name in NAMES:
        for file, data in FORMATS[name].write(source).items():  # type: ignore[union-attr]
            (folder / file).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_as_the_onnx_file_does(written: Path, name: str) -> None:
    golden = open_bundle().golden()
    inputs = open_bundle().manifest.preprocessing.normalise(golden["pixels"])
    outputs = run_in_subprocess(name, written / f"model{FORMATS[name].suffix}", [inputs], batch=4)
    limit = FORMATS[name].tolerance.of_passes(True)
    for output, values in zip(("logits", "probabilities", "embedding", "cam"), outputs, strict=True):
        difference = np.abs(values - golden[output]).max() / max(1.0, float(np.abs(golden[output]).max()))
        assert difference < (1e-4 if name == "openvino" else limit.relative)
        assert name == "openvino" or difference > 1e-6  # it is another file
    assert np.abs(outputs[1] - golden["probabilities"]).max() < limit.probability


def test_half_precision_is_smaller_and_no_file_tells_of_the_machine(written: Path) -> None:
    whole, half = ((written / name).stat().st_size for name in ("model.bin", "model.fp16.bin"))
    assert half < 0.65 * whole
    for file in written.iterdir():
        assert traces_of_this_machine(file.read_bytes()) == []
    assert b"research use, not a medical device" in (written / "model.xml").read_bytes()


def test_a_bundle_keeps_the_weights_beside_the_graph(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    outcome = main(ExportConfig(run="shipped", formats=("openvino",), data="phantom", out=str(folder), zip=True))
    row = next(row for row in outcome.result["formats"] if row["format"] == "openvino")
    assert row["status"] == "passed", row
    files = open_bundle(folder).manifest.files
    assert row["bytes"] == files["model.xml"].bytes + files["model.bin"].bytes > 9e6
    for place in (folder, outcome.result["zip"]):
        said = verify.main(verify.VerifyConfig(bundle=str(place), trust=True)).result["formats"]["openvino"]
        assert said["status"] == "passed" and said["max_abs_difference"] < 1e-5
        said = verify.main(verify.VerifyConfig(bundle=str(place))).result["formats"]["openvino"]
        assert said["status"] == "not run" and "--trust" in said["reason"]
    quick = bench.BenchConfig(str(folder), formats=("openvino",), seconds=0.02, rounds=1, batches=(1,), trust=True)
    (measured,) = bench.main(quick).result["files"]
    assert measured["bytes"] == row["bytes"] and measured["program"].startswith("openvino 20")
    (folder / "model.bin").unlink()
    with pytest.raises(SonoforgeError, match=r"model\.bin is missing"):
        open_bundle(folder)


def test_another_networks_weights_fail(tmp_path: Path, written: Path) -> None:
    bundle_factory.write_bundle(tmp_path / "b")
    for file, form in (("model.xml", "openvino"), ("model.bin", "")):
        data = (written / file).read_bytes()
        bundle_factory.add_file(tmp_path / "b", file, data, *([form] if form else []))
    outcome = verify.main(verify.VerifyConfig(str(tmp_path / "b"), trust=True))
    assert outcome.exit_code == 1 and outcome.result["formats"]["openvino"]["status"] == "failed"


@pytest.mark.parametrize("graph", [b"", b"not a graph", b"<net", None])
def test_a_damaged_file_is_refused_in_one_line(graph: bytes | None, tmp_path: Path, written: Path) -> None:
    (tmp_path / "model.xml").write_bytes((written / "model.xml").read_bytes() if graph is None else graph)
    (tmp_path / "model.bin").write_bytes((written / "model.bin").read_bytes()[:1000])
    assert_cannot_load(lambda: openvino_file.open_file(tmp_path / "model.xml"), "OpenVINO", tmp_path)


def test_what_it_cannot_convert_is_refused(written: Path) -> None:
    model = onnx.load_model_from_string(bundle_factory.model_bytes())
    model.graph.node[0].op_type = "NoSuchOperator"
    bundle = open_bundle()
    source = Source(read_network(bundle), model.SerializeToString(), np.zeros((0,)), bundle.manifest.preprocessing, {})
    with pytest.raises(GateError, match=r"^model\.xml: OpenVINO"):
        openvino_file.write_openvino(source, "fp32")


def test_the_pages_example_answers_as_the_bundle_does(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "export/docs/formats.md").read_text(), re.DOTALL)
    for file in ("model.xml", "model.bin"):
        (tmp_path / file).write_bytes((written / file).read_bytes())
    (tmp_path / "manifest.json").write_bytes((SHIPPED / "manifest.json").read_bytes())
    scan = bundle_factory.scan(0)
    Image.fromarray(scan).save(tmp_path / "scan.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", openvino_file._openvino())
    exec(compile(example, "formats.md", "exec"), {})
    bundle = open_bundle()
    rules = bundle.manifest.preprocessing
    expected = Classifier(bundle).predict(rules.resize(read_image(tmp_path / "scan.png"))[None])["probabilities"]
    assert np.abs(np.array(json.loads(capsys.readouterr().out)) - expected[0]).max() < 1e-4


def test_its_telemetry_is_never_loaded(tmp_path: Path, written: Path) -> None:
    """A stand-in of the package that would send, before the real one, if that is installed."""
    (tmp_path / "openvino_telemetry.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'sent')!r}).touch()\nclass Telemetry: ...\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from sonoforge.export.formats import openvino
openvino.open_file(Path({str(written / "model.xml")!r}))
print("torch" in sys.modules, "openvino_telemetry" in sys.modules)
import openvino_telemetry
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["False", "False"]
    assert (tmp_path / "sent").exists()  # only now, when this very test imported it


TWO_FILES_THEN_CTRL_C = """
import os, signal, sys
from pathlib import Path
from sonoforge.export.formats.openvino import open_file
path = Path(sys.argv[1])
first, second = open_file(path), open_file(path)
del first
del second
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks are Linux's here")
def test_a_signal_after_files_were_closed_is_handled(written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", TWO_FILES_THEN_CTRL_C, str(written / "model.xml")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
