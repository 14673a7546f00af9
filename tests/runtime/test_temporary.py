"""Temporary folders where nothing can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.errors import SonoforgeError


def test_it_is_there_and_then_gone() -> None:
    with temporary_folder() as folder:
        (folder / "a").write_text("a")
    assert not folder.exists()


def test_no_place_to_write_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SonoforgeError, match="no temporary folder can be written"), temporary_folder():
        pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_one_line_of_the_command(code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(), "onnx-int8", "int8")

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "save", full)
    found = sonoforge("verify", folder)
    assert found.code == 1
    assert f"no temporary folder can be written ({os.strerror(code)}); free some space, or set TMPDIR" in found.said


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(FileNotFoundError), temporary_folder() as folder:
        (folder / "absent").read_bytes()
