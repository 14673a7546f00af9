"""Receive objects from machines and archives, and send reports: DICOM storage (PS3.4, annex B; PS3.8).

It refuses senders that do not speak DICOM, are not permitted, are too slow or send objects that are too large, each
with a line that names the caller and nothing about the patient. An object is on disk before its sender hears that it is
stored.
"""

from __future__ import annotations

import contextlib
import logging
import socket
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
from pydicom.uid import (  # type: ignore[attr-defined]
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID_dictionary,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt, register_uid
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

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
_SILENT = 64  # connections that have not asked to associate yet; beyond that the oldest is dropped
_UNCOUNTED = 10_000  # pynetdicom counts callers that are about to leave as associations
_NAMED = 3  # classes in a line
_PATIENCE = 2.5  # seconds after which a silent association makes room for another caller
_NOT_DICOM = "sent something that is not a DICOM message, or a damaged one"
_COMMENT = 64  # letters (PS3.7, annex C)

LOOK_SECONDS = 0.5
"""Seconds between checks for reports."""
_LONGEST_PAUSE = 60.0  # before an archive that failed is tried again
_WARNINGS = range(0xB000, 0xC000)  # PS3.4, B.2.3: stored, with remarks

# PS3.4, B.2.3: status of C-STORE.
_NOT_AS_SENT = 0x04  # PS3.8, table 9-18: no transfer syntax of a context is read
_STORED, _NO_ROOM, _DOES_NOT_MATCH, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000


class Reception(NamedTuple):
    """Limits for senders."""

    title: str  # AE title of this side
    callers: tuple[Caller, ...]  # empty for everyone
    most_bytes: int  # of an object
    associations: int  # at a time
    tls: ssl.SSLContext | None = None


class _Handler(RequestHandler):
    """Starts the two busy threads of an association only once a caller has asked for it."""

    def handle(self) -> None:
        """Wait for the request to associate."""
        server: Any = self.server
        assoc = self._create_association()
        if server.provider.opened(assoc):
            assoc.start()
        else:
            server.shutdown_request(self.request)


class _Server(ThreadedAssociationServer):
    """Takes connections so that one caller cannot keep another waiting."""

    daemon_threads = True
    request_queue_size = 1024
    provider: _Provider

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; its handshake runs in its own thread, within its time."""
        connection, address = self.socket.accept()  # type: ignore[union-attr]
        connection.settimeout(SECONDS)
        if tls := self.provider.reception.tls:
            connection = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a traceback of a connection that ended early may quote its contents."""


class _Input:
    """Reads a connection unit by unit, within its time and its share of the memory."""

    def __init__(self, connection: Any, most: int, budget: Budget, refuse: Callable[[str], None]) -> None:
        self._connection, self._most, self._budget, self._refuse = connection, most, budget, refuse
        self._held, self.heard = 0, time.monotonic()
        self.is_peer = False  # associated

    def recv(self, count: int) -> bytearray:
        """Return this many bytes, or fewer if the connection has ended; raise OSError for refusals."""
        if count > _MOST_UNIT:
            self._fail(f"sent a message unit of {count / 1e6:.0f} MB, more than {_MOST_UNIT / 1e6:.0f} MB")
        if self._held + count > self._most + _MOST_UNIT:
            self._fail(f"sent an object larger than {self._most / 1e6:.0f} MB; --set dicom.most allows larger ones")
        data, until = bytearray(), time.monotonic() + SECONDS
        try:
            while len(data) < count:
                self._connection.settimeout(max(until - time.monotonic(), 1e-3))
                piece = self._connection.recv(min(count - len(data), 1 << 16))
                if not piece:
                    break
                if not self._budget.take(len(piece)):
                    whole = f"{_HELD} times {self._most / 1e6:.0f} MB"
                    self._fail(f"all callers together sent more than {whole}; it may try again")
                self._held += len(piece)
                data += piece
            self.heard = time.monotonic()
            self._connection.settimeout(SECONDS)  # for what is sent
        except ssl.SSLError as error:
            self._fail(f"no TLS that both sides accept ({error.reason or 'handshake'})")
        except TimeoutError:
            self._fail(f"sent {len(data)} of {count} bytes within {SECONDS:.0f} s")
        return data

    def done(self, _: Any = None) -> None:
        """Return an object's memory once it is answered or its connection has ended."""
        self._budget.give(self._held)
        self._held, self.heard = 0, time.monotonic()

    def drop(self, why: str) -> None:
        """End the connection, whatever it waits for."""
        self._refuse(why)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _fail(self, why: str) -> None:
        self._refuse(why)
        raise OSError(why)


class _Provider:
    """Answers callers."""

    def __init__(self, reception: Reception, inbox: Inbox, remarks: Remarks) -> None:
        self.reception, self._inbox, self._remarks = reception, inbox, remarks
        self.contexts: list[PresentationContext] = []  # that are accepted
        self._budget = Budget(_HELD * (reception.most_bytes + _MOST_UNIT))
        self._reported: weakref.WeakSet[Any] = weakref.WeakSet()  # connections that are not DICOM
        self._lock = threading.Lock()
        self._silent = list[Any]()  # associations to be, which have not been asked for, the oldest first
        self._asked = list[Any]()  # those that have, until they end

    def handlers(self) -> list[Any]:
        """Return the event handlers."""
        other = f"it calls an AE title other than {self.reception.title}"
        return [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_REJECTED, lambda event: self._refuse(event.assoc, other)),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_FSM_TRANSITION, self._moved),
            (evt.EVT_C_ECHO, lambda _: _STORED),
            (evt.EVT_C_STORE, self._store),
        ]

    def _refuse(self, assoc: Any, why: str) -> None:
        title = assoc.requestor.ae_title.strip()
        self._remarks.add(f"refused {title}{'@' * bool(title)}{assoc.requestor.address}: {why}")

    def opened(self, assoc: Any) -> bool:
        """Wait for a caller's first message, in its own thread; return whether it asks to associate."""
        connection = assoc.dul.socket
        most = self.reception.most_bytes
        assoc.limited = _Input(connection.socket, most, self._budget, lambda why: self._refuse(assoc, why))
        connection.recv = assoc.limited.recv
        assoc.bind(evt.EVT_DIMSE_SENT, assoc.limited.done)
        assoc.bind(evt.EVT_CONN_CLOSE, assoc.limited.done)
        with self._lock:
            self._silent.append(assoc)
            oldest = self._silent.pop(0) if len(self._silent) > _SILENT else None
        if oldest:
            oldest.limited.drop(f"it had not asked to associate, and {_SILENT} others came after it")
        assoc.dul._read_pdu_data()
        assoc.limited.done()
        found = assoc.dul.event_queue.queue[-1]  # PS3.8, 9.2.3
        asked = bool(found == "Evt6")
        with self._lock:
            self._silent = [one for one in self._silent if one is not assoc]
            for one in self._asked:
                if one.ident and not one.is_alive():  # however it ended
                    one.limited.done()
            self._asked = [one for one in self._asked if one.is_alive() or not one.ident] + [assoc] * asked
        if not asked and found != "Evt17":  # the connection has ended
            self._refuse(assoc, _NOT_DICOM)
        return asked

    def _requested(self, event: Any) -> None:
        """Reject a caller that is not permitted, by title or address, or for whom there is no room (PS3.8, 9.3.4)."""
        assoc, asked, requestor = event.assoc, event.assoc.requestor.primitive, event.assoc.requestor
        requestor.ae_title = asked.calling_ae_title
        assoc.acceptor.supported_contexts = self.contexts
        callers, title = self.reception.callers, asked.calling_ae_title.strip()
        why, reason = "", (0x02, 0x03, 0x02)
        if callers and not any(own.title == title and own.address in ("", requestor.address) for own in callers):
            why, reason = "it is not one of --callers", (0x01, 0x01, 0x03)
        with self._lock:
            peers = [one for one in self._asked if one.limited.is_peer and one.is_alive()]
            if not why and len(peers) >= self.reception.associations:
                oldest = min(peers, key=lambda one: float(one.limited.heard))
                if time.monotonic() - oldest.limited.heard < _PATIENCE:
                    why = f"there are {self.reception.associations} associations already; it may try again"
                else:
                    oldest.limited.is_peer = False
                    oldest.limited.drop("it was the longest silent of all, and another waits")
            assoc.limited.is_peer = not why
        if why:
            self._refuse(assoc, why)
            assoc.acse.send_reject(*reason)
            assoc.kill()  # waits until that is sent

    def failed(self, failure: Any) -> None:
        """Take an error of a connection's thread, which a caller that leaves out of turn can cause, as a refusal."""
        if isinstance(failure.thread, Association | DULServiceProvider):
            assoc = getattr(failure.thread, "assoc", failure.thread)
            self._refuse(assoc, f"left out of turn, or sent what cannot be ({failure.exc_type.__name__})")
        else:
            threading.__excepthook__(failure)

    def _accepted(self, event: Any) -> None:
        """Name the classes of pictures that a caller offers in vain, or all of them where nothing is taken."""
        taken = {context.abstract_syntax for context in event.assoc.accepted_contexts} - {Verification}
        vain = {one.abstract_syntax: one for one in event.assoc.rejected_contexts if one.abstract_syntax not in taken}
        names = [
            _named(kind) + f" as {_named(one.transfer_syntax[0])}" * (one.result == _NOT_AS_SENT)
            for kind, one in vain.items()
            if not taken or kind.is_private or "Image Storage" in kind.name
        ]
        if names:
            more = f" and {len(names) - _NAMED} other classes" if len(names) > _NAMED else ""
            self._refuse(event.assoc, f"does not receive {', '.join(names[:_NAMED])}{more}")

    def _moved(self, event: Any) -> None:
        """Report messages that are not DICOM (PS3.8, 9.2.3)."""
        if event.fsm_event == "Evt19" and event.assoc not in self._reported:  # later messages are not DICOM either
            self._reported.add(event.assoc)
            self._refuse(event.assoc, _NOT_DICOM)

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


def _named(uid: UID) -> str:
    """Return the name of a class or a transfer syntax, or its number; what is neither is not quoted."""
    return uid.name if uid.is_valid else "what has no valid UID"


@contextlib.contextmanager
def receiving(address: tuple[str, int], reception: Reception, inbox: Inbox, remarks: Remarks) -> Iterator[int]:
    """Receive objects into an inbox while inside; yield the port."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it quotes what callers send
    entity = AE(reception.title)
    entity.require_called_aet = True
    entity.maximum_associations = _UNCOUNTED
    entity.maximum_pdu_size = _UNIT
    entity.acse_timeout, entity.network_timeout, entity.dimse_timeout = SECONDS, _IDLE_SECONDS, SECONDS
    entity.add_supported_context(Verification)
    kinds = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    for kind, (name, _, _, status, keyword) in UID_dictionary.items():
        if status == "Retired" and "Image Storage" in name:  # of older machines; unknown to pynetdicom
            register_uid(kind, keyword, StorageServiceClass)
            kinds.append(kind)
    for kind in kinds:
        if not is_non_image_class(kind):
            entity.add_supported_context(kind, [*DECODERS])
    (host, port), provider = address, _Provider(reception, inbox, remarks)
    provider.contexts = entity.supported_contexts
    with refusing(f"{host}:{port}: cannot be bound", "give another --host or --port"):
        server: Any = entity.make_server(
            (host, port), evt_handlers=provider.handlers(), server_class=_Server, request_handler=_Handler
        )
    server.provider, server.contexts = provider, []  # which are copied, slowly, for each connection
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    threading.excepthook = provider.failed  # which would print a traceback
    try:
        yield int(server.server_address[1])
    finally:
        threading.excepthook = threading.__excepthook__
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
