"""The page's JavaScript decodes PNG and TIFF to the very bytes of Python's runtime, or refuses them as it does."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from image_files import write_png, write_tiff
from page_scripts import check_damaged, compare, run_script
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.plain_image import remarks_on
from sonoforge.runtime.images.preprocessing import Preprocessing

# ---- the page's JavaScript decodes, turns and squeezes PNG files to the very bytes of Python's runtime.

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


# ---- the page's JavaScript decodes TIFF files to the very bytes of Python's runtime, or refuses them as it does.

WHITE_IS_ZERO, GREY, RGB, PALETTE = range(4)
HEIGHT, WIDTH = 37, 53


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "TIFF", **options)
    return stream.getvalue()


def written_by_pillow(rng: np.random.Generator) -> dict[str, bytes]:
    """Each mode in each compression; in strips, with a predictor, turned, in BigTIFF."""
    # Steps of runs, so that LZW writes codes of every width and PackBits has runs.
    smooth = np.cumsum(rng.integers(0, 2, (90, 400, 4)), axis=1).astype(np.uint8)
    smooth[:30] = rng.integers(0, 256, (30, 400, 4))
    images = {
        "1": Image.fromarray(smooth[..., 0]).convert("1"),
        "L": Image.fromarray(smooth[..., 0]),
        "LA": Image.fromarray(smooth[..., :2], "LA"),
        "P": Image.fromarray(smooth[..., :3]).quantize(200),
        "RGB": Image.fromarray(smooth[..., :3]),
        "RGBA": Image.fromarray(smooth),
        "I;16": Image.fromarray((smooth[..., 0] * 200).astype(np.uint16)),
    }
    files = {}
    for mode, image in images.items():
        for compression in ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"):
            files[f"{mode}-{compression}"] = by_pillow(image, compression=compression)
        if mode not in ("1", "P"):
            for compression in ("tiff_lzw", "tiff_adobe_deflate"):
                files[f"{mode}-{compression}-predicted"] = by_pillow(image, compression=compression, tiffinfo={317: 2})
    for orientation in range(10):
        files[f"turned-{orientation}"] = by_pillow(images["RGB"], tiffinfo={274: orientation})
    return files


def written_here(rng: np.random.Generator) -> dict[str, bytes]:
    """Layouts that Pillow does not write: few bits, white as 0, tiles, planes apart, either order of bytes."""
    files = {}

    def values(bits: int, samples: int = 1) -> np.ndarray:
        return rng.integers(0, 1 << bits, (HEIGHT, WIDTH, samples)).astype(np.uint16)

    for order in "<>":
        for tile in (0, 16):
            name = f"{'little' if order == '<' else 'big'}-{'tiles' if tile else 'strips'}"
            layout = {"order": order, "tile": tile}
            files[f"grey-8-{name}"] = write_tiff(values(8), GREY, 8, **layout)
            files[f"grey-16-{name}"] = write_tiff(values(16), GREY, 16, **layout)
            files[f"rgb-8-{name}"] = write_tiff(values(8, 3), RGB, 8, **layout)
            files[f"rgb-16-{name}"] = write_tiff(values(16, 3), RGB, 16, **layout)
        for bits in (1, 2, 4, 8):
            for kind in (WHITE_IS_ZERO, GREY):
                files[f"grey-{kind}-{bits}{order}"] = write_tiff(values(bits), kind, bits, order=order)
            palette = {320: tuple(rng.integers(0, 65536, 3 << bits))}
            files[f"palette-{bits}{order}"] = write_tiff(values(bits), PALETTE, bits, order=order, tags=palette)
            greys = {320: tuple(np.tile(rng.integers(0, 65536, 1 << bits), 3))}
            files[f"grey-palette-{bits}{order}"] = write_tiff(values(bits), PALETTE, bits, order=order, tags=greys)
    files["planes"] = write_tiff(values(8, 3), RGB, 8, planar=True)
    files["white-is-zero-16"] = write_tiff(values(16), WHITE_IS_ZERO, 16)
    files["white-is-zero-12-in-16"] = write_tiff(values(12), WHITE_IS_ZERO, 16)
    for bits in (8, 10, 12, 14, 15):
        files[f"{bits}-in-16"] = write_tiff(values(bits), GREY, 16)
    files["bytes-twice"] = write_tiff(257 * values(6), GREY, 16)
    for extra in (0, 1, 2):
        alpha = {338: (extra,)}
        files[f"alpha-{extra}"] = write_tiff(values(8, 4), RGB, 8, tags=alpha)
        files[f"alpha-{extra}-16"] = write_tiff(values(16, 4), RGB, 16, tags=alpha)
    files["alpha-unsaid"] = write_tiff(values(8, 4), RGB, 8)
    files["signed-8"] = write_tiff(values(8), GREY, 8, tags={339: (2,)})
    return files


def written(files: dict[str, bytes], folder: Path) -> dict[str, Path]:
    """Write files, and return where they are."""
    paths = {}
    for number, (name, data) in enumerate(files.items()):
        paths[name] = folder / f"{number}.tif"
        paths[name].write_bytes(data)
    return paths


def test_every_kind_of_tiff_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = written_by_pillow(rng) | written_here(rng)
    wrong, found = compare(written(files, tmp_path), tmp_path)
    assert len(files) == 120 and all("frames" in one for one in found.values())
    assert wrong == {}


def test_what_python_refuses_is_refused_by_the_same_code(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    image = Image.fromarray(values.astype(np.uint8))
    whole = by_pillow(image, compression="tiff_lzw")
    dark = rng.integers(0, 1 << 12, (HEIGHT, WIDTH, 4)).astype(np.uint16)
    plain = write_tiff(values, RGB, 8)
    files = {
        "pages": by_pillow(image, save_all=True, append_images=[image]),
        "floats": by_pillow(Image.fromarray(values[..., 0].astype(np.float32))),
        "32 bits": by_pillow(Image.fromarray(values[..., 0].astype(np.int32))),
        "Lab": by_pillow(image.convert("LAB")),
        "dark colour": write_tiff(dark[..., :3], RGB, 16),
        "small": by_pillow(image.crop((0, 0, 15, 30))),
        "thread": by_pillow(image.resize((400, 16))),
        "head": plain[:6],
        "no tags": plain[:-300],
        "strip beyond the end": write_tiff(values, RGB, 8, tags={278: (HEIGHT,), 273: (60_000,)}),
        "huge": write_tiff(values, RGB, 8, tags={256: (60_000,), 257: (60_000,)}),
        "large and empty": write_tiff(values, RGB, 8, tags={256: (7000,), 257: (7000,)}),
        "cut": whole[:-1000] if len(whole) < 2000 else whole[: len(whole) // 2],
    }
    wrong, found = compare(written(files, tmp_path), tmp_path)
    assert all("message" in one for one in found.values())
    assert wrong == {}


def test_no_damage_gives_anything_but_a_picture_or_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    whole = written_by_pillow(rng) | written_here(rng)
    check_damaged([data for name, data in whole.items() if "turned" not in name], 4, (-260, 260), tmp_path)
