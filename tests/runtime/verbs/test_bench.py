"""``sonoforge bench``: every file in its own process, checked before it is timed; words and JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from program import refused, sonoforge
from sonoforge.export.formats.onnx_graph import with_preprocessing
from sonoforge.runtime.bundle.classification import read_preprocessing
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference import runners
from sonoforge.runtime.jobs import benchmark

QUICK = ("--set", "bench.seconds=0.06", "--set", "bench.rounds=2", "--batches", "1,4")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with one file of each kind of outcome."""
    folder = factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(seed=1), "onnx-int8", "int8")  # other answers
    whole = with_preprocessing(factory.model_bytes(), read_preprocessing("preprocessing", factory.PREPROCESSING))
    factory.add_file(folder, "model.uint8.onnx", whole, "onnx-uint8", "fp32")
    factory.add_file(folder, "model.wrong.onnx", factory.model_bytes(seed=1), "onnx-wrong", "fp32")
    factory.add_file(folder, "model.ort", b"not a model", "ort", "fp32")
    factory.add_file(folder, "model.fp16.onnx", factory.model_bytes(batch=1), "onnx-fp16", "fp16")  # of 1 only
    factory.add_file(folder, "model.engine", b"an engine", "tensorrt", "fp32")
    return folder


@pytest.fixture(scope="module")
def measured(bundle: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runners.RUNNERS, "tensorrt", "sonoforge.runtime.absent_program")
        return sonoforge("bench", bundle, "--trust", "--json", *QUICK)


def rows(done: Any) -> dict[str, dict[str, Any]]:
    return {row["format"]: row for row in done.json["files"]}


def test_every_file_is_measured_refused_or_explained(measured: Any) -> None:
    found = rows(measured)
    assert {name: row["status"] for name, row in found.items()} == {
        "onnx": "measured",
        "onnx-int8": "measured",
        "onnx-uint8": "measured",
        "onnx-wrong": "failed",
        "ort": "failed",
        "onnx-fp16": "measured",
        "tensorrt": "cannot run here",
    }
    assert measured.code == 1  # of the files that answer wrongly or not at all
    assert re.search(r"logits differ by .* 0\.001", found["onnx-wrong"]["reason"])
    assert "model.ort: not an ONNX file" in found["ort"]["reason"]
    assert tempfile.gettempdir() not in json.dumps(measured.json["files"])
    assert "not installed" in found["tensorrt"]["reason"]


def test_figures_are_complete_in_order_and_printed(measured: Any, bundle: Path) -> None:
    golden = open_bundle(bundle).golden()
    other = factory.forward(golden["pixels"], seed=1)["logits"]
    expected = {"onnx-int8": (np.abs(other - golden["logits"]).max(), other.argmax(1) == golden["logits"].argmax(1))}
    for name, row in rows(measured).items():
        if row["status"] != "measured":
            continue
        difference, equal = expected.get(name, (0, np.ones(len(golden["logits"]))))
        assert row["max_abs_logits"] == pytest.approx(difference, abs=1e-4) and row["labels_equal"] == equal.sum()
        latency = row["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert row["load_ms"] > 0 and row["first_ms"] > 0
        assert row["bytes"] == (bundle / row["file"]).stat().st_size
        assert 1e6 < row["memory_bytes"] < 1e9
        rates = {int(batch): values["images_per_s"] for batch, values in row["batches"].items() if "p50_ms" in values}
        assert row["throughput"]["images_per_s"] == max(rates.values()) == rates[row["throughput"]["batch"]]
        assert row["batches"]["1"]["calls"] >= 6
        assert ("error" in row["batches"]["4"]) == (name == "onnx-fp16")
    assert measured.json["batches"] == [1, 4] and measured.json["threads"] == 1
    table = [line for line in measured.said.splitlines() if line.startswith(("format", "onnx"))]
    header, *lines = [line for line in table if ":" not in line]
    assert len(lines) == 4 and {len(line) for line in lines} == {len(header)} and len(header) <= 130


def test_an_unknown_format_is_answered_with_the_known_ones(bundle: Path) -> None:
    line = refused("bench", bundle, "--formats", "onnx-int4")
    assert "formats: 'onnx-int4' is not one of onnx, " in line and "did you mean onnx-int8" in line


PROGRAM = """
import os, signal
import numpy as np
def missing():
    return ""
def open_file(path, threads):
    end, golden = open(path).read().split()
    def answer(inputs):
        if len(inputs[0]) >= int(end):
            os.kill(os.getpid(), signal.SIGSEGV)
        return [np.load(golden)[: len(inputs[0])] if len(inputs[0]) > 1 else np.load(golden)]
    return answer
"""


@pytest.mark.parametrize(("end", "status"), [("4", "measured"), ("1", "failed")])
def test_a_program_that_ends_with_a_signal_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, status: str
) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    golden = {name: values[:1] for name, values in open_bundle(folder).golden().items()}
    factory.replace_file(folder, "golden.npz", factory.npz(**golden))
    np.save(tmp_path / "golden.npy", golden["logits"])
    factory.add_file(folder, "model.pte", f"{end} {tmp_path / 'golden.npy'}".encode(), "executorch", "fp32")
    (tmp_path / "falling_program.py").write_text(PROGRAM)
    (tmp_path / "sitecustomize.py").write_text(
        "import sonoforge.runtime.inference.runners as m\nm.RUNNERS['executorch'] = 'falling_program'\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(runners.RUNNERS, "executorch", "falling_program")
    quick = ("--set", "bench.seconds=0.02", "--set", "bench.rounds=1", "--batches", "1,4")
    found = rows(sonoforge("bench", folder, "--trust", "--json", *quick))
    assert found["onnx"]["status"] == "measured"
    row = found["executorch"]
    assert row["status"] == status
    said = row["reason"] if status == "failed" else row["batches"]["4"]["error"]
    assert "ended with signal 11" in said


def test_memory_counts_this_process_and_not_its_parent() -> None:
    code = "import numpy, sys\nfrom sonoforge.runtime.machine import peak_memory\nbefore = peak_memory()\n"
    code += "block = numpy.ones(15_000_000)\nprint(before, peak_memory() - before)"
    ballast = np.ones(30_000_000)  # 240 MB in the parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, grown = map(int, done.stdout.split())
    assert ballast.nbytes > before > 5e6
    assert 115e6 < grown < 150e6


def test_rounds_are_summed_up_by_the_quietest() -> None:
    def turn(*times: float) -> list[dict[str, Any]]:
        start = {"load_ms": sum(times), "first_ms": 1.0, "memory_bytes": 5}
        return [start, {"logits": [[0.0, 1.0]], "memory_bytes": 6}, {"batch": 1, "ms": [*times], "memory_bytes": 7}]

    golden = np.array([[0.5, 0.0]], np.float32)
    found = benchmark.summarise(turn(4.0, 5.0, 9.0) + turn(2.0, 3.0, 4.0), golden, 4)
    assert found["latency_ms"]["p50"] == 3.0
    assert found["latency_ms"]["p95"] == pytest.approx(np.percentile([4, 5, 9, 2, 3, 4], 95))
    assert found["load_ms"] == 9.0 and found["memory_bytes"] == 3
    assert found["max_abs_logits"] == 1.0 and found["labels_equal"] == 0


def test_the_record_of_an_engine_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.engine", b"an engine", "tensorrt", "fp32")
    factory.add_file(folder, "model.engine.json", b"its record")
    seen: list[bytes] = []

    def turn(form: str, path: Path, *_: object) -> tuple[list[dict[str, Any]], str]:
        seen.extend([path.with_name(f"{path.name}.json").read_bytes()] if form else [])
        return [], "of the test"

    monkeypatch.setattr(benchmark, "_turn", turn)
    monkeypatch.setattr(benchmark, "missing", lambda name: "")
    assert sonoforge("bench", folder, "--formats", "tensorrt", "--trust").code == 1
    assert set(seen) == {b"its record"}
