"""Recognise a DICOM file, and one that holds no picture, by its first bytes, without pydicom."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

HEAD_BYTES = 132

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


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so is DICOM; ``head`` holds at least `HEAD_BYTES` bytes where the file has them."""
    return head[128:132] == b"DICM" or _BARE.match(head) is not None


def first_bytes(path: Path | str, count: int) -> bytes:
    """Return the beginning of a regular file; nothing of one that cannot be read, and a pipe is never opened."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - thousands of files, str and Path alike
            return b""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read(count)
    except (OSError, ValueError):
        return b""


def begins_as_dicom(path: Path | str) -> bool:
    """Whether a regular file begins as DICOM; False for one that cannot be read."""
    return is_dicom(first_bytes(path, HEAD_BYTES))


def is_non_image(path: Path | str) -> bool:
    """Whether a DICOM file says at its beginning that it is of a class without pictures, such as a report."""
    head = first_bytes(path, _META_BYTES)
    found = _STORAGE_CLASS.search(head, HEAD_BYTES) if head[128:132] == b"DICM" else None
    return found is not None and is_non_image_class(found[1].decode())


def is_non_image_class(uid: str) -> bool:
    """Whether objects of a storage class hold no picture of the patient."""
    return uid.startswith(_NO_PICTURE)
