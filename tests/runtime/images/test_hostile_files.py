"""Files that are damaged, keep decoders at work for minutes or wait for the kernel: each gets a line of its own."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from image_files import png_chunk
from program import sonoforge
from sonoforge.runtime.images import file_checks
from sonoforge.runtime.images.decoding import decode_image, read_image
from sonoforge.runtime.images.limits import ImageError


def picture(kind: str, side: int = 20, mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_empty_chunks(count: int, at: int = 33) -> bytes:
    data = picture("PNG")
    return data[:at] + png_chunk(b"teSt", b"") * count + data[at:]


ENDLESS: dict[str, Callable[[int], bytes]] = {
    "png of empty chunks": png_of_empty_chunks,
    "jpeg of empty segments": lambda count: (data := picture("JPEG"))[:2] + b"\xff\xe5\x00\x02" * count + data[2:],
    "gif of single bytes": lambda count: picture("GIF")[:-2] + b"\x01a" * count + b"\0;",
    "pgm of one comment": lambda count: b"P5\n#" + b"a" * count + b"\n20 20\n255\n" + bytes(400),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_file_of_millions_of_small_parts_is_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = ENDLESS[name]
    assert decode_image(make(10), "image").size == (20, 20), "a few such parts harm nothing"
    monkeypatch.setattr(file_checks, "SECONDS", 0.2)
    data, started = make(2_000_000), time.thread_time()
    with pytest.raises(ImageError, match=r"^image: .*; save the picture anew as PNG$") as error:
        decode_image(data, "image")
    assert error.value.code == "too_slow"
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("opening", [b"P2", b"P5"])
def test_values_and_few_comments_are_no_flood(opening: bytes) -> None:
    pixels = b"35 " * 2500 if opening == b"P2" else b"#" * 2500  # the letter # is 35
    found = decode_image(opening + b"\n" + b"# by a program\n" * 10 + b"50 50\n255\n" + pixels, "image")
    assert (np.asarray(found) == 35).all()


def jpeg_with_scans(count: int) -> bytes:
    data = picture("JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def tiff(values: dict[int, tuple[int, int, int]], start: int, body: bytes) -> bytes:
    """A little-endian TIFF: its body, and then its tags as type, count and value."""
    entries = b"".join(struct.pack("<HHII", tag, *values[tag]) for tag in sorted(values))
    return b"II*\0" + struct.pack("<I", start) + body + struct.pack("<H", len(values)) + entries + bytes(4)


def bomb(compression: int, strip: bytes, side: int = 7000, times: int = 1, **more: tuple[int, int, int]) -> bytes:
    """A square TIFF whose strips all are one, of these compressed bytes; section 8 of TIFF 6.0.

    Further tags, or others in place of the usual ones, are a number, a type and a value, by any name.
    """
    strip += b"\0" * (len(strip) % 2)
    head = 8 + len(strip)
    table = struct.pack("<I", 8) * times + struct.pack("<I", len(strip)) * times
    places = [head, head + 4 * times] if times > 1 else [8, len(strip)]
    rows = -(-side // times)
    usual = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 277: 1, 278: rows}
    tags = {tag: (4, 1, value) for tag, value in usual.items()}
    tags |= {273: (4, times, places[0]), 279: (4, times, places[1])}
    tags |= {tag: (kind, 1, value) for tag, kind, value in more.values()}
    return tiff(tags, head + len(table), strip + table)


def overlapping_strips() -> bytes:
    head = bomb(7, bytes(1_000_000), side=5000, times=5000)
    starts = struct.pack("<5000I", *range(8, 5008))
    return head[: 8 + 1_000_000] + starts + head[8 + 1_000_000 + len(starts) :]


def strips_to_the_end(length: int) -> bytes:
    return bomb(7, picture("JPEG", 1000) + bytes(100_000), side=1000, times=500, counts=(279, 4, length))


def tiled(side: int) -> bytes:
    data = zlib.compress(bytes(side * side))
    tiles = {"a": (322, 4, side), "b": (323, 4, side), "c": (324, 4, 8), "d": (325, 4, len(data))}
    return bomb(8, data, side=20, **tiles)


def many_strips(count: int, order: str, is_big: bool) -> bytes:
    """A TIFF, or BigTIFF, with so many values of the tag of its strips."""
    head, number, entry = ("HHHQ", "Q", "HHQQ") if is_big else ("HI", "H", "HHII")
    first = (43, 8, 0, 16 + 4 * count) if is_big else (42, 8 + 4 * count)
    at = 2 + struct.calcsize(order + head)
    sizes = ((256, 20), (257, 20), (258, 8), (259, 1), (262, 1), (277, 1), (278, 20))
    tags = [(tag, 4, 1, value << (32 if order == ">" and is_big else 0)) for tag, value in sizes]
    tags.insert(5, (273, 4, count, at))
    directory = struct.pack(order + number, len(tags)) + b"".join(struct.pack(order + entry, *tag) for tag in tags)
    opening = {"<": b"II", ">": b"MM"}[order]
    return opening + struct.pack(order + head, *first) + struct.pack(order + "I", at) * count + directory + bytes(8)


def shared_tags(count: int) -> bytes:
    """A TIFF with so many tags of the same 10 000 bytes."""
    sizes = {256: 20, 257: 20, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 20, 279: 400}
    tags = {tag: (4, 1, value) for tag, value in sizes.items()}
    tags |= {40_000 + number: (7, 10_000, 8) for number in range(count)}  # of the type for any bytes
    return tiff(tags, 10_008, bytes(10_000))


SCANS = b"\xff\xda" * 200
NOTES = b"\xff\xe5" + struct.pack(">H", len(SCANS) + 2) + SCANS

# How it is made, the code and, in place of `file_checks.MOST_VISITS`, another limit.
REFUSED: dict[str, tuple[Callable[[], bytes], str, int]] = {
    "png of 600 000 chunks": (lambda: png_of_empty_chunks(600_000, -12), "too_slow", 0),
    "jpeg of 20 000 segments": (lambda: ENDLESS["jpeg of empty segments"](20_000), "too_slow", 0),
    "ppm of comments": (lambda: b"P3\n1000 1000\n255\n" + b"#\n" * 500_000, "too_slow", 0),
    "pbm of comments": (lambda: b"P1\n20 20\n" + b"0 #\n" * 100_000, "too_slow", 0),
    "pgm of comments": (lambda: b"P2 20 20 255\n" + b"1 # \r" * 100_000, "too_slow", 0),
    "jpeg of 101 scans": (lambda: jpeg_with_scans(101), "too_slow", 0),
    "jpeg of 30 scans, larger": (lambda: jpeg_with_scans(30), "too_slow", 20 * 20 * 16),
    # too short for their pixels, so refused before these take memory
    "lzw": (lambda: bomb(5, b"x" * 10_000), "truncated", 0),
    "packbits": (lambda: bomb(32773, b"\x81\x00" * 20_000), "truncated", 0),
    "deflate": (lambda: bomb(8, zlib.compress(bytes(1_000_000))), "truncated", 0),
    "strips that are one": (lambda: bomb(5, b"x" * 100, times=70), "truncated", 0),
    "png": (lambda: picture("PNG", 7000)[:200] + png_chunk(b"IEND", b""), "truncated", 0),
    "gif": (lambda: (data := picture("GIF", 7000, "P"))[: len(data) // 5] + b"\0;", "truncated", 0),
    # strips that are decoded again and again
    "jpegs in strips that are one": (lambda: bomb(7, jpeg_with_scans(90), times=1000), "too_slow", 7000 * 7000 * 5),
    "strips that overlap": (overlapping_strips, "too_slow", 0),
    "strips without lengths": (lambda: strips_to_the_end(0), "too_slow", 0),
    "strips beyond the end": (lambda: strips_to_the_end(4_000_000_000), "too_slow", 0),
    "a tile far larger than its picture": (lambda: tiled(6_000), "truncated", 0),
    "1000 tags that are one": (lambda: shared_tags(1000), "truncated", 0),
    "a million strips": (lambda: many_strips(1_000_000, "<", False), "truncated", 0),
    "a million strips, big": (lambda: many_strips(1_000_000, "<", True), "truncated", 0),
    "a million strips, other order": (lambda: many_strips(1_000_000, ">", False), "truncated", 0),
    "a million strips, big, other order": (lambda: many_strips(1_000_000, ">", True), "truncated", 0),
    "jpeg 2000 of three channels": (lambda: picture("JPEG2000", 2900, "RGB"), "too_large", 0),
    "jpeg 2000 of four channels": (lambda: picture("JPEG2000", 2500, "RGBA"), "too_large", 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, code, visits = REFUSED[name]
    if visits:
        monkeypatch.setattr(file_checks, "MOST_VISITS", visits)
    data, started = make(), time.process_time()
    with pytest.raises(ImageError) as refused:
        decode_image(data, "image")
    assert refused.value.code == code and len(str(refused.value)) < 250
    assert time.process_time() - started < 1


READ: dict[str, Callable[[], bytes]] = {
    "jpeg of 10 scans": lambda: jpeg_with_scans(10),
    "scans behind the picture": lambda: picture("JPEG", progressive=True) + SCANS,
    "scans in its notes": lambda: (data := picture("JPEG", progressive=True))[:2] + NOTES + data[2:],
    "a larger tile": lambda: tiled(256),
    "a long tag": lambda: shared_tags(1),
}


@pytest.mark.parametrize("name", READ)
def test_a_sound_file_is_read(name: str) -> None:
    assert decode_image(READ[name](), "image").size == (20, 20)


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_hundred_thousand_strips_are_allowed(order: str, is_big: bool) -> None:
    file_checks.check_tags(many_strips(100_000, order, is_big))


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "CMYK"])
def test_the_smallest_whole_files_are_read(mode: str) -> None:
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", None, *(("jpeg",) if mode != "1" else ())):
        data = picture("TIFF", 2500, mode, compression=compression)
        assert decode_image(data, "image").size == (2500, 2500), compression


def test_the_smallest_whole_gif_and_png_are_read() -> None:
    for data in (picture("GIF", 3000, "P"), picture("PNG", 3000, optimize=True)):
        assert decode_image(data, "image").size == (3000, 3000)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="there is no such file")
def test_files_of_the_kernel_are_not_waited_for() -> None:
    started = time.monotonic()
    for path in ("/proc/kmsg", "/proc/self/mem", "/proc/self/maps"):
        with pytest.raises(ImageError) as error:
            read_image(path)
        assert error.value.code in ("empty", "unreadable")
    assert time.monotonic() - started < 60


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and sockets")
def test_a_folder_of_special_files_is_answered_in_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        done = sonoforge("classify", folder, "--json", "--quiet", "--recursive")
        assert time.monotonic() - started < 300
    assert done.code == 2
    answers = done.json["results"]
    assert sum(answer["ok"] for answer in answers) == 1
    codes = sorted(answer["error"]["code"] for answer in answers if not answer["ok"])
    assert codes == ["unreadable"] * 3
    assert done.json["summary"]["skipped"]["broken link"] == 1  # which leads to itself


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
