"""Damaged files of all kinds in one batch: each gets its own one-line error, and no sound file is lost."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

import bundle_factory as factory
from image_files import png_chunk
from program import sonoforge

KINDS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "pgm": "PPM"}


def encoded(seed: int, suffix: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(factory.scan(seed)).save(buffer, KINDS[suffix])
    return buffer.getvalue()


def damaged(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield suffix and content: cut off, random behind a true beginning, empty, other files, text, huge sizes."""
    for number, suffix in enumerate(list(KINDS) * 6):
        whole = encoded(number, suffix)
        yield suffix, whole[: rng.randrange(1, int(0.9 * len(whole)))]
        yield suffix, whole[: rng.randrange(2, 40)] + rng.randbytes(rng.randrange(1, 5000))
    for start in (b"", bytes(4096), b"PK\x03\x04", b"%PDF-1.7\n", b"%!PS-Adobe-3.0\n", b"\x1f\x8b", b"SIMPLE  ="):
        yield "png", start
    for start in (b"", b"BM", b"P5 ", b"GIF89a", b"II*", b"RIFF"):
        yield "tif", start + b"patient left breast BI-RADS 4a\n" * 40
    for _ in range(4):
        width, height = rng.randrange(8000, 2**31 - 1), rng.randrange(8000, 2**31 - 1)
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        rest = png_chunk(b"IDAT", zlib.compress(bytes(10_000))) + png_chunk(b"IEND", b"")
        yield "png", b"\x89PNG\r\n\x1a\n" + header + rest
        bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
        yield "bmp", bmp + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield "pgm", b"P5 %d %d 255\n" % (width, height)


def test_every_damaged_file_gets_one_line_and_no_sound_file_is_lost(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "bundle")
    sound = sorted(factory.write_scans(tmp_path / "sound", range(9)).iterdir())
    bad = [tmp_path / "folder.png"]
    bad[0].mkdir()
    for number, (suffix, content) in enumerate(damaged(random.Random(20240))):
        bad.append(tmp_path / f"{number:03}.{suffix}")
        bad[-1].write_bytes(content)
    done = sonoforge("classify", *sorted(map(str, bad + sound)), "--bundle", bundle, "--json", "--quiet")
    assert done.code == 2 and "Traceback" not in done.err
    answers = {result["file"]: result for result in done.json["results"]}
    assert {file for file, answer in answers.items() if answer["ok"]} == {str(path) for path in sound}
    assert answers.keys() == {str(path) for path in bad + sound}
    errors = {path: answers[str(path)]["error"] for path in bad}
    assert all("\n" not in error["message"] and str(path) in error["message"] for path, error in errors.items())
    assert len(done.err.splitlines()) == len(bad) > 100
    codes = {"truncated", "empty", "not_an_image", "is_directory", "too_large"}
    assert codes <= {error["code"] for error in errors.values()}
    alone = sonoforge("classify", bad[1], "--bundle", bundle, "--quiet")
    assert (alone.code, len(alone.err.splitlines())) == (2, 1) and "0 of 1 files answered" in alone.out
