"""Read what a DICOM file says about its pixels and where they are, in one parser, so that no two can disagree.

The first bytes show how elements are stored; the header only claims it (PS3.5, annex A). Only the elements listed here
are read: those that the pixels need must be sound; any other damaged one is skipped and named.  pydicom is slow to
import, so modules that may do without DICOM import this one late.
"""

import csv
import io
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pydicom.config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import _at_pixel_data, _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from sonoforge.runtime.images.dicom.header import MOST_MM
from sonoforge.runtime.images.dicom.lookup_tables import read_table
from sonoforge.runtime.images.limits import MAX_FILE_BYTES, MAX_PIXELS, ImageError, check_clip, check_size, in_short

# Colour is converted in floating point, 30 bytes a pixel: with the program and its network 393 MB.
MAX_COLOUR_PIXELS = 9_000_000

GREY = ("MONOCHROME1", "MONOCHROME2")
# pydicom returns these as RGB: YBR_FULL and YBR_FULL_422 by its own conversion, YBR_RCT and YBR_ICT by JPEG 2000's.
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PALETTE = "PALETTE COLOR"
_REFUSED = ("YBR_PARTIAL_420", "YBR_PARTIAL_422", "ARGB", "CMYK", "HSV", "XYB")

# Transfer syntax -> the one decoder plugin of pydicom that is used.  Pillow, pylibjpeg-openjpeg, pyjpegls and
# python-gdcm are under MIT-like licences or Apache-2.0; pylibjpeg-libjpeg, under the GPL, is not needed.
_JPEG, _JPEG_2000 = "1.2.840.10008.1.2.4.", "pylibjpeg"
IMPLICIT, EXPLICIT, _JPEG_EXTENDED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _JPEG + "51"
DECODERS = {
    **dict.fromkeys((IMPLICIT, EXPLICIT), ""),
    **dict.fromkeys((_JPEG + "50", _JPEG_EXTENDED), "pillow"),
    **dict.fromkeys((_JPEG + "57", _JPEG + "70"), "gdcm"),
    **dict.fromkeys((_JPEG + "80", _JPEG + "81"), "pyjpegls"),
    **dict.fromkeys((_JPEG + "90", _JPEG + "91", _JPEG + "201", _JPEG + "202", _JPEG + "203"), _JPEG_2000),
    "1.2.840.10008.1.2.5": "pydicom",  # its own: pylibjpeg-rle panics on damaged runs, which no `except` catches
}

# Everything that is ever read from a file: nothing here names a patient, a physician or a place.
# The value representations and the tags, as dicom-parser writes them, are for the web page.
with Path(__file__).with_name("elements.csv").open(encoding="utf-8", newline="") as _file:
    _rows = list(csv.DictReader(_file))
ELEMENTS = {row["keyword"]: (row["tag"], row["vr"]) for row in _rows}
_IN_HEADER = tuple(row["keyword"] for row in _rows if row["place"] == "header")
TIMES = ("FrameTime", "CineRate", "RecommendedDisplayFrameRate")
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing")  # of the picture, and of the detector
# What functional groups may say of frames, by the sequence that they keep it in; PS3.3, C.7.6.16.2.
_STEPS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
}
_WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # PS3.3, C.11.2.1.3
_MOST_MS = 1e6  # from frame to frame

_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_LONG = (b"OB", b"OW", b"UN")  # value representations of pixels, followed by four bytes of length; PS3.5, 7.1.2
_UNKNOWN, _ITEM = 0xFFFFFFFF, b"\xfe\xff\x00\xe0"  # PS3.5, A.4: length and opening of compressed pixels
_MOST_ITEMS, _BLOCK = 50_000, 1 << 20  # a frame has about eight; bytes that are searched for them at a time
_PADDING = 1024  # bytes that a disc's or tape's blocks may add behind the pixels; more would be undeclared pixels


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a file says about its pixels, and where they are."""

    header: Dataset  # the sound ones of the elements listed above
    frame_headers: list[Dataset]  # for each frame the same, with its own rescaling and window if it has any
    syntax: str  # UID of how the file is stored
    source: Path | str | bytes  # the file, or its bytes, inflated
    offset: int  # where the pixels begin in it
    options: dict[str, Any]  # for a decoder of pydicom
    passed_over: tuple[str, ...]  # damaged or untrue elements that are not needed


def silence_pydicom() -> None:
    """Keep pydicom's warnings and log lines, which quote values from the file, off the screen."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


def read_data_set(source: Path | str | bytes, path: Path | str) -> DataSet:
    """Read the listed elements of a file, or of its bytes, up to its pixels, and check them against each other."""
    tags: list[BaseTag | int] = [Tag(name) for name in _IN_HEADER]
    with open_source(source) as stream:
        blocks = islice(iter(lambda: stream.read(_BLOCK), b""), MAX_FILE_BYTES // _BLOCK)
        if sum(block.count(_ITEM) for block in blocks) > _MOST_ITEMS:  # pydicom needs 25 microseconds and 1 kB for each
            raise ImageError("too_large", f"{path}: holds more than {_MOST_ITEMS} items; export fewer frames")
        stream.seek(0)
        read_preamble(stream, force=True)
        declared = str(_read_file_meta_info(stream).get("TransferSyntaxUID") or "")
        if declared and declared not in DECODERS:
            raise ImageError(
                "unsupported",
                f"{path}: stored as {_name(declared)}, which cannot be read; store it uncompressed or as JPEG 2000",
            )
        implicit = _is_implicit(stream, path)
        header = read_dataset(stream, implicit, True, stop_when=_at_pixel_data, specific_tags=tags)
        correct_ambiguous_vr(header, True)
        syntax = (IMPLICIT if implicit else EXPLICIT) if declared in ("", IMPLICIT, EXPLICIT) else declared
        passed_over = _drop_damaged(header)
        if declared in (IMPLICIT, EXPLICIT) and declared != syntax:
            passed_over = ("TransferSyntaxUID", *passed_over)
        tag = stream.read(4)
        if not tag:
            raise ImageError("not_an_image", f"{path}: DICOM without a picture (a report or a directory); leave it out")
        options = _needed(header, syntax, path)
        _check_kind(header, syntax, path)
        if tag != _PIXEL_DATA:
            raise ImageError("unsupported", f"{path}: its pixels are floating-point, not integers; export it as PNG")
        # The representation of the pixels, if written, then their length.  A length is even, and no representation's
        # letters and zeros would be, so the two cannot be confused.
        rest = stream.read(4)
        explicit = rest[:2] in _LONG
        length = int.from_bytes(stream.read(4) if explicit else rest, "little")
        offset = stream.tell()
        fragments = stream.read(4) == _ITEM
        available = stream.seek(0, io.SEEK_END) - offset
    grey = options["photometric_interpretation"] in GREY
    width, height, frames = options["columns"], options["rows"], options["number_of_frames"]
    check_size(width, height, path, MAX_PIXELS if grey else MAX_COLOUR_PIXELS)
    check_clip(frames, width, height, path)
    compressed = bool(DECODERS[syntax])
    if compressed != (fragments if compressed else length == _UNKNOWN):
        found, stated = ("uncompressed", _name(syntax)) if compressed else ("compressed", "uncompressed")
        raise ImageError("truncated", f"{path}: its pixels are {found}, but its header says {stated}; export it again")
    samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.SamplesPerPixel)
    expected = (frames * height * width * samples * int(header.BitsAllocated) + 7) // 8
    too_short, too_long = min(length, available) < expected, length > expected + min(_PADDING, expected // 4)
    if not compressed and (too_short or too_long):
        raise ImageError(
            "truncated",
            f"{path}: {min(length, available)} bytes of pixels, not {expected} for {frames} frames of "
            f"{width}x{height} pixels as its header says; obtain it again",
        )
    options |= {"transfer_syntax_uid": UID(syntax), "pixel_keyword": "PixelData"}
    if explicit:
        options["pixel_vr"] = rest[:2].decode()
    headers, of_frames = _headers_of_frames(header, frames)
    passed_over = tuple(dict.fromkeys((*passed_over, *of_frames)))
    return DataSet(header, headers, syntax, source, offset, options, passed_over)


def open_source(source: Path | str | bytes) -> BinaryIO:
    """Open a file, or bytes as one."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: PTH123


def _is_implicit(stream: BinaryIO, path: Path | str) -> bool:
    """Judge by the first element whether representations are implicit; refuse big-endian elements.

    A file's first elements have groups below 0x100; two capital letters in an implicit length would mean more than
    16 kB (PS3.5, 7.1.2 and 7.1.3).
    """
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    if head[:1] == b"\0" and head[1:2] != b"\0":
        raise ImageError("truncated", f"{path}: its elements are big-endian, which cannot be read; export it again")
    return not head[4:6].isalpha() or not head[4:6].isupper()


def _steps_of(header: Dataset, name: str, most: int) -> list[list[DataElement]]:
    """Return the elements of steps that each of the first items of a sequence of functional groups holds."""
    return [
        [one for group, names in _STEPS.items() for one in (item.get(group) or [()])[0] if one.keyword in names]
        for item in islice(header.get(name) or (), most)
    ]


def _with_steps(header: Dataset, elements: list[DataElement]) -> Dataset:
    """Return a header with the steps that these elements belong to in place of its own."""
    changed, given = Dataset(), {one.keyword for one in elements}
    changed.update(header)
    for names in _STEPS.values():
        for name in names if given.intersection(names) else ():
            changed.pop(name, None)
    for one in elements:
        changed.add(one)
    return changed


def _headers_of_frames(header: Dataset, frames: int) -> tuple[list[Dataset], list[str]]:
    """Return each frame's header, the same object for neighbours shown alike, and the names of damaged elements.

    The groups count as damaged if only some frames have a step of their own.
    """
    found: list[Dataset] = []
    name = "SharedFunctionalGroupsSequence"
    try:
        (shared,) = _steps_of(header, name, 1) or [[]]
        name = "PerFrameFunctionalGroupsSequence"
        own = _steps_of(header, name, frames)
        header.pop(name, None)  # slow to copy for each frame
        own += [[]] * (frames - len(own))
        stated = {tuple(any(one.keyword in names for one in each) for names in _STEPS.values()) for each in own}
        damaged = [name] if len(stated) > 1 else []
        for number, each in enumerate(own):
            if not number or each != own[number - 1]:
                changed = _with_steps(_with_steps(header, shared), each)
                damaged += _drop_damaged(changed)
            found.append(changed)
    except Exception:  # of pydicom, which meets hostile bytes
        return [header] * frames, [name]
    return found, damaged


def numbers(header: Dataset, name: str) -> list[float]:
    """Return the finite numbers in an element, none if it is missing or empty; raise ValueError for anything else."""
    value = header.get(name)
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, str | int | float) else list(value)
    found = [float(one) for one in values if one not in (None, "")]
    if not all(map(math.isfinite, found)):
        raise ValueError(name)
    return found


def _drop_damaged(header: Dataset) -> tuple[str, ...]:
    """Remove empty and damaged elements that the pixels do not need; return the names of the damaged ones."""

    def tried(name: str, is_sound: Callable[[list[float]], bool]) -> None:
        try:
            values = numbers(header, name)
            sound = not values or is_sound(values)
        except Exception:  # of pydicom, which meets hostile bytes
            values, sound = [0.0], False
        if not sound:
            damaged.append(name)
        if not sound or not values:
            header.pop(name, None)

    damaged: list[str] = []
    for name in SPACINGS:
        tried(name, lambda values: len(values) == 2 and all(0 < value <= MOST_MM for value in values))
    tried("FrameTime", lambda values: 0 < values[0] <= _MOST_MS)
    for name in TIMES[1:]:
        tried(name, lambda values: 1000 / _MOST_MS <= values[0] <= _MOST_MS)
    tried("RescaleSlope", lambda values: 1e-30 < abs(values[0]) < 1e30)
    tried("RescaleIntercept", lambda values: abs(values[0]) < 1e30)
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function not in _WINDOW_FUNCTIONS:
        damaged.append("VOILUTFunction")
        header.pop("VOILUTFunction", None)
        function = "LINEAR"
    tried("WindowCenter", lambda values: abs(values[0]) < 1e30)
    tried("WindowWidth", lambda values: (1 if function == "LINEAR" else 1e-30) <= values[0] < 1e30)
    # A slope needs no intercept, nor the reverse; a centre needs its width.
    for pair, least in ((("RescaleSlope", "RescaleIntercept"), 1), (("WindowCenter", "WindowWidth"), 2)):
        if sum(name in header for name in pair) < least or any(name in damaged for name in pair):
            for name in pair:
                header.pop(name, None)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if header.get(name):
            try:
                read_table(header[name][0], "LUT")
            except Exception:
                damaged.append(name)
                header.pop(name, None)
    return tuple(damaged)


def _needed(header: Dataset, syntax: str, path: Path | str) -> dict[str, Any]:
    """Return the options of a decoder, by pydicom's names."""

    def number(name: str, least: int, most: int, default: int | None = None) -> int:
        try:
            value = header.get(name)
            if default is not None and value in (None, "", 0):
                return default
            found = int(value)
            if least <= found <= most:
                return found
            problem = f"{in_short(found)}, not {least} to {in_short(most)}"
        except Exception:  # of pydicom, which meets hostile bytes
            problem = "missing" if name not in header else "empty or damaged"
        raise ImageError(
            "incomplete", f"{path}: its {name} is {problem}, so the pixels cannot be read; export it again"
        )

    photometric = header.get("PhotometricInterpretation")
    if not photometric or not isinstance(photometric, str):
        number("PhotometricInterpretation", 0, 0)
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
    if values["samples_per_pixel"] > 1:  # compressed frames define the order of their planes themselves
        defined = bool(DECODERS[syntax]) or photometric not in COLOUR
        values["planar_configuration"] = number("PlanarConfiguration", 0, 1, 0 if defined else None)
    if header.get("ExtendedOffsetTable") and header.get("ExtendedOffsetTableLengths"):
        values["extended_offsets"] = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    header.NumberOfFrames = values["number_of_frames"]
    return values


def _check_kind(header: Dataset, syntax: str, path: Path | str) -> None:
    """Refuse pixels that have no decoder here, or no rule in `images.dicom.reader`."""
    photometric, samples = str(header.PhotometricInterpretation), int(header.SamplesPerPixel)
    known = (*GREY, *COLOUR, PALETTE)
    if photometric not in known or samples != (3 if photometric in COLOUR else 1):
        # Only a defined term is quoted (PS3.3, C.7.6.3.1.2): any other text in its place could be a name.
        found = photometric if photometric in (*known, *_REFUSED) else "other"
        raise ImageError(
            "unsupported",
            f"{path}: {found} pixels of {samples} samples are not one of {', '.join(known)}; export it as PNG",
        )
    stored, allocated = int(header.BitsStored), int(header.BitsAllocated)
    if allocated not in (1, 8, 16) or not 1 <= stored <= allocated or (syntax == _JPEG_EXTENDED and stored > 8):
        limit = "only 8 in this JPEG" if syntax == _JPEG_EXTENDED else "only 1, 8 or up to 16"
        raise ImageError(
            "unsupported",
            f"{path}: {stored} of {allocated} bits cannot be decoded, {limit}; store it as 8- or 16-bit JPEG 2000",
        )
    highest = header.get("HighBit")
    if isinstance(highest, int) and stored <= highest < allocated:
        raise ImageError(
            "unsupported",
            f"{path}: HighBit is {highest}, not {stored - 1}, one less than BitsStored; store it as JPEG 2000",
        )


def _name(syntax: str) -> str:
    """Return the standard's name for a transfer syntax; do not quote an unknown one, which could be any text."""
    uid = UID(syntax)
    return uid.name if not uid.is_private and uid.name != syntax else "an unknown transfer syntax"
