"""A packed bundle: the same bytes each time, and the reader takes it."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path

import pytest

import bundle_factory as factory
from sonoforge.export.bundle.folder import creation_time, replacing_bundle, write_zip
from sonoforge.runtime.bundle.reader import DamagedBundleError, open_bundle
from sonoforge.runtime.errors import SonoforgeError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return factory.write_bundle(tmp_path / "b")


def test_the_same_files_make_the_same_zip_and_the_reader_takes_it(bundle: Path, tmp_path: Path) -> None:
    write_zip(bundle, tmp_path / "first.zip")
    (bundle / "notes.txt").write_text("not in the manifest, so not in the zip")
    for file in bundle.iterdir():
        os.utime(file, (time.time() - 1e6,) * 2)
        file.chmod(0o600)
    write_zip(bundle, tmp_path / "second.zip")
    first = (tmp_path / "first.zip").read_bytes()
    assert first == (tmp_path / "second.zip").read_bytes()
    packed, loose = open_bundle(tmp_path / "first.zip"), open_bundle(bundle)
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert archive.namelist() == sorted(["manifest.json", *loose.manifest.files])
    assert packed.manifest.raw == loose.manifest.raw
    assert all(packed.read(name) == loose.read(name) for name in loose.manifest.files)


def test_a_damaged_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[-1] ^= 1
    (bundle / "model.onnx").write_bytes(bytes(data))
    with pytest.raises(DamagedBundleError, match=r"model\.onnx: .*SHA-256"):
        write_zip(bundle, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_the_time_of_creation_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert creation_time() == "1970-01-02T00:00:00+00:00"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(SonoforgeError, match="SOURCE_DATE_EPOCH: 'yesterday'"):
        creation_time()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_folder_is_replaced_whole_or_not_at_all(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rename = contents(bundle), Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.endswith("sonoforge-tmp"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    with pytest.raises(RuntimeError, match="planted"), replacing_bundle(bundle, "classification") as folder:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("planted")
    monkeypatch.setattr(Path, "rename", refuse)
    written = pytest.raises(SonoforgeError, match="cannot be written")
    with written, replacing_bundle(bundle, "classification") as folder:
        (folder / "manifest.json").write_text('{"files": {}}')
    assert contents(bundle) == before and [place.name for place in bundle.parent.iterdir()] == ["b"]
    monkeypatch.setattr(Path, "rename", rename)
    with replacing_bundle(bundle, "classification") as folder:
        (folder / "manifest.json").write_text('{"files": {}}')
    assert contents(bundle) == {"manifest.json": b'{"files": {}}'}


@pytest.mark.parametrize("case", ["another manifest", "a file of one's own"])
def test_what_is_not_a_bundle_alone_is_never_replaced(bundle: Path, case: str) -> None:
    if case == "another manifest":
        (bundle / "manifest.json").write_text(json.dumps({"name": "a web app", "icons": []}))
    old = bundle.parent / "b.old"
    old.mkdir()
    for folder in (bundle, old):
        (folder / "thesis.txt").write_text("years of work")
    refused = pytest.raises(SonoforgeError, match=r"is not a bundle|thesis\.txt")
    with refused, replacing_bundle(bundle, "classification"):
        pass
    assert (bundle / "thesis.txt").read_text() == (old / "thesis.txt").read_text() == "years of work"
