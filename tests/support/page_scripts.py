"""Runs the page's scripts in Node, as an app has them: with the constants that ``mobile build`` writes."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from places import CHECKOUT
from sonoforge.mobile.npm_package import DICOM_PARSER, read_files
from sonoforge.mobile.web_app import WWW, constants_script

DAMAGED = int(os.environ.get("SONOFORGE_FUZZ_EXAMPLES", "100"))
"""Number of damaged files of a kind that the scripts are given."""


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    shutil.copytree(WWW / "js", Path(folder.name) / "js")
    (Path(folder.name) / "js" / "constants.js").write_bytes(constants_script())
    (Path(folder.name) / "package.json").write_text('{"type": "module"}')
    (Path(folder.name) / "vendor").mkdir()
    if shutil.which("npm") is not None:
        for name, data in read_files(DICOM_PARSER).items():
            (Path(folder.name) / "vendor" / name).write_bytes(data)
    for script in (CHECKOUT / "tests" / "mobile").glob("*.mjs"):
        shutil.copy(script, folder.name)
    return folder


def run_script(name: str, question: Any, folder: Path, *more: str) -> Any:
    """The answer, as JSON, of ``node NAME QUESTION.json ...``; the question is written into the folder."""
    (folder / "question.json").write_text(json.dumps(question))
    command = ["node", name, str(folder / "question.json"), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=_folder().name)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
