"""Read what every ``manifest.json`` has in common, format version 1: its file table, and the checks of its values.

A reader that guesses is worse than one that stops: an unknown key, a file without a hash or a number out of range is
refused with one line.  Each task adds its own keys: `classification`, `generation`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError, refusing

FORMAT_VERSION = 1
MAX_FILE_BYTES = 256_000_000
LONGEST_TEXT = 1000

DIGEST = "digest"
"""Key of the manifest that holds the SHA-256 of all other keys."""

SHIPPED_DIGESTS = {
    "mobilenetv2-breast-ultrasound 1.0.0": "dbc8f8dca6297d15ece8442638584abfecdc50a13d34f444c3b961c9d04b8ce8",
    "sonoforge-flow-bus-uc+breast+bus-bra step-1000": (
        "59b24d5c485010a092f7243c65ffae052745094019dce98d21c0aaf2a2c638cd"
    ),
}
"""The `DIGEST` of each shipped bundle by name and version, so that an edited copy is not taken for it."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FORMAT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Readers = Mapping[str, Callable[[str, Any], Any]]
"""For each key of an object, a function from the value's name (for messages) and the value to the checked value."""


class ManifestError(SonoforgeError):
    """The manifest does not describe a bundle that this version can read."""


def wrong(name: str, value: Any, expected: str) -> ManifestError:
    """Return the error for an unexpected value."""
    return ManifestError(f"{name} must be {expected}, not {value!r:.80}")


class FileEntry(NamedTuple):
    """One file of a bundle."""

    sha256: str  # in hex
    bytes: int  # its size
    precision: str  # of a model file: ``fp32``, ``fp16`` or ``int8``; empty for other files
    format: str  # of a model file: its row in the table of formats, such as ``onnx-int8``; empty for other files


class ArrayKind(NamedTuple):
    """The dtype and shape that an array of an ``.npz`` file must have."""

    dtype: type | tuple[type, ...]  # type of its elements, or the types allowed
    # Its sizes.  None: any size but 0; "N": any size but 0, the same for all arrays of the file.
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Manifest:
    """The part of ``manifest.json`` that all tasks share."""

    name: str  # of the model
    version: str  # of the model
    classes: tuple[str, ...]  # class names, in the order of outputs or labels
    files: dict[str, FileEntry]  # every file of the bundle except the manifest
    raw: dict[str, Any]  # the document as read

    task: ClassVar[str]
    owner: ClassVar[str]  # whose bundle it is, in a sentence
    used_by: ClassVar[str]  # the command that uses such a bundle
    model: ClassVar[str]  # the required float32 ONNX file
    required: ClassVar[tuple[str, ...]]
    precisions: ClassVar[tuple[str, ...]]
    keys: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Manifest:
        """Check the values of a document with exactly this task's keys."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The model's name and version."""
        return f"{self.name} {self.version}"

    @property
    def origin(self) -> str:
        """Whether it is the shipped bundle of its name and version, in words; empty if none has that name."""
        if self.title not in SHIPPED_DIGESTS:
            return ""
        is_shipped = self.raw.get(DIGEST) in SHIPPED_DIGESTS.values()
        return "shipped with sonoforge" if is_shipped else f"not the bundle shipped as {self.title}"

    @property
    def identity(self) -> dict[str, str]:
        """The model's ``name``, ``version`` and ``sha256``, as in the results of all verbs."""
        return {"name": self.name, "version": self.version, "sha256": self.files[self.model].sha256}

    @property
    def golden_arrays(self) -> dict[str, ArrayKind]:
        """The arrays of ``golden.npz``."""
        raise NotImplementedError

    def golden_problem(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Return what is wrong with golden arrays of the right shapes; empty if they are usable."""
        raise NotImplementedError


def load_json(data: bytes, name: str = "manifest") -> dict[str, Any]:
    """Read a JSON object strictly: no repeated keys, no NaN; ``name`` is for messages."""

    def refuse_constant(name: str) -> Any:
        raise ManifestError(f"it holds {name}, which is not JSON")

    def refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ManifestError(f"a key is given twice among {', '.join(repr(key) for key, _ in pairs):.200}")
        return result

    with refusing("not valid JSON", kinds=(ValueError, RecursionError), kind=ManifestError):
        raw = json.loads(data.decode("utf-8"), object_pairs_hook=refuse_duplicates, parse_constant=refuse_constant)
    return mapping(name, raw)


def with_digest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of plain JSON values with its digest, which reveals later changes.

    The digest covers the other keys in alphabetical order, as the shortest ASCII JSON. It is not a signature: whoever
    changes a manifest can also write a new digest.
    """
    others = {key: value for key, value in manifest.items() if key != DIGEST}
    canonical = json.dumps(others, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**others, DIGEST: hashlib.sha256(canonical.encode()).hexdigest()}


def read_files(value: Any, kind: type[Manifest]) -> dict[str, FileEntry]:
    """Read ``files``: name to ``sha256``, ``bytes`` and, for a model file, ``precision`` and ``format``."""
    files = mapping("files", value)
    missing = [name for name in kind.required if name not in files]
    if missing:
        raise ManifestError(f"files: {', '.join(missing)} is missing")
    result: dict[str, FileEntry] = {}
    for name, raw in files.items():
        file_name("files", name)
        entry = mapping(f"files.{name}", raw)
        if set(entry) not in ({"sha256", "bytes"}, {"sha256", "bytes", "precision", "format"}):
            raise wrong(f"files.{name}", [*entry], "an object of sha256, bytes (precision, format)")
        precision, form = entry.get("precision", ""), entry.get("format", "")
        if "format" in entry:
            one_of(f"files.{name}.precision", precision, ("fp32",) if name == kind.model else kind.precisions)
            if not isinstance(form, str) or not _FORMAT.fullmatch(form):
                raise wrong(f"files.{name}.format", form, "a name such as onnx-int8")
            if form in {other.format for other in result.values()}:
                raise ManifestError(f"files.{name}.format: {form} is given twice; each format has one file")
        size = whole(f"files.{name}.bytes", entry["bytes"], 1, MAX_FILE_BYTES)
        result[name] = FileEntry(digest(f"files.{name}.sha256", entry["sha256"]), size, precision, form)
    if result[kind.model].format != "onnx":
        raise wrong(f"files.{kind.model}.format", result[kind.model].format, "'onnx'")
    return result


def read_classes(value: Any, least: int) -> tuple[str, ...]:
    """Return distinct printable names, at least ``least`` of them."""
    valid = isinstance(value, list) and all(map(_printable, value))
    if not valid or not least <= len(value) == len(set(value)):
        raise wrong("classes", value, f"{f'{least} or more ' if least else ''}different printable names")
    return tuple(value)


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise wrong(name, value, "an object")
    return value


def exact_keys(name: str, value: Mapping[str, Any], expected: Sequence[str]) -> None:
    """Refuse missing and unknown keys."""
    missing = [key for key in expected if key not in value]
    unknown = [key for key in value if key not in expected]
    if missing:
        raise ManifestError(f"{name}: {', '.join(missing)} is missing")
    if unknown:
        raise ManifestError(f"{name}: unknown key {', '.join(map(repr, unknown)):.200}; update sonoforge")


def fields(name: str, value: Any, readers: Readers) -> dict[str, Any]:
    """Return a JSON object with exactly these keys, each value checked by its reader."""
    found = mapping(name, value)
    exact_keys(name, found, tuple(readers))
    return {key: read(f"{name}.{key}", found[key]) for key, read in readers.items()}


def boolean(name: str, value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return value


def number(name: str, value: Any) -> float:
    """Return a finite number."""
    # Also refuses integers too large for a float.
    if type(value) not in (int, float) or not -sys.float_info.max <= value <= sys.float_info.max:
        raise wrong(name, value, "a number")
    return float(value)


def positive(name: str, value: Any) -> float:
    """Return a number above 0."""
    if (found := number(name, value)) <= 0:
        raise wrong(name, value, "a number above 0")
    return found


def share(name: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    if not 0 <= (found := number(name, value)) <= 1:
        raise wrong(name, value, "a number from 0 to 1")
    return found


def whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number within limits."""
    if type(value) is not int or not low <= value <= high:
        raise wrong(name, value, f"a whole number from {low} to {high}")
    return value


def text(name: str, value: Any, *, empty: bool = False) -> str:
    """Return one line of printable text."""
    if not _printable(value) and not (empty and value == ""):
        raise wrong(name, value, f"one line of printable text of at most {LONGEST_TEXT} characters")
    return str(value)


def file_name(name: str, value: Any) -> str:
    """Return the plain name of a file beside the document, without a folder, a drive or ``..``."""
    if not isinstance(value, str) or not _FILE_NAME.fullmatch(value) or value == "manifest.json":
        raise wrong(name, value, "a plain file name")
    return value


def digest(name: str, value: Any) -> str:
    """Return a SHA-256 in hex."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise wrong(name, value, "64 lower-case hex digits")
    return value


def one_of(name: str, value: Any, expected: Sequence[Any]) -> Any:
    """Return one of these values."""
    if value not in expected or isinstance(value, bool):
        raise wrong(name, value, " or ".join(map(repr, expected)))
    return value


def _printable(value: Any) -> bool:
    """Whether it is text without characters that move the cursor or reverse the terminal's text."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()
