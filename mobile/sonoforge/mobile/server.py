"""Serve one clinic laptop: the app's page, and ``POST /classify`` for programs.

It serves the app's files from memory and opens no path of this machine.  It refuses requests for another host's name
(DNS rebinding), and other pages' POST requests, recognised by ``Origin`` (with its port) and ``Sec-Fetch-Site``.

No client can keep others waiting: requests have a time limit, uploads share a budget of bytes, and above a number of
connections the slowest is closed.
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
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.dicom_network.inbox import Budget
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import failure
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.clips import answer_file
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.mobile.certificate import Certificate
    from sonoforge.runtime.inference.classifier import Classifier

log = logging.getLogger(__name__)

UPLOAD = "upload"
"""Name given to every upload in answers: a name sent by a program may identify a patient."""

AUTHORITY = "sonoforge.crt"
"""Path of the certificate for a phone to trust, over https."""

_TYPES = json.loads(Path(__file__).with_name("content_types.json").read_text(encoding="utf-8"))
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - names of all addresses; nothing is bound here
_ELSEWHERE = {socket.AF_INET: "203.0.113.1", socket.AF_INET6: "2001:db8::1"}  # of no machine: RFC 5737 and 3849
SECONDS = 30.0
"""Seconds for a request, plus one for each `SLOWEST` bytes of its body."""
SLOWEST = 200_000
_PIECE = 1 << 16
_AT_ONCE = 128  # connections; above that, the slowest is closed
_BUSY = 2  # images decoded at once: each may take some hundred megabytes
_HELD = 4  # largest uploads held at once


def reachable_name(host: str) -> str:
    """Return the name or address where other machines reach a host; send nothing."""
    if host not in EVERY_ADDRESS:
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SonoforgeError(
            f"host: {host} needs a network, but this machine has none; join one, or give an address"
        ) from error


class UploadError(Exception):
    """A refused body, with the response's ``status`` and the error's ``code``."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class TimedInput(io.RawIOBase):
    """A client's bytes up to a deadline that a slow trickle does not extend."""

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
        """Bytes per second of this request."""
        return self.received / (time.monotonic() - self.since + 1e-3)

    def readable(self) -> bool:
        """Return True."""
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


class Site(NamedTuple):
    """The app and its classifier."""

    files: Mapping[str, bytes]  # by path
    classifier: Classifier  # for ``POST /classify``
    hosts: frozenset[str]  # this server's names, in lower case, without port
    most_bytes: int  # of an upload


class Server(http.server.ThreadingHTTPServer):
    """Serves one site, each connection in its own thread, up to a limit."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        """Bind the port."""
        self.site = site
        self.decoding = threading.BoundedSemaphore(_BUSY)
        self.budget = Budget(_HELD * site.most_bytes)
        self._open: dict[socket.socket, TimedInput | None] = {}  # by connection; None while it is answered
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
        """Speak only https from now on, and serve the certificate for phones to trust.

        The handshake runs in a connection's thread and counts towards its time.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.site = self.site._replace(files={**self.site.files, AUTHORITY: certificate.authority})

    def receives(self, connection: socket.socket, timed: TimedInput | None) -> None:
        """Record the input that a connection is read from; None while it is being answered."""
        with self._opening:
            if connection in self._open:
                self._open[connection] = timed

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, closing the slowest if all places are taken."""
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
        """Log a failed connection only at debug level: clients may leave at any time."""
        log.debug("a connection ended early", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sonoforge", ""
    timeout = SECONDS

    def setup(self) -> None:
        """Read the client's bytes within its time."""
        super().setup()
        self._timed = TimedInput(self.connection)
        self.rfile = self._input = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """Answer one request, or say that its first lines came too late."""
        self._timed.begin()
        self.server.receives(self.connection, self._timed)
        self.raw_requestline, self._answered = b"", False
        super().handle_one_request()
        if self.close_connection and self._timed.received and not self._answered:
            self.requestline, self.command, self.request_version = "", "", self.protocol_version
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "late", "the request did not arrive in time; send it again")

    def do_POST(self) -> None:
        if urlsplit(self.path).path != "/classify":
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "no such address; POST an image to /classify")
        elif self._is_called_rightly():
            with contextlib.ExitStack() as held:
                try:
                    data = self._body(held)
                except UploadError as error:
                    self._refuse(error.status, error.code, str(error))
                    return
                self.server.receives(self.connection, None)
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
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "method", "use POST with an image as the body")
        elif content is not None and name == AUTHORITY:
            self._send(HTTPStatus.OK, "application/x-x509-ca-cert", content)
        elif content is None:
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "no such address; / is the page")
        else:
            kind = _TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
            self._send(HTTPStatus.OK, kind, content)

    do_HEAD = do_GET  # noqa: N815 - as the base class calls it

    def _is_called_rightly(self) -> bool:
        """Whether the request is for this server and not from another site's page; refuse it otherwise."""
        host = _name(f"//{self.headers.get('Host', '')}")
        if host not in self.server.site.hosts:
            self._refuse(
                HTTPStatus.MISDIRECTED_REQUEST, "host", "the request is for another host's name; use this server's"
            )
            return False
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and not _is_origin(origin, self.headers["Host"])
        if foreign or (self.command not in ("GET", "HEAD") and site not in ("none", "same-origin")):
            self._refuse(HTTPStatus.FORBIDDEN, "origin", "requests from other sites' pages are refused")
            return False
        return True

    def _body(self, held: contextlib.ExitStack) -> bytes:
        """Read the image's bytes within the request's time and the server's budget; ``held`` gives the budget back."""
        stated, most = self.headers.get("Content-Length", ""), self.server.site.most_bytes
        if not (stated.isascii() and stated.isdigit() and len(stated) < 16) or "Transfer-Encoding" in self.headers:
            raise UploadError(
                HTTPStatus.LENGTH_REQUIRED, "length", "Content-Length is missing; send the image's bytes as the body"
            )
        length = int(stated)
        if length > most:
            raise UploadError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_large",
                f"{length / 1e6:.0f} MB exceeds the limit of {most / 1e6:.0f} MB; save it smaller",
            )
        parts, left = [], length
        while left:
            try:
                piece = self._input.read1(min(_PIECE, left))
            except TimeoutError:
                found = f"only {length - left} bytes arrived in time; send it again"
                raise UploadError(HTTPStatus.REQUEST_TIMEOUT, "late", found) from None
            if not piece:
                raise UploadError(HTTPStatus.BAD_REQUEST, "truncated", f"{length - left} bytes arrived, not {length}")
            if not self.server.budget.take(len(piece)):
                raise UploadError(
                    HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many uploads at once; send it again later"
                )
            held.callback(self.server.budget.give, len(piece))
            left -= len(piece)
            parts.append(piece)
            self._timed.allow((length - left) / SLOWEST)
        return b"".join(parts)

    def _classify(self, data: bytes) -> None:
        if not data:
            self._refuse(HTTPStatus.BAD_REQUEST, "empty", "the body is empty; send an image")
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
        self.close_connection = True  # the rest of the body is not read
        self._answer(status, failure(UPLOAD, code, message))

    def _answer(self, status: HTTPStatus, entry: Mapping[str, Any]) -> None:
        content = json.dumps(plain({**entry, "notice": NOTICE}), allow_nan=False).encode()
        self._send(status, "application/json", content)

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self._answered = True
        self.connection.settimeout(SECONDS)  # for the whole response
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
        """Send the base class's refusals, such as of an unknown method, in our form."""
        del explain
        self.request_version = self.protocol_version  # else a malformed request line would suppress the headers
        self._refuse(HTTPStatus(code), "request", message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Log at debug level, without clients' addresses."""
        log.debug(format, *args)


def _is_origin(origin: str, host: str) -> bool:
    """Whether a page's origin is the request's host and port; `null`, sent by a sandboxed frame, is not."""
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{theirs.scheme}://{host}")
        default = {"http": 80, "https": 443}[theirs.scheme]
        return (theirs.hostname, theirs.port or default) == (ours.hostname, ours.port or default)
    except (KeyError, ValueError):
        return False


def _name(address: str) -> str:
    """Return the host name in an address, in lower case; empty if there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
