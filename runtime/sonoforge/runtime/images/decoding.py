"""Read one image file of any common kind as 8-bit grey or RGB, or say in one line why it cannot be used.

* The content decides the format, not the extension: PNG, JPEG, TIFF, BMP, GIF, WebP, PNM, JPEG 2000, AVIF, HEIC (extra
  ``heic``) and DICOM (with the rules in `images.dicom.reader`).
* EXIF (and TIFF) orientation is applied, once; a damaged orientation record counts as upright. XMP and text that
  mention orientation are ignored, as browsers ignore them.
* 16-bit grey becomes round(v / 257), which maps the whole range to the whole range; 16-bit colour keeps the high byte.
  Values that fill only 8, 10, 12 or 14 bits are spread over the whole range, with a remark (`plain_image.remarks_on`),
  unless all are multiples of 257, as these were once 8 bits. Colour of 12 bits or less, which would lose its low byte,
  is refused.
* Palettes are looked up; alpha is composited on black, the background of ultrasound; CMYK and YCbCr are converted
  without a colour profile; grey stays one channel (mode ``L``).
* 12-bit, 32-bit and floating-point pixels are refused: which value is white would be a guess. So are videos, animated
  files and files with several pages; `images.clip_files` reads them frame by frame under the same rules.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import install_extra, pip_install, reason
from sonoforge.runtime.images import file_kinds
from sonoforge.runtime.images.dicom.header import stated_sizes
from sonoforge.runtime.images.file_checks import TimedBytes, TooSlowError, check_work, first_checks
from sonoforge.runtime.images.limits import (
    MAX_AVIF_PIXELS,
    MAX_JPEG_2000_SAMPLES,
    MAX_PIXELS,
    MAX_WEBP_PIXELS,
    ImageError,
    check_file,
    check_size,
    clip_refused,
    large_ones_in_turn,
)
from sonoforge.runtime.images.plain_image import PlainImage, filled_bits, spread_remark, with_remarks

_STRIP_PIXELS = 1_000_000  # converted at a time, so no file takes more than a few hundred megabytes

# Opening bytes -> Pillow's reader.  Only these: none of them starts another program (EPS would).
_READERS = (
    (b"\x89PNG\r\n\x1a\n", "PngImagePlugin", "PngImageFile"),
    (b"\xff\xd8\xff", "JpegImagePlugin", "JpegImageFile"),
    *((start, "TiffImagePlugin", "TiffImageFile") for start in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    (b"BM", "BmpImagePlugin", "BmpImageFile"),
    *((start, "GifImagePlugin", "GifImageFile") for start in (b"GIF87a", b"GIF89a")),
    (b"RIFF", "WebPImagePlugin", "WebPImageFile"),
    *((b"P%d" % kind, "PpmImagePlugin", "PpmImageFile") for kind in range(1, 7)),
    *(
        (start, "Jpeg2KImagePlugin", "Jpeg2KImageFile")
        for start in (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
    ),
)
_READERS_BY_BRAND = (
    (file_kinds.AVIF_BRANDS, "AvifImagePlugin", "AvifImageFile"),
    (file_kinds.HEIC_BRANDS, "pi_heif", "HeifImageFile"),
)
_NEEDED = {
    "pi_heif": ("HEIC", functools.partial(install_extra, "heic")),
    "AvifImagePlugin": ("AVIF", functools.partial(pip_install, "pillow>=11.3")),
}
_MOST_PIXELS = {
    "WebPImageFile": MAX_WEBP_PIXELS,
    "Jpeg2KImageFile": MAX_WEBP_PIXELS,  # 12 bytes a pixel
    "AvifImageFile": MAX_AVIF_PIXELS,
    "HeifImageFile": MAX_AVIF_PIXELS,
}

# EXIF 2.32, tag 274 -> the operation that turns the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _PLANES = 274, 258, 259, 262, 284


def read_image(path: Path | str) -> PlainImage:
    """Decode one image file under the rules at the top of this module.

    It holds no state and changes no Pillow setting, so it may run in many threads.

    Raises:
        ImageError: The only error, whatever the file holds; its ``code`` says which kind.
    """
    if file_kinds.is_film(file_kinds.first_bytes(path)):  # which may be gigabytes
        raise clip_refused(path, "a film")
    return decode_image(read_file(path), path)


def decode_image(data: bytes, path: Path | str) -> PlainImage:
    """Decode the bytes of one image file as `read_image` does; ``path`` is for messages."""
    with one_error(path):
        opening = _opening(data)
        if (opening is None or data[128:132] == b"DICM") and file_kinds.is_dicom(data):
            from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - for DICOM alone

            image = open_dicom(path, data)
            if image.frame_count > 1:
                raise clip_refused(path, f"a clip of {image.frame_count} frames")
            (frame,) = image.frames()
            return PlainImage(frame)
        return _single(open_header(data, path), path)


@contextlib.contextmanager
def one_error(path: Path | str) -> Iterator[None]:
    """Turn any error of a decoder into an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except TooSlowError:
        raise ImageError("too_slow", f"{path}: decoding it takes minutes; save the picture anew as PNG") from None
    except MemoryError as error:
        raise ImageError("too_large", f"{path}: needs more memory than is free; scale it down") from error
    except Exception as error:  # a decoder meets hostile bytes: any of its errors is the file's fault
        raise ImageError(
            "truncated", f"{path}: the image data is cut off or damaged ({reason(error)}); obtain the file again"
        ) from error


def as_image(image: Path | str | Image.Image | NDArray[Any]) -> PlainImage:
    """Turn anything that holds one picture into a `PlainImage`; return a plain one unchanged.

    Args:
        image: A file, read by `read_image`; a Pillow image, under the same rules; or an array (H, W) of grey or
            (H, W, 3) of red, green and blue, uint8.

    Raises:
        ImageError: The picture cannot be used; its ``code`` says why.
        TypeError: The image is something else.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        check_size(image.width, image.height, "image")
        with one_error("image"):
            return _single(image, "image")
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be a path, a Pillow image or a numpy array, not {type(image).__name__}")
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ImageError(
            "unsupported",
            f"array: {image.dtype} {image.shape} is not uint8 (H, W) or (H, W, 3) with black 0 and white 255; "
            "scale and convert it",
        )
    check_size(image.shape[1], image.shape[0], "array")
    return PlainImage(Image.fromarray(np.ascontiguousarray(image)))


def read_file(path: Path | str) -> bytes:
    """Read a whole regular file; never open a pipe or a device, so nothing can hang."""
    try:
        size = check_file(path)
        with open(path, "rb") as file:  # noqa: PTH123
            # Not the size limit: the kernel would have to find that much room each time.
            return file.read(size)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("not_found", f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = getattr(error, "strerror", None) or error
        raise ImageError("unreadable", f"{path}: cannot be read ({reason(why)})") from error


def open_header(data: bytes, path: Path | str) -> Image.Image:
    """Let Pillow read a file's header, and check what it claims; no pixel is decoded.

    Raises:
        ImageError: It is not an image file, or too large. Under `one_error`, a damaged one is refused too.
    """
    opening = _opening(data)
    if opening is None:
        if file_kinds.is_film(data):
            raise clip_refused(path, "a film")
        raise ImageError("not_an_image", f"{path}: not an image; its content is not {file_kinds.KINDS_IN_WORDS}")
    module, name = opening
    if check := first_checks.get(name):
        check(data)
    # The reader class itself, not Image.open: that imports five readers for one and warns through global state.
    try:
        plugin = import_module(module if module == "pi_heif" else f"PIL.{module}")
    except ModuleNotFoundError:
        plugin = None
    if module in _NEEDED and not getattr(plugin, "SUPPORTED", plugin is not None):
        kind, remedy = _NEEDED[module]
        raise ImageError("unsupported", f"{path}: {kind} cannot be decoded here; run {remedy()}")
    try:
        image: Image.Image = getattr(plugin, name)(TimedBytes(data))
    except SyntaxError as error:  # how Pillow's readers say "not mine"
        raise ImageError("not_an_image", f"{path}: starts like an image but is not one ({reason(error)})") from error
    check_size(image.width, image.height, path, _MOST_PIXELS.get(name, MAX_PIXELS))
    if name == "Jpeg2KImageFile":  # whose boxes may claim one size, and its codestream another
        for width, height, samples in stated_sizes(data):
            check_size(width, height, path, min(image.width * image.height, MAX_JPEG_2000_SAMPLES // max(samples, 1)))
    check_work(image, data)
    return image


def _opening(data: bytes) -> tuple[str, str] | None:
    """Return the module and class of Pillow's reader for a file, by its first bytes."""
    found = next((reader for reader in _READERS if data.startswith(reader[0])), None)
    if found is None:
        return next(
            ((module, name) for known, module, name in _READERS_BY_BRAND if known & file_kinds.brands(data)), None
        )
    return None if found[0] == b"RIFF" and data[8:12] != b"WEBP" else found[1:]


def _single(image: Image.Image, path: Path | str) -> PlainImage:
    if getattr(image, "is_animated", False):
        raise clip_refused(path, "animated or several pages")
    return to_plain(image, path)


def to_plain(image: Image.Image, path: Path | str, filled: int = 0) -> PlainImage:
    """Apply the rules at the top of this module to an image of a checked size, or a frame of it.

    ``filled`` is how many bits the values of all frames fill if 16 are stored; 0 judges by this image only.
    """
    with large_ones_in_turn(image.width * image.height):
        is_deep = ";16" in str(getattr(image, "tile", ""))
        tags = getattr(image, "tag_v2", {})
        if (tags.get(_PLANES), tags.get(_COMPRESSION)) == (2, 1) and 16 in tags.get(_BITS_PER_SAMPLE, ()):
            # Pillow would take each of its bytes for a sample.
            raise ImageError("unsupported", f"{path}: 16-bit colour in planes is not supported; save it as 8-bit PNG")
        image.load()
        check_size(image.width, image.height, path)  # only now is the size of HEIC certain
        try:
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
            orientation = int(exif.get(_ORIENTATION, 1))  # a TIFF is upright after loading, and its tag gone
        except Exception:  # damaged metadata does not spoil sound pixels
            orientation = 1
        remarks: list[str] = []
        usable = _to_8_bit(image, path, remarks, filled)
        if is_deep and image.mode in ("LA", "RGB", "RGBA"):  # Pillow has kept the high byte alone
            greatest = max(int(np.asarray(image.getchannel(name)).max()) for name in image.getbands() if name != "A")
            if 0 < greatest < 16:
                raise ImageError(
                    "unsupported",
                    f"{path}: 16-bit colour with values of 12 bits or less would be nearly black; save it as 8-bit PNG",
                )
        if orientation in _UPRIGHT:
            usable = usable.transpose(_UPRIGHT[orientation])
            usable.info.clear()  # or the next reader would turn it again
        return with_remarks(usable, remarks)


def _to_8_bit(image: Image.Image, path: Path | str, remarks: list[str], filled: int) -> Image.Image:
    """Convert a loaded image from any Pillow mode to ``L`` or ``RGB``, with remarks."""
    mode = image.mode
    if is_16_bit(image) or (mode == "I" and image.format == "PPM"):  # Pillow scales PGM to 0..65535
        return _from_16_bit(image, path, remarks, filled or bits_filled([extent_of(image)]))
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        raise ImageError(
            "unsupported",
            f"{path}: {mode} pixels (32-bit, floating-point or Lab) are not supported; save it as 8- or 16-bit PNG",
        )
    grey = mode in ("1", "L", "LA")
    if mode == "P":
        palette = image.getpalette() or []
        grey = palette[0::3] == palette[1::3] == palette[2::3]
    target = "L" if grey else "RGB"
    if mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return _in_strips(image, target, functools.partial(_on_black, mode=target))
    return image if mode == target else image.convert(target)


def _from_16_bit(image: Image.Image, path: Path | str, remarks: list[str], filled: int) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))
    if tuple(bits) != (16,):
        raise ImageError("unsupported", f"{path}: {bits[0]}-bit pixels are not supported; save it as 8- or 16-bit PNG")
    white_is_zero = tags.get(_PHOTOMETRIC) == 0  # which Pillow undoes for 8 bits only
    if filled < 16:
        remarks.append(spread_remark(filled))
    white = 2**filled - 1

    def convert(strip: Image.Image) -> Image.Image:
        values = np.asarray(strip).astype(np.uint32)
        if white_is_zero:
            values = white - values
        return Image.fromarray(((255 * values + white // 2) // white).astype(np.uint8))

    return _in_strips(image, "L", convert)


def is_16_bit(image: Image.Image) -> bool:
    """Whether an image is 16-bit grey."""
    return image.mode.startswith("I;16")


def extent_of(image: Image.Image) -> tuple[int, bool]:
    """Return the greatest value of a 16-bit image, and whether each of its values is a byte written twice."""
    greatest, were_bytes = 0, True
    for _, strip in _strips(image):
        values = np.asarray(strip).astype(np.uint32)
        greatest = max(greatest, int(values.max()))
        were_bytes = were_bytes and not (values % 257).any()
    return greatest, were_bytes


def bits_filled(extents: Sequence[tuple[int, bool]]) -> int:
    """Return how many bits the values of 16-bit images fill: 16 if each is a byte written twice."""
    if all(were_bytes for _, were_bytes in extents):
        return 16
    return filled_bits(0, max(greatest for greatest, _ in extents))


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the first row's number and some rows of an image at a time."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    whole = Image.new(mode, image.size)
    for top, strip in _strips(image):
        whole.paste(convert(strip), (0, top))
    return whole


def _on_black(image: Image.Image, mode: str) -> Image.Image:
    """Composite an image with transparency on black; grey stays exact, as its three channels are equal."""
    image = image.convert("RGBA")
    black = Image.new(mode, image.size)
    colour = image.getchannel("R") if mode == "L" else image.convert("RGB")
    black.paste(colour, mask=image.getchannel("A"))
    return black
