"""HEIC and AVIF: phones' pictures of a screen are read as they are, or it is said what reads them."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heic_picture import HEIC, PIXELS
from image_files import refused
from sonoforge.runtime.images import decoding
from sonoforge.runtime.images.decoding import read_image


def test_a_heic_without_loss_has_the_pixels_that_were_written(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="needs the extra heic")
    (tmp_path / "a.jpg").write_bytes(HEIC)  # its content decides
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.jpg")), PIXELS)
    for kept in (0.1, 0.5, 0.9):
        (tmp_path / "cut.heic").write_bytes(HEIC[: int(kept * len(HEIC))])
        assert refused(tmp_path / "cut.heic")[0] in ("truncated", "not_an_image")
    (tmp_path / "shifted.heic").write_bytes(HEIC[:96] + HEIC[32:])  # libheif ends what it says with a line break
    assert "\n" not in refused(tmp_path / "shifted.heic")[1]


@pytest.mark.parametrize(("name", "needed"), [("pi_heif", "sonoforge[heic]"), ("PIL.AvifImagePlugin", "pillow>=11.3")])
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, needed: str
) -> None:
    (tmp_path / "a").write_bytes(HEIC if name == "pi_heif" else b"\0\0\0\x1cftypavif" + bytes(100))

    def absent(module: str) -> object:
        if module == name:
            raise ModuleNotFoundError(module)
        return importlib.import_module(module)

    monkeypatch.setattr(decoding, "import_module", absent)
    code, message = refused(tmp_path / "a")
    assert code == "unsupported" and message.endswith(f"needs pip install '{needed}'")


def test_an_avif_is_upright_and_nearly_as_it_was_written(tmp_path: Path) -> None:
    smooth = np.linspace((0, 50, 200), (200, 100, 0), 60 * 80).reshape(60, 80, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    Image.fromarray(smooth).save(tmp_path / "a.avif", quality=95, subsampling="4:4:4", exif=exif)
    found = np.asarray(read_image(tmp_path / "a.avif"))
    assert found.shape == (80, 60, 3)
    assert np.abs(found - np.rot90(smooth, -1).astype(int)).mean() < 3


def test_large_ones_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decoding._MOST_PIXELS, "AvifImageFile", 4000)
    Image.new("RGB", (80, 60)).save(tmp_path / "a.avif")
    assert refused(tmp_path / "a.avif")[0] == "too_large"
