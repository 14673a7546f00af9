"""Damaged files of all kinds in one batch: each gets its own one-line error, and no sound file is lost."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

import bundle_factory as factory
from image_files import png_chunk
from program import sonoforge

KINDS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "pgm": "PPM"}


def encoded(seed: int, suffix: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(factory.scan(seed)).save(buffer, KINDS[suffix], **options)
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


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "classify", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def test_every_damaged_file_gets_one_line_and_no_sound_file_is_lost(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "bundle")
    bad, sound = [tmp_path / "folder.png"], [tmp_path / f"sound{number}.png" for number in range(9)]
    bad[0].mkdir()
    for number, (suffix, content) in enumerate(damaged(random.Random(20240))):
        bad.append(tmp_path / f"{number:03}.{suffix}")
        bad[-1].write_bytes(content)
    for number, path in enumerate(sound):
        path.write_bytes(encoded(number, "png"))
    done = run(*sorted(map(str, bad + sound)), "--bundle", bundle, "--json", "--quiet")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    answers = {result["file"]: result for result in json.loads(done.stdout)["results"]}
    assert set(answers) == {str(path) for path in bad + sound}
    assert not [path.name for path in bad if answers[str(path)]["ok"]]
    assert all(answers[str(path)]["ok"] for path in sound)
    for path in bad:
        message = answers[str(path)]["error"]["message"]
        assert "\n" not in message and str(path) in message
    assert len(done.stderr.splitlines()) == len(bad) > 100
    codes = {answers[str(path)]["error"]["code"] for path in bad}
    assert {"truncated", "empty", "not_an_image", "is_directory", "too_large"} <= codes
    alone = sonoforge("classify", bad[1], "--bundle", bundle, "--quiet")
    assert (alone.code, len(alone.err.splitlines())) == (2, 1) and "0 of 1 files answered" in alone.out
