"""The Python examples of the pages on PyTorch's own formats run as they stand, in a bundle's folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bundle_factory
from places import CHECKOUT
from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats import executorch as executorch_file
from sonoforge.export.formats import torchscript as torchscript_file
from sonoforge.export.formats.source import Source
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.images.decoding import read_image

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


def _source() -> Source:
    bundle = open_bundle()
    pixels = bundle.golden()["pixels"]
    metadata = {"sonoforge.classes": json.dumps(bundle.classes)}
    return Source(read_network(bundle), bundle.read("model.onnx"), pixels, bundle.manifest.preprocessing, metadata)


def _same_class_twice(printed: str) -> bool:
    """Whether the first line's most probable class is the second line."""
    first, second = printed.strip().splitlines()
    probabilities = json.loads(first.replace("'", '"'))
    return max(probabilities, key=probabilities.__getitem__) == second


def test_torchscript_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    source = _source()
    files = {
        "model.torchscript.pt": torchscript_file.write_torchscript(source),
        "model.ptl": torchscript_file.write_lite(source),
    }
    _run_examples("torchscript.md", files, tmp_path)
    assert _same_class_twice(capsys.readouterr().out)


@pytest.mark.slow
def test_executorch_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if executorch_file.missing():
        pytest.skip(executorch_file.missing())
    monkeypatch.chdir(tmp_path)
    _run_examples("executorch.md", {"model.pte": executorch_file.write_executorch(_source())}, tmp_path)
    assert _same_class_twice(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("page", "file", "image", "then"),
    [
        ("torchscript.md", "model.torchscript.pt", "images", "network = "),
        ("executorch.md", "model.pte", "image", "program = "),
    ],
)
def test_the_page_checks_the_file_and_resizes_as_the_manifest_says(
    page: str, file: str, image: str, then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page == "executorch.md" and executorch_file.missing():
        pytest.skip(executorch_file.missing())
    monkeypatch.chdir(tmp_path)
    folder = bundle_factory.write_bundle(tmp_path, model=b"not run")
    bundle_factory.edit_manifest(folder, lambda manifest: manifest["preprocessing"].update(resample="bicubic"))
    bundle_factory.add_file(folder, file, b"a program")
    Image.fromarray(bundle_factory.scan(0)).save(folder / "scan.png")
    example = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[0]
    before_it_runs = example[: example.index(f"\n{then}", example.index(f"{image} = "))]
    values: dict[str, Any] = {}
    exec(compile(before_it_runs, page, "exec"), values)
    rules = open_bundle(folder).manifest.preprocessing
    expected = rules.normalise(rules.resize(read_image(folder / "scan.png"))[None])
    assert np.abs(values[image].numpy() - expected).max() < 1e-5
    (folder / file).write_bytes(b"another program")
    with pytest.raises(AssertionError):
        exec(compile(before_it_runs, page, "exec"), {})
