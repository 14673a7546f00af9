"""Bundles made to do harm: each is refused in one line, in seconds, within little memory."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from program import sonoforge
from worker import Worker

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured as Linux counts it")

MOST_MB = 400.0
MB = 1_000_000


def refuse(content: bytes) -> None:
    """Run a command, and check that it says what it must in one line."""
    said, *arguments = json.loads(content)
    done = sonoforge(*arguments, "--quiet")
    lines = [*done.err.splitlines(), *(line for line in done.out.splitlines() if line.startswith("problem"))]
    assert said in lines[0] and len(lines) == 1, done
    assert "unexpected" not in lines[0] and len(lines[0]) < 2000
    assert done.code in ((2,) if arguments[0] == "classify" else (1, 2))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """Run commands in a process whose processor time and memory are limited."""
    started = Worker(refuse, 4_000_000_000)
    yield started
    started.close()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.png"
    Image.fromarray(factory.scan(0)).save(path)
    return path


def without(folder: Path, name: str, target: Path, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipFile:
    """Open a zip of the bundle for writing, one file left out."""
    archive = zipfile.ZipFile(target, "w", method)
    for item in sorted(folder.iterdir()):
        if item.name != name:
            archive.write(item, item.name)
    return archive


def stated_zeros(folder: Path, name: str, megabytes: int) -> Path:
    """A zip in which a file is zeros, of which the manifest knows."""
    data = bytes(megabytes * MB)
    factory.replace_file(folder, name, data)
    return factory.zip_bundle(folder, folder.parent / "b.zip")


def huge_arrays(folder: Path) -> Path:
    """Golden images of 240 MB in a file of some kilobytes."""
    buffer = io.BytesIO()
    with np.load(folder / "golden.npz") as golden:
        arrays = {**golden, "pixels": np.zeros((240 * MB // (3 * 64 * 64), 64, 64, 3), np.uint8)}
    np.savez_compressed(buffer, **arrays)
    factory.replace_file(folder, "golden.npz", buffer.getvalue())
    return folder


def lying_array(folder: Path) -> Path:
    """An array whose header speaks of 40 GB."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pixels.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(1000))
    factory.replace_file(folder, "golden.npz", buffer.getvalue())
    return folder


def many_golden(folder: Path) -> Path:
    with np.load(folder / "golden.npz") as golden:
        arrays = {name: np.repeat(values, 200, axis=0) for name, values in golden.items()}
    factory.replace_file(folder, "golden.npz", factory.npz(**arrays))
    return folder


def many_entries(folder: Path) -> Path:
    """A list of 400 000 entries, whose count says one."""
    data = bytearray(factory.zip_bundle(folder, folder.parent / "b.zip").read_bytes())
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    entries = entry * 400_000
    data += entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entries), len(data), 0)
    (folder.parent / "b.zip").write_bytes(data)
    return folder.parent / "b.zip"


def many_arrays(folder: Path) -> Path:
    shutil.copy(many_entries(folder), folder / "golden.npz")
    factory.replace_file(folder, "golden.npz", (folder / "golden.npz").read_bytes())
    return folder


def link(folder: Path) -> Path:
    size = (folder / "model.onnx").stat().st_size
    entry = zipfile.ZipInfo("model.onnx")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with without(folder, "model.onnx", folder.parent / "b.zip") as archive:
        archive.writestr(entry, ("/" * size)[:size])
    return folder.parent / "b.zip"


def packed_by_lzma(folder: Path) -> Path:
    without(folder, "", folder.parent / "b.zip", zipfile.ZIP_LZMA).close()
    return folder.parent / "b.zip"


def leading_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def nonsense_numbers(folder: Path) -> Path:
    document = json.loads((folder / "manifest.json").read_bytes())
    document["trust"]["threshold"] = 0
    text = json.dumps(document).replace('"threshold": 0', '"threshold": 1' + "0" * 4000)
    return put(folder, "manifest.json", lambda path: path.write_text(text))


def put(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    """Make something else of a file of a bundle."""
    (folder / name).unlink()
    make(folder / name)
    return folder


def manifest(content: bytes) -> Callable[[Path], Path]:
    return lambda folder: put(folder, "manifest.json", lambda path: path.write_bytes(content))


def preprocessing(value: Any) -> Callable[[Path], Path]:
    return lambda folder: factory.edit_manifest(folder, lambda m: m.update(preprocessing=value)) or folder


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a model of 100 MB of zeros": (lambda folder: stated_zeros(folder, "model.onnx", 100), "not an ONNX file"),
    "arrays of 100 MB of zeros": (lambda folder: stated_zeros(folder, "golden.npz", 100), "not a plain numpy archive"),
    "240 MB in compressed arrays": (huge_arrays, "MB of arrays, more than 100"),
    "an array of 40 GB by its header": (lying_array, "not a plain numpy archive"),
    "golden images without end": (many_golden, "800 images are more than 32"),
    "entries without end": (many_entries, "its list of entries is larger"),
    "arrays without end": (many_arrays, "its list of entries is larger"),
    "a link in a zip": (link, "it is a link"),
    "another compression": (packed_by_lzma, "compressed by method 14"),
    "a number of 4000 digits": (nonsense_numbers, "trust.threshold must be"),
    "a list instead of settings": (preprocessing([1] * 1000), "preprocessing must be an object"),
    "settings without end": (
        preprocessing({**dict.fromkeys(("size", "resample", "mean", "std", "crop"), 1), "x" * 100_000: 1}),
        "preprocessing: unknown key 'xxx",
    ),
    "a number of 2 million digits": (manifest(b"[" + b"1" * 2_000_000 + b"]"), "not valid JSON"),
    "a million levels": (manifest(b"[" * 1_000_000), "not valid JSON"),
    "a million objects": (manifest(b"[" + b"{}," * 1_000_000 + b"{}]"), "must be an object"),
    "bytes that are no text": (manifest(bytes(range(256)) * 1000), "not valid JSON"),
    "zeros without end": (lambda folder: put(folder, "manifest.json", leading_to("/dev/zero")), "is missing"),
    "a pipe as model": (lambda folder: put(folder, "model.onnx", os.mkfifo), "model.onnx is missing"),
    "a folder as model": (lambda folder: put(folder, "model.onnx", Path.mkdir), "model.onnx is missing"),
    "memory of a process": (
        lambda folder: put(folder, "manifest.json", leading_to("/proc/self/mem")),
        "manifest.json: cannot be read",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_in_one_line_in_seconds_within_little_memory(
    kind: str, bundle: Path, picture: Path, tmp_path: Path, worker: Worker
) -> None:
    make, said = HOSTILE[kind]
    path = make(Path(shutil.copytree(bundle, tmp_path / "b")))
    for arguments in (("classify", picture, "--bundle", path), ("verify", path)):
        found = worker.try_file(json.dumps([said, *map(str, arguments)]).encode())
        assert found.kind == "answered" and found.peak_mb < MOST_MB, found
