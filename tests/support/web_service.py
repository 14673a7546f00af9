"""Ask a server of ``sonoforge serve`` on this machine."""

from __future__ import annotations

import http.client
import io

from PIL import Image

from bundle_factory import scan

FORM = b"--" + b"x" * 68 + b"\r\n"
FORMS = {
    "boundaries": FORM,
    "empty parts": FORM + b"\r\n",
    "parts in parts": FORM + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n",
    "heads": b"X: y\r\n",
    "chunks": b"1\r\na\r\n",
}
"""Whose repetition keeps a parser of forms at work."""


def png(seed: int) -> bytes:
    """A simulated scan as a file."""
    stream = io.BytesIO()
    Image.fromarray(scan(seed, 200, 160)).save(stream, "PNG")
    return stream.getvalue()


def asked(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content of an answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content
