"""200 damaged files in one batch: each gets its own one-line error, no sound file is lost, nothing is hidden."""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import bundle_factory as factory
from image_files import png_chunk
from program import sonoforge

COUNT = 200
SUFFIXES = ("png", "jpg", "tif", "tif", "bmp", "gif", "webp", "pgm")


def encoded(rng: random.Random, suffix: str) -> bytes:
    buffer = io.BytesIO()
    formats = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}
    # libtiff, which decodes LZW, writes remarks of its own to stderr
    options = {"compression": rng.choice((None, "tiff_lzw"))} if suffix == "tif" else {}
    Image.fromarray(factory.scan(rng.randrange(1000))).save(buffer, formats.get(suffix, suffix.upper()), **options)
    return buffer.getvalue()


def truncated(rng: random.Random, path: Path) -> None:
    data = encoded(rng, path.suffix[1:])
    path.write_bytes(data[: rng.randrange(1, int(0.9 * len(data)))])


def zero_bytes(rng: random.Random, path: Path) -> None:
    path.write_bytes(bytes(rng.choice((0, 0, 1, 4096))))


def random_bytes(rng: random.Random, path: Path) -> None:
    opening = rng.choice((b"", encoded(rng, path.suffix[1:])[: rng.randrange(2, 40)]))
    path.write_bytes(opening + rng.randbytes(rng.randrange(1, 5000)))


def wrong_extension(rng: random.Random, path: Path) -> None:
    path.write_bytes(rng.choice((b"PK\x03\x04", b"%PDF-1.7\n", b"%!PS-Adobe-3.0\n", b"\x1f\x8b", b"MZ", b"SIMPLE  =")))


def directory(rng: random.Random, path: Path) -> None:
    path.mkdir()


def huge_dimensions(rng: random.Random, path: Path) -> None:
    width, height = rng.randrange(8000, 2**31 - 1), rng.randrange(8000, 2**31 - 1)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, rng.choice((8, 16)), 0, 0, 0, 0))
    rest = png_chunk(b"IDAT", zlib.compress(bytes(10_000))) + png_chunk(b"IEND", b"")
    bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    bmp += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    pgm = b"P5 %d %d 255\n" % (width, height)
    path.write_bytes(rng.choice((b"\x89PNG\r\n\x1a\n" + header + rest, bmp, pgm)))


def text_file(rng: random.Random, path: Path) -> None:
    opening = rng.choice(("", "BM", "P5 ", "GIF89a", "II*", "RIFF"))
    words = " ".join(rng.choice(("patient", "left", "breast", "BI-RADS", "4a", "\n")) for _ in range(200))
    path.write_text(opening + words, encoding="utf-8")


DAMAGES: tuple[Callable[[random.Random, Path], None], ...] = (
    *(truncated, zero_bytes, random_bytes, wrong_extension),
    *(directory, huge_dimensions, text_file),
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], list[Path]]:
    """Return the bundle, 200 damaged paths and 20 sound ones."""
    folder = tmp_path_factory.mktemp("damaged")
    bundle = factory.write_bundle(folder / "bundle")
    rng = random.Random(20240)
    damaged, sound = [], []
    for i in range(COUNT):
        damaged.append(folder / f"{i:03}.{rng.choice(SUFFIXES)}")
        DAMAGES[i % len(DAMAGES)](rng, damaged[-1])
        if i % 10 == 0:
            sound.append(folder / f"{i:03}-sound.png")
            sound[-1].write_bytes(encoded(rng, "png"))
    return bundle, damaged, sound


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "classify", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def test_every_damaged_file_gets_one_line_and_no_sound_file_is_lost(batch: tuple[Path, list[Path], list[Path]]) -> None:
    bundle, damaged, sound = batch
    done = run(*sorted(map(str, damaged + sound)), "--bundle", str(bundle), "--json", "--quiet")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    answers = {result["file"]: result for result in json.loads(done.stdout)["results"]}
    assert set(answers) == {str(path) for path in damaged + sound}
    wrongly_answered = [path.name for path in damaged if answers[str(path)]["ok"]]
    assert not wrongly_answered
    for path in damaged:
        message = answers[str(path)]["error"]["message"]
        assert "\n" not in message
        assert str(path) in message
    assert all(answers[str(path)]["ok"] for path in sound)
    lines = done.stderr.splitlines()
    assert len(lines) == COUNT, [line for line in lines if "error (" not in line][:5]
    codes = {answers[str(path)]["error"]["code"] for path in damaged}
    assert {"truncated", "empty", "not_an_image", "is_directory", "too_large"} <= codes


def test_a_damaged_file_alone_exits_with_2(batch: tuple[Path, list[Path], list[Path]]) -> None:
    bundle, damaged, _ = batch
    done = sonoforge("classify", damaged[0], "--bundle", bundle, "--quiet")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "0 of 1 files answered" in done.out


def test_remarks_of_native_decoders_stay_out_of_the_table(tmp_path: Path) -> None:
    bundle = factory.write_bundle(tmp_path / "bundle")
    path = tmp_path / "a.tif"
    Image.fromarray(factory.scan(0)).save(path, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[400:2000] = random.Random(0).randbytes(1600)
    path.write_bytes(bytes(data))
    probe = f"from sonoforge.runtime.images.decoding import read_image; read_image({str(path)!r})"
    alone = subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True, text=True)
    assert "not yet in table" in alone.stderr, "this file no longer makes libtiff speak: damage it otherwise"
    done = run(str(path), "--bundle", str(bundle), "--quiet")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "truncated" in done.stderr
