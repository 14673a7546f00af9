"""The record beside a TensorRT engine, ``NAME.engine.json``: what it is, what it was built from, where it may run.

An engine is native code for a GPU, and its own header says too little.  So that a foreign, stale or damaged one is
refused before any of it is loaded, the record is read strictly: a key that is missing, unknown or of another type is an
error.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

from sonoforge.runtime.bundle.manifest import (
    ManifestError,
    Readers,
    boolean,
    digest,
    fields,
    file_name,
    load_json,
    one_of,
    text,
    whole,
)
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


_LARGEST_RECORD = 64_000
_CAPABILITY = re.compile(r"SM[0-9]{2,3}")


def record_path(engine: Path) -> Path:
    """Return the path of an engine's record: ``model.rtx.engine.json`` for ``model.rtx.engine``."""
    return engine.with_name(engine.name + ".json")


def module_of(engine: Path) -> str:
    """Return the package that an engine is for, by its suffix; another name is a `SonoforgeError`."""
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
    return cast(Record, fields("record", load_json(data, "record"), _RECORD))


def _must(fit: Callable[[Any], bool], expected: str) -> Callable[[str, Any], Any]:
    """Return a reader that refuses what does not fit."""

    def read(name: str, value: Any) -> Any:
        if not fit(value):
            raise ManifestError(f"{name}: found {value!r:.80}, expected {expected}")
        return value

    return read


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _are_profiles(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_is_profile, value.values()))


def _is_profile(value: Any) -> bool:
    """Whether three shapes of one rank grow from the smallest to the largest."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(shape, list) for shape in value):
        return False
    if len({len(shape) for shape in value}) != 1 or not all(type(size) is int for shape in value for size in shape):
        return False
    return all(0 < low <= usual <= high for low, usual, high in zip(*value, strict=True))


_RECORD: Readers = {
    "format_version": partial(whole, low=FORMAT_VERSION, high=FORMAT_VERSION),
    "engine_sha256": digest,
    "engine_bytes": partial(whole, low=1, high=10**12),
    "source": file_name,
    "source_sha256": digest,
    "onnx_sha256": digest,
    "module": partial(one_of, expected=tuple(SUFFIXES)),
    "version": text,
    "capabilities": _must(
        lambda value: value == [PORTABLE] or (_are_texts(value) and all(map(_CAPABILITY.fullmatch, value))),
        f"{PORTABLE!r} alone, or names such as 'SM89'",
    ),
    "precision": partial(one_of, expected=PRECISIONS),
    "tf32": boolean,
    "inputs": _must(_are_profiles, "for each name its smallest, typical and largest shape"),
    "outputs": _must(lambda value: _are_texts(value) and len(set(value)) == len(value), "different names"),
    "system": text,
    "produced_by": text,
}
