"""What other machines send, within limits: bytes in memory, lines about it, and the parts of a web request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.message import Message

_MOST = 100  # lines between two calls of `Remarks.take`


class Budget:
    """Bytes of all that is held at a time."""

    def __init__(self, most: int) -> None:
        self._left, self._lock = most, threading.Lock()

    def take(self, count: int) -> bool:
        """Take some, unless fewer are left."""
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
    """Lines for people, each once said; of a flood only the first ones, and how many more there were."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more, self._lock = 0, threading.Lock()

    def add(self, line: str) -> None:
        """Note a line."""
        with self._lock:
            if len(self._lines) < _MOST:
                self._lines.append(line)
            else:
                self._more += 1

    def take(self) -> list[str]:
        """Return what was noted since."""
        with self._lock:
            lines = [*self._lines, *[f"and {self._more} more such lines"] * bool(self._more)]
            self._lines, self._more = [], 0
            return lines


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
