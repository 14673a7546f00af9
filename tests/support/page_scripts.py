"""Runs the page's scripts in Node, as an app has them, and compares what they make of files with Python's runtime."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from places import CHECKOUT
from sonoforge.mobile.web_app import DICOM_PARSER, WWW, constants_script, read_files
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.dicom.reader import open_dicom
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.plain_image import remarks_on
from sonoforge.runtime.inference.clips import dicom_entry

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


def expected(path: Path) -> dict[str, Any]:
    """Return what Python's runtime makes of a file, in the page's form."""
    try:
        opened = open_dicom(path) if path.suffix == ".dcm" else None
        frames = [read_image(path)] if opened is None else [*opened.frames()]
    except ImageError as error:
        return {"code": error.code}
    first = frames[0]
    found: dict[str, Any] = {"width": first.width, "height": first.height, "remarks": [*remarks_on(first)]}
    found["channels"] = len(first.getbands())
    found["frames"] = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
    return found if opened is None else found | {"dicom": dicom_entry(opened)}


def compare(files: dict[str, Path], folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return where the page and Python differ, and what the page says of each file; what it refuses is one line."""
    answers = run_script("decode_any.mjs", [str(path) for path in files.values()], folder)
    found = dict(zip(files, answers, strict=True))
    wrong = {}
    for name, own in found.items():
        right = expected(files[name])
        differing = {key: (own.get(key), value) for key, value in right.items() if own.get(key) != value}
        if differing:
            wrong[name] = (differing, own.get("message"))
        if "message" in own:
            assert own["kind"] == "ImageError" and own["code"] and "\n" not in own["message"], (name, own)
    return wrong, found


def check_damaged(sources: Sequence[bytes], start: int, reach: tuple[int, int], folder: Path) -> str:
    """Give the page files that are cut or changed, and return what it said of those that it refused.

    Args:
        sources: Whole files.
        start: The first byte that is changed.
        reach: Where most numbers lie that say how a file is built: bytes from its beginning, or its end.
        folder: For the files.
    """
    rng, files = np.random.default_rng(0), []
    for number in range(DAMAGED):
        data = bytearray(sources[number % len(sources)])
        if number % 3 == 0:
            data = data[: int(rng.integers(start, len(data)))]
        else:
            low, high = (start, len(data)) if number % 3 == 1 else (reach[0], min(len(data), reach[1]))
            for place in rng.integers(low, high, int(rng.integers(1, 9))):
                data[place if not 0 <= place < start else start] = rng.integers(256)
        files.append(folder / f"damaged-{number}")
        files[-1].write_bytes(data)
    found = run_script("decode_any.mjs", [str(file) for file in files], folder)
    refused = [one for one in found if "message" in one]
    assert DAMAGED / 4 < len(refused) < 0.95 * DAMAGED
    assert {one["kind"] for one in refused} == {"ImageError"}
    assert all(one["code"] and "\n" not in one["message"] for one in refused)
    assert max(one["ms"] for one in found) < 10_000
    return " ".join(one["message"] for one in refused)
