"""Send reports to an archive: a service class user of DICOM storage (PS3.4, annex B)."""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
)

from sonoforge.runtime.dicom_network.incoming import Archive, Remarks

LOOK_SECONDS = 0.5
"""Between checks for reports."""
_LONGEST_PAUSE = 60.0  # before an archive that failed is tried again
_SECONDS = 30.0  # for a connection, an association, an answer
_WARNINGS = range(0xB000, 0xC000)  # PS3.4, B.2.3: stored, with remarks


class Sender(threading.Thread):
    """Sends the reports in a folder and removes each once the archive has stored it.

    The others stay and are tried again, also by the next process.
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
        self._entity.connection_timeout = self._entity.acse_timeout = _SECONDS
        self._entity.dimse_timeout = self._entity.network_timeout = _SECONDS
        for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            self._entity.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])

    def run(self) -> None:
        """Send until `end`, and then once more."""
        pause = LOOK_SECONDS
        while not self._ending.wait(pause):
            pause = LOOK_SECONDS if self.send() else min(2 * pause, _LONGEST_PAUSE)
        self.send()

    def end(self) -> None:
        """Send what is left once more, and stop."""
        self._ending.set()
        self.join(2 * _SECONDS)

    def send(self) -> bool:
        """Send all reports; return whether the archive has stored each."""
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
        """Send one file and remove it if it is stored; else return why not."""
        try:
            status = assoc.send_c_store(dcmread(file)).get("Status")
        except Exception as error:  # no context for it, no association any more, a damaged file
            return f"did not take a report ({type(error).__name__})"
        if status == 0x0000 or status in _WARNINGS:
            file.unlink(missing_ok=True)
            return ""
        return "gave no answer" if status is None else f"did not store a report (status {status:04X}H)"
