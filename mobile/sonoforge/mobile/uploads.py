"""Read the body of a request within a time and a budget of bytes: whole or in chunks, plain or as a form.

Sources: RFC 9112, sections 6 and 7.1 (length, chunks); RFC 7578 (forms).
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus

from sonoforge.runtime.dicom_network.incoming import Budget

SECONDS = 30.0
"""Time for a request, plus one second for each `SLOWEST` bytes of its body."""
SLOWEST = 200_000
_PIECE = 1 << 16
_LONGEST_LINE = 1024  # of a chunk's size and its extensions
_MOST_TRAILERS = 100


class UploadError(Exception):
    """A body that is refused.

    Attributes:
        status: Of the response.
        code: Of the error in the response.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class TimedInput(io.RawIOBase):
    """A client's bytes up to a deadline, which a slow trickle does not extend."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.since = self._until = time.monotonic()
        self.received = 0  # bytes of this request

    def begin(self) -> None:
        """Start a request's time."""
        self.since, self.received = time.monotonic(), 0
        self._until = self.since + SECONDS

    def allow(self, seconds: float) -> None:
        """Allow more time for this request."""
        self._until = self.since + SECONDS + seconds

    @property
    def rate(self) -> float:
        """Bytes a second of this request."""
        return self.received / (time.monotonic() - self.since + 1e-3)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read what there is, waiting no longer than the time left.

        Raises:
            TimeoutError: The time is up.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        self.received += count
        return count


class Upload:
    """The body of one request; its share of the budget is returned on exit."""

    def __init__(
        self, headers: Message, stream: io.BufferedReader[TimedInput], timed: TimedInput, budget: Budget
    ) -> None:
        self._headers, self._stream, self._timed, self._budget = headers, stream, timed, budget
        self._taken = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give(self._taken)

    def read(self, most: int) -> bytes:
        """Return the image in the body, at most ``most`` bytes.

        Raises:
            UploadError: Late, too large, malformed, or no budget left.
        """
        parts = []
        try:
            for part in self._parts(most):
                self._taken += len(part)
                if not self._budget.take(len(part)):
                    self._taken -= len(part)
                    raise UploadError(
                        HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many uploads at once; send it again later"
                    )
                parts.append(part)
                self._timed.allow(self._taken / SLOWEST)
        except TimeoutError:
            raise UploadError(
                HTTPStatus.REQUEST_TIMEOUT, "late", f"only {self._taken} bytes arrived in time; send it again"
            ) from None
        data = b"".join(parts)
        if self._headers.get_content_type() == "multipart/form-data":
            return _file_of(data, self._headers.get_param("boundary"))
        return data

    def _parts(self, most: int) -> Iterator[bytes]:
        """Yield the body piece by piece."""
        stated, coding = self._headers.get("Content-Length"), self._headers.get("Transfer-Encoding")
        if coding is not None and (stated is not None or coding.strip().lower() != "chunked"):
            raise UploadError(
                HTTPStatus.BAD_REQUEST, "length", "Transfer-Encoding must be chunked, without a Content-Length"
            )
        if coding is not None:
            yield from self._chunks(most)
            return
        text = stated or ""
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            found = "Content-Length is missing; send the image's bytes as body, whole or in chunks"
            raise UploadError(HTTPStatus.LENGTH_REQUIRED, "length", found)
        length = int(text)
        if length > most:
            raise _too_large(length, most)
        yield from self._exactly(length)

    def _exactly(self, length: int) -> Iterator[bytes]:
        left = length
        while left:
            piece = self._stream.read1(min(_PIECE, left))
            if not piece:
                raise UploadError(HTTPStatus.BAD_REQUEST, "truncated", f"{length - left} bytes arrived, not {length}")
            left -= len(piece)
            yield piece

    def _chunks(self, most: int) -> Iterator[bytes]:
        total = 0
        while size := self._chunk_size():
            total += size
            if total > most:
                raise _too_large(total, most)
            yield from self._exactly(size)
            if self._stream.readline(3) not in (b"\r\n", b"\n"):
                raise _malformed()
        for _ in range(_MOST_TRAILERS):
            if self._stream.readline(_LONGEST_LINE) in (b"\r\n", b"\n", b""):
                return
        raise _malformed()

    def _chunk_size(self) -> int:
        digits = self._stream.readline(_LONGEST_LINE).partition(b";")[0].strip()
        if not digits or len(digits) > 12 or digits.strip(b"0123456789abcdefABCDEF"):
            raise _malformed()
        return int(digits, 16)


def _too_large(found: int, most: int) -> UploadError:
    message = f"{found / 1e6:.0f} MB exceed the limit of {most / 1e6:.0f} MB; save it smaller"
    return UploadError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def _malformed() -> UploadError:
    return UploadError(HTTPStatus.BAD_REQUEST, "truncated", "the chunks are cut off or malformed; send it again")


def _file_of(body: bytes, boundary: object) -> bytes:
    """Return the one file of a form."""
    if not isinstance(boundary, str) or not boundary:
        raise UploadError(HTTPStatus.BAD_REQUEST, "form", "the form has no boundary; use curl -F file=@scan.png")
    parts = [
        part.partition(b"\r\n\r\n")
        for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))[1:]
    ]
    fields = [(head, content) for head, blank, content in parts if blank]
    files = [content for head, content in fields if b"filename" in head.lower()] or [content for _, content in fields]
    if len(files) != 1:
        raise UploadError(
            HTTPStatus.BAD_REQUEST,
            "form",
            f"the form has {len(files)} files, not one: curl -F file=@scan.png",
        )
    return files[0]
