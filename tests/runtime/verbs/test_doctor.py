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

from sonoforge.runtime import machine
from sonoforge.runtime.verbs import doctor


def run(*arguments: str, before: str = "") -> tuple[int, dict[str, Any], str]:
    code = f"{before}\nimport sys\nfrom sonoforge.runtime.cli import main as cli\n"
    code += "sys.argv = ['sonoforge', 'doctor', *sys.argv[1:]]\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}cli.main()", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_it_tells_what_is_installed() -> None:
    code, result, text = run("--json")
    assert code == 0 and result["ok"] and result["problems"] == []
    assert result["base"] == {name: metadata.version(name) for name in ("numpy", "onnxruntime", "pillow")}
    assert result["bundle"]["name"] and result["machine"]["free_disk_bytes"] > 0
    assert result["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert result["providers"]["CPUExecutionProvider"]["available"]
    cuda = result["providers"]["CUDAExecutionProvider"]
    assert cuda["available"] or "onnxruntime-gpu" in cuda["install"]
    assert result["programs"]["onnx"] == result["programs"]["ort"] == ""
    assert {"train", "export"} <= set(result["extras"]) and not {"all", "dev"} & set(result["extras"])
    for line in ("base install works", "CUDAExecutionProvider", result["machine"]["cpu"], "next: sonoforge verify"):
        assert line in text


def test_the_base_install_alone_is_enough() -> None:
    """Every package of the extras is hidden, as if it were not installed."""
    before = """
import sys, importlib.metadata as metadata
hidden = ("torch", "torchvision", "onnx", "rich", "yaml", "executorch", "tensorrt_rtx", "scipy", "pydicom")
for name in hidden:
    sys.modules[name] = None
version = metadata.version
def base_only(name):
    if name.lower() not in ("numpy", "onnxruntime", "pillow", "sonoforge"):
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = base_only
"""
    code, result, text = run("--json", before=before)
    assert code == 0 and result["ok"]
    assert not any(extra["complete"] for extra in result["extras"].values())
    assert "torch>=2.6" in result["extras"]["export"]["missing"]
    assert result["extras"]["export"]["install"] == "pip install 'sonoforge[export]'"
    assert "pip install 'sonoforge[train]'" in text


@pytest.mark.parametrize("module", ["numpy", "onnxruntime", "PIL"])
def test_a_broken_base_install_is_told_and_fails(module: str) -> None:
    code, _, text = run(before=f"import sys\nsys.modules['{module}'] = None")
    assert code == 1
    package = "pillow" if module == "PIL" else module
    assert f"problem     {package}: cannot be imported" in text and "pip install" in text
    assert "BROKEN" in text
    code, result, _ = run("--json", before=f"import sys\nsys.modules['{module}'] = None")
    assert code == 1 and not result["ok"] and result["base"][package] is None


def test_a_broken_torch_is_told_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: wrong ELF class')\n")
    code, result, text = run("--json", before=f"import sys\nsys.path.insert(0, {str(tmp_path)!r})")
    assert code == 0 and result["ok"]
    assert "libtorch_cpu.so: wrong ELF class" in result["programs"]["torchscript"]
    assert result["programs"]["onnx"] == "" and "base install works" in text


def test_nothing_heavy_is_imported() -> None:
    code = """
import contextlib, io, sys
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.inference.model_files import PROGRAMS
for name in ("torchscript", "executorch", "tensorrt"):  # these may import what they ask about
    PROGRAMS[name] = PROGRAMS["onnx"]
with contextlib.redirect_stdout(io.StringIO()):
    assert cli._run(["doctor", "--json", "--quiet"]) == 0
print(sorted({"torch", "onnx", "scipy", "matplotlib", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_requirements_are_read_as_pip_reads_them() -> None:
    parse = doctor.parse_requirement
    assert parse("numpy>=1.26") == ("numpy", (), ">=1.26", "", False)
    assert parse("torch>=2.6; extra == 'train'") == ("torch", (), ">=2.6", "train", False)
    assert parse('sonoforge[train,export]; extra == "all"') == ("sonoforge", ("train", "export"), "", "all", False)
    there = f"(sys_platform == 'other' or sys_platform == '{sys.platform}') and extra == 'mobile'"
    assert parse(f"executorch (>=1.0) ; {there}") == ("executorch", (), ">=1.0", "mobile", False)
    for condition in ("sys_platform == 'other'", f"python_version < '3' and sys_platform == '{sys.platform}'"):
        assert parse(f"executorch>=1.0; {condition} and extra == 'mobile'").conditional


def test_an_extra_of_other_extras_is_as_complete_as_they_are() -> None:
    lines = ["numpy>=1.0", "pillow>=9999; extra == 'new'", "absent-package; extra == 'one'"]
    lines += [
        "sonoforge[one,numbers]; extra == 'both'",
        "sonoforge[both]; extra == 'one'",
        "numpy>=1.0; extra == 'numbers'",
    ]
    lines += ["also-absent; sys_platform == 'other' and extra == 'numbers'"]
    extras = doctor.examine_extras([doctor.parse_requirement(line) for line in lines])
    assert list(extras) == ["new", "one", "both", "numbers"]
    assert extras["numbers"]["complete"] and list(extras["numbers"]["installed"]) == ["numpy"]
    assert extras["both"]["missing"] == extras["one"]["missing"] == ["absent-package"]
    assert list(extras["both"]["installed"]) == ["numpy"]
    assert extras["new"]["missing"] == [f"pillow>=9999 (found {metadata.version('pillow')})"]


X86 = "processor\t: 0\nmodel name\t: AMD EPYC 9\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nmodel name\t: x\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nHardware\t: BCM2712\nModel\t\t: Raspberry Pi 5\n"


def test_processors_are_named_as_linux_tells_them(tmp_path: Path) -> None:
    source = tmp_path / "cpuinfo"
    source.write_text(X86)
    assert machine.cpu_model(source) == "AMD EPYC 9"
    assert machine.cpu_instructions(source) == ["avx2", "avx512", "avx512-vnni"]
    source.write_text(ARM)
    assert machine.cpu_model(source) == "Raspberry Pi 5"
    assert machine.cpu_instructions(source) == ["neon", "neon-dot", "i8mm"]
    if sys.platform == "linux":
        assert machine.cpu_instructions(tmp_path / "absent") is None
    assert machine.cpu_model(tmp_path / "absent")


def test_energy_is_the_sum_of_the_packages_or_not_readable(tmp_path: Path) -> None:
    assert machine.energy_joules(tmp_path / "absent") is None
    assert machine.energy_joules(tmp_path) is None
    for name, value in {"intel-rapl:0": 2_500_000, "intel-rapl:1": 500_000, "intel-rapl:0:0": 9_000_000}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
    (tmp_path / "intel-rapl").mkdir()
    assert machine.energy_joules(tmp_path) == 3.0  # a package counts its own cores already
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert machine.energy_joules(tmp_path) is None
