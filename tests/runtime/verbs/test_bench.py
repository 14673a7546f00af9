"""``sonoforge bench``: every file in its own process, checked before it is timed; words, JSON and a chart."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime.bench import measure as bench_measure
from sonoforge.runtime.bench import process as bench_process
from sonoforge.runtime.bench import report as bench_plot
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference import runners
from sonoforge.runtime.verbs import bench

QUICK = {"seconds": 0.06, "rounds": 2, "batches": (1, 4)}
ONCE = {"seconds": 0.02, "rounds": 1, "batches": (1,)}


def with_pixels() -> bytes:
    """The patch network behind the preprocessing: (N, S, S, 3) uint8 in, the same outputs."""
    model = onnx.load_model_from_string(factory.model_bytes())
    graph = model.graph
    mean, std = np.array(factory.PREPROCESSING["mean"]), np.array(factory.PREPROCESSING["std"])
    for name, value in (("pixel_scale", 1 / (255 * std)), ("pixel_shift", -mean / std)):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    before = [
        helper.make_node("Cast", ["pixels"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["levels", "pixel_scale"], ["scaled_levels"]),
        helper.make_node("Add", ["scaled_levels", "pixel_shift"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["input"], perm=[0, 3, 1, 2]),
    ]
    nodes = [*before, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    shape = ["batch", factory.SIZE, factory.SIZE, 3]
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape))
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with one file of each kind of outcome."""
    folder = factory.write_bundle(tmp_path_factory.mktemp("bundle") / "b")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(seed=1), "onnx-int8", "int8")  # other answers
    factory.add_file(folder, "model.uint8.onnx", with_pixels(), "onnx-uint8", "fp32")
    factory.add_file(folder, "model.wrong.onnx", factory.model_bytes(seed=1), "onnx-wrong", "fp32")
    factory.add_file(folder, "model.ort", b"not a model", "ort", "fp32")
    factory.add_file(folder, "model.fp16.onnx", factory.model_bytes(batch=1), "onnx-fp16", "fp16")  # of 1 only
    factory.add_file(folder, "model.rtx.engine", b"an engine", "tensorrt", "fp32")
    return folder


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runners.RUNNERS, "tensorrt", "sonoforge.runtime.absent_program")


@pytest.fixture(scope="module")
def measured(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runners.RUNNERS, "tensorrt", "sonoforge.runtime.absent_program")
        outcome = bench.main(bench.BenchConfig(str(bundle), trust=True, out=str(out), **QUICK))
    return outcome, out


def rows(outcome: Any) -> dict[str, dict[str, Any]]:
    return {row["format"]: row for row in outcome.result["files"]}


def test_every_file_is_measured_refused_or_explained(measured: Any) -> None:
    outcome, _ = measured
    found = rows(outcome)
    assert {name: row["status"] for name, row in found.items()} == {
        "onnx": "measured",
        "onnx-int8": "measured",
        "onnx-uint8": "measured",
        "onnx-wrong": "failed",
        "ort": "failed",
        "onnx-fp16": "measured",
        "tensorrt": "cannot run here",
    }
    assert outcome.exit_code == 1  # of the files that answer wrongly or not at all
    assert re.search(r"logits differ by .* 0\.001", found["onnx-wrong"]["reason"])
    assert "model.ort: not an ONNX file" in found["ort"]["reason"]
    assert tempfile.gettempdir() not in json.dumps(outcome.result["files"])
    assert "not installed" in found["tensorrt"]["reason"]


def test_answers_are_compared_with_the_golden_ones(measured: Any, bundle: Path) -> None:
    found = rows(measured[0])
    golden = open_bundle(bundle).golden()
    other = factory.forward(golden["pixels"], seed=1)["logits"]
    assert found["onnx"]["max_abs_logits"] < 1e-4 and found["onnx-uint8"]["max_abs_logits"] < 1e-4
    assert found["onnx"]["labels_equal"] == len(golden["pixels"])
    assert found["onnx-int8"]["max_abs_logits"] == pytest.approx(np.abs(other - golden["logits"]).max(), abs=1e-4)
    assert found["onnx-int8"]["labels_equal"] == (other.argmax(1) == golden["logits"].argmax(1)).sum()


def test_figures_are_complete_and_in_order(measured: Any, bundle: Path) -> None:
    for name, row in rows(measured[0]).items():
        if row["status"] != "measured":
            continue
        latency = row["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert row["load_ms"] > 0 and row["first_ms"] > 0
        assert row["bytes"] == (bundle / row["file"]).stat().st_size
        assert "onnxruntime" in row["program"] and "CPUExecutionProvider" in row["program"]
        assert 1e6 < row["memory_bytes"] <= row["peak_memory_bytes"] + 1e7 < 1e9
        rates = {int(batch): values["images_per_s"] for batch, values in row["batches"].items() if "p50_ms" in values}
        assert row["throughput"]["images_per_s"] == max(rates.values()) == rates[row["throughput"]["batch"]]
        assert row["batches"]["1"]["calls"] >= 6
        assert ("error" in row["batches"]["4"]) == (name == "onnx-fp16")


def test_json_and_a_chart_are_written(measured: Any) -> None:
    outcome, out = measured
    kept = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    assert [row["format"] for row in kept["files"]] == [row["format"] for row in outcome.result["files"]]
    assert outcome.result["written"] == [str(out / "bench.json"), str(out / "bench.png")]
    with Image.open(out / "bench.png") as image:
        assert image.format == "PNG" and image.width == 1100


def test_bars_are_as_long_as_the_latencies() -> None:
    def row(name: str, p50: float) -> dict[str, Any]:
        return {
            "format": name,
            "bytes": 10**6,
            "memory_bytes": None,
            "latency_ms": {"p50": p50, "p95": p50, "p99": p50},
        }

    result = {
        "model": {"name": "m", "version": "1"},
        "machine": {"cpu": "c"},
        "threads": 1,
        "files": [row("onnx", 8.0), row("onnx-int8", 2.0), {"format": "ort", "status": "failed"}],
        "against": {"files": [row("onnx", 4.0)]},
    }
    pixels = np.asarray(Image.open(io.BytesIO(bench_plot.draw(result))).convert("RGB")).astype(int)
    widths = []
    for colour in ((31, 95, 153), (168, 200, 226)):
        rows_of_pixels = (np.abs(pixels - colour).sum(axis=2) == 0).sum(axis=1)
        bars = np.split(rows_of_pixels, np.flatnonzero(rows_of_pixels == 0))
        widths += [int(bar.max()) for bar in bars if bar.max(initial=0) > 50]
    long, short, other = widths
    assert long / short == pytest.approx(4, rel=0.02)
    assert long / other == pytest.approx(2, rel=0.02)


def test_a_second_bundle_gives_ratios_in_the_formats_of_both(bundle: Path, tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "old")
    old = factory.zip_bundle(folder, tmp_path / "old.zip")
    times = ("--set", "bench.seconds=0.02", "--set", "bench.rounds=1", "--batches", "1")
    done = sonoforge("bench", bundle, "--formats", "onnx,onnx-int8", "--against", old, "--json", *times)
    result = done.json
    assert done.code == 0 and result["written"] == []
    assert {row["format"]: row["status"] for row in result["files"]} == {"onnx": "measured", "onnx-int8": "measured"}
    assert "onnx-int8: the other bundle has no such file" in done.said
    assert list(result["ratios"]) == ["onnx"]
    (theirs,), ours, ratio = result["against"]["files"], result["files"][0], result["ratios"]["onnx"]
    assert ratio["latency"] == pytest.approx(theirs["latency_ms"]["p50"] / ours["latency_ms"]["p50"])
    rates = [row["throughput"]["images_per_s"] for row in (ours, theirs)]
    assert ratio["throughput"] == pytest.approx(rates[0] / rates[1])
    assert ratio["bytes"] == 1.0
    with pytest.raises(SonoforgeError, match="old: found no format 'onnx-int8'"):
        bench.main(bench.BenchConfig(str(folder), formats=("onnx-int8",), against=str(bundle), **ONCE))


def test_an_image_of_the_user_is_timed_and_a_wrong_one_refused(bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(factory.scan(3)).save(tmp_path / "a.png")
    outcome = bench.main(bench.BenchConfig(str(bundle), formats=("onnx",), image=str(tmp_path / "a.png"), **ONCE))
    assert rows(outcome)["onnx"]["status"] == "measured"
    with pytest.raises(SonoforgeError, match="no such file"):
        bench.main(bench.BenchConfig(str(bundle), image=str(tmp_path / "absent.png")))


def test_an_unknown_format_is_answered_with_the_known_ones(bundle: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"no format 'onnx-int4', expected one of onnx, .*did you mean onnx-int8"):
        bench.main(bench.BenchConfig(str(bundle), formats=("onnx-int4",)))


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
    monkeypatch.setattr(bench_process, "_PACKAGES", {})
    found = rows(bench.main(bench.BenchConfig(str(folder), trust=True, seconds=0.02, rounds=1, batches=(1, 4))))
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


def test_calls_are_timed_as_long_as_they_last(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    readings = iter([10.0, 13.0])
    monkeypatch.setattr(bench_process.machine, "energy_joules", lambda: next(readings))
    found = bench_process.time_runs(lambda: time.sleep(0.02), 0.1)
    assert 3 <= len(found["ms"]) <= 6
    assert min(found["ms"]) >= 20  # a busy machine may take longer
    assert found["cores"] < 0.5
    assert found["joules"] == pytest.approx(3 / len(found["ms"]))


def test_rounds_are_summed_up_by_the_quietest() -> None:
    def turn(times: list[float]) -> list[dict[str, Any]]:
        start = {"load_ms": sum(times), "first_ms": 1.0, "program": "p", "memory_bytes": 5}
        timed = {"batch": 1, "ms": times, "cores": 1.0, "joules": None, "memory_bytes": 7}
        return [start, {"logits": [[0.0, 1.0]], "memory_bytes": 6}, timed]

    golden = np.array([[0.5, 0.0]], np.float32)
    found = bench_measure.summarise(turn([4.0, 5.0, 9.0]) + turn([2.0, 3.0, 4.0]), golden, 4)
    assert found["latency_ms"]["p50"] == 3.0
    assert found["latency_ms"]["p95"] == pytest.approx(np.percentile([4, 5, 9, 2, 3, 4], 95))
    assert found["load_ms"] == 9.0 and found["memory_bytes"] == 3
    assert found["max_abs_logits"] == 1.0 and found["labels_equal"] == 0


def test_the_program_prints_a_table(bundle: Path) -> None:
    options = (
        "--formats",
        "onnx,onnx-int8",
        "--set",
        "bench.seconds=0.02",
        "--set",
        "bench.rounds=1",
        "--batches",
        "1,2",
        "--json",
    )
    done = sonoforge("bench", bundle, *options)
    assert done.code == 0
    assert done.json["batches"] == [1, 2] and done.json["threads"] == 1
    header, first, second = [line for line in done.said.splitlines() if line.startswith(("format", "onnx"))]
    assert len(header) == len(first) == len(second)
    assert header.split()[0] == "format" and second.startswith("onnx-int8 ")
    assert "nothing was written; --out" in done.err
    assert max(map(len, done.said.splitlines())) <= 130


def test_the_record_of_an_engine_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.rtx.engine", b"an engine", "tensorrt", "fp32")
    factory.add_file(folder, "model.rtx.engine.json", b"its record")
    seen: list[bytes] = []

    def measure(files: list[bench_measure.ModelFile], *_: object) -> list[str]:
        seen.extend(file.path.with_name(f"{file.path.name}.json").read_bytes() for file in files)
        return ["of the test" for _ in files]

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "missing", lambda name: "")
    bench.main(bench.BenchConfig(str(folder), formats=("tensorrt",), trust=True))
    assert seen == [b"its record"]
