"""Handle what other machines send: limits, messages, and who is allowed to send."""

from __future__ import annotations

import ipaddress
import re
import ssl
import threading
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError, reason

_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.5, 6.2: printable ASCII without the backslash
_MOST = 100  # lines between two calls of `Remarks.take`


class Budget:
    """The number of bytes that may be held at once."""

    def __init__(self, most: int) -> None:
        self._left, self._lock = most, threading.Lock()

    def take(self, count: int) -> bool:
        """Take some bytes unless fewer are left; return whether it worked."""
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
    """Lines that threads want printed, kept until the main thread prints them; a flood is cut short.

    Silencing decoders silences stderr, so threads cannot print.
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


class Caller(NamedTuple):
    """A permitted sender: an AE title, which anyone can claim, and an address, empty for any."""

    title: str
    address: str = ""

    def is_it(self, title: str, address: str) -> bool:
        """Whether a caller matches."""
        return title.strip() == self.title and self.address in ("", address)


class Archive(NamedTuple):
    """The receiver of reports."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


def check_title(text: str, setting: str) -> str:
    """Return an AE title without surrounding spaces; raise `SonoforgeError` if it is not valid."""
    title = text.strip()
    if not _TITLE.fullmatch(title):
        raise SonoforgeError(f"{setting}: {text!r} is not an AE title of 1 to 16 letters, such as SONOFORGE")
    return title


def read_caller(text: str) -> Caller:
    """Parse ``TITLE`` or ``TITLE@ADDRESS``; raise `SonoforgeError` for anything else."""
    title, at, address = text.partition("@")
    try:
        found = str(ipaddress.ip_address(address)) if at else ""
    except ValueError:
        raise SonoforgeError(f"callers: {text!r} is not TITLE or TITLE@ADDRESS, such as US1@192.168.1.7") from None
    return Caller(check_title(title, "callers"), found)


def read_archive(text: str) -> Archive:
    """Parse ``TITLE@HOST:PORT``, an IPv6 address in brackets; raise `SonoforgeError` for anything else."""
    title, _, place = text.partition("@")
    host, _, port = place.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise SonoforgeError(f"send_to: {text!r} is not TITLE@HOST:PORT, such as PACS@192.168.1.5:104")
    return Archive(check_title(title, "send_to"), host.strip("[]"), int(port))


def tls_context(purpose: int, certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """Return the TLS settings for a connection, ``ssl.PROTOCOL_TLS_SERVER`` or ``..._CLIENT``, from PEM files.

    ``key`` is empty if the certificate's file holds it; an empty ``authority`` accepts callers without certificates.
    """
    context = ssl.SSLContext(purpose)
    try:
        if certificate:
            context.load_cert_chain(certificate, key or None, password=lambda: "")
        if authority:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (certificate, key, authority)))
        raise SonoforgeError(
            f"{files}: cannot be used ({reason(error)}); give PEM files with a certificate, its key without a "
            "password, and authorities"
        ) from None
    return context
