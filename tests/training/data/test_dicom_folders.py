"""Class folders of DICOM: the same training tensors as of the same pictures in PNG, bit for bit."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_files import data_set, groups, region, rescale, save, window
from program import sonoforge
from scans import draw_scan
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import prepare_images, to_tensor

CLASSES = ("benign", "malignant")


def picture(kind: str, seed: int) -> np.ndarray:
    """Pixels as PNG holds them."""
    grey = draw_scan(seed, 90)[:70]
    if kind == "colour":
        return np.stack([grey, np.roll(grey, 3, 0), np.roll(grey, 5, 1)], axis=-1)
    if kind == "16 bits":
        return grey.astype(np.uint16) * 251 + 7
    if kind == "12 bits in 16":
        return grey.astype(np.uint16) * 16 + 5
    return grey


def write(kind: str, pixels: np.ndarray, path: Path) -> None:
    if kind == "inverted":
        save(data_set(255 - pixels[None], "MONOCHROME1"), path)
    elif kind == "region":
        around = np.pad(pixels, ((9, 4), (11, 6)), constant_values=77)
        item = region((11, 9, 11 + pixels.shape[1] - 1, 9 + pixels.shape[0] - 1))
        save(data_set(around[None], SequenceOfUltrasoundRegions=[item]), path)
    else:
        save(data_set(pixels[None], "RGB" if pixels.ndim == 3 else "MONOCHROME2"), path)


@pytest.mark.parametrize("kind", ["grey", "colour", "16 bits", "12 bits in 16", "inverted", "region"])
@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_dicom_gives_the_tensors_that_png_gives(tmp_path: Path, kind: str, suffix: str) -> None:
    for label, name in enumerate(CLASSES):
        for folder in ("png", "dicom"):
            (tmp_path / folder / name).mkdir(parents=True)
        for number in range(3):
            pixels = picture(kind, 10 * label + number)
            Image.fromarray(pixels).save(tmp_path / "png" / name / f"IM{number}.png")
            write(kind, pixels, tmp_path / "dicom" / name / f"IM{number}{suffix}")
    png, dicom = (
        load_images(ImageSource((str(tmp_path / folder),), 0, 0, tmp_path / f"cache of {folder}"))
        for folder in ("png", "dicom")
    )
    assert len(dicom.images) == 6 and not dicom.unreadable
    assert dicom.hashes == png.hashes and dicom.fingerprint == png.fingerprint and dicom.modes == png.modes
    assert np.array_equal(dicom.images, png.images) and png.images.std() > 20
    assert all(np.array_equal(one, other) for one, other in zip(dicom.pictures, png.pictures, strict=True))
    for channels in (1, 3):
        tensors = [to_tensor(prepare_images(cache.images, 32, channels)) for cache in (png, dicom)]
        assert tensors[0].equal(tensors[1])


def test_clips_and_reports_among_the_scans_are_left_out_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in CLASSES:
        (tmp_path / "set" / name).mkdir(parents=True)
        for seed in (1, 2):
            save(data_set(draw_scan(seed + len(name), 64)[None]), tmp_path / "set" / name / f"{seed}.dcm")
    save(data_set(np.stack([draw_scan(s, 64) for s in (7, 8, 9)])), tmp_path / "set" / "benign" / "clip.dcm")
    report = data_set(draw_scan(3, 64)[None])
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.ComprehensiveSRStorage
    save(report, tmp_path / "set" / "benign" / "report.dcm")
    with caplog.at_level(logging.INFO):
        cache = load_images(ImageSource((str(tmp_path / "set"),), 0, 0, tmp_path / "cache"))
    said = " ".join(caplog.text.split())
    assert len(cache.images) == 4
    assert "1 non-image DICOM object" in said
    (message,) = cache.unreadable.values()
    assert "a clip of 3 frames" in message and "data import frames" in message


def test_frames_are_imported_by_their_own_rescaling_and_window(tmp_path: Path) -> None:
    values = np.stack([draw_scan(seed, 64) for seed in (1, 2)]).astype("<u2") * 4
    stored = values // np.array([1, 4], "<u2")[:, None, None]
    steps = [(window(512.5, 1025), rescale(slope)) for slope in (1, 4)]
    for name in CLASSES:
        (tmp_path / "scans" / name).mkdir(parents=True)
        items = [groups(*one) for one in steps]
        file = data_set(stored, BitsStored=12, PerFrameFunctionalGroupsSequence=items)
        save(file, tmp_path / "scans" / name / "clip.dcm")
    done = sonoforge("data", "import", "frames", tmp_path / "scans", tmp_path / "out")
    assert done.code == 0, done.err
    found = [np.asarray(Image.open(path).convert("L")) for path in sorted((tmp_path / "out").rglob("*.png"))]
    assert len(found) == 4
    for number, picture in enumerate(found):
        assert np.abs(picture - values[number % 2] * 255.0 / 1024).max() <= 0.51
