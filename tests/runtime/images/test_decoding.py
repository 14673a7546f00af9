"""Every rule of `read_image`, against pixels worked out by hand in numpy, and the refusals, each in one line."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageCms

from image_files import COLOUR, GREY, HEIC, HEIC_PIXELS, RNG, png_chunk, refused, write_tiff
from sonoforge.runtime.images import decoding, limits
from sonoforge.runtime.images.decoding import as_image, decode_image, read_image
from sonoforge.runtime.images.plain_image import remarks_on

# EXIF 2.32, tag 274: which side of the stored picture is the upper and the left one.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: np.rot90,
}
DEEP = RNG.integers(0, 65536, (40, 60)).astype(np.uint16)
BITS_12 = RNG.integers(0, 4096, (20, 30)).astype(np.uint16)
BITS_12[0, 0] = 4095
ALPHA = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
PALETTE = RNG.integers(1, 256, (256, 3), dtype=np.uint8)
GREYS = np.repeat(RNG.permutation(256).astype(np.uint8)[:, None], 3, axis=1)


def saved(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def paletted(palette: np.ndarray) -> Image.Image:
    image = Image.fromarray(GREY)
    image.putpalette(palette.tobytes())
    return image


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


class Row(NamedTuple):
    """A file, and what it is read as."""

    data: bytes
    expected: np.ndarray
    most: float = 0  # greatest difference
    remarks: tuple[str, ...] = ()


def spread(bits: int) -> Row:
    values = np.linspace(0, 2**bits - 1, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    remark = f"{bits} bits in 16: levels spread over the whole range"
    return Row(saved(values, "PNG"), values * (255 / (2**bits - 1)), 0.51, (remark,))


DARK = RNG.integers(0, 60, (40, 60)).astype(np.uint16)
BIT = GREY > 127


CMYK = RNG.integers(0, 256, (40, 60, 4), dtype=np.uint8)
COLOUR_16 = RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
READ = {
    **{f"grey {kind}": Row(saved(GREY, kind), GREY) for kind in ("PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG2000")},
    **{f"colour {kind}": Row(saved(COLOUR, kind), COLOUR) for kind in ("PNG", "BMP", "TIFF", "JPEG2000")},
    "colour WebP": Row(saved(COLOUR, "WEBP", lossless=True), COLOUR),
    **{
        f"TIFF {how}": Row(saved(GREY, "TIFF", compression=how), GREY)
        for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    },
    # 16 bits: the whole range to the whole range
    **{f"16 bits {kind}": Row(saved(DEEP, kind), np.round(DEEP / 257.0)) for kind in ("PNG", "TIFF", "JPEG2000")},
    "16 bits PGM": Row(b"P5 60 40 65535\n" + DEEP.astype(">u2").tobytes(), np.round(DEEP / 257.0)),
    "16 bits big-endian": Row(write_tiff(DEEP[..., None], 1, 16, order=">"), np.round(DEEP / 257.0)),
    "16 bits, white is zero": Row(write_tiff(DEEP[..., None], 0, 16), np.round((65535 - DEEP) / 257.0)),
    "8 bits, white is zero": Row(write_tiff(GREY[..., None], 0, 8), 255 - GREY),
    **{f"{bits} bits in 16": spread(bits) for bits in (8, 10, 12, 14)},
    "12 bits in 16, white is zero": Row(
        write_tiff(BITS_12[..., None], 0, 16), (4095 - BITS_12) * (255 / 4095), 0.51, spread(12).remarks
    ),
    "dark, 8 bits once": Row(saved(257 * DARK, "PNG"), DARK),
    "PGM of 12 bits": Row(b"P5 30 20 4095\n" + BITS_12.astype(">u2").tobytes(), BITS_12 * (255 / 4095), 0.51),
    "16-bit colour": Row(
        png(30, 20, 16, 2, b"".join(b"\x00" + row.astype(">u2").tobytes() for row in COLOUR_16)), COLOUR_16 >> 8
    ),
    # palettes, alpha, other modes
    "palette": Row(saved(paletted(PALETTE), "PNG"), PALETTE[GREY]),
    "palette of greys": Row(saved(paletted(GREYS), "PNG"), GREYS[GREY][..., 0]),
    "palette with transparency": Row(
        saved(paletted(PALETTE), "PNG", transparency=bytes([0] * 128 + [255] * 128)),
        np.where((GREY < 128)[..., None], 0, PALETTE[GREY]),
    ),
    "RGBA": Row(saved(np.dstack([COLOUR, ALPHA]), "PNG"), COLOUR * (ALPHA[..., None] / 255.0), 0.51),
    "LA": Row(
        saved(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]), "PNG"), GREY * (ALPHA / 255.0), 0.51
    ),
    "transparent grey": Row(saved(GREY, "PNG", transparency=int(GREY[3, 5])), np.where(GREY[3, 5] == GREY, 0, GREY)),
    "transparent colour": Row(
        saved(COLOUR, "PNG", transparency=tuple(map(int, COLOUR[3, 5]))),
        np.where((COLOUR[3, 5] == COLOUR).all(-1, keepdims=True), 0, COLOUR),
    ),
    "CMYK": Row(saved(Image.fromarray(CMYK, "CMYK"), "TIFF"), (255 - CMYK[..., :3]) * (255.0 - CMYK[..., 3:]) / 255, 1),
    "CMYK JPEG": Row(  # stored inverted, as Adobe does
        saved(Image.fromarray(CMYK // 8 * 0 + 64, "CMYK"), "JPEG", quality=100),
        np.full((40, 60, 3), 191 * 191 / 255),
        2,
    ),
    **{
        f"{bits} bits {photometric}, tiled {tiled}, planar {planar}": Row(
            write_tiff(values, photometric, bits, tile=tiled, planar=planar), (values >> bits - 8).squeeze()
        )
        for values, photometric, bits, tiled, planar in (
            *((GREY[..., None], 1, 8, 16, False), (COLOUR, 2, 8, 16, False), (COLOUR, 2, 8, 16, True)),
            *((COLOUR, 2, 8, 0, True), (257 * DARK[..., None], 1, 16, 16, False), (COLOUR_16, 2, 16, 16, False)),
        )
    },
    "one bit PNG": Row(saved(BIT, "PNG"), np.where(BIT, 255, 0)),
    "one bit PBM": Row(saved(BIT, "PPM"), np.where(BIT, 255, 0)),
    # only the EXIF record turns a picture, as in browsers; a damaged one does not
    "orientation in XMP": Row(
        saved(COLOUR, "WEBP", lossless=True, xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'), COLOUR
    ),
    "damaged EXIF": Row(saved(GREY, "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f junk"), GREY),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", READ)
def test_pixels_are_those_of_the_rule(tmp_path: Path, name: str) -> None:
    row = READ[name]
    (tmp_path / "x.txt").write_bytes(row.data)  # the content decides
    image = read_image(tmp_path / "x.txt")
    assert image.mode == ("L" if row.expected.ndim == 2 else "RGB")
    assert np.abs(np.asarray(image).astype(float) - row.expected).max() <= row.most
    assert remarks_on(image) == remarks_on(as_image(image)) == remarks_on(image.crop((0, 0, 16, 16))) == row.remarks


@pytest.mark.parametrize("name", ["16 bits PNG", "16 bits, white is zero", "RGBA", "LA", "palette with transparency"])
def test_a_conversion_in_strips_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(decoding, "_STRIP_PIXELS", 60 * 7)
    monkeypatch.setattr(limits, "_LARGE_PIXELS", 10)
    row = READ[name]
    assert np.abs(np.asarray(decode_image(row.data, "x")).astype(float) - row.expected).max() <= row.most


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    blocks = np.kron(np.array([[0, 90, 180], [255, 30, 120]], np.uint8), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = saved(blocks, kind, exif=exif.tobytes(), **options)
    expected = UPRIGHT[orientation](blocks).astype(int)
    once = decode_image(data, "x")
    own = Image.open(io.BytesIO(data))
    for image in (once, as_image(once), as_image(own), as_image(own)):  # the caller's picture is turned in a copy
        found = np.asarray(image.convert("L")).astype(int)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= (6 if kind == "JPEG" else 0)


# ---- HEIC and AVIF


def test_a_lossless_heic_has_the_pixels_that_were_written(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="needs the extra heic")
    (tmp_path / "a.jpg").write_bytes(HEIC)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.jpg")), HEIC_PIXELS)
    for kept in (0.1, 0.5, 0.9):
        (tmp_path / "cut.heic").write_bytes(HEIC[: int(kept * len(HEIC))])
        assert refused(tmp_path / "cut.heic")[0] in ("truncated", "not_an_image")
    # libheif's messages end with a line break
    (tmp_path / "shifted.heic").write_bytes(HEIC[:96] + HEIC[32:])
    assert "\n" not in refused(tmp_path / "shifted.heic")[1]


@pytest.mark.parametrize(("name", "needed"), [("pi_heif", "[heic]"), ("PIL.AvifImagePlugin", "'pillow>=11.3")])
def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, needed: str) -> None:
    (tmp_path / "a").write_bytes(HEIC if name == "pi_heif" else b"\0\0\0\x1cftypavif" + bytes(100))
    monkeypatch.setitem(sys.modules, name, None)
    code, message = refused(tmp_path / "a")
    assert code == "unsupported" and message.endswith(f"{needed}'") and "; run " in message


def test_an_avif_is_upright_and_nearly_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = np.linspace((0, 50, 200), (200, 100, 0), 60 * 80).reshape(60, 80, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    Image.fromarray(smooth).save(tmp_path / "a.avif", quality=95, subsampling="4:4:4", exif=exif)
    found = np.asarray(read_image(tmp_path / "a.avif"))
    assert found.shape == (80, 60, 3)
    assert np.abs(found - np.rot90(smooth, -1).astype(int)).mean() < 3
    monkeypatch.setitem(decoding._MOST_PIXELS, "AvifImageFile", 4000)
    assert refused(tmp_path / "a.avif")[0] == "too_large"


# ---- refusals


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def lab() -> bytes:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return saved(ImageCms.profileToProfile(Image.fromarray(COLOUR), *profiles, outputMode="LAB"), "TIFF")


def packed_12_bits() -> bytes:
    data = write_tiff(GREY[:20, :45, None], 1, 12)
    return changed(data, data.index(struct.pack("<HHII", 256, 3, 1, 45)) + 8, 30)


def flipped_bit() -> bytes:
    """Uncompressed deflate blocks: the bit changes a pixel and nothing else, so only a checksum can tell."""
    data = saved(GREY, "PNG", compress_level=0)
    at = data.index(b"IDAT") + 600
    return changed(data, at, data[at] ^ 1)


def with_chunk(kind: bytes) -> bytes:
    """A PNG with a damaged chunk."""
    data, chunk = saved(COLOUR, "PNG"), png_chunk(kind, b"damaged words")
    return data[:33] + changed(chunk, 10, chunk[10] ^ 64) + data[33:]


def several(kind: str) -> bytes:
    others = [Image.fromarray(np.roll(GREY, number)) for number in (1, 2)]
    return saved(GREY, kind, save_all=True, append_images=others)


def huge_bmp(side: int) -> bytes:
    head = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6)


REFUSED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    # pixels whose white is a guess
    "int32": (lambda: saved(RNG.uniform(0, 9, (20, 30)).astype("int32"), "TIFF"), "unsupported", "16-bit"),
    "float32": (lambda: saved(RNG.uniform(0, 9, (20, 30)).astype("float32"), "TIFF"), "unsupported", "16-bit"),
    "signed": (lambda: write_tiff(RNG.integers(0, 9, (20, 30, 1)), 1, 16, tags={339: (2,)}), "unsupported", "16-bit"),
    "12-bit": (packed_12_bits, "unsupported", "12-bit"),
    # whose samples Pillow takes apart into bytes
    "16 bits in planes": (lambda: write_tiff(COLOUR_16, 2, 16, planar=True), "unsupported", "in planes"),
    "16 bits in tiles of planes": (lambda: write_tiff(COLOUR_16, 2, 16, tile=16, planar=True), "unsupported", "planes"),
    "lab": (lab, "unsupported", "LAB"),
    **{f"several {kind}": (lambda kind=kind: several(kind), "animated", "") for kind in ("GIF", "PNG", "TIFF", "WEBP")},
    # damage
    "flipped bit": (flipped_bit, "truncated", "checksum"),
    "no end": (lambda: saved(GREY, "PNG")[:-12], "truncated", ""),
    "no end of JPEG": (lambda: saved(COLOUR, "JPEG", progressive=True)[:-2], "truncated", ""),
    **{
        f"damaged {kind.decode()}": (lambda kind=kind: with_chunk(kind), "truncated", kind.decode())
        for kind in (b"tRNS", b"eXIf", b"PLTE", b"IDAT", b"tEXt")
    },
    # other files; reading EPS would start another program
    "empty": (lambda: b"", "empty", ""),
    "text": (lambda: b"a list of patients\n" * 20, "not_an_image", ""),
    "sound": (lambda: b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(100), "not_an_image", ""),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not_an_image", ""),
    # sizes; 100 and 200 megapixels lie between and beyond Pillow's own two limits, of which it warns
    "huge PNG": (lambda: png(10_000, 5_001, 8, 0, bytes(1000)), "too_large", "10000x5001"),
    "100 megapixels": (lambda: huge_bmp(10_000), "too_large", "10000x10000"),
    "200 megapixels": (lambda: huge_bmp(14_500), "too_large", "14500x14500"),
    "narrow": (lambda: saved(Image.new("L", (15, 100)), "PNG"), "too_small", "15x100"),
    "low": (lambda: saved(Image.new("L", (100, 15)), "PNG"), "too_small", "100x15"),
    "a strip": (lambda: saved(Image.new("L", (16, 321)), "PNG"), "unsupported", "16x321"),
    "a wide strip": (lambda: saved(Image.new("L", (400, 19)), "PNG"), "unsupported", "400x19"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused(tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder) -> None:
    make, code, quoted = REFUSED[name]
    (tmp_path / "x.png").write_bytes(make())
    found, message = refused(tmp_path / "x.png")
    assert found == code and quoted in message
    assert not recwarn.list


@pytest.mark.parametrize("size", [(16, 16), (16, 320)])
def test_the_smallest_and_the_longest_picture_are_read(size: tuple[int, int]) -> None:
    assert decode_image(saved(Image.new("L", size), "PNG"), "x").size == size


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("x")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(limits.MAX_FILE_BYTES + 1)
    for path, code in (
        (tmp_path, "is_directory"),
        (tmp_path / "absent.png", "not_found"),
        (tmp_path / "text.png" / "below.png", "not_found"),
        (tmp_path / "link.png", "not_found"),
        (tmp_path / "sparse.png", "too_large"),
        (str(tmp_path / "null\x00byte.png"), "unreadable"),
        ("/dev/zero", "unreadable"),
    ):
        assert refused(path)[0] == code
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")  # nobody writes: opening it would wait for ever
        assert refused(tmp_path / "pipe.png")[0] == "unreadable"
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # root may read every file
        (tmp_path / "text.png").chmod(0)
        assert refused(tmp_path / "text.png")[0] == "unreadable"


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
@pytest.mark.parametrize(("size", "most"), [((16, 3_000_000), 5e6), ((5000, 5000), 300e6)])
def test_a_small_file_takes_no_large_memory(tmp_path: Path, size: tuple[int, int], most: float) -> None:
    """The pixels of the second take 100 MB."""
    Image.new("RGBA", size).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 1e6
    # A shell between: Linux counts the largest size of the process that forked, too.
    command = ["sh", "-c", '"$0" -c "$1" "$2"', sys.executable, MEASURE, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert float(done.stdout) <= most
