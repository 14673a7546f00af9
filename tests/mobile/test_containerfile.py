"""The container's recipe: well-formed, unprivileged, of the versions that are tested, with a command that works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from places import CHECKOUT
from program import understood
from sonoforge.mobile.web_app import DICOM_PARSER, ONNXRUNTIME_WEB

RECIPE = CHECKOUT / "mobile" / "Containerfile"


def instruction(name: str) -> str:
    """What the last instruction of a kind says."""
    return re.findall(rf"^{name} (.*)$", RECIPE.read_text(encoding="utf-8"), re.MULTILINE)[-1]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), RECIPE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_without_privileges_what_the_program_understands() -> None:
    assert int(instruction("USER")) > 0
    program, module, *_ = json.loads(instruction("ENTRYPOINT"))[1:]
    assert program == "-m" and module == "sonoforge.runtime.cli.main"
    done = understood(*json.loads(instruction("CMD")))
    assert done.code == 0, done.err


def test_its_app_has_the_version_that_is_tested() -> None:
    text = RECIPE.read_text(encoding="utf-8")
    assert set(re.findall(r"onnxruntime-web[@-](\d+\.\d+\.\d+)", text)) == {ONNXRUNTIME_WEB.version}
    assert re.findall(r"dicom-parser[@-](\d+\.\d+\.\d+)", text) == 2 * [DICOM_PARSER.version]
    assert f"/app/{ONNXRUNTIME_WEB.archive}" in instruction("CMD")
