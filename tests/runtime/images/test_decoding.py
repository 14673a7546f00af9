"""Every rule of `read_image`, against pixels worked out by hand in numpy."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import COLOUR, GREY, RNG, png_chunk, tiff
from sonoforge.runtime.images import decoding, limits
from sonoforge.runtime.images.decoding import read_image
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


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("bmp", {}), ("tif", {}), ("pgm", {}), ("gif", {})])
def test_grey_survives_lossless_formats_bit_for_bit(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY).save(path, **options)
    image = read_image(path)
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), GREY)


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("bmp", {}), ("tif", {}), ("webp", {"lossless": True})])
def test_colour_survives_lossless_formats_bit_for_bit(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).save(path, **options)
    image = read_image(path)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), COLOUR)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(tmp_path: Path, compression: str | None) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.tif")), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    blocks = np.kron(np.array([[0, 90, 180], [255, 30, 120]], np.uint8), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(blocks).save(
        path, exif=exif.tobytes(), **{"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(suffix, {})
    )
    expected = UPRIGHT[orientation](blocks).astype(int)
    once = read_image(path)
    again = decoding.as_image(once)
    for image in (once, again, decoding.as_image(again), decoding.decode_image(path.read_bytes(), "-")):
        found = np.asarray(image.convert("L")).astype(int)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= (6 if suffix == "jpg" else 0)


def test_a_picture_of_the_caller_is_turned_in_a_copy(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as own:
        found = [np.asarray(decoding.as_image(own)) for _ in range(2)]
        assert np.array_equal(np.asarray(own), COLOUR) and "exif" in own.info
    for image in found:
        assert np.array_equal(image, np.rot90(COLOUR, -1))


def test_only_the_exif_record_turns_a_picture_as_in_browsers(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(GREY).save(tmp_path / "a.webp", lossless=True, xmp=xmp)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.webp").convert("L")), GREY)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_record_counts_as_upright(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f junk")
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_maps_the_whole_range_to_the_whole_range(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    found = np.asarray(read_image(tmp_path / f"a.{suffix}"))
    assert np.array_equal(found, np.round(values / 257.0))
    assert (found.min(), found.max()) == (0, 255)


def test_16_bit_big_endian_tiff_and_pgm(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 30 20 65535\n" + values.astype(">u2").tobytes())
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.pgm")), np.round(values / 257.0))
    (tmp_path / "b.tif").write_bytes(tiff(values, ">", photometric=1))
    assert np.array_equal(np.asarray(read_image(tmp_path / "b.tif")), np.round(values / 257.0))


def test_16_bit_tiff_where_white_is_zero_is_inverted_as_for_8_bits(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(values, "<", photometric=0))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.tif")), np.round((65535 - values) / 257.0))
    (tmp_path / "b.tif").write_bytes(tiff(GREY, "<", photometric=0, bits=8))
    assert np.array_equal(np.asarray(read_image(tmp_path / "b.tif")), 255 - GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_values_that_fill_fewer_than_16_bits_are_spread_and_it_is_said(tmp_path: Path, suffix: str, bits: int) -> None:
    values = np.linspace(0, 2**bits - 1, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert np.abs(np.asarray(image) - values * (255 / (2**bits - 1))).max() <= 0.51
    (remark,) = remarks_on(image)
    assert f"{bits} bits in 16" in remark
    assert remarks_on(decoding.as_image(image)) == remarks_on(image.crop((0, 0, 32, 32))) == (remark,)


def test_12_bits_in_16_where_white_is_zero_are_inverted_within_12(tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (20, 30)).astype(np.uint16)
    values[0, 0] = 4095
    (tmp_path / "a.tif").write_bytes(tiff(values, "<", photometric=0))
    assert np.abs(np.asarray(read_image(tmp_path / "a.tif")) - (4095 - values) * (255 / 4095)).max() <= 0.51


def test_dark_pictures_that_were_8_bits_once_stay_dark(tmp_path: Path) -> None:
    levels = RNG.integers(0, 60, (40, 60)).astype(np.uint16)
    Image.fromarray(257 * levels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(image), levels) and remarks_on(image) == ()


def test_a_pgm_of_12_bits_says_so_itself(tmp_path: Path) -> None:
    values = RNG.integers(0, 2048, (20, 30)).astype(np.uint16)  # darker than it may be
    (tmp_path / "a.pgm").write_bytes(b"P5 30 20 4095\n" + values.astype(">u2").tobytes())
    image = read_image(tmp_path / "a.pgm")
    assert np.abs(np.asarray(image) - values * (255 / 4095)).max() <= 0.51 and remarks_on(image) == ()


def test_jpeg_2000_is_read(tmp_path: Path) -> None:
    for name, pixels in (("a.jp2", GREY), ("b.j2k", COLOUR), ("c.jp2", RNG.integers(0, 65536, (40, 60)).astype("u2"))):
        Image.fromarray(pixels).save(tmp_path / name, irreversible=False)
        found = np.asarray(read_image(tmp_path / name))
        expected = pixels if pixels.dtype == np.uint8 else np.round(pixels / 257.0)
        assert np.array_equal(found, expected), name


def test_16_bit_colour_png_keeps_the_high_byte(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), values >> 8)


def test_palette_is_looked_up_and_a_grey_palette_stays_grey(tmp_path: Path) -> None:
    indices = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
    for name, palette in (
        ("colour", RNG.integers(0, 256, (256, 3), dtype=np.uint8)),
        ("grey", np.repeat(RNG.permutation(256).astype(np.uint8)[:, None], 3, axis=1)),
    ):
        image = Image.fromarray(indices)
        image.putpalette(palette.tobytes())
        assert image.mode == "P"
        image.save(tmp_path / f"{name}.png")
        found = read_image(tmp_path / f"{name}.png")
        assert found.mode == ("L" if name == "grey" else "RGB")
        expected = palette[indices][..., 0] if name == "grey" else palette[indices]
        assert np.array_equal(np.asarray(found), expected)


def test_alpha_is_composited_on_black(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
    found = np.asarray(read_image(tmp_path / "rgba.png")).astype(float)
    assert np.abs(found - COLOUR * (alpha[..., None] / 255.0)).max() <= 0.51
    Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    image = read_image(tmp_path / "la.png")
    assert image.mode == "L"
    assert np.abs(np.asarray(image) - GREY * (alpha / 255.0)).max() <= 0.51


def test_transparent_colour_and_palette_entries_become_black(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "l.png", transparency=int(GREY[3, 5]))
    image = read_image(tmp_path / "l.png")
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.where(GREY[3, 5] == GREY, 0, GREY))
    Image.fromarray(COLOUR).save(tmp_path / "rgb.png", transparency=tuple(map(int, COLOUR[3, 5])))
    expected = np.where((COLOUR[3, 5] == COLOUR).all(-1, keepdims=True), 0, COLOUR)
    assert np.array_equal(np.asarray(read_image(tmp_path / "rgb.png")), expected)
    palette = RNG.integers(1, 256, (256, 3), dtype=np.uint8)
    image = Image.fromarray(GREY)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "p.png", transparency=bytes([0] * 128 + [255] * 128))
    expected = np.where((GREY < 128)[..., None], 0, palette[GREY])
    assert np.array_equal(np.asarray(read_image(tmp_path / "p.png")), expected)


def test_cmyk_and_one_bit(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (40, 60, 4), dtype=np.uint8), "CMYK").save(tmp_path / "a.tif")
    cmyk = np.asarray(Image.open(tmp_path / "a.tif")).astype(float)
    expected = (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255
    found = read_image(tmp_path / "a.tif")
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found) - expected).max() <= 1
    bits = GREY > 127
    Image.fromarray(bits).save(tmp_path / "b.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "b.png")), np.where(bits, 255, 0))
    Image.fromarray(bits).save(tmp_path / "b.pbm")
    assert np.array_equal(np.asarray(read_image(tmp_path / "b.pbm")), np.where(bits, 255, 0))


@pytest.mark.parametrize(("suffix", "wrong"), [("png", "jpg"), ("jpg", "png"), ("tif", "bmp"), ("bmp", "txt")])
def test_the_content_decides_not_the_extension(tmp_path: Path, suffix: str, wrong: str) -> None:
    Image.fromarray(GREY).save(tmp_path / f"a.{suffix}")
    right = np.asarray(read_image(tmp_path / f"a.{suffix}"))
    (tmp_path / f"b.{wrong}").write_bytes((tmp_path / f"a.{suffix}").read_bytes())
    assert np.array_equal(np.asarray(read_image(tmp_path / f"b.{wrong}")), right)


def test_many_threads_read_alike(tmp_path: Path) -> None:
    paths = []
    for i, suffix in enumerate(["png", "tif", "bmp", "gif"] * 4):
        paths.append(tmp_path / f"{i}.{suffix}")
        Image.fromarray(np.roll(GREY, i)).save(paths[-1])
    with ThreadPoolExecutor(8) as pool:
        for i, image in enumerate(pool.map(read_image, paths)):
            assert np.array_equal(np.asarray(image), np.roll(GREY, i))


def test_real_scans_equal_pillow(shared: Path) -> None:
    for path in sorted((shared / "data" / "BUSI").rglob("*.png"))[::101]:
        expected = Image.open(io.BytesIO(path.read_bytes()))
        assert np.array_equal(np.asarray(read_image(path).convert("RGB")), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("kind", ["16-bit", "white is zero", "RGBA", "LA", "palette"])
def test_a_conversion_in_strips_gives_the_pixels_of_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / ("a.tif" if kind == "white is zero" else "a.png")
    if kind == "16-bit":
        Image.fromarray(rng.integers(0, 65536, (61, 37)).astype(np.uint16)).save(path)
    elif kind == "white is zero":
        path.write_bytes(tiff(rng.integers(0, 65536, (61, 37)).astype(np.uint16), "<", 0))
    elif kind == "palette":
        image = Image.fromarray(rng.integers(0, 9, (61, 37)).astype(np.uint8), "P")
        image.putpalette(rng.integers(0, 256, 27).astype(np.uint8).tobytes())
        image.save(path, transparency=bytes(range(0, 252, 28)))
    else:
        Image.fromarray(rng.integers(0, 256, (61, 37, len(kind))).astype(np.uint8), kind).save(path)
    whole = np.asarray(read_image(path))
    monkeypatch.setattr(decoding, "_STRIP_PIXELS", 37 * 7)
    assert (np.asarray(read_image(path)) == whole).all()
    monkeypatch.setattr(limits, "_LARGE_PIXELS", 10)
    assert (np.asarray(read_image(path)) == whole).all()


# ---- what shows the picture whole


def jpeg(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_that_lacks_its_end_mark_alone_is_read_and_it_is_said(options: dict[str, object], lost: int) -> None:
    whole = jpeg(**options)
    image = decoding.decode_image(whole[:-lost], "x")
    assert np.array_equal(np.asarray(image), np.asarray(decoding.decode_image(whole, "x")))
    assert remarks_on(image) == ("lacks its end mark; the picture is whole",)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("lost", [3, 4, 8, 40, 400])
def test_a_jpeg_that_lacks_more_is_refused(options: dict[str, object], lost: int) -> None:
    with pytest.raises(limits.ImageError) as refused:
        decoding.decode_image(jpeg(**options)[:-lost], "x")
    assert refused.value.code == "truncated"


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"iCCP"])
def test_a_png_with_a_damaged_comment_is_read_and_it_is_said(tmp_path: Path, kind: bytes) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    chunk = bytearray(png_chunk(kind, b"damaged words"))
    chunk[10] ^= 64
    image = decoding.decode_image(data[:33] + bytes(chunk) + data[33:], "x")
    assert np.array_equal(np.asarray(image), COLOUR)
    assert remarks_on(image) == (f"damaged {kind.decode()}, which no pixel depends on",)


@pytest.mark.parametrize("kind", [b"tRNS", b"eXIf", b"PLTE", b"IDAT", b"acTL"])
def test_a_png_with_another_damaged_chunk_is_refused(tmp_path: Path, kind: bytes) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    chunk = bytearray(png_chunk(kind, b"damaged words"))
    chunk[10] ^= 64
    with pytest.raises(limits.ImageError, match=f"wrong checksum in PNG chunk {kind.decode()}"):
        decoding.decode_image(data[:33] + bytes(chunk) + data[33:], "x")


@pytest.mark.parametrize("space", [b"\n", b"\r\n", b"\xef\xbb\xbf", b" \t\n"])
def test_white_space_before_a_file_is_passed_over_and_said(tmp_path: Path, space: bytes) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    image = decoding.decode_image(space + (tmp_path / "a.png").read_bytes(), "x")
    assert np.array_equal(np.asarray(image), COLOUR)
    assert remarks_on(image) == (f"{len(space)} bytes of white space before the file",)
