"""Whatever bytes a file holds, it is read or refused by the one error type, in seconds.

Small files of every kind are changed at random.  A few hundred examples each run with the suite; many more with
``SONOFORGE_FUZZ_EXAMPLES=20000 pytest -n 0 tests/runtime/test_fuzzing.py``.
"""

from __future__ import annotations

import copy
import functools
import gzip
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import bundle_factory as factory
import dicom_files
from model_worker import ModelWorker
from sonoforge.runtime.bundle.files import load_arrays
from sonoforge.runtime.bundle.manifest import with_digest
from sonoforge.runtime.bundle.onnx_graph import OPERATORS
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle, parse_manifest
from sonoforge.runtime.csv_tables import Names, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import decode_image
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.classifier import Classifier

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow and pydicom warn of damaged metadata

EXAMPLES = int(os.environ.get("SONOFORGE_FUZZ_EXAMPLES", "50"))
LONGEST_SECONDS = 5.0
MEMORY = 4_000_000_000  # bytes that a model may take in these tests, beside what pytest itself holds
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,  # measured below, without the making of the example
    derandomize="SONOFORGE_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@functools.cache
def image_files() -> list[bytes]:
    """Smallest images of all kinds that are read."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (17, 20)).astype(np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (17, 20, 4)).astype(np.uint8))
    files = []
    for image, kind, options in (
        *((grey, kind, {}) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")),
        (colour, "PNG", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour.convert("CMYK"), "TIFF", {"compression": "tiff_deflate"}),
        (grey.convert("P"), "PNG", {"transparency": 3}),
        (Image.fromarray(rng.integers(0, 65536, (17, 20)).astype(np.uint16)), "PNG", {}),
        (colour.convert("RGB"), "JPEG", {"progressive": True}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


@functools.cache
def dicom_file_bytes(tmp: Path) -> list[bytes]:
    """A small DICOM file, uncompressed and RLE."""
    from pydicom.uid import RLELossless

    files = []
    for compressed in (False, True):
        written = dicom_files.data_set(dicom_files.scan())
        if compressed:
            written.compress(RLELossless)
        files.append(dicom_files.save(written, tmp / f"{len(files)}.dcm").read_bytes())
    return files


EDITS = st.lists(
    st.tuples(
        st.sampled_from(("replace", "insert", "delete", "repeat", "cut")),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80\x00", b"\x01"]),
        ),
    ),
    min_size=1,
    max_size=6,
)


def edit(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """Change some bytes; most changes hit the first 512, where headers are."""
    for number, (kind, place, new) in enumerate(edits):
        at = int(place * (min(len(data), 512) if number % 3 else len(data)))
        if kind == "replace":
            data = data[:at] + new + data[at + len(new) :]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(new) :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + 64] * len(new) + data[at:]
        elif number == 0:
            data = data[:at]
    return data


def check(read: Callable[[], object], allowed: type[Exception]) -> None:
    """Read, and let one line of the one error type pass."""
    started = time.process_time()  # another program's turn is no fault of ours
    try:
        read()
    except allowed as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    assert time.process_time() - started < LONGEST_SECONDS


@fuzzed
@given(st.integers(0, 100), EDITS)
def test_damaged_images_are_read_or_refused(number: int, edits: list[tuple[str, float, bytes]]) -> None:
    files = image_files()
    data = edit(files[number % len(files)], edits)
    check(lambda: decode_image(data, "image"), ImageError)


@fuzzed
@given(st.integers(0, 1), EDITS)
def test_damaged_dicom_files_are_read_or_refused(number: int, edits: list[tuple[str, float, bytes]]) -> None:
    pytest.importorskip("pydicom")
    data = edit(dicom_file_bytes(_FOLDER)[number], edits)
    check(lambda: decode_image(data, "scan.dcm"), ImageError)


@fuzzed
@given(EDITS)
def test_damaged_archives_of_arrays_are_read_or_refused(edits: list[tuple[str, float, bytes]]) -> None:
    data = edit(factory.npz(a=np.arange(6, dtype=np.float32), b=np.zeros((2, 3), np.uint8)), edits)
    check(lambda: load_arrays("a.npz", data), SonoforgeError)


@fuzzed
@given(EDITS)
def test_damaged_zip_bundles_are_read_or_refused(edits: list[tuple[str, float, bytes]]) -> None:
    path = _FOLDER / "damaged.zip"
    path.write_bytes(edit(_zipped(), edits))

    def read() -> None:
        bundle = open_bundle(path)
        for name in bundle.manifest.files:
            bundle.read(name)
        bundle.golden()

    check(read, SonoforgeError)


SHARE = st.floats(0, 1, exclude_max=True)
REWIRINGS = st.lists(
    st.tuples(st.sampled_from(("operator", "input", "setting", "size", "value", "drop", "double")), SHARE, SHARE),
    min_size=1,
    max_size=4,
)
NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 255, 65535, 2**31 - 1, 2**31, 2**62)


def rewired(changes: list[tuple[str, float, float]]) -> bytes:
    """Return a sound ONNX file whose graph makes little sense: the patch network with a few changes."""
    model = onnx.load_model_from_string(factory.model_bytes())
    graph = model.graph

    def one(items: Any, share: float) -> Any:
        return items[math.floor(share * len(items))]

    for kind, where, what in changes:
        node, tensor = one(graph.node, where), one(graph.initializer, where)
        names = [name for other in graph.node for name in (*other.input, *other.output)]
        settings_ = [
            item for item in node.attribute if item.type in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS)
        ]
        if kind == "operator":
            node.op_type = one(sorted(OPERATORS), what)
        elif kind == "input":
            node.input[math.floor(what * len(node.input))] = one(names, what)
        elif kind == "setting" and settings_:
            item = one(settings_, what)
            if item.type == onnx.AttributeProto.INTS:
                item.ints[0] = one(NUMBERS, what)
            else:
                item.i = one(NUMBERS, what)
        elif kind == "size" and tensor.dims:
            tensor.dims[math.floor(what * len(tensor.dims))] = one(NUMBERS, what)
        elif kind == "value":
            values = bytearray(tensor.raw_data)
            values[:8] = one((b"\0" * 8, b"\xff" * 8, b"\0\0\x80\x7f" * 2), what)
            tensor.raw_data = bytes(values)
        elif kind == "drop" and len(graph.node) > 1:
            graph.node.remove(node)
        elif kind == "double":
            graph.node.add().CopyFrom(node)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def worker() -> Iterator[ModelWorker]:
    started = ModelWorker((1, 3, factory.SIZE, factory.SIZE), MEMORY)
    yield started
    started.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is limited on Linux alone")
def test_damaged_models_answer_or_are_refused(worker: ModelWorker, tmp_path: Path) -> None:
    """Those that end their process, or take too long, are refused by the trial that foreign bundles go through."""
    harmful: list[bytes] = []

    @fuzzed
    @given(st.booleans(), EDITS, REWIRINGS)
    def change(sound: bool, edits: list[tuple[str, float, bytes]], rewirings: list[tuple[str, float, float]]) -> None:
        content = rewired(rewirings) if sound else edit(factory.model_bytes(), edits)
        outcome = worker.try_model(content)
        assert outcome.kind != "raw", outcome.said
        assert "\n" not in outcome.said and len(outcome.said) < 2000
        if outcome.kind in ("crashed", "hung"):
            harmful.append(content)

    change()
    for number, content in enumerate(harmful):
        folder = factory.write_bundle(tmp_path / str(number), model=content)
        with pytest.raises(SonoforgeError, match="do not use this bundle"):
            Classifier(folder)


ODD = st.sampled_from(
    [
        *(None, True, "", "\ud800", "a\nb", "x" * 100_000, 0, -1, 1.5, 10**400, -(10**30), 2**63, 1e308, [], {}, [[]]),
        *([1] * 1000, {"": 0}, {"a": {"b": 1}}, functools.reduce(lambda inner, _: [inner], range(200), [0])),
    ]
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    keys = document.keys() if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    return [path, *(found for key in keys for found in places(document[key], (*path, key)))]


@fuzzed
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), ODD, st.booleans()), min_size=1, max_size=3))
def test_odd_manifests_are_read_or_refused(changes: list[tuple[float, Any, bool]]) -> None:
    document = copy.deepcopy(_manifest())
    for place, value, removed in changes:
        found = places(document)[1:]
        if not found:
            break
        *parents, key = found[math.floor(place * len(found))]
        target = functools.reduce(lambda inner, step: inner[step], parents, document)
        if removed and isinstance(target, dict):
            del target[key]
        else:
            target[key] = copy.deepcopy(value)
    data = json.dumps(document).encode()
    check(lambda: parse_manifest(data), SonoforgeError)


@fuzzed
@given(EDITS)
def test_damaged_manifests_are_read_or_refused(edits: list[tuple[str, float, bytes]]) -> None:
    data = edit((SHIPPED / "manifest.json").read_bytes(), edits)
    check(lambda: parse_manifest(data), SonoforgeError)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_manifest_of_ten_thousand_levels_is_refused(opening: str) -> None:
    with pytest.raises(SonoforgeError, match="not valid JSON"):
        parse_manifest(opening.encode() * 10_000)


@functools.cache
def _manifest() -> Any:
    """The shipped manifest, its longest list cut."""
    document = json.loads((SHIPPED / "manifest.json").read_bytes())
    document["training"]["images"] = document["training"]["images"][:2]
    return with_digest(document)


@functools.cache
def _zipped() -> bytes:
    folder = factory.write_bundle(_FOLDER / "bundle")
    return factory.zip_bundle(folder, _FOLDER / "whole.zip").read_bytes()


_FOLDER = Path()


@pytest.fixture(autouse=True, scope="module")
def _in_a_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _FOLDER  # noqa: PLW0603 - hypothesis repeats a test within one call, and fixtures do not reach its helpers
    _FOLDER = tmp_path_factory.mktemp("fuzz")


@functools.cache
def table_files() -> list[bytes]:
    """One table as Excel, LibreOffice and pandas save it."""
    plain = 'file,group,device\nbenign/Müller 1.png,007,"A, B"\nb/x.png,,\n'
    other = plain.replace('"A, B"', "AB").replace(",", ";").replace("\n", "\r\n")
    return [
        plain.encode("utf-8-sig"),
        other.encode("cp1252"),
        other.replace(";", "\t").encode("utf-16"),
        b"sep=;\r\n" + other.encode(),
    ]


@fuzzed
@given(st.integers(0, 3), EDITS, st.booleans())
def test_damaged_tables_are_read_or_refused(number: int, edits: list[tuple[str, float, bytes]], packed: bool) -> None:
    data = table_files()[number]
    path = _FOLDER / ("table.csv.gz" if packed else "table.csv")
    path.write_bytes(edit(gzip.compress(data), edits) if packed else edit(data, edits))

    def read() -> None:
        columns, rows = read_table(path, ("file", "group"))
        assert all(len(row) == len(columns) and None not in row.values() for row in rows)
        files = Names([row["file"] for row in rows], "data")
        assert all(isinstance(files.find(row["file"]) + files.near(row["file"]), str) for row in rows)
        assert set(one_spelling((row["group"] for row in rows), "table")) == {row["group"] for row in rows}

    check(read, SonoforgeError)
