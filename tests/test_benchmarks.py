"""The benchmarks that are run by hand start, and run to their end on very little work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from places import CHECKOUT
from scans import draw_scan, save
from sonoforge.runtime.bundle.reader import SHIPPED

BENCHMARKS = CHECKOUT / "tests" / "benchmarks"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(4):
        save(folder / f"scan ({seed}).png", draw_scan(seed))  # named as BUSI's
    return folder


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_classify_s_labels_are_those_of_a_plain_script_with_the_shipped_network(scans: Path) -> None:
    found = json.loads(run("bench_classify", scans, "--rounds", 2))
    assert found["same_label"] == found["images"] == 4


def test_formats_of_the_shipped_network_are_compared(scans: Path) -> None:
    first, *rows = run("bench_formats", scans, "--count", 4, "--rounds", 1).splitlines()
    assert first.startswith("4 images")
    assert {row.split()[0] for row in rows} == {"onnx", "onnx-fp16", "onnx-int8", "ort", "onnx-uint8", "Pillow,"}


def test_set_distances_are_those_of_the_other_library() -> None:
    found = json.loads(run("bench_metrics", "--images", 120, "--width", 64, "--rounds", 1))
    for name in ("fid", "precision"):
        assert found[name]["ours"] == pytest.approx(found[name]["torch_fidelity"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bench_runtime", (SHIPPED, "scan (0).png", "--rounds", 1)),
        ("bench_gan", ("--size", 32, "--batch", 4, "--steps", 1, "--rounds", 1)),
        ("by_group", ("--repeats", 2)),
        ("one_against_rest", (2,)),
    ],
)
def test_it_runs_to_its_end(scans: Path, name: str, arguments: tuple[object, ...]) -> None:
    assert run(name, *(scans / each if str(each).endswith(".png") else each for each in arguments))


def test_each_imports_what_it_needs() -> None:
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    code = f"import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
