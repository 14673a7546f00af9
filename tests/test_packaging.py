"""What may be in a base install: permissive licences alone."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from importlib.metadata import distribution, requires
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

from places import CHECKOUT


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", CHECKOUT / ".ci" / "licences.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _package(name: str, expression: str = "", classifier: str = "", text: str = "") -> dict[str, str]:
    """A record as pip-licenses writes it."""
    stated = {"License-Expression": expression, "License-Classifier": classifier, "License-Metadata": text}
    return {"Name": name, "Version": "1", **{key: value or "UNKNOWN" for key, value in stated.items()}}


@pytest.mark.parametrize(
    ("package", "permissive"),
    [
        (_package("pylibjpeg-libjpeg", classifier="GNU General Public License v3 (GPLv3)"), False),
        (_package("a", "LGPL-2.1-or-later"), False),
        (_package("a", "AGPL-3.0-only", "MIT License"), False),
        (_package("a", "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1"), False),
        (_package("a", "MPL-2.0"), False),
        (_package("a", "MIT AND (Apache-2.0 AND MPL-2.0)"), False),
        (_package("a", "(MIT OR GPL-2.0-only) AND MPL-2.0"), False),
        (_package("a", text="GPLv2"), False),
        (_package("a", text="Proprietary"), False),
        (_package("a"), False),
        (_package("a", "MIT OR GPL-2.0-only"), True),
        (_package("numpy", "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0"), True),
        (_package("pillow", "MIT-CMU"), True),
        (_package("flatbuffers", classifier="Apache Software License", text="Apache 2.0"), True),
        (_package("protobuf", text="3-Clause BSD License"), True),
    ],
)
def test_copyleft_and_what_states_nothing_are_refused_in_the_base(
    licences: ModuleType,
    package: dict[str, str],
    permissive: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.StringIO(json.dumps([package, _package("packaging", "Apache-2.0 OR BSD-2-Clause")]))
    )
    assert licences.main(["--base"]) == (0 if permissive else 1)
    assert ("not permissive: " + package["Name"] in capsys.readouterr().out) != permissive


def test_what_the_base_needs_here_is_permissive(licences: ModuleType) -> None:
    waiting, packages = ["sonoforge"], {}
    while waiting:
        name = waiting.pop()
        if name in packages:
            continue
        about: Any = distribution(name).metadata
        classified = [one.split(" :: ")[-1] for one in about.get_all("Classifier", []) if one.startswith("License ::")]
        packages[name] = _package(name, about.get("License-Expression"), "; ".join(classified), about.get("License"))
        needed = [Requirement(line) for line in requires(name) or []]
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    assert {"numpy", "onnxruntime", "pillow", "packaging", "pydicom"} <= set(packages)
    assert licences.refused(list(packages.values())) == []
