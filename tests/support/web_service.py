"""Ask a server of ``sonoforge serve`` on this machine."""

from __future__ import annotations

import http.client
import io

from PIL import Image

from bundle_factory import scan


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
