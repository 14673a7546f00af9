"""Limits on what other machines send: bytes in memory, lines about them, and the parts of a web request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.message import Message

_MOST = 100  # lines between two calls of `Remarks.take`


class Budget:
    """The number of bytes that may be held at a time."""

    def __init__(self, most: int) -> None:
        self._left, self._lock = most, threading.Lock()

    def take(self, count: int) -> bool:
        """Take some, unless fewer are left; return whether it worked."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give(self, count: int) -> None:
        """Give them back."""
        with self._lock:
            self._left += count


class Remarks:
    """Lines that threads want printed, kept until the main thread prints them; of a flood only the first and a count.

    Decoders are silenced, and stderr with them, so that threads cannot print.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more, self._lock = 0, threading.Lock()

    def add(self, line: str) -> None:
        """Add a line."""
        with self._lock:
            if len(self._lines) < _MOST:
                self._lines.append(line)
            else:
                self._more += 1

    def take(self) -> list[str]:
        """Return the lines added since the last call."""
        with self._lock:
            lines = [*self._lines, *[f"and {self._more} more such lines"] * bool(self._more)]
            self._lines, self._more = [], 0
            return lines


def boundary_of(headers: Message) -> str:
    """Return the boundary of a body of several DICOM objects (PS3.18, 8.6; RFC 2387); empty for other bodies."""
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
