"""The parts of a body that holds several DICOM objects (PS3.18, 8.6; RFC 2387)."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message


def boundary_of(headers: Message) -> str:
    """Return the boundary of a body of DICOM objects; empty where it is something else."""
    kind, boundary = headers.get_param("type"), headers.get_param("boundary")
    is_dicom = headers.get_content_type() == "multipart/related" and kind == "application/dicom"
    return boundary if is_dicom and isinstance(boundary, str) else ""


def parts_of(body: bytes, boundary: str) -> Iterator[bytes]:
    """Yield the content of each part (RFC 2046, 5.1.1)."""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))[1:]:
        if part.startswith(b"--"):
            return
        _, blank, content = part.partition(b"\r\n\r\n")
        if blank:
            yield content
