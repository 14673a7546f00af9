"""A small web server for one clinic laptop: the app's page, and ``POST /classify`` for programs.

It hands out the files of the app, held in memory, and nothing else: no path of this machine is ever opened.  Requests
for another host's name are refused, so that no page on the web can reach it by changing what its own name resolves to
(DNS rebinding); other pages' POST requests are refused by their ``Origin``, port and all, and by ``Sec-Fetch-Site``.

No client can keep others waiting: a request has its time, all uploads together have a budget of bytes, and where there
are too many connections the slowest is closed.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sonoforge.mobile.uploads import SECONDS, TimedInput, Upload, UploadError
from sonoforge.runtime.atomic import plain
from sonoforge.runtime.dicom_network.incoming import Budget, boundary_of
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import failure
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.clips import answer_file
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.mobile.certificate import Certificate
    from sonoforge.mobile.studies import Studies
    from sonoforge.runtime.inference.classifier import Classifier

log = logging.getLogger(__name__)

UPLOAD = "upload"
"""What an upload is called in answers: a name that a program sends may name a patient."""

AUTHORITY = "sonoforge.crt"
"""Path of the certificate that a phone is to trust, where https is spoken."""

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
_AT_ONCE = 128  # connections; of more, the one whose request comes most slowly is closed
_BUSY = 2  # images that are decoded at a time: each may take some hundred megabytes
_HELD = 4  # largest uploads that are held at a time


class Site(NamedTuple):
    """What is served."""

    files: Mapping[str, bytes]  # the app's, by path
    classifier: Classifier  # what answers ``POST /classify``
    hosts: frozenset[str]  # names by which this server may be called, in small letters, without port
    most_bytes: int  # of an upload
    studies: Studies | None = None  # takes DICOM objects


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
        self.budget = Budget(_HELD * site.most_bytes)
        self._open: dict[socket.socket, TimedInput | None] = {}  # what each still receives, None once it is answered
        self._opening = threading.Lock()
        host, port = address
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise SonoforgeError(
                f"{host}:{port}: cannot be bound ({error.strerror or error}); give another --host or --port"
            ) from error

    def encrypt(self, certificate: Certificate) -> None:
        """Speak https alone from now on, and hand out what a phone is to trust.

        The handshake is part of a connection's thread and of its time.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.site = self.site._replace(files={**self.site.files, AUTHORITY: certificate.authority})

    def receives(self, connection: socket.socket, timed: TimedInput | None) -> None:
        """Note what a connection receives a request from; None while one is answered."""
        with self._opening:
            if connection in self._open:
                self._open[connection] = timed

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection; where all places are taken, in place of the slowest to send its request."""
        with self._opening:
            slow = {other: timed.rate for other, timed in self._open.items() if timed}
            if len(self._open) >= _AT_ONCE and slow:
                slowest = min(slow, key=slow.__getitem__)
                del self._open[slowest]
                with contextlib.suppress(OSError):
                    slowest.shutdown(socket.SHUT_RDWR)  # its thread then ends
            if len(self._open) >= _AT_ONCE:  # all are being answered
                self.shutdown_request(request)
                return
            self._open[request] = TimedInput(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._opening:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection in one line: a client that leaves is no fault of ours."""
        log.debug("a connection ended early", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sonoforge", ""
    timeout = SECONDS

    def setup(self) -> None:
        """Read what the client sends within its time."""
        super().setup()
        self._timed = TimedInput(self.connection)
        self.rfile = self._input = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """Answer one request; one whose first lines do not come in time is told so."""
        self._timed.begin()
        self.server.receives(self.connection, self._timed)
        self.raw_requestline, self._answered = b"", False
        super().handle_one_request()
        if self.close_connection and self._timed.received and not self._answered:
            self.requestline, self.command, self.request_version = "", "", self.protocol_version
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "late", "found no whole request in time; send it again")

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        studies = self.server.site.studies if path == "/studies" else None
        if path != "/classify" and not studies:
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "found no such address; POST an image to /classify")
        elif self._is_called_rightly():
            with Upload(self.headers, self._input, self._timed, self.server.budget) as upload:
                try:
                    data = upload.read(self.server.site.most_bytes)
                except UploadError as error:
                    self._refuse(error.status, error.code, str(error))
                    return
                self.server.receives(self.connection, None)
                if studies:
                    self._take(studies, data)
                else:
                    self._classify(data)

    do_PUT = do_POST  # noqa: N815 - as the base class calls it; curl -T

    def do_GET(self) -> None:
        if not self._is_called_rightly():
            return
        name = urlsplit(self.path).path.removeprefix("/") or "index.html"
        content = self.server.site.files.get(name)
        if name == "health":
            self._answer(HTTPStatus.OK, {"ok": True, "model": self.server.site.classifier.model})
        elif name == "classify":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "method", "found GET, expected POST with an image as its body")
        elif content is not None and name == AUTHORITY:
            self._send(HTTPStatus.OK, "application/x-x509-ca-cert", content)
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
                HTTPStatus.MISDIRECTED_REQUEST, "host", "found another host's name in the request; use this server's"
            )
            return False
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and not _is_origin(origin, self.headers["Host"])
        if foreign or (self.command not in ("GET", "HEAD") and site not in ("none", "same-origin")):
            self._refuse(HTTPStatus.FORBIDDEN, "origin", "found a request from another site's page")
            return False
        return True

    def _take(self, studies: Studies, data: bytes) -> None:
        """Answer a STOW-RS request as the standard has it (PS3.18, 10.5.3); no answer on a scan is in it."""
        boundary = boundary_of(self.headers)
        if not boundary:
            expected = 'found no DICOM objects, expected multipart/related; type="application/dicom"'
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "type", expected)
            return
        with self.server.decoding:
            taken = studies.take(data, boundary)
        self._send(taken.status, "application/dicom+json", json.dumps(taken.content).encode())

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
        self._answered = True
        self.connection.settimeout(SECONDS)  # for all of the answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store" if kind.endswith("json") else "no-cache")
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


def _is_origin(origin: str, host: str) -> bool:
    """Whether a page's origin is the host and port that a request was sent to; `null`, of a page in a frame, is not."""
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{theirs.scheme}://{host}")
        usual = {"http": 80, "https": 443}[theirs.scheme]
        return (theirs.hostname, theirs.port or usual) == (ours.hostname, ours.port or usual)
    except (KeyError, ValueError):
        return False


def _name(address: str) -> str:
    """The host's name in an address, in small letters; empty where there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
