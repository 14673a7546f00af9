"""The page about generators: its Python runs, its table is that of the formats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_factory import zip_bundle
from generator_checkpoints import small_checkpoint
from places import CHECKOUT
from sonoforge.export.formats.executorch import missing
from sonoforge.export.formats.source import unsuitable
from sonoforge.export.formats.table import FORMATS
from sonoforge.runtime.inference.generator import Generator
from sonoforge.training.gan.generator import load_generator

PAGE = (CHECKOUT / "export" / "docs" / "generators.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("recipe", "classes"), [("dcgan", 0), ("began", 2), pytest.param("stylegan2", 2, marks=pytest.mark.slow)]
)
def test_the_python_of_the_page_makes_the_same_images(
    generators: Any, monkeypatch: pytest.MonkeyPatch, recipe: str, classes: int
) -> None:
    monkeypatch.chdir(generators(recipe, classes).bundle)
    source = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(source, "generators.md", "exec"), names)
    expected = Generator(".").generate(4, 3, "a" if classes else "").astype(int)
    assert np.abs(names["pixels"].transpose(0, 2, 3, 1) - expected).max() <= 1


def test_the_short_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generators: Any) -> None:
    zip_bundle(generators("dcgan").bundle, tmp_path / "generator.zip")
    monkeypatch.chdir(tmp_path)
    (source,) = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "generators.md", "exec"), names)
    assert names["images"].shape == (16, 32, 32, 1)


@pytest.mark.skipif(bool(missing()), reason="executorch is not installed: pip install 'sonoforge[mobile]'")
@pytest.mark.slow
def test_executorch_of_the_page_makes_the_same_images(monkeypatch: pytest.MonkeyPatch, generators: Any) -> None:
    monkeypatch.chdir(generators("dcgan", 2, ("onnx", "executorch")).bundle)
    names: dict[str, Any] = {}
    sources = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(sources) == 2
    for source in sources:
        exec(compile(source, "generators.md", "exec"), names)
    np.testing.assert_allclose(np.stack(names["again"]), names["images"], atol=1e-4)
    assert np.ptp(names["images"]) > 0.1, "flat images would prove nothing"


def test_the_page_names_every_format_and_file() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| `(generator[a-z0-9.]*)` \|", PAGE, re.MULTILINE))
    assert rows == {name: f"generator{form.suffix}" for name, form in FORMATS.items() if form.generators}


@pytest.mark.parametrize(
    "recipe", ["dcgan", "dcgan-thesis", "began", "progan", "stylegan1", "stylegan2", "stylegan3-t"]
)
def test_the_table_says_what_each_generator_can_have(tmp_path: Path, recipe: str) -> None:
    generator = load_generator(small_checkpoint(tmp_path, recipe, 0))
    column = 3 if recipe[:8] != "stylegan" else 5 if recipe[8] == "3" else 4
    for line in PAGE.splitlines():
        if re.match(r"\| `[a-z0-9-]+` \| `generator", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert cells[column].startswith("no") == bool(unsuitable(cells[0].strip("`"), generator)), line
