"""OpenVINO's files beyond what every format must do: two files in a bundle, and not a word to anybody."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import bundle_factory
from places import CHECKOUT
from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats import openvino as openvino_file
from sonoforge.export.formats.source import Source
from sonoforge.export.verbs.export import ExportConfig, main
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.verbs import bench, verify

pytestmark = pytest.mark.skipif(bool(openvino_file.missing()), reason=openvino_file.missing())


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
    assert measured["bytes"] == row["bytes"]
    (folder / "model.bin").unlink()
    with pytest.raises(SonoforgeError, match=r"model\.bin is missing"):
        open_bundle(folder)


def test_what_it_cannot_convert_is_refused() -> None:
    model = onnx.load_model_from_string(bundle_factory.model_bytes())
    model.graph.node[0].op_type = "NoSuchOperator"
    bundle = open_bundle()
    source = Source(read_network(bundle), model.SerializeToString(), np.zeros((0,)), bundle.manifest.preprocessing, {})
    with pytest.raises(GateError, match=r"^model\.xml: OpenVINO"):
        openvino_file.write_openvino(source, "fp32")


def test_the_pages_example_answers_as_the_bundle_does(
    written: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "export/docs/formats.md").read_text(), re.DOTALL)
    for file in ("model.xml", "model.bin"):
        (tmp_path / file).write_bytes(written("openvino").with_name(file).read_bytes())
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


def test_its_telemetry_is_never_loaded(tmp_path: Path, written: Callable[[str], Path]) -> None:
    """A stand-in of the package that would send, before the real one, if that is installed."""
    (tmp_path / "openvino_telemetry.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'sent')!r}).touch()\nclass Telemetry: ...\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from sonoforge.export.formats import openvino
openvino.open_file(Path({str(written("openvino"))!r}))
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
def test_a_signal_after_files_were_closed_is_handled(written: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", TWO_FILES_THEN_CTRL_C, str(written("openvino"))],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
