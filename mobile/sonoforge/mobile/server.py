"""A small web server for one clinic laptop: the app's page, and ``POST /classify`` for programs.

It hands out the files of the app, held in memory, and nothing else: no path of this machine is ever opened.  Requests
for another host's name are refused, so that no page on the web can reach it by changing what its own name resolves to
(DNS rebinding); other pages' POST requests are refused by their ``Origin``.
"""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import failure
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.clips import answer_file
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.runtime.inference.classifier import Classifier

log = logging.getLogger(__name__)

UPLOAD = "upload"
"""What an upload is called in answers: a name that a program sends may name a patient."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
_SECONDS = 30  # that a client may keep silent
_AT_ONCE = 32  # connections; more wait
_BUSY = 2  # images that are decoded at a time: each may take some hundred megabytes


class Site(NamedTuple):
    """What is served."""

    files: Mapping[str, bytes]  # the app's, by path
    classifier: Classifier  # what answers ``POST /classify``
    hosts: frozenset[str]  # names by which this server may be called, in small letters, without port
    most_bytes: int  # of an upload


class Server(http.server.ThreadingHTTPServer):
    """Serves one site; each connection in a thread of its own, a bounded number at a time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        """Bind the port.

        Raises:
            SonoforgeError: It is taken, or the address is not this machine's.
        """
        self.site = site
        self.decoding = threading.BoundedSemaphore(_BUSY)
        self._connections = threading.BoundedSemaphore(_AT_ONCE)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            host, port = address
            raise SonoforgeError(f"{host}:{port}: cannot be bound ({error.strerror}); give another --port") from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, once one of the places is free."""
        self._connections.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection in one line: a client that leaves is no fault of ours."""
        log.debug("a connection ended early", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sonoforge", ""
    timeout = _SECONDS

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if path != "/classify":
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "found no such address; POST an image to /classify")
        elif self._is_called_rightly():
            data = self._upload()
            if data is not None:
                self._classify(data)

    def do_GET(self) -> None:
        if not self._is_called_rightly():
            return
        name = urlsplit(self.path).path.removeprefix("/") or "index.html"
        content = self.server.site.files.get(name)
        if name == "classify":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "method", "found GET, expected POST with an image as its body")
        elif content is None:
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "found no such address; / is the page")
        else:
            kind = _TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
            self._send(HTTPStatus.OK, kind, content)

    do_HEAD = do_GET  # noqa: N815 - as the base class calls it

    def _is_called_rightly(self) -> bool:
        """Whether the request is for this server, and not from another site's page; else refuse it."""
        host = _name(f"//{self.headers.get('Host', '')}")
        if host not in self.server.site.hosts:
            self._refuse(
                HTTPStatus.MISDIRECTED_REQUEST, "host", "found another host's name in the request; use http://localhost"
            )
            return False
        origin = self.headers.get("Origin")
        if origin is not None and _name(origin) not in self.server.site.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "origin", "found a request from another site's page")
            return False
        return True

    def _upload(self) -> bytes | None:
        """Read the body; None once it is refused."""
        most = self.server.site.most_bytes
        text = self.headers.get("Content-Length") or ""
        is_length = text.isascii() and text.isdigit() and len(text) < 16
        if not is_length or self.headers.get("Transfer-Encoding"):
            found = "found no Content-Length; send the image's bytes as body, in one piece"
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "length", found)
            return None
        if int(text) > most:
            found = f"found {int(text) / 1e6:.0f} MB, expected at most {most / 1e6:.0f} MB; save it smaller"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", found)
            return None
        data = self.rfile.read(int(text))
        if len(data) < int(text):
            self._refuse(HTTPStatus.BAD_REQUEST, "truncated", f"found {len(data)} bytes, expected {text}")
            return None
        return data

    def _classify(self, data: bytes) -> None:
        if not data:
            self._refuse(HTTPStatus.BAD_REQUEST, "empty", "found an empty body, expected an image")
            return
        try:
            with self.server.decoding:
                entry = answer_file(self.server.site.classifier, UPLOAD, data).entry
        except ImageError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, failure(UPLOAD, error.code, str(error)))
        except SonoforgeError as error:
            log.error("%s", error)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, failure(UPLOAD, "failed", "the network could not answer"))
        else:
            self._answer(HTTPStatus.OK, entry)

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        self.close_connection = True  # what is left of the body is not read
        self._answer(status, failure(UPLOAD, code, message))

    def _answer(self, status: HTTPStatus, entry: Mapping[str, Any]) -> None:
        content = json.dumps(plain({**entry, "notice": NOTICE}), allow_nan=False).encode()
        self._send(status, "application/json", content)

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store" if kind == "application/json" else "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses (a request line that is none, an unknown method) in our form."""
        del explain
        self.request_version = self.protocol_version  # of a request line that is none, headers would be left out
        self._refuse(HTTPStatus(code), "request", message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Log at the level of details, without addresses of clients."""
        log.debug(format, *args)


def _name(address: str) -> str:
    """The host's name in an address, in small letters; empty where there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
