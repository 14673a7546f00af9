"""TensorRT engines: one that does not fit its record or this machine is refused before any of it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tensorrt_stand_in
from sonoforge.export.formats import tensorrt as tensorrt_engine
from sonoforge.export.formats.tensorrt import (
    check_engine,
    covers,
    parse_record,
    read_record,
    record_path,
    to_json,
)
from sonoforge.runtime.errors import SonoforgeError
from tensorrt_stand_in import VERSION, record_of, written


def test_a_fitting_engine_passes_and_gives_its_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert check_engine(path, "tensorrt_rtx", VERSION, (8, 9))[1] == record_of(path.read_bytes())
    assert check_engine(path, "tensorrt_rtx", VERSION)[1]["precision"] == "fp32"
    (tmp_path / "model.onnx").unlink()  # the fallback may live elsewhere
    assert check_engine(path, "tensorrt_rtx", VERSION)[1]["precision"] == "fp32"


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"module": "tensorrt"}, (), r"tensorrt, not of tensorrt_rtx"),
        ({"version": "1.7.1.117"}, (), r"1\.7\.1\.117.*1\.7\.1\.116"),
        ({}, ("tensorrt_rtx", "1.7.1.1160"), r"1\.7\.1\.116.*1\.7\.1\.1160"),
        ({"capabilities": ["SM86", "SM120"]}, (), r"SM86, SM120.* 8\.9"),
        ({}, ("tensorrt_rtx", VERSION, (9, 0)), r"portable.* 9\.0"),
        ({"source_sha256": "a" * 64}, (), r"model\.onnx: .*model\.rtx\.engine"),
        ({"engine_sha256": "b" * 64}, (), r"engine: .*SHA-256"),
        ({"engine_bytes": 201}, (), r"200 .*201"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_loaded(
    changes: dict[str, Any],
    arguments: tuple[Any, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path, **changes)
    name, version, capability = (*arguments, *("tensorrt_rtx", VERSION, (8, 9))[len(arguments) :])
    with pytest.raises(SonoforgeError, match=words) as caught:
        check_engine(path, name, version, capability)
    assert "\n" not in str(caught.value)
    assert "onnxruntime runs meanwhile" in str(caught.value)
    deserialised = tensorrt_stand_in.install(
        monkeypatch, tmp_path / "model.onnx", version=version, capability=capability
    )
    with pytest.raises(SonoforgeError, match=words):
        tensorrt_engine.open_file(path)
    assert deserialised == []


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(SonoforgeError, match="SHA-256"):
        check_engine(path, "tensorrt_rtx", VERSION, (8, 9))


def test_plain_engines_are_of_their_system_and_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engine.platform, "system", lambda: "Linux")
    path = written(tmp_path, module="tensorrt", capabilities=["SM90"], system="Windows")
    with pytest.raises(SonoforgeError, match="Windows"):
        check_engine(path, "tensorrt", VERSION, (9, 0))
    check_engine(written(tmp_path, system="Windows"), "tensorrt_rtx", VERSION, (8, 9))  # these are not
    path = written(tmp_path, module="tensorrt", capabilities=["SM90"])
    check_engine(path, "tensorrt", VERSION, (9, 0))
    with pytest.raises(SonoforgeError, match=r"compute capability 8\.9"):
        check_engine(path, "tensorrt", VERSION, (8, 9))


def test_portable_engines_cover_the_vendors_list() -> None:
    runs = {(8, 0), (8, 6), (8, 9), (12, 0), (12, 1)}
    for capability in (*runs, (7, 5), (8, 7), (9, 0), (10, 0), (11, 0)):
        assert covers(["portable"], capability) == (capability in runs)
    assert covers(["SM75", "SM121"], (12, 1))
    assert not covers(["SM75", "SM121"], (12, 0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.pop("tf32"), "tf32 is missing"),
        (lambda record: record.update(extra=1), "unknown key 'extra'"),
        (lambda record: record.update(tf32=0), "tf32: "),
        (lambda record: record.update(format_version=2), "format_version: "),
        (lambda record: record.update(source="../model.onnx"), r"record.source: "),
        (lambda record: record.update(engine_sha256="A" * 64), "engine_sha256: expected 64 lower-case hex"),
        (lambda record: record.update(precision="bf16"), "precision: .*fp16.*bf16"),
        (lambda record: record.update(capabilities=["portable", "SM86"]), "capabilities: found"),
        (lambda record: record.update(capabilities=[]), "capabilities: found"),
        (lambda record: record.update(inputs={"input": [[1, 3], [2, 3], [1, 3]]}), "inputs: found"),
        (lambda record: record.update(inputs={"input": [[1, 3], [1, 3]]}), "inputs: found"),
        (lambda record: record.update(outputs=["logits", "logits"]), "outputs: found"),
    ],
)
def test_records_are_read_strictly(change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    record = read_record(path)
    change(record)
    record_path(path).write_bytes(to_json(record))
    with pytest.raises(SonoforgeError, match=words) as caught:
        check_engine(path, "tensorrt_rtx", VERSION, (8, 9))
    assert str(caught.value).startswith(str(record_path(path)))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000], ids=range(6))
def test_rubbish_is_no_record(data: bytes) -> None:
    with pytest.raises(SonoforgeError):
        parse_record(data)


def test_an_engine_without_its_record_is_not_loaded(tmp_path: Path) -> None:
    path = written(tmp_path)
    record_path(path).unlink()
    with pytest.raises(SonoforgeError, match="without its record"):
        check_engine(path, "tensorrt_rtx", VERSION)
