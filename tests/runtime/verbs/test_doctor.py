"""``sonoforge doctor``: tells what is there and what to install, also where little is, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from program import sonoforge
from sonoforge.runtime import installation, machine
from sonoforge.runtime.errors import install_extra


def spawned(before: str) -> tuple[int, dict[str, Any], str]:
    """Run ``doctor`` in a process of its own, after other code; return the exit code and the answer in both forms."""
    code = f"{before}\nfrom sonoforge.runtime.cli import main\nmain.run(['doctor'])\nprint('===')\n"
    code += "import sys\nsys.exit(main.run(['doctor', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr
    text, _, answer = done.stdout.partition("===")
    return done.returncode, json.loads(answer), text


def test_it_tells_what_is_installed() -> None:
    code, text, result = (done := sonoforge("doctor", "--json")).code, done.said + done.err, done.json
    assert code == 0 and result["ok"] and result["problems"] == []
    assert {"numpy", "onnxruntime", "pillow"} <= set(result["base"])
    assert result["base"] == {name: metadata.version(name) for name in result["base"]}
    assert result["bundle"]["name"] and result["machine"]["free_disk_bytes"] > 0
    assert result["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert result["programs"]["onnx"] == result["programs"]["ort"] == ""
    assert {"train", "export"} <= set(result["extras"]) and not {"all", "dev"} & set(result["extras"])
    for line in ("base install works", result["machine"]["cpu"], "next: sonoforge verify"):
        assert line in text


def test_the_base_install_alone_is_enough() -> None:
    """Every package of the extras is hidden, as if it were not installed."""
    before = """
import sys, importlib.metadata as metadata
hidden = ("torch", "torchvision", "onnx", "rich", "yaml", "executorch", "tensorrt_rtx", "scipy")
for name in hidden:
    sys.modules[name] = None
version = metadata.version
def base_only(name):
    if name.lower() not in ("numpy", "onnxruntime", "packaging", "pillow", "pydicom", "sonoforge"):
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = base_only
"""
    code, result, text = spawned(before)
    assert code == 0 and result["ok"]
    assert not any(extra["complete"] for extra in result["extras"].values())
    assert "torch>=2.6" in result["extras"]["export"]["missing"]
    assert result["extras"]["export"]["install"] == install_extra("export")
    assert install_extra("NAME") in text


@pytest.mark.parametrize("module", ["numpy", "onnxruntime", "PIL", "pydicom"])
def test_a_broken_base_install_is_told_and_fails(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = sonoforge("doctor", "--json")
    package = "pillow" if module == "PIL" else module
    assert done.code == 1 and not done.json["ok"] and done.json["base"][package] is None
    assert f"problem     {package}: cannot be imported" in done.said and "pip install" in done.said
    assert "BROKEN" in done.said


def test_a_broken_torch_is_told_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: wrong ELF class')\n")
    code, result, text = spawned(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})")
    assert code == 0 and result["ok"]
    assert "libtorch_cpu.so: wrong ELF class" in result["programs"]["torchscript"]
    assert result["programs"]["onnx"] == "" and "base install works" in text


def test_an_extra_needs_what_its_requirements_ask_of_this_machine() -> None:
    version, here = metadata.version("pillow"), f"sys_platform == '{sys.platform}'"
    lines = ["numpy>=1.0", "pillow>=9999; extra == 'one'", "absent-package>=2; extra == 'one'"]
    lines += [f"numpy>=1; extra == 'one' and {here}", "also-absent; extra == 'one' and sys_platform == 'other'"]
    requirements = [*map(Requirement, lines), Requirement("absent; extra == 'two' and python_version < '3'")]
    found = installation.examine_extra("one", requirements)
    assert found["missing"] == [f"pillow>=9999 (found {version})", "absent-package>=2"]
    assert found["installed"] == {"pillow": version, "numpy": metadata.version("numpy")}
    assert not found["complete"] and found["install"] == install_extra("one")
    assert installation.examine_extra("two", requirements)["complete"]


X86 = "processor\t: 0\nmodel name\t: AMD EPYC 9\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nmodel name\t: x\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nHardware\t: BCM2712\nModel\t\t: Raspberry Pi 5\n"


def test_processors_are_named_as_linux_tells_them(tmp_path: Path) -> None:
    source = tmp_path / "cpuinfo"
    for text, name in ((X86, "AMD EPYC 9"), (ARM, "Raspberry Pi 5")):
        source.write_text(text)
        assert machine.cpu_model(source) == name
    assert machine.cpu_model(tmp_path / "absent")
