"""Preprocessing against Pillow and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sonoforge.runtime.bundle.classification import read_preprocessing
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing

RNG = np.random.default_rng(5)


def test_imagenet_constants() -> None:
    # as published with torchvision's pretrained weights
    assert IMAGENET.to_dict() == {
        "size": 224,
        "resample": "bilinear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "crop": "none",
    }


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (100, 90), (224, 224)])
def test_grey_equals_the_same_picture_as_rgb(shape: tuple[int, int]) -> None:
    grey = Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))
    pixels = IMAGENET.resize(grey)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, IMAGENET.resize(grey.convert("RGB")))


def triangle(values: np.ndarray, size: int) -> np.ndarray:
    """Resize the last axis by the antialiased triangle filter, rounded to 8 bits: slow and obvious."""
    scale = values.shape[-1] / size
    places = np.arange(values.shape[-1]) + 0.5
    rows = []
    for index in range(size):
        weights = np.clip(1 - np.abs(places - (index + 0.5) * scale) / max(scale, 1), 0, None)
        rows.append(values @ (weights / weights.sum()))
    return np.floor(np.stack(rows, -1) + 0.5)


@pytest.mark.parametrize("shape", [(300, 500), (700, 300), (100, 90)])
def test_rows_are_resized_before_columns_whatever_the_shape(shape: tuple[int, int]) -> None:
    grey = RNG.integers(0, 256, shape, dtype=np.uint8)
    found = IMAGENET.resize(Image.fromarray(grey))[..., 0].astype(int)
    rows_first = triangle(triangle(grey.astype(float), 224).T, 224).T
    columns_first = triangle(triangle(grey.T.astype(float), 224).T, 224)
    assert np.abs(found - rows_first).max() <= 1
    assert (found != rows_first).mean() < 0.01  # Pillow's weights have few bits
    assert (columns_first != rows_first).mean() > 0.02  # so the test tells them apart


def test_normalise_equals_the_formula() -> None:
    pixels = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    found = IMAGENET.normalise(pixels)
    assert found.dtype == np.float32
    assert found.shape == (2, 3, 32, 32)
    assert np.array_equal(found, expected.astype(np.float32))
    assert np.array_equal(IMAGENET.normalise(pixels[1]), found[1])


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="mode RGBA"):
        IMAGENET.resize(Image.new("RGBA", (30, 30)))
    with pytest.raises(ValueError, match="float64"):
        IMAGENET.normalise(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not uint8"):
        IMAGENET.normalise(np.zeros((3, 4, 4), np.uint8))


def test_settings_come_back_from_their_plain_form() -> None:
    settings = Preprocessing(96, "bicubic", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert read_preprocessing("preprocessing", settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("size", value) for value in (0, 224.0, True, 10**9)),
        *(("resample", value) for value in ("nearest", ["bilinear"])),
        *(("mean", value) for value in ([0.1, 0.2], [0.1, 0.2, float("nan")], "abc")),
        *(("std", value) for value in ([1, 1, 0], [1, True, 1])),
        ("gamma", 2.2),
    ],
)
def test_unknown_and_missing_settings_are_refused(name: str, value: object) -> None:
    values = IMAGENET.to_dict()
    with pytest.raises(SonoforgeError, match=r"^preprocessing"):
        read_preprocessing("preprocessing", {**values, name: value})
    if values.pop(name, None):
        with pytest.raises(SonoforgeError, match=f"{name} is missing"):
            read_preprocessing("preprocessing", values)
