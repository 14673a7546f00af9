"""Recognise the kind of a file by its suffix or its first bytes, without opening it in a library.

The suffix only decides which files in a folder count; a file given by name is judged only by its content.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

# ---- by suffix

_TABLE = json.loads(Path(__file__).with_name("file_kinds.json").read_text(encoding="utf-8"))
READ, OTHERS = ({kind: tuple(suffixes) for kind, suffixes in _TABLE[part].items()} for part in ("read", "others"))
"""The kinds of pictures that can be read, and the other kinds that folders hold, with their lower-case suffixes."""
KINDS_IN_WORDS = f"{', '.join(list(READ)[:-1])} or {list(READ)[-1]}"
IMAGE_SUFFIXES = frozenset(suffix for suffixes in READ.values() for suffix in suffixes)
FILM_SUFFIXES = OTHERS["film"]


def is_image_name(name: str) -> bool:
    """Whether a file's name has an image suffix."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))


def is_image_file(file: Path) -> bool:
    """Whether a file in a folder counts: by its suffix or, as scanners often omit it, by its first bytes."""
    if file.name.upper() == "DICOMDIR":
        return False
    suffix = file.suffix[1:]
    return is_image_name(file.name) or ((not suffix or suffix.isdecimal()) and begins_as_dicom(file))


# ---- by the first bytes

HEAD_BYTES = 132
"""How many bytes it takes to recognise DICOM, a video, AVIF or HEIC."""

# ISO/IEC 14496-12, 4.3: the first box of MP4, QuickTime, AVIF and HEIC is `ftyp`; older QuickTime begins with another.
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Brands that `ftyp` lists where a file is a picture: ISO/IEC 23008-12, annex B, and AVIF 1.1, section 6.
AVIF_BRANDS = frozenset((b"avif", b"avis"))
HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_BRANDS_END = 32  # bytes in which brands are looked for
_TEXT = 0x20  # the first byte of a box's length is smaller, a letter is not
_EBML, _ASF = b"\x1a\x45\xdf\xa3", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # RFC 8794; the header of ASF

# A data set without preamble: its first element is of group 0002 (file meta) or 0008 (identification), in either byte
# order, and is followed by one of the standard's value representations or, in implicit VR, by a length below 64 KiB.
# DICOM PS3.5, sections 7.1.2, 7.1.3 and 6.2; PS3.10, section 7.1.
_VR = rb"(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OF|OW|PN|SH|SL|SQ|SS|ST|TM|UC|UI|UL|UN|UR|US|UT)"
_BARE = re.compile(
    rb"(?:[\x02\x08]\x00[\x00-\xff]\x00|\x00[\x02\x08]\x00[\x00-\xff])"
    + _VR
    + rb"|[\x02\x08]\x00[\x00-\xff]\x00..\x00\x00",
    re.DOTALL,
)
# The file meta's second element, Media Storage SOP Class UID, always little-endian with explicit VR; PS3.10, 7.1.
_STORAGE_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)", re.DOTALL)
_META_BYTES = 1024
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Storage classes without a picture of the patient: waveforms, presentation states, raw data with registrations and
# segmentations, real-world values, structured reports, encapsulated documents; PS3.4, annex B.5.
_NO_PICTURE = (*(f"{_STORAGE}{family}." for family in (9, 11, 88, 104)), f"{_STORAGE}66", f"{_STORAGE}67")


def first_bytes(path: Path | str, count: int = HEAD_BYTES) -> bytes:
    """Return the beginning of a regular file, or nothing if it cannot be read; never open a pipe."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - thousands of files, str and Path alike
            return b""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read(count)
    except (OSError, ValueError):
        return b""


def brands(head: bytes) -> frozenset[bytes]:
    """Return the brands that a file lists at its beginning, if any."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), _BRANDS_END)
    return frozenset((head[8:12], *(head[place : place + 4] for place in range(16, end, 4))))


def is_film(head: bytes) -> bool:
    """Whether a file with these first `HEAD_BYTES` bytes is a video."""
    if head[4:8] in BOXES:
        return head[0] < _TEXT and not brands(head) & (AVIF_BRANDS | HEIC_BRANDS)
    return head.startswith((_EBML, _ASF)) or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def is_dicom(head: bytes) -> bool:
    """Whether a file with these first `HEAD_BYTES` bytes is DICOM."""
    return head[128:132] == b"DICM" or _BARE.match(head) is not None


def begins_as_dicom(path: Path | str) -> bool:
    """Whether a regular file begins like DICOM; False if it cannot be read."""
    return is_dicom(first_bytes(path))


def is_non_image(path: Path | str) -> bool:
    """Whether a DICOM file declares a storage class without pictures, such as a report."""
    head = first_bytes(path, _META_BYTES)
    found = _STORAGE_CLASS.search(head, HEAD_BYTES) if head[128:132] == b"DICM" else None
    return found is not None and is_non_image_class(found[1].decode())


def is_non_image_class(uid: str) -> bool:
    """Whether objects of a storage class hold no picture of the patient."""
    return uid.startswith(_NO_PICTURE)
