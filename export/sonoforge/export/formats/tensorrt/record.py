"""The record beside a TensorRT engine, ``NAME.engine.json``: what it is, what it was built from, where it may run.

An engine is native code for a GPU, and its own header says too little.  So that a foreign, stale or damaged one is
refused before any of it is loaded, the record is read strictly: a key that is missing, unknown or of another type is an
error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypedDict, cast, get_origin, get_type_hints

from sonoforge.runtime.errors import SonoforgeError

FORMAT_VERSION = 1
SUFFIXES = {"tensorrt_rtx": ".rtx.engine", "tensorrt": ".engine"}
PRECISIONS = ("fp32", "fp16", "int8")
PORTABLE = "portable"


class Record(TypedDict):
    """The content of a record."""

    format_version: int
    engine_sha256: str
    engine_bytes: int
    source: str  # file name of the float32 ONNX file that is kept beside the engine
    source_sha256: str
    onnx_sha256: str  # of the ONNX file that was built: the source itself, or the source in a lower precision
    module: str
    version: str
    capabilities: list[str]
    precision: str
    tf32: bool
    inputs: dict[str, list[list[int]]]  # smallest, typical and largest shape, in the ONNX file's order
    outputs: list[str]  # in the ONNX file's order, which the engine need not keep
    system: str
    produced_by: str


_TYPES = {key: get_origin(kind) or kind for key, kind in get_type_hints(Record).items()}
_LARGEST_RECORD = 64_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CAPABILITY = re.compile(r"SM[0-9]{2,3}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def record_path(engine: Path) -> Path:
    """Return the path of an engine's record: ``model.rtx.engine.json`` for ``model.rtx.engine``."""
    return engine.with_name(engine.name + ".json")


def module_of(engine: Path) -> str:
    """Return the package that an engine is for, by its suffix.

    Raises:
        SonoforgeError: Another name.
    """
    for module, suffix in SUFFIXES.items():
        if engine.name.endswith(suffix):
            return module
    raise SonoforgeError(f"{engine}: found another name, expected one that ends with {' or '.join(SUFFIXES.values())}")


def to_json(record: Record) -> bytes:
    """Return a record as the content of its file."""
    return (json.dumps(record, indent=2) + "\n").encode()


def read_record(engine: Path) -> Record:
    """Read the record beside an engine.

    Raises:
        SonoforgeError: There is none, or `parse_record` refuses it.
    """
    path = record_path(engine)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_RECORD + 1)
    except OSError as error:
        raise SonoforgeError(
            f"{path}: cannot be read ({error.strerror}); an engine without its record is not loaded, build it again"
        ) from error
    try:
        return parse_record(data)
    except SonoforgeError as error:
        raise SonoforgeError(f"{path}: {error}; build the engine again") from error


def parse_record(data: bytes) -> Record:
    """Check the keys, types and values of a record's file content.

    Raises:
        SonoforgeError: One line: which key, what was found, what was expected.
    """
    if len(data) > _LARGEST_RECORD:
        raise SonoforgeError(f"found more than {_LARGEST_RECORD} bytes, expected the record of an engine")
    try:
        record = json.loads(data.decode("utf-8"), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise SonoforgeError(f"not valid JSON ({error})") from error
    if not isinstance(record, dict):
        raise SonoforgeError(f"found {type(record).__name__}, expected an object")
    missing, unknown = _TYPES.keys() - record.keys(), record.keys() - _TYPES.keys()
    if missing:
        raise SonoforgeError(f"{', '.join(sorted(missing))} is missing")
    if unknown:
        raise SonoforgeError(f"found the unknown key {', '.join(map(repr, sorted(unknown)))}, expected none")
    for key, expected in _TYPES.items():
        if type(record[key]) is not expected:  # True is an int
            raise SonoforgeError(f"{key}: found {record[key]!r:.80}, expected {expected.__name__}")
    _check_values(cast(Record, record))
    return cast(Record, record)


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _check_values(record: Record) -> None:
    """Check what the types allow but an engine does not."""
    capabilities, outputs = record["capabilities"], record["outputs"]
    values: dict[str, Any] = {**record}
    checks = {
        "format_version": (record["format_version"] == FORMAT_VERSION, str(FORMAT_VERSION)),
        **{
            key: (_SHA256.fullmatch(value) is not None, "64 lower-case hex digits")
            for key, value in values.items()
            if key.endswith("_sha256")
        },
        "engine_bytes": (record["engine_bytes"] > 0, "a number above 0"),
        # A plain name: no folder, no way out of the engine's own.
        "source": (_FILE_NAME.fullmatch(record["source"]) is not None, "a plain file name"),
        "module": (record["module"] in SUFFIXES, " or ".join(SUFFIXES)),
        "precision": (record["precision"] in PRECISIONS, ", ".join(PRECISIONS)),
        "capabilities": (
            capabilities == [PORTABLE] or (capabilities and all(map(_is_capability, capabilities))),
            f"{PORTABLE!r} alone, or names such as 'SM89'",
        ),
        "inputs": (
            record["inputs"] and all(map(_is_profile, record["inputs"].values())),
            "for each name its smallest, typical and largest shape",
        ),
        "outputs": (
            outputs and all(isinstance(name, str) for name in outputs) and len(set(outputs)) == len(outputs),
            "different names",
        ),
    }
    for key, (fits, expected) in checks.items():
        if not fits:
            raise SonoforgeError(f"{key}: found {values[key]!r:.80}, expected {expected}")


def _is_capability(value: Any) -> bool:
    return isinstance(value, str) and _CAPABILITY.fullmatch(value) is not None


def _is_profile(value: Any) -> bool:
    """Whether three shapes of one rank grow from the smallest to the largest."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(shape, list) for shape in value):
        return False
    if len({len(shape) for shape in value}) != 1 or not all(type(size) is int for shape in value for size in shape):
        return False
    return all(0 < low <= usual <= high for low, usual, high in zip(*value, strict=True))
