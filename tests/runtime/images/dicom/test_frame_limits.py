"""Small DICOM files that claim, or unpack to, gigabytes: refused in one line, with little memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import DecodeRunner

from dicom_files import colour_scan, data_set, save, scan
from places import SUPPORT
from sonoforge.runtime.images.dicom.header import decode_by_pyjpegls, stated_sizes
from sonoforge.runtime.images.dicom.reader import open_dicom
from sonoforge.runtime.images.limits import ImageError

MOST_MEGABYTES = 400


def packed(width: int, height: int, kind: str = "JPEG", mode: str = "L", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (width, height), 77 if mode == "L" else (9, 99, 200)).save(stream, kind, **options)
    return stream.getvalue()


def jpeg_ls(width: int, height: int) -> bytes:
    """The start of a JPEG-LS frame (ITU-T T.87, annex C.2): SOI, SOF55, SOS."""
    frame = b"\xff\xd8\xff\xf7" + struct.pack(">HBHHBBBB", 11, 8, height, width, 1, 1, 0x11, 0)
    return frame + b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0) + b"\x00" * 64


def runs(size: int, segments: int = 1) -> bytes:
    """RLE (PS3.5, annex G) of segments of equal bytes, 128 to a run."""
    segment = bytes([129, 7]) * (size // 128)
    offsets = [64 + len(segment) * number for number in range(segments)]
    return struct.pack("<16L", segments, *offsets, *[0] * (15 - segments)) + segment * segments


def write(path: Path, frame: bytes | None, syntax: str, claimed: tuple[int, int, int], colour: bool = False) -> Path:
    """A file whose header claims rows, columns and frames, and whose only frame is another."""
    file = data_set(colour_scan() if colour else scan(), "RGB" if colour else "MONOCHROME2")
    file.Rows, file.Columns, file.NumberOfFrames = claimed
    if frame is not None:
        file.PixelData = encapsulate([frame])
        file["PixelData"].is_undefined_length = True
    return save(file, path, syntax)


def patched(frame: bytes, marker: bytes, skip: int, form: str, *values: int) -> bytes:
    """Overwrite numbers behind a marker."""
    changed = bytearray(frame)
    struct.pack_into(form, changed, frame.index(marker) + skip, *values)
    return bytes(changed)


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bombs")
    huge, small, large = (65535, 65535, 10_000), (48, 64, 1), (7000, 7000, 1)
    jpeg, plain = packed(64, 48), uid.ExplicitVRLittleEndian
    claiming = patched(jpeg, b"\xff\xc0", 5, ">HH", 65500, 65500)
    made = [
        write(folder / "native-huge", None, plain, huge),
        write(folder / "native-frames", None, plain, (7000, 7000, 5000)),
        write(folder / "native-short", None, plain, large),
        write(folder / "native-colour", None, plain, large, colour=True),
        write(folder / "rle-huge", runs(3072), uid.RLELossless, huge),
        write(folder / "rle-runs", runs(400_000_000), uid.RLELossless, small),
        write(folder / "rle-colour-runs", runs(130_000_000, 3), uid.RLELossless, small, colour=True),
        write(folder / "rle-colour", runs(128), uid.RLELossless, large, colour=True),
        write(folder / "jpeg-huge", jpeg, uid.JPEGBaseline8Bit, huge),
        write(folder / "jpeg-colour", jpeg, uid.JPEGBaseline8Bit, large, colour=True),
        write(folder / "jpeg-larger", packed(7000, 7000), uid.JPEGBaseline8Bit, small),
        write(folder / "jpeg-claims", claiming, uid.JPEGBaseline8Bit, small),
        write(folder / "lossless-claims", claiming, uid.JPEGLossless, small),
        write(folder / "ls-claims", jpeg_ls(65500, 65500), uid.JPEGLSLossless, small),
    ]
    if features.check_codec("jpg_2000"):
        frame = packed(64, 48, "JPEG2000", no_jp2=True)
        for name, skip in (("tiles", 6), ("one-tile", 22)):
            frame = patched(frame, b"\xff\x51", skip, ">LL", 60000, 60000)
            made.append(write(folder / f"2000-{name}", frame, uid.JPEG2000Lossless, small))
    return made


def test_each_is_refused_in_one_line_with_a_code(bombs: list[Path]) -> None:
    for path in bombs:
        with pytest.raises(ImageError) as refused:
            list(open_dicom(path).frames())
        assert refused.value.code in (("too_large",) if path.name.endswith("-huge") else ("too_large", "truncated"))
        assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the greatest memory as Linux counts it")
def test_none_takes_much_memory(bombs: list[Path]) -> None:
    program = f"""
import re, sys
sys.path.insert(0, {str(SUPPORT)!r})
from program import sonoforge
done = sonoforge("classify", *sys.argv[1:], "--set", "model.workers=1")
assert done.code == 2 and "0 of {len(bombs)} files answered" in done.out, done
# Not ru_maxrss: what starts a process hands its own on.
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
    command = [sys.executable, "-c", program, *map(str, bombs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 1024 < MOST_MEGABYTES


def test_the_size_that_a_codestream_states_is_the_one_it_decodes_to() -> None:
    for mode, samples in (("L", 1), ("RGB", 3)):
        for options in ({}, {"progressive": True}, {"exif": b"Exif\0\0" + b"\xff\xc0" * 40}):
            assert list(stated_sizes(packed(321, 123, "JPEG", mode, **options))) == [(321, 123, samples)]
        if features.check_codec("jpg_2000"):
            assert list(stated_sizes(packed(321, 123, "JPEG2000", mode))) == [(321, 123, samples)]
    assert list(stated_sizes(jpeg_ls(321, 123))) == [(321, 123, 1)]
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 11, 400):
        list(stated_sizes(b"\xff\xd8" + rng.integers(0, 256, size, dtype=np.uint8).tobytes()))


def test_a_cut_jpeg_ls_frame_is_refused_before_its_decoder_loops_on(tmp_path: Path) -> None:
    """CharLS would count two thousand million bits beyond the end, which takes seconds a frame."""
    whole = data_set(scan())
    whole.compress(uid.JPEGLSLossless)
    (frame,) = generate_frames(whole.PixelData, number_of_frames=1)
    end = frame.rindex(b"\xff\xd9")
    claimed = (whole.Rows, whole.Columns, 1)
    (same,) = open_dicom(write(tmp_path / "whole", frame, uid.JPEGLSLossless, claimed)).stored_frames()
    np.testing.assert_array_equal(same, scan()[0])
    for number, kept in enumerate((end, end // 2, 40)):
        with pytest.raises(ValueError, match="without an end"):
            decode_by_pyjpegls(frame[:kept], DecodeRunner(uid.JPEGLSLossless))
        with pytest.raises(ImageError) as caught:
            list(open_dicom(write(tmp_path / str(number), frame[:kept], uid.JPEGLSLossless, claimed)).stored_frames())
        assert caught.value.code == "truncated"


@pytest.mark.parametrize("tag", [b"\x00\x52\x29\x92", b"\x00\x52\x30\x92", b"\x18\x00\x11\x60"])
@pytest.mark.parametrize("length", ["stated", "unknown"])
def test_a_header_of_a_million_empty_items_is_refused_at_once(tmp_path: Path, tag: bytes, length: str) -> None:
    data = save(data_set(scan()), tmp_path / "x.dcm").read_bytes()
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000
    size, end = (
        (len(items).to_bytes(4, "little"), b"") if length == "stated" else (b"\xff" * 4, b"\xfe\xff\xdd\xe0\0\0\0\0")
    )
    at = data.index(b"\xe0\x7f\x10\x00")
    begun = time.process_time()
    with pytest.raises(ImageError, match="more than 50000 items") as caught:
        open_dicom("x.dcm", data[:at] + tag + b"SQ\0\0" + size + items + end + data[at:])
    assert caught.value.code == "too_large" and time.process_time() - begun < 5
