"""OpenVINO's files beyond what every format must do: refusals, not a word to anybody, and signals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

import bundle_factory
from sonoforge.export.formats import openvino as openvino_file
from sonoforge.export.formats.source import Source
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.preprocessing import IMAGENET

pytestmark = pytest.mark.skipif(bool(openvino_file.missing()), reason=openvino_file.missing())


def test_what_it_cannot_convert_is_refused() -> None:
    model = onnx.load_model_from_string(bundle_factory.model_bytes())
    model.graph.node[0].op_type = "NoSuchOperator"
    source = Source(nn.Identity(), model.SerializeToString(), np.zeros((0,)), IMAGENET, {})
    with pytest.raises(GateError, match=r"^model\.xml: OpenVINO"):
        openvino_file.write_openvino(source, "fp32")


@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks are Linux's here")
def test_its_telemetry_is_never_loaded_and_a_signal_after_files_were_closed_is_handled(
    tmp_path: Path, written: Callable[[str], Path]
) -> None:
    """A stand-in of the package that would send, before the real one, if that is installed."""
    sent = f"from pathlib import Path\nPath({str(tmp_path / 'sent')!r}).touch()\nclass Telemetry: ...\n"
    (tmp_path / "openvino_telemetry.py").write_text(sent)
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM, str(tmp_path), str(written("openvino"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, ["False", "False", "interrupted"]), done.stderr
    assert (tmp_path / "sent").exists()  # only when this very test imported it


PROGRAM = """
import os, signal, sys
from pathlib import Path
from sonoforge.export.formats import openvino
folder, path = map(Path, sys.argv[1:])
sys.path.insert(0, str(folder))
first, second = openvino.open_file(path), openvino.open_file(path)
print("torch" in sys.modules, "openvino_telemetry" in sys.modules)
import openvino_telemetry
del first
del second
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
