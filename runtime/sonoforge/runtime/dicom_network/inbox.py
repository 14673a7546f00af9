"""A folder of objects that were received and not yet answered, and of their answers: it survives a kill at any moment.

* ``received/``: objects, each whole and on the disk before its sender is told that it is stored;
* ``answers/``: for each object one ``SOP-INSTANCE-UID.json``, and its reports, which are objects themselves;
* ``outgoing/``: reports that an archive is to be sent and has not stored yet, in place of ``answers/``;
* ``scans/``: answered objects, only where they are to be kept.

An object is taken out of ``received/`` only after its answers are on the disk.  So a killed process loses nothing: at
worst, an object is answered or a report sent twice, with the same UIDs.

A file in ``received/`` is named by a hash of its contents: an object that is sent twice is one, and no message that
names the file tells of a patient.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic, leftovers
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.derived_objects import Identity, identify
from sonoforge.runtime.images.file_kinds import is_non_image_class
from sonoforge.runtime.images.inputs import Entry
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.notice import NOTICE

_LETTERS = 32  # of a file's name
_NAMES_OF_FILES = ("file", "copy_of", "seems_copy_of", "series")
THE_OBJECT = "the object"
"""What messages call an object that has no file yet."""


class FullError(SonoforgeError):
    """There is no room for an object now."""


class Inbox:
    """The folder.

    Attributes:
        received: Its folder of objects to answer.
        answers: Its folder of answers.
        outgoing: Its folder of reports to send.
    """

    def __init__(self, folder: Path, room: int, keep: bool = False) -> None:
        """Make the folder, and remove what a killed process left half-written.

        Args:
            folder: Made if it is not there.
            room: Most bytes of objects that wait to be answered.
            keep: Whether objects are kept when they are answered.

        Raises:
            SonoforgeError: It cannot be written.
        """
        self.received, self.answers, self.outgoing = folder / "received", folder / "answers", folder / "outgoing"
        self._folder, self._scans, self._room, self._keep = folder, folder / "scans", room, keep
        self._instances: dict[str, str] = {}  # by file
        for each in (self.received, self.answers, self.outgoing):
            atomic.prepare_folder(each)
            leftovers.remove_leftovers(each)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from answering here, while inside.

        Raises:
            SonoforgeError: One does.
        """
        with leftovers.alone_in(self._folder) as alone:
            if not alone:
                raise SonoforgeError(f"{self._folder}: another process answers here; end it, or choose another folder")
            yield

    def store(self, data: bytes, announced: tuple[str, str] | None = None) -> tuple[Path, Identity]:
        """Write an object, a whole file, to the disk; return its file and its UIDs.

        Args:
            data: The file.
            announced: The UIDs of its class and of itself as its sender gave them.

        Raises:
            ImageError: It is no DICOM object that an archive could file, or ``untrue``, another than was announced.
            FullError: There is no room for it.
            SonoforgeError: It cannot be written.
        """
        identity = identify(data, THE_OBJECT)
        if announced and announced != (identity.sop_class, identity.instance):
            raise ImageError("untrue", f"{THE_OBJECT}: its UIDs are not those that were announced; send it again")
        if is_non_image_class(identity.sop_class):
            raise ImageError("not_an_image", f"{THE_OBJECT}: found one without a picture, expected an image")
        waiting = 0
        for path in self.waiting():
            with contextlib.suppress(FileNotFoundError):  # it has been answered
                waiting += path.stat().st_size
        if waiting + len(data) > self._room:
            raise FullError(f"{waiting / 1e6:.0f} MB wait to be answered, and there is room for {self._room / 1e6:.0f}")
        file = self.received / f"{hashlib.sha256(data).hexdigest()[:_LETTERS]}.dcm"
        atomic.write_bytes(file, data)
        return file, identity

    def waiting(self) -> list[Path]:
        """Return the objects that are received and not yet answered."""
        return [*self.received.glob("*.dcm")]

    def answered(self, entry: Entry) -> Identity | None:
        """Write the answer for an object of ``received/``, and take it out; return its UIDs.

        It stays where a report on it could not be written, to be answered again at the next start: None.

        Raises:
            SonoforgeError: The answer cannot be written; the object stays.
        """
        path = Path(entry["file"])
        try:
            identity = identify(path, str(path))
        except ImageError as error:  # not received by us, or damaged since
            atomic.write_json(self.answers / f"{path.stem}.json", {**entry, "unwritten": [str(error)]})
            return None
        self._instances[str(path)] = identity.instance
        atomic.write_json(
            self.answers / f"{identity.instance}.json",
            {**self._named(entry), "object": identity._asdict(), "notice": NOTICE},
        )
        if entry.get("unwritten"):
            return None
        if self._keep:
            self._scans.mkdir(exist_ok=True)
            path.replace(self._scans / f"{identity.instance}.dcm")
        else:
            path.unlink(missing_ok=True)
        return identity

    def _named(self, entry: Entry) -> dict[str, Any]:
        """Name objects by their UIDs: the files will be gone."""
        return {
            key: self._instances.get(value, value) if key in _NAMES_OF_FILES and value else value
            for key, value in entry.items()
        }
