"""Read what a DICOM file says of its pixels, and where they lie: by one parser, so that no two can disagree.

How the elements are stored is seen from their first bytes; what the header says of it is a claim (PS3.5, annex A).  The
pixels are found by the same walk through the elements, and their length is compared with what the header makes of
them.

Only elements that are named here are read.  What the pixels need is there and sound, or the file is refused with the
element's name; what they can do without is passed over where it is damaged, and named.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sonoforge.runtime.images.dicom.header import MOST_MM
from sonoforge.runtime.images.dicom.levels import COLOUR, GREY, PALETTE
from sonoforge.runtime.images.limits import ImageError, in_short

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# A deflated file is inflated as a whole: no more than an image file may hold.
MAX_INFLATED_BYTES = 200_000_000

# Transfer syntax -> the one decoder used, of pydicom's. Pillow, pylibjpeg-openjpeg, pyjpegls and python-gdcm are under
# MIT-like licences or Apache-2.0; pylibjpeg-libjpeg, under the GPL, is not needed.
_JPEG, _JPEG_2000 = "1.2.840.10008.1.2.4.", "pylibjpeg"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, _JPEG_EXTENDED = "1.2.840.10008.1.2.1.99", _JPEG + "51"
DECODERS = {
    **dict.fromkeys((IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN), ""),
    **dict.fromkeys((_JPEG + "50", _JPEG_EXTENDED), "pillow"),
    **dict.fromkeys((_JPEG + "57", _JPEG + "70"), "gdcm"),
    **dict.fromkeys((_JPEG + "80", _JPEG + "81"), "pyjpegls"),
    **dict.fromkeys((_JPEG + "90", _JPEG + "91", _JPEG + "201", _JPEG + "202", _JPEG + "203"), _JPEG_2000),
    "1.2.840.10008.1.2.5": "pydicom",  # its own: pylibjpeg-rle panics on damaged runs, past every `except Exception`
}
_REFUSED = ("YBR_PARTIAL_420", "YBR_PARTIAL_422", "ARGB", "CMYK", "HSV", "XYB")

# All that is ever taken from a file: nothing here names a patient, a physician or a place.
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
_TIMES = ("FrameTime", "CineRate", "RecommendedDisplayFrameRate")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing")
_ELEMENTS = (
    *(*_NEEDED, "HighBit", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", *_SPACINGS, *_TIMES),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence", "SequenceOfUltrasoundRegions"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)
_WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # PS3.3, C.11.2.1.3
_MOST_MS = 1e6  # from frame to frame

_PIXEL_DATA = b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"  # in either byte order
_LONG = (b"OB", b"OW", b"UN")  # value representations of pixels, followed by four bytes of length; PS3.5, 7.1.2
_UNKNOWN, _ITEM = 0xFFFFFFFF, b"\xfe\xff\x00\xe0"  # PS3.5, A.4: length and opening of compressed pixels
_PADDING = 1024  # bytes behind the pixels, of blocks of a disc or a tape; more would be more pixels than stated


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a file says of its pixels, and where they are."""

    header: Dataset  # the elements named above; what is left of them is sound
    syntax: str  # UID of how the file is stored
    source: Path | str | bytes  # the file, or its bytes, inflated
    offset: int  # where the pixels begin in it
    length: int  # of the pixels in bytes, as their element states it
    there: int  # how many bytes follow
    fragments: bool  # whether they begin as compressed ones do
    options: dict[str, Any]  # what a decoder of pydicom is told of them
    passed_over: tuple[str, ...]  # elements that are damaged or untrue, and not needed


def read_data_set(source: Path | str | bytes, path: Path | str) -> DataSet:
    """Read the named elements of a file, or of its bytes, up to its pixels, and check them against each other."""
    from pydicom.filereader import (  # noqa: PLC0415 - an extra
        _at_pixel_data,
        _read_file_meta_info,
        read_dataset,
        read_preamble,
    )
    from pydicom.filewriter import correct_ambiguous_vr  # noqa: PLC0415 - an extra
    from pydicom.tag import BaseTag, Tag  # noqa: PLC0415 - an extra
    from pydicom.uid import UID  # noqa: PLC0415 - an extra

    tags: list[BaseTag | int] = [Tag(name) for name in _ELEMENTS]
    with open_source(source) as stream:
        read_preamble(stream, force=True)
        declared = str(_read_file_meta_info(stream).get("TransferSyntaxUID") or "")
        if declared == DEFLATED:
            source = _inflated(stream, path)
    with open_source(source) as stream:
        if declared != DEFLATED:
            read_preamble(stream, force=True)
            _read_file_meta_info(stream)
        implicit, little = _encoding(stream, declared, path)
        header = read_dataset(stream, implicit, little, stop_when=_at_pixel_data, specific_tags=tags)
        correct_ambiguous_vr(header, little)
        native = IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN
        syntax = native if declared in ("", IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED) else declared
        _take_shared(header)
        passed_over = _drop_damaged(header)
        if declared in (IMPLICIT, EXPLICIT) and declared != syntax:
            passed_over = ("TransferSyntaxUID", *passed_over)
        tag = stream.read(4)
        if not tag:
            raise ImageError("not_an_image", f"{path}: DICOM without a picture (a report or a directory); leave it out")
        options = _needed(header, syntax, path)
        check_kind(header, syntax, path)
        if tag not in _PIXEL_DATA:
            raise ImageError("unsupported", f"{path}: found floating-point pixels, expected integers; export it as PNG")
        vr, length = _length(stream, little)
        offset = stream.tell()
        fragments = stream.read(4) == _ITEM
        there = stream.seek(0, io.SEEK_END) - offset
    options |= {"transfer_syntax_uid": UID(syntax), "pixel_keyword": "PixelData", **({"pixel_vr": vr} if vr else {})}
    return DataSet(header, syntax, source, offset, length, there, fragments, options, passed_over)


def open_source(source: Path | str | bytes) -> BinaryIO:
    """Open a file, or bytes as if they were one."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: PTH123


def _inflated(stream: BinaryIO, path: Path | str) -> bytes:
    """Inflate what follows, unless it would fill the memory."""
    inflater, parts, total = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    while chunk := stream.read(1 << 16):
        while chunk:
            parts.append(inflater.decompress(chunk, 1 << 20))
            chunk = inflater.unconsumed_tail
            total += len(parts[-1])
            if total > MAX_INFLATED_BYTES:
                raise ImageError(
                    "too_large",
                    f"{path}: inflates to more than {MAX_INFLATED_BYTES / 1e6:.0f} MB; store it uncompressed",
                )
    return b"".join(parts)


def _encoding(stream: BinaryIO, declared: str, path: Path | str) -> tuple[bool, bool]:
    """Tell from the first element whether representations are left out, and whether the least byte comes first.

    Groups of a file's first elements are below 0x100; an implicit length with two capital letters in it would be one of
    more than 16 kB (PS3.5, 7.1.2 and 7.1.3).
    """
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    little = head[1:2] == b"\0" or head[:1] != b"\0"
    if declared and little == (declared == BIG_ENDIAN):
        orders = ("little-endian", "big-endian")
        raise ImageError(
            "truncated",
            f"{path}: found {orders[not little]} elements, expected {orders[little]} ones as its header says; "
            "export it again",
        )
    return not head[4:6].isalpha() or not head[4:6].isupper(), little


def _take_shared(header: Dataset) -> None:
    """Take windows and rescaling from where enhanced objects keep them."""
    try:
        shared = header.get("SharedFunctionalGroupsSequence")
        for group in ("FrameVOILUTSequence", "PixelValueTransformationSequence") if shared else ():
            for name, element in ((e.keyword, e) for item in shared[0].get(group) or () for e in item):
                if name in _ELEMENTS and name not in header:
                    header.add(element)
    except Exception:  # a damaged sequence, which `_drop_damaged` names
        header.SharedFunctionalGroupsSequence = None


def _numbers(header: Dataset, name: str) -> list[float]:
    """Return the finite numbers that an element holds; none where it is missing or empty.

    Raises:
        ValueError: It holds something else.
    """
    value = header.get(name)
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, str | int | float) else list(value)
    numbers = [float(one) for one in values if one not in (None, "")]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(name)
    return numbers


def _drop_damaged(header: Dataset) -> tuple[str, ...]:
    """Remove what is empty or damaged of the elements that pixels can do without; return the names of the damaged."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut  # noqa: PLC0415 - an extra

    def tried(name: str, is_sound: Callable[[list[float]], bool]) -> None:
        try:
            numbers = _numbers(header, name)
            sound = not numbers or is_sound(numbers)
        except Exception:  # of pydicom, which meets hostile bytes
            numbers, sound = [0.0], False
        if not sound:
            damaged.append(name)
        if not sound or not numbers:
            header.pop(name, None)

    damaged: list[str] = []
    for name in _SPACINGS:
        tried(name, lambda values: len(values) == 2 and all(0 < value <= MOST_MM for value in values))
    tried("FrameTime", lambda values: 0 < values[0] <= _MOST_MS)
    for name in _TIMES[1:]:
        tried(name, lambda values: 1000 / _MOST_MS <= values[0] <= _MOST_MS)
    tried("RescaleSlope", lambda values: values[0] != 0 and abs(values[0]) < 1e30)
    tried("RescaleIntercept", lambda values: abs(values[0]) < 1e30)
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in _WINDOW_FUNCTIONS:
        damaged.append("VOILUTFunction")
        header.pop("VOILUTFunction", None)
        function = "LINEAR"
    tried("WindowCenter", lambda values: abs(values[0]) < 1e30)
    tried("WindowWidth", lambda values: (1 if function == "LINEAR" else 1e-30) <= values[0] < 1e30)
    for pair in (("RescaleSlope", "RescaleIntercept"), ("WindowCenter", "WindowWidth")):
        if any(name not in header for name in pair):
            for name in pair:
                header.pop(name, None)
    for name, apply in (("ModalityLUTSequence", apply_modality_lut), ("VOILUTSequence", apply_voi_lut)):
        if header.get(name):
            try:
                _try_table(header, name, apply)
            except Exception:
                damaged.append(name)
                header.pop(name, None)
    return tuple(damaged)


def _try_table(header: Dataset, name: str, apply: Callable[..., Any]) -> None:
    import numpy as np  # noqa: PLC0415

    item = header[name][0]
    if int(item.LUTDescriptor[2]) not in range(1, 17) or not item.LUTData:
        raise ValueError(name)
    apply(np.zeros(1, np.uint16), header)


def _needed(header: Dataset, syntax: str, path: Path | str) -> dict[str, Any]:
    """Return what a decoder has to know, by pydicom's names of its options."""

    def number(name: str, least: int, most: int, default: int | None = None) -> int:
        try:
            value = header.get(name)
            if default is not None and value in (None, ""):
                return default
            found = int(value)
            if least <= found <= most:
                return found
            problem = f"{in_short(found)}, expected {least} to {in_short(most)}"
        except Exception:  # of pydicom, which meets hostile bytes
            problem = "missing" if name not in header else "empty or damaged"
        raise ImageError(
            "incomplete", f"{path}: its {name} is {problem}, and without it the pixels cannot be read; export it again"
        )

    photometric = header.get("PhotometricInterpretation")
    if not photometric or not isinstance(photometric, str):
        number("PhotometricInterpretation", 0, 0)
    native = not DECODERS.get(syntax, "other")
    colour = photometric in COLOUR
    values: dict[str, Any] = {
        "rows": number("Rows", 1, 65535),
        "columns": number("Columns", 1, 65535),
        "samples_per_pixel": number("SamplesPerPixel", 1, 65535),
        "bits_allocated": number("BitsAllocated", 1, 65535),
        "bits_stored": number("BitsStored", 1, 65535),
        "pixel_representation": number("PixelRepresentation", 0, 1),
        "number_of_frames": number("NumberOfFrames", 1, 2**31, default=1),
        "photometric_interpretation": str(photometric),
    }
    if values["samples_per_pixel"] > 1:  # compressed frames say themselves how their planes lie
        values["planar_configuration"] = number("PlanarConfiguration", 0, 1, None if native and colour else 0)
    if header.get("ExtendedOffsetTable") and header.get("ExtendedOffsetTableLengths"):
        values["extended_offsets"] = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    header.NumberOfFrames = values["number_of_frames"]
    return values


def check_kind(header: Dataset, syntax: str, path: Path | str) -> None:
    """Refuse pixels that no decoder here knows, or that the rules of `images.dicom.levels` have no answer for."""
    if syntax not in DECODERS:
        raise ImageError(
            "unsupported",
            f"{path}: stored as {_name(syntax)}, which no decoder here knows; store it uncompressed or as JPEG 2000",
        )
    photometric, samples = str(header.PhotometricInterpretation), int(header.SamplesPerPixel)
    known = (*GREY, *COLOUR, PALETTE)
    if photometric not in known or samples != (3 if photometric in COLOUR else 1):
        # Only a defined term is quoted (PS3.3, C.7.6.3.1.2): any other text in its place could be a name.
        found = photometric if photometric in (*known, *_REFUSED) else "other"
        raise ImageError(
            "unsupported",
            f"{path}: found {found} pixels of {samples} samples, expected one of {', '.join(known)}; export it as PNG",
        )
    stored, allocated = int(header.BitsStored), int(header.BitsAllocated)
    if allocated not in (1, 8, 16) or not 1 <= stored <= allocated or (syntax == _JPEG_EXTENDED and stored > 8):
        expected = "8, as its decoder knows no more" if syntax == _JPEG_EXTENDED else "1, 8 or up to 16"
        raise ImageError(
            "unsupported",
            f"{path}: found {stored} of {allocated} bits, expected {expected}; store it as 8- or 16-bit JPEG 2000",
        )
    highest = header.get("HighBit")
    if isinstance(highest, int) and stored <= highest < allocated:
        raise ImageError(
            "unsupported",
            f"{path}: found HighBit {highest}, expected {stored - 1}, one less than BitsStored; store it as JPEG 2000",
        )


def _name(syntax: str) -> str:
    """Return the standard's name of a transfer syntax; of an unknown one nothing, which could be any text."""
    from pydicom.uid import UID  # noqa: PLC0415 - an extra

    uid = UID(syntax)
    return uid.name if not uid.is_private and uid.name != syntax else "an unknown transfer syntax"


def _length(stream: BinaryIO, little: bool) -> tuple[str, int]:
    """Read what follows the tag of the pixels: their representation, empty where it is left out, and their length.

    A length is even, and no representation's two letters and two zeros would be: so no length is taken for one.
    """
    order = "little" if little else "big"
    rest = stream.read(4)
    if rest[:2] not in _LONG:
        return "", int.from_bytes(rest, order)  # type: ignore[arg-type]
    return rest[:2].decode(), int.from_bytes(stream.read(4), order)  # type: ignore[arg-type]


def check_length(data: DataSet, path: Path | str) -> None:
    """Compare the length of the pixels with what the header makes of them."""
    header, compressed = data.header, bool(DECODERS[data.syntax])
    if compressed != (data.fragments if compressed else data.length == _UNKNOWN):
        found, expected_kind = (
            ("uncompressed", _name(data.syntax)) if compressed else ("compressed", "uncompressed ones")
        )
        raise ImageError(
            "truncated", f"{path}: found {found} pixels, expected {expected_kind} as its header says; export it again"
        )
    if compressed:
        return
    frames, rows, columns = int(header.NumberOfFrames), int(header.Rows), int(header.Columns)
    samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.SamplesPerPixel)
    bits = frames * rows * columns * samples * int(header.BitsAllocated)
    expected = (bits + 7) // 8
    if min(data.length, data.there) < expected or data.length > expected + min(_PADDING, expected // 4):
        raise ImageError(
            "truncated",
            f"{path}: found {min(data.length, data.there)} bytes of pixels, expected {expected} for {frames} of "
            f"{columns}x{rows} pixels as its header says; obtain it again",
        )
