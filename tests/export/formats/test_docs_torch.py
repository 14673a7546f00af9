"""The Python examples of the pages on PyTorch's own formats run as they stand, in a bundle's folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import bundle_factory
from places import CHECKOUT
from sonoforge.export.formats import executorch as executorch_file
from sonoforge.runtime.bundle.reader import SHIPPED

Written = Callable[[str], Path]
DOCS = CHECKOUT / "export" / "docs"


def _run_examples(page: str, files: dict[str, bytes], folder: Path) -> None:
    """Put the files into a copy of the shipped bundle and run each example there."""
    shutil.copytree(SHIPPED, folder, dirs_exist_ok=True)
    for name, data in files.items():
        bundle_factory.add_file(folder, name, data)
    Image.fromarray(bundle_factory.scan(0)).save(folder / "scan.png")
    examples = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, page, "exec"), {})


def _same_class_twice(printed: str) -> bool:
    """Whether the first line's most probable class is the second line."""
    first, second = printed.strip().splitlines()
    probabilities = json.loads(first.replace("'", '"'))
    return max(probabilities, key=probabilities.__getitem__) == second


def test_torchscript_page(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [written(name) for name in ("torchscript", "torchscript-lite")]
    _run_examples("torchscript.md", {path.name: path.read_bytes() for path in paths}, tmp_path)
    assert _same_class_twice(capsys.readouterr().out)


@pytest.mark.slow
def test_executorch_page(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if executorch_file.missing():
        pytest.skip(executorch_file.missing())
    monkeypatch.chdir(tmp_path)
    _run_examples("executorch.md", {"model.pte": written("executorch").read_bytes()}, tmp_path)
    assert _same_class_twice(capsys.readouterr().out)
