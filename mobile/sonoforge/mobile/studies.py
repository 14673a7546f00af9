"""Take DICOM objects over the web by STOW-RS (PS3.18, 10.5), answering them into a folder.

Each object is on disk before it is answered, and its answers before the request is; see `dicom_network.inbox`.  Objects
left by a killed process are answered at the next start.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.cli.answering import Answering, Extras
from sonoforge.runtime.dicom_network.inbox import FullError, Inbox
from sonoforge.runtime.dicom_network.incoming import parts_of
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.derived_objects import Identity
from sonoforge.runtime.images.dicom.header import import_pydicom
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.classifier import Classifier

log = logging.getLogger(__name__)

_ROOM = 10_000_000_000  # bytes of waiting objects; here only of requests being answered

# PS3.18, 10.5.3, and annex I: attributes of the response, and failure reasons.
_STORED, _FAILED, _REASON = "00081199", "00081198", "00081197"
_CLASS, _INSTANCE = "00081150", "00081155"
_NOT_UNDERSTOOD, _NO_ROOM = 0xC000, 0xA700


class Taken(NamedTuple):
    """The response to a request."""

    status: HTTPStatus
    content: dict[str, Any]


class Studies:
    """Stores objects and answers them into a folder."""

    def __init__(self, folder: Path, classifier: Classifier) -> None:
        """Make the folder, and answer objects that a killed process left in it.

        Raises:
            SonoforgeError: It cannot be written, or the extra ``dicom`` is not installed.
        """
        import_pydicom("studies")
        self._inbox = Inbox(folder, _ROOM)
        reports = str(self._inbox.answers)
        self._answering = Answering(classifier, {}, Extras(sr=reports, sc=reports))
        self._turn = threading.Lock()
        self._locked = contextlib.ExitStack()  # as long as this is in use
        self._locked.enter_context(self._inbox.alone())
        for file in self._inbox.waiting():
            self._answer(file)

    def take(self, body: bytes, boundary: str) -> Taken:
        """Store and answer the objects of a body (multipart/related, RFC 2387)."""
        stored, failed = [], []
        for part in parts_of(body, boundary):
            identity, reason = self._one(part)
            if reason:
                log.warning("refused an object: status %04XH", reason)
            item = {} if identity is None else {_CLASS: _uid(identity.sop_class), _INSTANCE: _uid(identity.instance)}
            if reason:
                failed.append({**item, _REASON: {"vr": "US", "Value": [reason]}})
            else:
                stored.append(item)
        status = HTTPStatus.CONFLICT if not stored else HTTPStatus.ACCEPTED if failed else HTTPStatus.OK
        sequences = {_STORED: stored, _FAILED: failed}
        return Taken(status, {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items})

    def _one(self, part: bytes) -> tuple[Identity | None, int]:
        """Store and answer one object; return its UIDs, if known, and the failure reason or 0."""
        identity = None
        try:
            file, identity = self._inbox.store(part)
            return identity, 0 if self._answer(file) else _NOT_UNDERSTOOD
        except ImageError:
            return identity, _NOT_UNDERSTOOD
        except FullError:
            return identity, _NO_ROOM
        except SonoforgeError as error:
            log.error("%s", error)
            return identity, _NO_ROOM

    def _answer(self, file: Path) -> bool:
        """Answer an object and remove it from the inbox; return whether all its answers were written."""
        with self._turn:
            self._answering.name([str(file)])
            entry = self._answering.answer(str(file))
            self._answering.mark_repeat(entry)
            return bool(self._inbox.answered(entry) and entry["ok"])


def _uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}
