"""Image files that cannot be used are refused, each in one line that says why."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from image_files import COLOUR, GREY, RNG, png_chunk, refused, tiff
from sonoforge.runtime.images import limits
from sonoforge.runtime.images.decoding import read_image


@pytest.mark.parametrize("kind", ["int32", "float32", "12-bit", "signed"])
def test_pixels_whose_white_is_a_guess_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    if kind == "12-bit":
        path.write_bytes(tiff(RNG.integers(0, 256, (20, 30), dtype=np.uint8).repeat(3, 1)[:, :45], "<", 1, bits=12))
        data = bytearray(path.read_bytes())
        data[data.index(struct.pack("<HHII", 256, 4, 1, 45)) + 8] = 30
        path.write_bytes(bytes(data))
    elif kind == "signed":
        path.write_bytes(tiff(RNG.integers(0, 9, (20, 30)).astype(np.int16), "<", 1, sample=2))
    else:
        Image.fromarray(RNG.uniform(0, 9, (20, 30)).astype(kind)).save(path)
    code, message = refused(path)
    assert code == "unsupported"
    assert "8- or 16-bit" in message or "8 or 16 bits" in message


def test_lab_is_refused(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(COLOUR), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "a.tif")
    assert refused(tmp_path / "a.tif")[0] == "unsupported"


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_animated_and_multi_page_files_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (40, 60), dtype=np.uint8)) for _ in range(3)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert refused(path)[0] == "animated"


def test_a_flipped_bit_in_png_pixel_data_is_noticed(tmp_path: Path) -> None:
    # Uncompressed deflate blocks: the bit changes a pixel and nothing else, so only a checksum can tell.
    Image.fromarray(GREY).save(tmp_path / "a.png", compress_level=0)
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[data.index(b"IDAT") + 600] ^= 1
    (tmp_path / "a.png").write_bytes(bytes(data))
    assert refused(tmp_path / "a.png") == ("truncated", refused(tmp_path / "a.png")[1])
    assert "checksum" in refused(tmp_path / "a.png")[1]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "pgm"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert refused(path)[0] in ("truncated", "not_an_image")


def test_a_png_without_its_end_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-12])
    assert refused(tmp_path / "a.png")[0] == "truncated"


def test_what_is_not_an_image_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("a list of patients\n" * 20, encoding="utf-8")
    (tmp_path / "sound.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(100))
    (tmp_path / "eps.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n")
    assert refused(tmp_path / "empty.png")[0] == "empty"
    assert refused(tmp_path / "text.png")[0] == "not_an_image"
    assert refused(tmp_path / "sound.wav")[0] == "not_an_image"
    assert refused(tmp_path / "eps.eps")[0] == "not_an_image"  # reading it would start another program
    assert refused(tmp_path)[0] == "is_directory"
    assert refused(tmp_path / "absent.png")[0] == "not_found"
    assert refused(tmp_path / "text.png" / "below.png")[0] == "not_found"
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert refused(tmp_path / "link.png")[0] == "not_found"
    assert refused(str(tmp_path / "null\x00byte.png"))[0] == "unreadable"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes: opening it would wait for ever
    assert refused(tmp_path / "pipe.png")[0] == "unreadable"
    assert refused("/dev/zero")[0] == "unreadable"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert refused(tmp_path / "a.png")[0] == "unreadable"


def test_size_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 10_000, 5_001, 8, 0, 0, 0, 0)
    huge = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + huge)
    code, message = refused(tmp_path / "huge.png")
    assert code == "too_large"
    assert "10000x5001" in message
    assert "50 million" in message
    for width, height, wanted in ((15, 100, False), (100, 15, False), (16, 16, True)):
        Image.new("L", (width, height)).save(tmp_path / "small.png")
        if wanted:
            assert read_image(tmp_path / "small.png").size == (width, height)
        else:
            assert refused(tmp_path / "small.png")[0] == "too_small"
    for width, height, wanted in ((16, 320, True), (16, 321, False), (400, 19, False)):
        Image.new("L", (width, height)).save(tmp_path / "thin.png")
        if wanted:
            assert read_image(tmp_path / "thin.png").size == (width, height)
        else:
            assert refused(tmp_path / "thin.png")[0] == "unsupported"
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(limits.MAX_FILE_BYTES + 1)
    assert refused(tmp_path / "sparse.png")[0] == "too_large"


def test_huge_dimensions_warn_nobody(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    # 100 and 200 megapixels: between and beyond Pillow's own two limits
    for side in (10_000, 14_500):
        (tmp_path / "a.bmp").write_bytes(
            b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6)
        )
        assert refused(tmp_path / "a.bmp")[0] == "too_large"
    assert not recwarn.list


MEASURE = """
import resource, sys
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.limits import ImageError

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1])
except ImageError:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory in other units")
@pytest.mark.parametrize(
    ("mode", "size", "most"),
    [("RGBA", (16, 3_000_000), 5e6), ("I;16", (5000, 5000), 150e6), ("RGBA", (5000, 5000), 300e6)],
)
def test_a_small_file_takes_no_large_memory(tmp_path: Path, mode: str, size: tuple[int, int], most: float) -> None:
    """The pixels of the second take 50 MB, those of the third 100."""
    path = tmp_path / "a.png"
    Image.new(mode, size).save(path)
    assert path.stat().st_size < 1e6
    # A shell between: Linux counts the largest size of the process that forked, too.
    command = ["sh", "-c", '"$0" -c "$1" "$2"', sys.executable, MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert float(done.stdout) <= most
