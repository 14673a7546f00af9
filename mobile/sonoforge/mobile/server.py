"""Serve the app's page, and ``POST /classify`` for programs, on a clinic's laptop or behind a load balancer.

It serves the app's files from memory and opens no path of this machine.  It refuses requests for another host's name
(DNS rebinding), and other pages' POST requests, recognised by ``Origin`` (with its port) and ``Sec-Fetch-Site``.

No client can keep others waiting: requests have a time limit; large uploads share a budget of bytes; these, clips and
large pictures are answered one after another beside the others; the queue has a limit, and above a number of
connections the slowest is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import http.server
import io
import json
import logging
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from sonoforge.mobile.observation import METRICS_TYPE, AccessLog, Metrics
from sonoforge.runtime.atomic import plain
from sonoforge.runtime.dicom_network.inbox import Budget
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.decoding import open_header
from sonoforge.runtime.images.file_kinds import is_dicom, is_film
from sonoforge.runtime.images.inputs import failure
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.clips import answer_file
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.mobile.certificate import Certificate
    from sonoforge.runtime.inference.classifier import Classifier

log = logging.getLogger(__name__)

UPLOAD = "upload"
"""Name of every upload in messages and in answers, unless the caller gave one, which may identify a patient: that is
given back in its answer alone."""

AUTHORITY = "sonoforge.crt"
"""Path of the certificate for a phone to trust, over https."""

_TYPES = json.loads(Path(__file__).with_name("content_types.json").read_text(encoding="utf-8"))
SECONDS = 30.0
"""Seconds for a request, plus one for each `_SLOWEST` bytes of its body."""
_SLOWEST = 200_000
_PIECE, _MOST_HEAD = 1 << 16, 1 << 17
_AT_ONCE = 128  # connections; above that, the slowest is closed
_A_SECOND = 10  # scans answered, on a slow machine
_BUSY = 2  # scans answered at once: each may take some hundred megabytes
_LARGE, _LARGE_PIXELS = 1_000_000, 3_000_000  # bytes and pixels, above which an upload may take seconds
_HELD = 4  # largest uploads held at once
_IDLE = 0.5  # seconds after which an open connection without a request is closed at the end
_LINGER = 2.0  # seconds in which what a refused client still sends is thrown away, so that it can read the answer
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)  # of a caller's own that is taken over
_METHODS = ("GET", "HEAD", "POST", "PUT")
_OPENAPI = "openapi.json"
_ADDRESSES = ("classify", "health", "healthz", "metrics", _OPENAPI)  # beside the app's files


class UploadError(Exception):
    """A refused body, with the response's ``status`` and the error's ``code``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class TimedInput(io.RawIOBase):
    """A client's bytes up to a deadline that a slow trickle does not extend."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.since = self._until = time.monotonic()
        self.received, self._in_head = 0, True  # bytes of this request; whether its body is still to come

    def begin(self) -> None:
        """Start a request's time."""
        self.since, self.received, self._in_head = time.monotonic(), 0, True
        self._until = self.since + SECONDS

    def allow(self, count: int) -> None:
        """Allow more time for a body of which so many bytes are here."""
        self._until, self._in_head = self.since + SECONDS + count / _SLOWEST, False

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
            http.client.HTTPException: The head is too long.
        """
        if self._in_head and self.received > _MOST_HEAD:
            raise http.client.HTTPException(f"more than {_MOST_HEAD} bytes")  # the base class answers 431
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
    queue: int = 32  # scans that may wait


class Server(http.server.ThreadingHTTPServer):
    """Serves one site, each connection in its own thread, up to a limit."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: Site, access_log: AccessLog | None = None) -> None:
        """Bind the port."""
        own = {_OPENAPI: Path(__file__).with_name(_OPENAPI).read_bytes()}
        self.site = site._replace(files={**site.files, **own})
        self.metrics, self.access_log = Metrics(site.classifier), access_log
        self.ending = False
        self.scans, self.large = 0, 0  # arrived and not answered; how many of them take long
        self.workers = ThreadPoolExecutor(_BUSY)  # a connection's own thread would keep the memory of its last scan
        self.large_worker = ThreadPoolExecutor(1)
        self.budget = Budget(_HELD * site.most_bytes)
        self._open: dict[socket.socket, TimedInput | None] = {}  # by connection; None while it is answered
        self._opening = threading.Lock()
        host, port = address
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with refusing(f"{host}:{port}: cannot be bound", "give another --host or --port"):
            super().__init__(address, _Handler)

    def encrypt(self, certificate: Certificate) -> None:
        """Speak only https from now on, and serve the certificate for phones to trust."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file)
        # The handshake runs in a connection's thread and counts towards its time.
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

    def classify(self, data: bytes) -> dict[str, Any]:
        """Answer a scan when its turn comes; raise `UploadError` if the queue is full."""
        large = _takes_long(data)
        with self._opening:
            # Those that take long may fill half of the queue.
            if self.scans >= _BUSY + self.site.queue or (large and self.large > self.site.queue // 2):
                message = f"{self.site.queue} scans are waiting; send it again after the seconds that Retry-After names"
                raise UploadError(429, "queue", message)
            self.scans += 1
            self.large += large
        try:
            worker = self.large_worker if large else self.workers
            return worker.submit(answer_file, self.site.classifier, UPLOAD, data).result().entry
        finally:
            with self._opening:
                self.scans -= 1
                self.large -= large
            if large:
                with contextlib.suppress(OSError, AttributeError):  # glibc alone keeps what a thread has freed
                    ctypes.CDLL("libc.so.6").malloc_trim(0)

    def figures(self) -> str:
        """Return what ``/metrics`` shows."""
        waiting = max(0, self.scans - self.large - _BUSY) + max(0, self.large - 1)
        now = {"scans_in_flight": self.scans, "scans_waiting": waiting}
        now["log_lines_lost_total"] = self.access_log.lost if self.access_log else 0
        return self.metrics.text({f"sonoforge_{name}": value for name, value in now.items()})

    def end(self, seconds: float) -> int:
        """Take no more connections, answer what is in work for so many seconds, and return how many are left."""
        self.ending = True
        self.shutdown()
        self.socket.settimeout(0)
        with contextlib.suppress(OSError):  # until nobody is left who had been let in
            while True:
                self.process_request(*self.get_request())
        self.socket.close()
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            time.sleep(0.02)
            with self._opening, contextlib.suppress(OSError):
                for connection, timed in self._open.items():
                    if timed and not timed.received and timed.since < time.monotonic() - _IDLE:
                        connection.shutdown(socket.SHUT_RDWR)  # its thread then ends
        return len(self._open)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a failed connection: clients may leave at any time."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sonoforge", ""
    timeout = SECONDS
    disable_nagle_algorithm = True  # head and content are two writes: the second would wait 40 ms for the first

    def setup(self) -> None:
        """Read the client's bytes within its time."""
        super().setup()
        self._timed = TimedInput(self.connection)
        self.rfile = self._input = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """Answer one request, or say that its first lines came too late."""
        self._timed.begin()
        self.server.receives(self.connection, self._timed)
        self.raw_requestline, self._answered, self._refused = b"", False, False
        self._started, self._id = time.monotonic(), secrets.token_hex(8)
        self._address, self._known, self._query, self.command = "", False, "", ""
        super().handle_one_request()
        if self.close_connection and self._timed.received and not self._answered:
            self.requestline, self.command, self.request_version = "", "", self.protocol_version
            self._refuse(408, "late", "the request did not arrive in time; send it again")

    def parse_request(self) -> bool:
        """Read a request's head, and its number and address from it."""
        self._started = time.monotonic()
        if not super().parse_request():
            return False
        if self.request_version == "HTTP/0.9":  # whose answers have no head
            self.send_error(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
            return False
        given = self.headers.get("X-Request-Id", "")
        self._id = given if _REQUEST_ID.fullmatch(given) else self._id
        path, _, self._query = self.path.partition("?")
        self._address = path.removeprefix("/") or "index.html"
        self._known = self._address in self.server.site.files or self._address in _ADDRESSES
        return True

    def finish(self) -> None:
        """Let a refused client read the answer: closing while it still sends would reset the connection."""
        super().finish()
        if self._refused:
            until = time.monotonic() + _LINGER
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                self.connection.settimeout(_LINGER)
                while self.connection.recv(_PIECE) and time.monotonic() < until:
                    pass

    def do_POST(self) -> None:
        if self._address != "classify":
            status, code = (405, "method") if self._known else (404, "not_found")
            self._refuse(status, code, "this address takes no uploads; POST an image to /classify")
        elif self._is_called_rightly():
            with contextlib.ExitStack() as held:
                try:
                    data = self._body(held)
                except UploadError as error:
                    self._refuse(error.status, error.code, str(error))
                    return
                self.server.receives(self.connection, None)
                query = parse_qs(self._query.encode("latin-1").decode(errors="replace"))  # unescaped names are UTF-8
                self._classify(data, query.get("name", [UPLOAD])[0])

    do_PUT = do_POST  # noqa: N815 - as the base class calls it; curl -T

    def do_GET(self) -> None:
        name, ready = self._address, not self.server.ending
        # A body here is not read, and is no next request.
        self.close_connection |= "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        content = self.server.site.files.get(name)
        if name == "healthz":  # under any name, for load balancers: it says nothing else
            self._answer(200 if ready else 503, {"ok": ready})
        elif not self._is_called_rightly():
            return
        elif name == "health":
            self._answer(200 if ready else 503, {"ok": ready, "model": self.server.site.classifier.model})
        elif name == "metrics":
            self._send(200, METRICS_TYPE, self.server.figures().encode(), {})
        elif name == "classify":
            self._refuse(405, "method", "use POST with an image as the body")
        elif content is not None and name == AUTHORITY:
            self._send(200, "application/x-x509-ca-cert", content, {})
        elif content is None:
            self._refuse(404, "not_found", "no such address; / is the page")
        else:
            kind = _TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
            self._send(200, kind, content, {})

    do_HEAD = do_GET  # noqa: N815 - as the base class calls it

    def _is_called_rightly(self) -> bool:
        """Whether the request is for this server and not from another site's page; refuse it otherwise."""
        host = host_of(f"//{self.headers.get('Host', '')}")
        if host not in self.server.site.hosts:
            self._refuse(421, "host", "the request is for another host's name; use this server's")
            return False
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and not _is_origin(origin, self.headers["Host"])
        if foreign or (self.command not in ("GET", "HEAD") and site not in ("none", "same-origin")):
            self._refuse(403, "origin", "requests from other sites' pages are refused")
            return False
        return True

    def _body(self, held: contextlib.ExitStack) -> bytes:
        """Read the image's bytes within the request's time and the server's budget; ``held`` gives the budget back."""
        stated, most = ",".join(self.headers.get_all("Content-Length", [])), self.server.site.most_bytes
        if not (stated.isascii() and stated.isdigit() and len(stated) < 16) or "Transfer-Encoding" in self.headers:
            raise UploadError(
                411, "length", "Content-Length is missing or given twice; send the image's bytes as the body"
            )
        length = int(stated)
        if length > most:
            limit = f"the limit of {most / 1e6:.0f} MB"
            raise UploadError(413, "too_large", f"{length / 1e6:.0f} MB exceeds {limit}; save it smaller")
        data, arrived = bytearray(length), 0  # in one piece, which goes back to the system
        while arrived < length:
            try:
                count = self._input.readinto1(memoryview(data)[arrived : arrived + _PIECE])
            except TimeoutError:
                raise UploadError(408, "late", f"only {arrived} bytes arrived in time; send it again") from None
            if not count:
                raise UploadError(400, "truncated", f"{arrived} bytes arrived, not {length}")
            if length > _LARGE:  # the number of connections bounds the others
                if not self.server.budget.take(count):
                    raise UploadError(503, "busy", "too many large uploads at once; send it again later")
                held.callback(self.server.budget.give, count)
            arrived += count
            self._timed.allow(arrived)
        return bytes(data)

    def _classify(self, data: bytes, name: str) -> None:
        if not data:
            self._refuse(400, "empty", "the body is empty; send an image")
            return
        try:
            entry = {**self.server.classify(data), "file": name}
        except (UploadError, ImageError) as error:
            self._answer(getattr(error, "status", 422), failure(name, error.code, str(error)))
        except Exception as error:  # of any other kind, a defect, whose words may be the file's
            log.error("%s", error if isinstance(error, SonoforgeError) else f"unexpected {type(error).__name__}")
            self._answer(500, failure(name, "failed", "the network could not answer"))
        else:
            self._answer(200, entry)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.close_connection = self._refused = True  # the rest of the body is not read
        self._answer(status, failure(UPLOAD, code, message))

    def _answer(self, status: int, entry: Mapping[str, Any]) -> None:
        content = json.dumps(plain({**entry, "request": self._id, "notice": NOTICE}), allow_nan=False).encode()
        self._send(status, "application/json", content, entry)

    def _send(self, status: int, kind: str, content: bytes, entry: Mapping[str, Any]) -> None:
        self._answered = True
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "request": self._id,
            "method": self.command if self.command in _METHODS else "other",
            "path": f"/{self._address}".replace("/index.html", "/") if self._known else "other",
            "status": status,
            "bytes": len(content),
            "ms": round(1e3 * (time.monotonic() - self._started), 3),
        }
        self.server.metrics.saw(line, entry)
        try:
            self._write(status, kind, content)
        finally:
            if self.server.access_log:
                self.server.access_log.add(line, entry)

    def _write(self, status: int, kind: str, content: bytes) -> None:
        self.close_connection |= self.server.ending
        self.connection.settimeout(SECONDS)  # for the whole response
        self.send_response(status)
        self.send_header("X-Request-Id", self._id)
        if status in (429, 503):
            self.send_header("Retry-After", str(1 + self.server.scans // _A_SECOND))
        if status == 405:
            self.send_header("Allow", "POST, PUT" if self._address == "classify" else "GET, HEAD")
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
        self._refuse(405 if code == 501 else code, "request", message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing here: the line that the base class writes holds addresses, and names of files."""


def _takes_long(data: bytes) -> bool:
    """Whether an upload is large, a clip, or by its header a large picture."""
    if len(data) > _LARGE or is_film(data):
        return True
    with contextlib.suppress(Exception):  # hostile bytes, which answering will name
        if is_dicom(data):
            from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - for DICOM only

            dicom = open_dicom(UPLOAD, data)
            return dicom.frame_count > 1 or dicom.width * dicom.height > _LARGE_PIXELS
        image = open_header(data, UPLOAD)
        return getattr(image, "is_animated", False) or image.width * image.height > _LARGE_PIXELS
    return False


def _is_origin(origin: str, host: str) -> bool:
    """Whether a page's origin is the request's host and port; `null`, sent by a sandboxed frame, is not."""
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{theirs.scheme}://{host}")
        default = {"http": 80, "https": 443}[theirs.scheme]
        return (theirs.hostname, theirs.port or default) == (ours.hostname, ours.port or default)
    except (KeyError, ValueError):
        return False


def host_of(address: str) -> str:
    """Return the host name in an address, in lower case; empty if there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
