"""The page's JavaScript decodes, turns and squeezes PNG files to the very bytes of Python's runtime."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page_scripts import run_script
from png_writer import write_png
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.plain_image import remarks_on
from sonoforge.runtime.images.preprocessing import Preprocessing

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

KINDS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def exif(orientation: int, order: str) -> bytes:
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return start + struct.pack(f"{order}HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)


def write_kinds(folder: Path) -> list[Path]:
    """PNG files of every colour type and depth: plain, interlaced, transparent, turned."""
    rng, files = np.random.default_rng(0), []

    def add(name: str, data: bytes) -> None:
        (folder / f"{name}.png").write_bytes(data)
        files.append(folder / f"{name}.png")

    for colour, depths in KINDS.items():
        for depth in depths:
            shape = (37, 53, SAMPLES[colour])
            values = rng.integers(0, 1 << depth, shape).astype(np.uint16)
            palette = rng.integers(0, 256, 3 << depth if colour == 3 else 0).astype(np.uint8).tobytes()
            table = [(b"PLTE", palette)] if palette else []
            for interlaced in (False, True):
                name = f"{colour}-{depth}-{'adam7' if interlaced else 'plain'}"
                add(name, write_png(values, colour, depth, interlaced=interlaced, extra=table))
            hidden = {0: values[0, 0, :1], 2: values[0, 0], 3: rng.integers(0, 256, 1 << depth)}.get(colour)
            if hidden is not None:
                kind = ">u1" if colour == 3 else ">u2"
                alpha = (b"tRNS", np.asarray(hidden).astype(kind).tobytes())
                add(f"{colour}-{depth}-transparent", write_png(values, colour, depth, extra=[*table, alpha]))
            if colour == 3:
                grey = np.repeat(rng.integers(0, 256, 1 << depth), 3).astype(np.uint8).tobytes()
                add(f"{colour}-{depth}-grey", write_png(values, colour, depth, extra=[(b"PLTE", grey)]))
    for bits in (8, 10, 12, 14, 15):
        deep = rng.integers(0, 1 << bits, (37, 53, 1)).astype(np.uint16)
        for interlaced in (False, True):
            add(f"{bits}-in-16-{interlaced}", write_png(deep, 0, 16, interlaced=interlaced))
    add("bytes-twice", write_png((257 * rng.integers(0, 60, (37, 53, 1))).astype(np.uint16), 0, 16))
    add("all-black", write_png(np.zeros((37, 53, 1), np.uint16), 0, 16))
    add("dark-colour", write_png(rng.integers(0, 1 << 13, (37, 53, 3)).astype(np.uint16), 2, 16))
    scan = rng.integers(0, 256, (300, 411, 1)).astype(np.uint16)
    for orientation in range(10):
        record = (b"eXIf", exif(orientation, "<>"[orientation % 2]))
        add(f"turned-{orientation}", write_png(scan, 0, 8, extra=[record]))
    for height, width in ((16, 300), (224, 224), (224, 100), (900, 224), (640, 1031)):
        add(f"size-{height}-{width}", write_png(rng.integers(0, 256, (height, width, 3)).astype(np.uint16), 2, 8))
    return files


def page_answers(files: list[Path], folder: Path, recipe: Preprocessing) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = run_script(
        "decode_files.mjs", [str(file) for file in files], folder, json.dumps(recipe.to_dict())
    )
    return answers


def digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_every_kind_of_png_gives_the_same_bytes(tmp_path: Path, resample: str) -> None:
    recipe = Preprocessing(size=224, resample=resample)
    files = write_kinds(tmp_path)
    wrong = []
    for answer in page_answers(files, tmp_path, recipe):
        image = read_image(answer["name"])
        pixels = recipe.resize(image)
        expected = {
            "width": image.width,
            "height": image.height,
            "remarks": list(remarks_on(image)),
            "colours": digest(np.asarray(image.convert("RGB"))),
            "pixels": digest(pixels),
            "tensor": digest(recipe.normalise(pixels)),
        }
        differing = [key for key, value in expected.items() if answer.get(key) != value]
        if differing:
            wrong.append((Path(answer["name"]).stem, differing, answer.get("message")))
    assert len(files) == 73
    assert wrong == []


def test_damaged_pngs_are_refused_by_the_same_code(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = write_png(rng.integers(0, 256, (40, 50, 3)).astype(np.uint16), 2, 8)
    small = write_png(rng.integers(0, 256, (15, 50, 1)).astype(np.uint16), 0, 8)
    thread = write_png(rng.integers(0, 256, (16, 400, 1)).astype(np.uint16), 0, 8)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 64
    cases = {"cut": whole[:-20], "half": whole[: len(whole) // 2], "flip": bytes(flipped), "small": small}
    cases |= {"thread": thread, "tail": whole[:-12]}
    for colour, samples in ((2, 3), (4, 2), (6, 4)):
        dark = rng.integers(0, 1 << 12, (40, 50, samples)).astype(np.uint16)
        dark[..., -1] |= 0xFF00 if colour & 4 else 0  # alpha is not dark
        cases[f"12-bits-in-colour-{colour}"] = write_png(dark, colour, 16)
    files = []
    for name, data in cases.items():
        (tmp_path / f"{name}.png").write_bytes(data)
        files.append(tmp_path / f"{name}.png")
    for answer in page_answers(files, tmp_path, Preprocessing()):
        with pytest.raises(ImageError) as refused:
            read_image(answer["name"])
        assert answer["code"] == refused.value.code, answer
