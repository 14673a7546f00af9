"""Keep received objects and their answers in a folder that survives a kill at any moment.

* ``received/``: objects, each whole and on disk before its sender hears that it is stored;
* ``answers/``: one ``SOP-INSTANCE-UID.json`` for each object, and its reports, which are DICOM objects themselves;
* ``outgoing/``: reports that an archive has not stored yet, instead of in ``answers/``;
* ``scans/``: answered objects, if they are kept;
* ``aside/``: objects that no report can be written on, and that are not answered again.

An object leaves ``received/`` only after its answers are on disk.  A killed process therefore loses nothing: at worst,
an object is answered or a report sent twice, with the same UIDs.

Files in ``received/`` are named by a hash of their contents: an object sent twice is one file, and messages that name
the file identify no patient.
"""

import contextlib
import hashlib
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.images import file_kinds, inputs, limits
from sonoforge.runtime.images.dicom.derived_objects import Identity, identify
from sonoforge.runtime.notice import NOTICE

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


_LETTERS = 32  # of a file's name
_NAMES_OF_FILES = ("file", "copy_of", "seems_copy_of", "series")
THE_OBJECT = "the object"
"""Name, in messages, of an object that has no file yet."""


class Inbox:
    """The folder, with subfolders for objects to answer, answers, and reports to send."""

    def __init__(self, folder: Path, room: int, keep: bool = False) -> None:
        """Make the folder if necessary, and remove half-written files of killed processes.

        ``room`` limits the bytes of unanswered objects; ``keep`` keeps answered ones.
        """
        self.received, self.answers, self.outgoing = folder / "received", folder / "answers", folder / "outgoing"
        self._folder, self._scans, self._aside, self._room = folder, folder / "scans", folder / "aside", room
        self._keep = keep
        self._instances: dict[str, str] = {}  # by file
        for each in (self.received, self.answers, self.outgoing):
            atomic.prepare_folder(each)
            atomic.remove_leftovers(each)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from answering here while inside."""
        with atomic.alone_in(self._folder) as alone:
            if not alone:
                raise SonoforgeError(f"{self._folder}: another process answers here; stop it, or choose another folder")
            yield

    def store(self, data: bytes, announced: tuple[str, str] | None = None) -> tuple[Path, Identity]:
        """Write an object to disk; return its file and UIDs. Class and instance UIDs must match ``announced``.

        Raises:
            ImageError: It is not a DICOM object that an archive could file, or (``untrue``) not the one announced.
            SonoforgeError: There is no room for it.
        """
        identity = identify(data, THE_OBJECT)
        if announced and announced != (identity.sop_class, identity.instance):
            raise limits.ImageError("untrue", f"{THE_OBJECT}: its UIDs differ from those announced; send it again")
        if file_kinds.is_non_image_class(identity.sop_class):
            raise limits.ImageError("not_an_image", f"{THE_OBJECT}: has no picture; send images")
        waiting = 0
        for path in self.waiting():
            with contextlib.suppress(FileNotFoundError):  # answered meanwhile
                waiting += path.stat().st_size
        if waiting + len(data) > self._room:
            allowed = f"{self._room / 1e6:.0f} MB allowed"
            raise SonoforgeError(f"{waiting / 1e6:.0f} MB are waiting for answers, of {allowed}")
        file = self.received / f"{hashlib.sha256(data).hexdigest()[:_LETTERS]}.dcm"
        atomic.write_bytes(file, data)
        return file, identity

    def waiting(self) -> list[Path]:
        """Return the unanswered objects."""
        return [*self.received.glob("*.dcm")]

    def answered(self, entry: inputs.Entry) -> Identity | None:
        """Write the answer for an object, take it out of ``received/``, and return its UIDs.

        If its report could not be written, return None.  If that is the object's fault, it is moved to ``aside/``;
        otherwise it stays, to be answered again at the next start.
        """
        path = Path(entry["file"])
        try:
            identity = identify(path, str(path))
        except limits.ImageError as error:  # put there by someone else, or damaged since
            atomic.write_json(self.answers / f"{path.stem}.json", {**entry, "unwritten": [str(error)]})
            self._move(path, self._aside)
            return None
        self._instances[str(path)] = identity.instance
        named = {  # by UIDs, since the files will be gone
            key: self._instances.get(value, value) if key in _NAMES_OF_FILES and value else value
            for key, value in entry.items()
        }
        answer = {**named, "object": identity._asdict(), "notice": NOTICE}
        atomic.write_json(self.answers / f"{identity.instance}.json", answer)
        if entry.get("unwritten"):
            if entry.get("unwritable"):
                self._move(path, self._aside)
            return None
        if self._keep:
            self._move(path, self._scans, f"{identity.instance}.dcm")
        else:
            path.unlink(missing_ok=True)
        return identity

    @staticmethod
    def _move(path: Path, folder: Path, name: str = "") -> None:
        with contextlib.suppress(FileNotFoundError):  # taken away by someone else
            folder.mkdir(exist_ok=True)
            path.replace(folder / (name or path.name))
