"""TensorRT engines: one that does not fit its record or this machine is refused before any of it is loaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tensorrt_stand_in
from bundle_factory import PREPROCESSING, SIZE, forward
from sonoforge.export.formats import tensorrt as tensorrt_engine
from sonoforge.export.formats.tensorrt import (
    builder,
    check_engine,
    missing,
    parse_record,
    read_record,
    record_path,
    supports,
    to_json,
)
from sonoforge.runtime.bundle.classification import read_preprocessing
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference.runners import open_file, run_in_subprocess
from tensorrt_stand_in import VERSION, record_of, written


def test_a_fitting_engine_passes_and_gives_its_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert check_engine(path, VERSION, (8, 9))[1] == record_of(path.read_bytes())
    (tmp_path / "model.onnx").unlink()  # the fallback may live elsewhere
    assert check_engine(path, VERSION, (8, 9))[1]["precision"] == "fp32"


@pytest.mark.parametrize(
    ("changes", "version", "capability", "words"),
    [
        ({"version": "1.7.1.117"}, VERSION, (8, 9), r"1\.7\.1\.117.*1\.7\.1\.116"),
        ({}, "1.7.1.1160", (8, 9), r"1\.7\.1\.116.*1\.7\.1\.1160"),
        ({}, VERSION, (9, 0), r"not for this GPU.* 9\.0"),
        ({"package": "tensorrt", "capability": "8.6"}, VERSION, (8, 9), r"for compute capability 8\.6, .* 8\.9"),
        ({"source_sha256": "a" * 64}, VERSION, (8, 9), r"model\.onnx: .*model\.engine"),
        ({"engine_sha256": "b" * 64}, VERSION, (8, 9), r"engine: .*SHA-256"),
        ({"engine_bytes": 201}, VERSION, (8, 9), r"200 .*201"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_loaded(
    changes: dict[str, Any],
    version: str,
    capability: tuple[int, int],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(SonoforgeError, match=words) as caught:
        check_engine(path, version, capability)
    assert "\n" not in str(caught.value) and "onnxruntime runs meanwhile" in str(caught.value)
    here = {"version": version, "capability": capability, "package": changes.get("package", "tensorrt_rtx")}
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", **here)
    with pytest.raises(SonoforgeError, match=words):
        tensorrt_engine.open_file(path)
    assert deserialised == []


def test_engines_run_on_the_gpus_of_the_vendors_list() -> None:
    runs = {(8, 0), (8, 6), (8, 9), (12, 0), (12, 1)}
    assert {own for own in (*runs, (7, 5), (8, 7), (9, 0), (10, 0), (11, 0)) if supports("tensorrt_rtx", own)} == runs
    assert [supports("tensorrt", own) for own in ((7, 0), (7, 5), (8, 7), (9, 0), (10, 0))] == [False] + 4 * [True]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("version"), "version is missing"),
        (lambda record: record.update(extra=1), "unknown key 'extra'"),
        (lambda record: record.update(format_version=1), "format_version"),
        (lambda record: record.update(source="../model.onnx"), r"record.source"),
        (lambda record: record.update(engine_sha256="A" * 64), "engine_sha256 must be 64 lower-case hex"),
        (lambda record: record.update(precision="bf16"), "precision must be .*fp16.*bf16"),
        (lambda record: record.update(inputs={"input": [[1, 3], [2, 3], [1, 3]]}), "inputs must"),
        (lambda record: record.update(inputs={"input": [[1, 3], [1, 3]]}), "inputs must"),
        (lambda record: record.update(outputs=["logits", "logits"]), "outputs must be"),
    ],
)
def test_records_are_read_strictly(change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    record = read_record(path)
    change(record)
    record_path(path).write_bytes(to_json(record))
    with pytest.raises(SonoforgeError, match=words) as caught:
        check_engine(path, VERSION, (8, 9))
    assert str(caught.value).startswith(str(record_path(path)))


def test_rubbish_is_no_record() -> None:
    for data in (b"", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000):
        with pytest.raises(SonoforgeError):
            parse_record(data)


def test_an_engine_that_was_changed_or_has_no_record_is_not_loaded(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(SonoforgeError, match="SHA-256"):
        check_engine(path, VERSION, (8, 9))
    record_path(path).unlink()
    with pytest.raises(SonoforgeError, match="without its record"):
        check_engine(path, VERSION, (8, 9))


# Running, on a stand-in for the package, for want of a GPU.


NAMES = ["logits", "probabilities", "embedding", "cam"]


@pytest.mark.parametrize("names", [NAMES, sorted(NAMES)])
def test_answers_come_by_name_in_the_records_order(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, outputs=names)
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx")
    answer = open_file("tensorrt", path)
    assert deserialised == [path.read_bytes()]
    pixels = np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE, 3)).astype(np.uint8)
    inputs, expected = read_preprocessing("preprocessing", PREPROCESSING).normalise(pixels), forward(pixels)
    inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # not contiguous
    for rows in (slice(0, 3), slice(1, 2)):
        for name, values in zip(names, answer([inputs[rows]]), strict=True):
            np.testing.assert_allclose(values, expected[name][rows], atol=1e-4)


def test_engines_of_the_plain_package_run_with_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, package="tensorrt", version="11.4.0.106", capability="9.0")
    here = {"version": "11.4.0.106", "capability": (9, 0)}
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if it were not installed
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", **here)
    with pytest.raises(SonoforgeError, match=r"for tensorrt, not importable .*\[tensorrt\]'$"):
        tensorrt_engine.open_file(path)
    assert deserialised == []
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", package="tensorrt", **here)
    (_, probabilities, *_) = open_file("tensorrt", path)([np.zeros((2, 3, SIZE, SIZE), np.float32)])
    assert deserialised == [path.read_bytes()] and np.allclose(probabilities.sum(axis=1), 1)


def test_inputs_outside_the_profile_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx")
    answer = open_file("tensorrt", written(tmp_path))
    for values, words in (
        (np.zeros((5, 3, SIZE, SIZE), np.float32), r"input: float32 \(5, 3, 64, 64\) is not float32 \(1, 3"),
        (np.zeros((1, 3, SIZE, SIZE)), r"input: float64"),
        (np.zeros((3, SIZE, SIZE), np.float32), r"input: float32 \(3, 64, 64\)"),
    ):
        with pytest.raises(SonoforgeError, match=words):
            answer([values])


def test_what_the_package_does_not_load_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    deserialised = tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", valid=False)
    with pytest.raises(SonoforgeError, match=r"calls it invalid here \(diagnostics 32\)"):
        open_file("tensorrt", path)
    assert deserialised == []
    tensorrt_stand_in.install(monkeypatch, tmp_path / "model.onnx", loads=False)
    with pytest.raises(SonoforgeError, match="does not load it"):
        open_file("tensorrt", path)


def test_without_a_gpu_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert missing() == "needs an NVIDIA GPU with its driver, and a torch with CUDA"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(GateError, match="needs an NVIDIA GPU"):
        run_in_subprocess("tensorrt-fp16", written(tmp_path), [np.zeros((1, 3, SIZE, SIZE), np.float32)])


def test_with_a_gpu_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tensorrt_engine.importlib.util, "find_spec", lambda name: None)
    for capability, words in (
        ((8, 9), "[tensorrt-rtx]'"),
        ((9, 0), "[tensorrt]'"),
        ((7, 0), "not compute capability 7.0"),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert words in missing()


BOTH = ("tensorrt_rtx", "tensorrt")


@pytest.mark.parametrize(
    ("installed", "gpu", "built"),
    [
        (BOTH, (8, 9), ("tensorrt_rtx", "any")),
        (BOTH, (9, 0), ("tensorrt", "9.0")),  # not an RTX GPU
        (BOTH, None, ("tensorrt_rtx", "any")),
        (BOTH[:1], (9, 0), ("tensorrt_rtx", "any")),  # for other machines
        (BOTH[1:], (8, 9), ("tensorrt", "8.9")),
        (BOTH[1:], None, "to build without, run "),
        (BOTH[1:], (7, 0), "builds on a GPU that it supports"),
        ((), (8, 9), "tensorrt_rtx or tensorrt is not installed; run "),
    ],
)
def test_what_is_installed_and_the_gpu_choose_the_builder(
    installed: tuple[str, ...],
    gpu: tuple[int, int] | None,
    built: tuple[str, str] | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorrt_engine.importlib.util, "find_spec", lambda name: name in installed or None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    if isinstance(built, tuple):
        assert builder("model.onnx") == built
    else:
        with pytest.raises(SonoforgeError, match=re.escape(built)):
            builder("model.onnx")
