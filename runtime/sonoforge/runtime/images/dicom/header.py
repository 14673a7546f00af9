"""What a DICOM file says of its pixels, their size and where the scan lies, and which pictures a DICOMDIR names.

Nothing else of it is read.  A DICOMDIR lists the files of a disc or a folder (PS3.3, annex F; PS3.10, section 8).

Whatever is wrong with it becomes one `ImageError`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from sonoforge.runtime.images.dicom.levels import COLOUR, GREY, PALETTE
from sonoforge.runtime.images.limits import MIN_SIDE, ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FILE_BYTES = 4_000_000_000
MAX_DIRECTORY_BYTES = 200_000_000
# A deflated file is inflated as a whole: no more than an image file may hold.
MAX_INFLATED_BYTES = 200_000_000

INSTALL = "pip install 'sonoforge[dicom]'"

# Transfer syntax -> the one decoder used, of pydicom's. Pillow, pylibjpeg-openjpeg, pyjpegls and python-gdcm are under
# MIT-like licences or Apache-2.0; pylibjpeg-libjpeg, under the GPL, is not needed.
_JPEG, _JPEG_2000 = "1.2.840.10008.1.2.4.", "pylibjpeg"
DECODERS = {
    **dict.fromkeys(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"), ""),
    **dict.fromkeys((_JPEG + "50", _JPEG + "51"), "pillow"),
    **dict.fromkeys((_JPEG + "57", _JPEG + "70"), "gdcm"),
    **dict.fromkeys((_JPEG + "80", _JPEG + "81"), "pyjpegls"),
    **dict.fromkeys((_JPEG + "90", _JPEG + "91", _JPEG + "201", _JPEG + "202", _JPEG + "203"), _JPEG_2000),
    "1.2.840.10008.1.2.5": "pydicom",  # its own: pylibjpeg-rle panics on damaged runs, past every `except Exception`
}
DEFLATED, _JPEG_EXTENDED = "1.2.840.10008.1.2.1.99", _JPEG + "51"
_REFUSED = ("YBR_PARTIAL_420", "YBR_PARTIAL_422", "ARGB", "CMYK", "HSV", "XYB")

# All that is ever taken from a file: nothing here names a patient, a physician or a place.
_ELEMENTS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence", "SequenceOfUltrasoundRegions"),
    *("FrameTime", "CineRate", "RecommendedDisplayFrameRate"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)

# DICOM PS3.3, C.8.5.5.1.1 (2D), C.8.5.5.1.2 (tissue) and C.8.5.5.1.15 (cm).
_FORMAT_2D, _TISSUE, _CENTIMETRES = 1, 1, 3

# Parts of a file's name hold eight capital letters, digits and underscores (PS3.10, section 8.5); other characters,
# which discs do have, are taken too, but nothing that leads anywhere else.
_PART = re.compile(r"[^/\\:\x00-\x1f]{1,255}")


def check_kind(header: Dataset, syntax: str, path: Path | str) -> None:
    """Refuse pixels that no decoder here knows, or that the rules of this module have no answer for."""
    if syntax not in DECODERS:
        raise ImageError(
            "unsupported",
            f"{path}: stored as {_name(syntax)}, which no decoder here knows; store it uncompressed or as JPEG 2000",
        )
    photometric, samples = str(header.PhotometricInterpretation), int(header.get("SamplesPerPixel", 1))
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


def read_header(stream: BinaryIO, path: Path | str) -> tuple[Dataset, str]:
    """Read the named elements before the pixels, and the transfer syntax."""
    from pydicom import dcmread  # noqa: PLC0415 - an extra
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian  # noqa: PLC0415

    _check_inflated(stream, path)
    header = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_ELEMENTS))
    syntax = str(header.file_meta.get("TransferSyntaxUID") or "") if hasattr(header, "file_meta") else ""
    if not syntax:  # a bare data set: its first elements show how it is stored (PS3.5, annex A.1 to A.3)
        implicit, little = header.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    shared = header.get("SharedFunctionalGroupsSequence")
    for group in ("FrameVOILUTSequence", "PixelValueTransformationSequence") if shared else ():
        for name, element in ((e.keyword, e) for item in shared[0].get(group) or () for e in item):
            if name in _ELEMENTS and name not in header:  # enhanced objects keep windows and rescaling there
                header.add(element)
    return header, str(syntax)


def _check_inflated(stream: BinaryIO, path: Path | str) -> None:
    """Refuse a deflated file that would fill the memory, for pydicom inflates it as a whole; leaves it at its start."""
    from pydicom.filereader import _read_file_meta_info, read_preamble  # noqa: PLC0415 - an extra

    read_preamble(stream, force=True)
    deflated = _read_file_meta_info(stream).get("TransferSyntaxUID") == DEFLATED
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while deflated and (chunk := stream.read(1 << 16)):
        while chunk:
            total += len(inflater.decompress(chunk, 1 << 20))
            chunk = inflater.unconsumed_tail
            if total > MAX_INFLATED_BYTES:
                raise ImageError(
                    "too_large",
                    f"{path}: inflates to more than {MAX_INFLATED_BYTES / 1e6:.0f} MB; store it uncompressed",
                )
    stream.seek(0)


def read_whole(stream: BinaryIO, path: Path | str) -> Dataset:
    """Read the whole data set into memory."""
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    if stream.seek(0, os.SEEK_END) > MAX_INFLATED_BYTES:
        raise ImageError("too_large", f"{path}: more than {MAX_INFLATED_BYTES / 1e6:.0f} MB; store it uncompressed")
    stream.seek(0)
    _check_inflated(stream, path)
    return dcmread(stream, force=True)


def _name(syntax: str) -> str:
    """Return the standard's name of a transfer syntax; of an unknown one nothing, which could be any text."""
    from pydicom.uid import UID  # noqa: PLC0415 - an extra

    uid = UID(syntax)
    return uid.name if not uid.is_private and uid.name != syntax else "an unknown transfer syntax"


def open_source(source: Path | str | bytes) -> BinaryIO:
    """Open a file, or bytes as if they were one."""
    return io.BytesIO(source) if isinstance(source, bytes) else cast(BinaryIO, open(source, "rb"))  # noqa: PTH123


def check_file(path: Path) -> None:
    """Refuse what is no regular file of a sensible size; a pipe or a device is never opened."""
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("unreadable", f"{path}: found a folder, pipe or device, expected a DICOM file")
    if status.st_size > MAX_FILE_BYTES:
        raise ImageError(
            "too_large",
            f"{path}: found {status.st_size / 1e6:.0f} MB, expected at most {MAX_FILE_BYTES / 1e6:.0f} MB; "
            "cut the clip",
        )


def import_pydicom(path: Path | str) -> None:
    """Import pydicom and silence it: its warnings and log lines quote values of the file."""
    try:
        import pydicom.config  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ImageError("unsupported", f"{path}: DICOM needs {INSTALL}") from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


@contextlib.contextmanager
def one_line(path: Path | str) -> Iterator[None]:
    """Turn whatever pydicom or a decoder raises into an `ImageError` that quotes nothing of the file."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too_large", f"{path}: needs more memory than this machine has free; cut the clip") from None
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("not_found", f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ImageError("unreadable", f"{path}: cannot be read ({error.strerror or 'damaged image data'})") from None
    except Exception as error:  # a parser meets hostile bytes: any of its errors is the file's fault
        # The error's kind alone: its text may quote a name. `from None`, for a traceback would print it too.
        raise ImageError(
            "truncated", f"{path}: damaged, or not as DICOM demands ({type(error).__name__}); obtain the file again"
        ) from None


@dataclass(frozen=True)
class Region:
    """One two-dimensional tissue region."""

    box: tuple[int, int, int, int]  # left, top, right, bottom, as Pillow crops: the last two are outside it
    count: int  # how many such regions the picture has; this is the largest


@dataclass(frozen=True)
class Spacing:
    """Size of a pixel in mm."""

    vertical: float
    horizontal: float
    source: str  # `region`, `PixelSpacing` or `ImagerPixelSpacing` (on the detector, not in the body)


def read_region(header: Dataset, width: int, height: int) -> tuple[Region | None, Spacing | None]:
    """Choose the largest two-dimensional tissue region of an ultrasound picture.

    A region counts where it is at least 16 pixels wide and high within the picture; colour flow, spectra and curves
    do not count.

    Returns:
        The region, and its pixel spacing where the machine gives it in cm; None for what is not recorded.
    """
    best, spacing, count = None, None, 0
    for item in header.get("SequenceOfUltrasoundRegions") or ():
        if item.get("RegionSpatialFormat") != _FORMAT_2D or item.get("RegionDataType") != _TISSUE:
            continue
        # The standard's corner X1, Y1 is the last pixel inside.
        left, top = max(0, int(item.RegionLocationMinX0)), max(0, int(item.RegionLocationMinY0))
        right = min(width, int(item.RegionLocationMaxX1) + 1)
        bottom = min(height, int(item.RegionLocationMaxY1) + 1)
        if min(right - left, bottom - top) < MIN_SIDE:
            continue
        count += 1
        if best is None or (right - left) * (bottom - top) > (best[2] - best[0]) * (best[3] - best[1]):
            best, spacing = (left, top, right, bottom), _region_spacing(item)
    return (Region(best, count), spacing) if best else (None, None)


def _region_spacing(item: Dataset) -> Spacing | None:
    units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
    if units != (_CENTIMETRES, _CENTIMETRES):
        return None
    # A direction may be negative: the axis then runs the other way.
    return _spacing(10 * abs(float(item.PhysicalDeltaY)), 10 * abs(float(item.PhysicalDeltaX)), "region")


def read_spacing(header: Dataset) -> Spacing | None:
    """Return the pixel spacing of the picture, else of the detector; None where neither is recorded."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = header.get(name)
        if values is not None and not isinstance(values, str) and len(values) == 2:
            return _spacing(float(values[0]), float(values[1]), name)
    return None


def _spacing(vertical: float, horizontal: float, source: str) -> Spacing | None:
    usable = all(math.isfinite(value) and value > 0 for value in (vertical, horizontal))
    return Spacing(vertical, horizontal, source) if usable else None


def listed_images(path: Path | str) -> list[str]:
    """List the image files that a DICOMDIR names, in its order, each once; a file it names may be missing.

    Raises:
        ImageError: The directory is damaged, or names a file outside its folder.
    """
    with one_line(path):
        directory = Path(path)
        check_file(directory)
        if directory.stat().st_size > MAX_DIRECTORY_BYTES:
            raise ImageError(
                "too_large", f"{path}: more than {MAX_DIRECTORY_BYTES / 1e6:.0f} MB; name the images instead"
            )
        import_pydicom(path)
        from pydicom import dcmread  # noqa: PLC0415 - an extra

        records = dcmread(directory, specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        found: dict[str, None] = {}
        for record in records:
            if record.get("DirectoryRecordType") != "IMAGE" or record.get("ReferencedFileID") is None:
                continue
            name = record.ReferencedFileID
            parts = [name] if isinstance(name, str) else [str(part) for part in name]
            found[str(_inside(directory, parts))] = None
        return list(found)


def _inside(directory: Path, parts: list[str]) -> Path:
    """Return the file beside the directory; refuse one that a part or a link leads out to."""
    folder = directory.parent
    file = folder.joinpath(*parts)
    plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
    if not parts or not plain or not file.resolve().is_relative_to(folder.resolve()):
        # The name is not quoted: it is text of the file.
        raise ImageError("unreadable", f"{directory}: names a file outside its folder; name the images instead")
    return file
