"""What an object that is derived from a scan takes from it: the patient, the study, and UIDs that follow from both.

An archive files what it is sent by its patient, so this is the one place where the patient's elements are read: they go
from the scan into the derived object as they stand, and nowhere else.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.header import INSTALL, import_pydicom, one_line
from sonoforge.runtime.images.limits import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_LETTERS = 64
"""Of a long string and of a code's meaning (PS3.5, 6.2)."""
_NOT_OF_THE_ANSWER = ("file", "ms", "overlay")  # other every time, or no part of what is reported
# Of patient and study (type 2: PS3.3, C.7.1.1 and C.7.2.1): they may be empty but not missing, and some machines leave
# them out.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
)
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64  # PS3.5, 9.1


class Identity(NamedTuple):
    """The UIDs of one object."""

    sop_class: str
    instance: str
    series: str
    study: str


def identify(source: Path | bytes, name: str) -> Identity:
    """Return the UIDs of an object, a file or its bytes, and read nothing else of it; ``name`` is for messages.

    Raises:
        ImageError: It is no DICOM, or lacks one, or one is no UID.
    """
    import_pydicom(name)
    with one_line(name):
        from pydicom import dcmread  # noqa: PLC0415 - an extra

        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        found = dcmread(stream, stop_before_pixels=True, specific_tags=[*_NEEDED])
        uids = [str(found.get(tag) or "") for tag in _NEEDED]
    for tag, uid in zip(_NEEDED, uids, strict=True):
        if not is_uid(uid):
            raise ImageError(
                "unsupported",
                f"{name}: found {'no valid' if uid else 'no'} {tag}, without which no archive can file a report",
            )
    return Identity(*uids)


def is_uid(text: str) -> bool:
    """Whether a text is a UID, and so leads nowhere else where it names a file."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


class Scan(NamedTuple):
    """A scan that an object is derived from."""

    header: Dataset  # all but its pixels
    identity: str  # of the scan and its answer, for `uid`


def read_scan(path: str, entry: dict[str, Any]) -> Scan:
    """Read what is derived from of one DICOM file and its answer.

    Raises:
        ImageError: The file cannot be read any more, or does not say which study and series it belongs to.
        SonoforgeError: highdicom is not installed.
    """
    import_pydicom(path)
    try:
        import highdicom  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError:
        raise SonoforgeError(f"reports and pictures for an archive need highdicom: {INSTALL}") from None
    from pydicom import dcmread  # noqa: PLC0415 - an extra

    warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")  # they quote the patient's name
    uids = identify(Path(path), path)
    with one_line(path):
        header = dcmread(path, stop_before_pixels=True)
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
    answer = {key: value for key, value in entry.items() if key not in _NOT_OF_THE_ANSWER}
    return Scan(header, f"{uids.instance} {json.dumps(answer, sort_keys=True)}")


def uid(kind: str, of: str) -> str:
    """Return a UID from a hash, under the root for UUIDs (PS3.5, B.2)."""
    digest = hashlib.sha256(f"sonoforge {kind} {of}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def model_of(entry: dict[str, Any]) -> str:
    """Return name and version of the network that answered."""
    return f"{entry['model']['name']} {entry['model']['version']}"[:MOST_LETTERS]


def write(target: Path, derived: Dataset, path: str) -> Path:
    """Write an object that is derived from the file at ``path``, whole or not at all."""
    stream = io.BytesIO()
    with one_line(path):
        derived.save_as(stream, enforce_file_format=True)
    atomic.write_bytes(target, stream.getvalue())
    return target
