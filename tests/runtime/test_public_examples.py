"""The public Python interface: every name has an example, and every example gives what it says."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bundle_factory as factory
from sonoforge import runtime
from sonoforge.runtime import Classifier, open_bundle, quality


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class, and what a public module offers of its own."""
    for name in runtime.__all__:
        value = getattr(runtime, name)
        if inspect.ismodule(value):
            names = getattr(value, "__all__", [key for key, item in vars(value).items() if _own(item, value.__name__)])
            yield from ((f"{name}.{own}", getattr(value, own)) for own in names)
        else:
            yield name, value


def _own(item: Any, module: str) -> bool:
    return inspect.isfunction(item) and item.__module__ == module and not item.__name__.startswith("_")


# An exception is met, not called; the Generator's example needs a trained one, see test_generator_bundle.py.
NAMED = {name: value for name, value in public() if name not in ("ImageError", "Generator")}


@pytest.mark.parametrize("name", NAMED)
def test_its_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(factory.scan(1, 400, 300)).save("scan.png")
    found = [example for example in doctest.DocTestFinder().find(NAMED[name], name) if example.examples]
    assert found
    runner = doctest.DocTestRunner()
    for example in found:
        assert not any(doctest.SKIP in item.options for item in example.examples)
        report: list[str] = []
        runner.run(example, out=report.append)
        assert runner.failures == 0, "".join(report)


def test_quality_is_that_of_the_answer(tmp_path: Path) -> None:
    scan = factory.scan(2)
    Image.fromarray(scan).save(tmp_path / "scan.png")
    bundle = open_bundle(factory.write_bundle(tmp_path / "b"))
    for own in (None, bundle):
        expected = Classifier(own).classify(scan).quality
        for given in (scan, tmp_path / "scan.png", Image.fromarray(scan)):
            assert quality.measure(given, own) == expected


def test_importing_the_interface_loads_no_library() -> None:
    code = """
import sys, sonoforge.runtime as runtime
print(sorted({"numpy", "onnxruntime", "PIL", "torch"} & set(sys.modules)))
import numpy as np
runtime.quality.measure(np.zeros((90, 120), np.uint8))
print("onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "False"]
