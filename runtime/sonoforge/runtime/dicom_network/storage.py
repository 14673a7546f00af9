"""Receive objects from machines and archives, and send reports: DICOM storage (PS3.4, annex B; PS3.8).

It refuses senders that do not speak DICOM, are not permitted, are too slow or send objects that are too large, each
with a line that names the caller and nothing about the patient. An object is on disk before its sender hears that it is
stored.
"""

from __future__ import annotations

import contextlib
import logging
import socketserver
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from sonoforge.runtime.dicom_network.inbox import Archive, Budget, Caller, Inbox, Remarks
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.dicom.data_set import DECODERS
from sonoforge.runtime.images.file_kinds import is_non_image_class
from sonoforge.runtime.images.limits import ImageError

SECONDS = 30.0
"""Seconds allowed for a caller's request to associate, for each message unit, and for a handshake."""
_IDLE_SECONDS = 120.0  # after which an idle association is ended
_MOST_UNIT = 1 << 20  # bytes of one message unit (PDU); larger ones are never read
_UNIT = 1 << 17  # largest PDU that callers are asked to send
_HELD = 4  # largest objects that are held in memory at a time
_CONNECTIONS = 4  # for each association: some have not asked for one yet
_COMMENT = 64  # letters (PS3.7, annex C)

LOOK_SECONDS = 0.5
"""Seconds between checks for reports."""
_LONGEST_PAUSE = 60.0  # before an archive that failed is tried again
_WARNINGS = range(0xB000, 0xC000)  # PS3.4, B.2.3: stored, with remarks

# PS3.4, B.2.3: status of C-STORE.
_STORED, _NO_ROOM, _DOES_NOT_MATCH, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000


class Reception(NamedTuple):
    """Limits for senders."""

    title: str  # AE title of this side
    callers: tuple[Caller, ...]  # empty for everyone
    most_bytes: int  # of an object
    associations: int  # at a time
    tls: ssl.SSLContext | None = None


class _Server(ThreadedAssociationServer):
    """Takes connections so that one caller cannot keep another waiting."""

    daemon_threads = True
    request_queue_size = 64
    reception: Reception

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; its handshake runs in its own thread, within its time."""
        connection, address = self.socket.accept()  # type: ignore[union-attr]
        connection.settimeout(SECONDS)
        if self.reception.tls:
            connection = self.reception.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for another connection."""
        del request, client_address
        return len(self.active_associations) < _CONNECTIONS * self.reception.associations

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a traceback of a connection that ended early may quote its contents."""


class _Input:
    """Reads a connection unit by unit, within its time and its share of the memory."""

    def __init__(self, connection: Any, most: int, budget: Budget, refuse: Callable[[str], None]) -> None:
        self._connection, self._most, self._budget, self._refuse = connection, most, budget, refuse
        self._held = 0

    def recv(self, count: int) -> bytearray:
        """Return this many bytes, or fewer if the connection has ended; raise OSError for refusals."""
        if count > _MOST_UNIT:
            self._fail(f"sent a message unit of {count / 1e6:.0f} MB, more than {_MOST_UNIT / 1e6:.0f} MB")
        if self._held + count > self._most + _MOST_UNIT:
            self._fail(f"sent an object larger than {self._most / 1e6:.0f} MB; --set dicom.most allows larger ones")
        if not self._budget.take(count):
            self._fail(f"all callers together sent more than {_HELD} times {self._most / 1e6:.0f} MB; it may try again")
        self._held += count
        data, until = bytearray(), time.monotonic() + SECONDS
        try:
            while len(data) < count:
                self._connection.settimeout(max(until - time.monotonic(), 1e-3))
                piece = self._connection.recv(min(count - len(data), 1 << 16))
                if not piece:
                    break
                data += piece
            self._connection.settimeout(SECONDS)  # for what is sent
        except ssl.SSLError as error:
            self._fail(f"no TLS that both sides accept ({error.reason or 'handshake'})")
        except TimeoutError:
            self._fail(f"sent {len(data)} of {count} bytes within {SECONDS:.0f} s")
        return data

    def done(self, _: Any = None) -> None:
        """Return an object's memory once it is answered or its connection has ended."""
        self._budget.give(self._held)
        self._held = 0

    def _fail(self, why: str) -> None:
        self._refuse(why)
        raise OSError(why)


class _Provider:
    """Answers callers."""

    def __init__(self, reception: Reception, inbox: Inbox, remarks: Remarks) -> None:
        self._reception, self._inbox, self._remarks = reception, inbox, remarks
        self._budget = Budget(_HELD * (reception.most_bytes + _MOST_UNIT))
        self._reported: weakref.WeakSet[Any] = weakref.WeakSet()  # connections that are not DICOM

    def handlers(self) -> list[Any]:
        """Return the event handlers."""
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_FSM_TRANSITION, self._moved),
            (evt.EVT_C_ECHO, lambda _: _STORED),
            (evt.EVT_C_STORE, self._store),
        ]

    def _refuse(self, assoc: Any, why: str) -> None:
        title = assoc.requestor.ae_title.strip()
        self._remarks.add(f"refused {title}{'@' * bool(title)}{assoc.requestor.address}: {why}")

    def _opened(self, event: Any) -> None:
        assoc = event.assoc
        connection = assoc.dul.socket
        most = self._reception.most_bytes
        limited = _Input(connection.socket, most, self._budget, lambda why: self._refuse(assoc, why))
        connection.recv = limited.recv
        assoc.bind(evt.EVT_DIMSE_SENT, limited.done)
        assoc.bind(evt.EVT_CONN_CLOSE, limited.done)

    def _requested(self, event: Any) -> None:
        """Reject a caller that is not permitted, by title or address (PS3.8, 9.3.4)."""
        asked, requestor = event.assoc.requestor.primitive, event.assoc.requestor
        requestor.ae_title = asked.calling_ae_title
        callers, title = self._reception.callers, asked.calling_ae_title.strip()
        if callers and not any(own.title == title and own.address in ("", requestor.address) for own in callers):
            self._refuse(event.assoc, "it is not one of --callers")
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            event.assoc.kill()  # waits until that is sent

    def _rejected(self, event: Any) -> None:
        rejected = event.assoc.acceptor.primitive
        if rejected is not None and rejected.diagnostic == 0x07:
            why = f"it calls an AE title other than {self._reception.title}"
        else:
            why = f"there are {self._reception.associations} associations already; it may try again"
        self._refuse(event.assoc, why)

    def _moved(self, event: Any) -> None:
        """Report messages that are not DICOM, and callers that connect without a request (PS3.8, 9.2.3)."""
        if event.fsm_event == "Evt19" and event.assoc not in self._reported:  # later messages are not DICOM either
            self._reported.add(event.assoc)
            self._refuse(event.assoc, "sent something that is not a DICOM message, or a damaged one")
        elif event.fsm_event == "Evt18" and event.current_state == "Sta2":
            self._refuse(event.assoc, f"sent no request to associate within {SECONDS:.0f} s")

    def _store(self, event: Any) -> int | Dataset:
        """Store an object (PS3.4, B.2.3), or answer with the reason why not."""
        asked = event.request
        try:
            self._inbox.store(event.encoded_dataset(), (asked.AffectedSOPClassUID, asked.AffectedSOPInstanceUID))
        except ImageError as error:
            return self._failed(event, _DOES_NOT_MATCH if error.code == "untrue" else _NOT_UNDERSTOOD, str(error))
        except SonoforgeError as error:  # no room, or no disk
            return self._failed(event, _NO_ROOM, f"no room now: {error}")
        except Exception as error:  # a parser meets hostile bytes; its text may quote them
            return self._failed(event, _NOT_UNDERSTOOD, f"damaged, or not valid DICOM ({type(error).__name__})")
        return _STORED

    def _failed(self, event: Any, status: int, why: str) -> Dataset:
        self._refuse(event.assoc, why)
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, why[:_COMMENT]
        return answer


@contextlib.contextmanager
def receiving(address: tuple[str, int], reception: Reception, inbox: Inbox, remarks: Remarks) -> Iterator[int]:
    """Receive objects into an inbox while inside; yield the port."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes what callers send
    entity = AE(reception.title)
    entity.require_called_aet = True
    entity.maximum_associations = reception.associations
    entity.maximum_pdu_size = _UNIT
    entity.acse_timeout, entity.network_timeout, entity.dimse_timeout = SECONDS, _IDLE_SECONDS, SECONDS
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        if not is_non_image_class(str(context.abstract_syntax)):
            entity.add_supported_context(str(context.abstract_syntax), [*DECODERS])
    host, port = address
    with refusing(f"{host}:{port}: cannot be bound", "give another --host or --port"):
        server: Any = entity.make_server(
            (host, port), evt_handlers=_Provider(reception, inbox, remarks).handlers(), server_class=_Server
        )
    server.reception = reception
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        socketserver.BaseServer.shutdown(server)
        server.server_close()


class Sender(threading.Thread):
    """Sends the reports in a folder and removes each once the archive has stored it.

    The others stay and are tried again, even by the next process.
    """

    def __init__(
        self, folder: Path, archive: Archive, title: str, tls: ssl.SSLContext | None, remarks: Remarks
    ) -> None:
        """Take the folder, the receiver, this side's AE title, and TLS settings if any."""
        super().__init__(daemon=True)
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes what is sent
        self._folder, self._archive, self._remarks = folder, archive, remarks
        self._tls = (tls, archive.host) if tls else None
        self._ending = threading.Event()
        self._failing = ""
        self._entity = AE(title)
        self._entity.connection_timeout = self._entity.acse_timeout = SECONDS
        self._entity.dimse_timeout = self._entity.network_timeout = SECONDS
        for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            self._entity.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])

    def run(self) -> None:
        """Send until `end`, and then once more."""
        pause = LOOK_SECONDS
        while not self._ending.wait(pause):
            pause = LOOK_SECONDS if self.send() else min(2 * pause, _LONGEST_PAUSE)
        self.send()

    def end(self) -> None:
        """Send what is left one last time, and stop."""
        self._ending.set()
        self.join(2 * SECONDS)

    def send(self) -> bool:
        """Send all reports; return whether the archive has stored them all."""
        files = sorted(self._folder.glob("*.dcm"))
        if not files:
            return True
        why = self._sent(files)
        left = sum(file.exists() for file in files)
        if why and why != self._failing:
            self._remarks.add(f"{self._archive}: {why}; {left} reports wait to be sent again")
        elif self._failing and not why:
            self._remarks.add(f"{self._archive}: accepts reports again")
        self._failing = why
        return not why

    def _sent(self, files: list[Path]) -> str:
        """Send files in one association; return the first failure, or an empty string."""
        options: dict[str, Any] = {"tls_args": self._tls} if self._tls else {}
        assoc = self._entity.associate(self._archive.host, self._archive.port, ae_title=self._archive.title, **options)
        if not assoc.is_established:
            return "rejects the association" if assoc.is_rejected else "cannot be reached"
        try:
            return next(filter(None, [self._stored(assoc, file) for file in files]), "")
        finally:
            if assoc.is_established:
                assoc.release()

    @staticmethod
    def _stored(assoc: Any, file: Path) -> str:
        """Send one file and remove it once stored; otherwise return the reason."""
        try:
            status = assoc.send_c_store(dcmread(file)).get("Status")
        except Exception as error:  # no context for it, no association any more, a damaged file
            return f"did not take a report ({type(error).__name__})"
        if status == 0x0000 or status in _WARNINGS:
            file.unlink(missing_ok=True)
            return ""
        return "gave no answer" if status is None else f"did not store a report (status {status:04X}H)"
