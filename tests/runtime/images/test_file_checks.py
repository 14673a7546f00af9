"""Files that decoders would work on for minutes are stopped; those that wait for the kernel are not read."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import png_chunk
from program import sonoforge
from sonoforge.runtime.images import file_checks
from sonoforge.runtime.images.decoding import decode_image, read_image
from sonoforge.runtime.images.limits import ImageError


def picture(kind: str, side: int = 20, **options: bool) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_empty_chunks(count: int) -> bytes:
    chunk = b"\0\0\0\0teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    data = picture("PNG")
    return data[:33] + chunk * count + data[33:]


def jpeg_of_empty_segments(count: int) -> bytes:
    data = picture("JPEG")
    return data[:2] + b"\xff\xe5\x00\x02" * count + data[2:]


def gif_of_single_bytes(count: int) -> bytes:
    return picture("GIF")[:-2] + b"\x01a" * count + b"\0;"


def pgm_of_one_comment(count: int) -> bytes:
    return b"P5\n#" + b"a" * count + b"\n20 20\n255\n" + bytes(400)


ENDLESS: list[Callable[[int], bytes]] = [
    png_of_empty_chunks,
    jpeg_of_empty_segments,
    gif_of_single_bytes,
    pgm_of_one_comment,
]


@pytest.mark.parametrize("make", ENDLESS)
def test_a_file_of_millions_of_small_parts_is_stopped(
    make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decode_image(make(10), "image").size == (20, 20), "a few such parts harm nothing"
    monkeypatch.setattr(file_checks, "SECONDS", 0.2)
    data, started = make(2_000_000), time.thread_time()
    with pytest.raises(ImageError, match=r"^image: decoding it takes minutes; save the picture anew as PNG$") as error:
        decode_image(data, "image")
    assert error.value.code == "too_slow"
    assert time.thread_time() - started < 2


def test_chunks_after_the_pixels_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture("PNG")
    chunk = b"\0\0\0\0teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    with pytest.raises(ImageError, match="decoding it takes minutes"):
        decode_image(data[:-12] + chunk * 600_000 + data[-12:], "image")


def jpeg_with_scans(count: int) -> bytes:
    data = picture("JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def test_a_jpeg_of_many_scans_is_refused() -> None:
    assert decode_image(jpeg_with_scans(10), "image").size == (20, 20)
    with pytest.raises(ImageError, match="decoding it takes minutes"):
        decode_image(jpeg_with_scans(101), "image")


def test_a_large_jpeg_may_have_fewer_scans_than_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_checks, "MOST_VISITS", 20 * 20 * 16)
    assert decode_image(jpeg_with_scans(8), "image").size == (20, 20)
    with pytest.raises(ImageError) as refused:
        decode_image(jpeg_with_scans(30), "image")
    assert refused.value.code == "too_slow"


def bomb(compression: int, strip: bytes, side: int = 7000, samples: int = 1, times: int = 1) -> bytes:
    """A TIFF whose strips all are one; section 8 of TIFF 6.0."""
    rows = -(-side // times)
    head = 8 + len(strip) + len(strip) % 2
    table = struct.pack("<I", 8) * times + struct.pack("<I", len(strip)) * times
    places = [head, head + 4 * times] if times > 1 else [8, len(strip)]
    entries = [(256, side), (257, side), (258, 8), (259, compression), (262, 1), (277, samples), (278, rows)]
    tags = [(tag, 1, value) for tag, value in entries] + [(273, times, places[0]), (279, times, places[1])]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, *rest) for tag, *rest in sorted(tags))
    start = b"II*\0" + struct.pack("<I", head + len(table))
    return start + strip + b"\0" * (len(strip) % 2) + table + ifd + struct.pack("<I", 0)


def zeros_as_gif(side: int, kept: float) -> bytes:
    data = io.BytesIO()
    Image.new("P", (side, side)).save(data, "GIF")
    return data.getvalue()[: int(kept * len(data.getvalue()))] + b"\0;"


@pytest.mark.parametrize(
    "data",
    [
        bomb(5, b"x" * 10_000),
        bomb(32773, b"\x81\x00" * 20_000),
        bomb(8, zlib.compress(bytes(1_000_000))),
        bomb(5, b"x" * 100, times=70),
        picture("PNG", 7000)[:200] + png_chunk(b"IEND", b""),
        zeros_as_gif(7000, 0.2),
    ],
    ids=["lzw", "packbits", "deflate", "strips that are one", "png", "gif"],
)
def test_a_file_that_is_too_short_for_its_pixels_is_refused_before_they_take_memory(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ImageError) as refused:
        decode_image(data, "image")
    assert refused.value.code == "truncated" and len(str(refused.value)) < 250
    assert time.process_time() - started < 1


def test_jpegs_in_a_tiff_count_once_for_each_strip_that_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_checks, "MOST_VISITS", 7000 * 7000 * 5)
    with pytest.raises(ImageError) as refused:
        decode_image(bomb(7, jpeg_with_scans(90), times=1000), "image")
    assert refused.value.code == "too_slow"


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", None])
@pytest.mark.parametrize("mode", ["L", "RGB", "1", "CMYK"])
def test_the_smallest_whole_files_are_read(compression: str | None, mode: str) -> None:
    if compression == "jpeg" and mode == "1":
        pytest.skip("JPEG has no pixels of one bit")
    buffer = io.BytesIO()
    Image.new(mode, (3000, 2000)).save(buffer, "TIFF", compression=compression)
    assert decode_image(buffer.getvalue(), "image").size == (3000, 2000)


def test_the_smallest_whole_gif_and_png_are_read() -> None:
    for data in (zeros_as_gif(3000, 1.0), picture("PNG", 3000, optimize=True)):
        assert decode_image(data, "image").size == (3000, 3000)


def test_scans_that_lie_behind_the_picture_or_in_its_notes_do_not_count() -> None:
    data, other = picture("JPEG", progressive=True), b"\xff\xda" * 200
    notes = b"\xff\xe5" + struct.pack(">H", len(other) + 2) + other
    for content in (data + other, data[:2] + notes + data[2:]):
        assert decode_image(content, "image").size == (20, 20)


def test_a_large_sound_picture_is_decoded_in_time() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
    assert np.array_equal(np.asarray(decode_image(buffer.getvalue(), "image")), noise)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="there is no such file")
def test_files_of_the_kernel_are_not_waited_for() -> None:
    started = time.monotonic()
    for path in ("/proc/kmsg", "/proc/self/mem", "/proc/self/maps"):
        with pytest.raises(ImageError) as error:
            read_image(path)
        assert error.value.code in ("empty", "unreadable")
    assert time.monotonic() - started < 60


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and sockets")
@pytest.mark.parametrize("flags", [(), ("--anonymous",), ("--recursive",)])
def test_a_folder_of_special_files_is_answered_in_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "sound.png")
    for name in ("pipe.png", "1001"):  # scanners name files by numbers, which are looked into
        os.mkfifo(folder / name)
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "nowhere.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        monkeypatch.chdir(folder)  # the name of a socket may have some hundred characters only
        bound.bind("socket.png")
        started = time.monotonic()
        done = sonoforge("classify", folder, "--json", "--quiet", *flags)
        assert time.monotonic() - started < 300
    assert done.code == 2
    answers = done.json["results"]
    assert sum(answer["ok"] for answer in answers) == 1
    codes = sorted(answer["error"]["code"] for answer in answers if not answer["ok"])
    assert codes == ["unreadable"] * 3
    assert done.json["summary"]["skipped"]["broken link"] == 1  # which leads to itself
