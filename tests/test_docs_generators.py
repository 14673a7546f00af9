"""The page about generators: its Python runs, its table is that of the formats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_factory import zip_bundle
from generator_checkpoints import small_checkpoint
from sonoforge.export.generator_bundle import FORMATS, write_generator_bundle
from sonoforge.runtime.generator import Generator

PAGE = (Path(__file__).parents[1] / "export" / "docs" / "generators.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("recipe", "classes"), [("dcgan", 0), ("began", 2), ("stylegan2", 2)])
def test_the_python_of_the_page_makes_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, classes: int
) -> None:
    write_generator_bundle(small_checkpoint(tmp_path, recipe, classes), tmp_path / "bundle")
    monkeypatch.chdir(tmp_path / "bundle")
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "generators.md", "exec"), names)
    expected = Generator(".").generate(4, 3, "a" if classes else "").astype(int)
    assert np.abs(names["pixels"].transpose(0, 2, 3, 1) - expected).max() <= 1


def test_the_short_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_generator_bundle(small_checkpoint(tmp_path, "dcgan", 0), tmp_path / "bundle")
    zip_bundle(tmp_path / "bundle", tmp_path / "generator.zip")
    monkeypatch.chdir(tmp_path)
    (source,) = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "generators.md", "exec"), names)
    assert names["images"].shape == (16, 32, 32, 1)


def test_the_page_names_every_format_and_file() -> None:
    for name, form in FORMATS.items():
        assert f"`{name}`" in PAGE and form.file in PAGE
