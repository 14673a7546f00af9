"""Answer one file after another, with all that is written for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sonoforge.runtime.atomic import prepare_folder, write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import STDIN, Entry, failure, read_stdin
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.repeats import NOT_REPEATED, Fingerprint, Repeats, Sweeps
from sonoforge.runtime.inference.clips import Answer, answer_file
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.runtime.explanations import OverlayFolder
    from sonoforge.runtime.inference.classifier import Classifier
    from sonoforge.runtime.pages.answer_page import AnswerPage


class Extras(NamedTuple):
    """What is written with each answer; empty for nothing.

    Attributes:
        overlay: Folder of pictures.
        sr: Folder of DICOM structured reports.
        sc: Folder of DICOM secondary captures.
        page: The page of answers.
        beside: Also write each answer beside its file.
        anonymous: Name files by their contents.
    """

    overlay: str = ""
    sr: str = ""
    sc: str = ""
    page: AnswerPage | None = None
    beside: bool = False
    anonymous: bool = False


class Answering:
    """Answers files, in several threads if need be, and writes what goes with each.

    Attributes:
        failures: Entries of files that are known to fail.
    """

    def __init__(
        self, classifier: Classifier, failures: Mapping[str, Entry], extras: Extras, alone: bool = False
    ) -> None:
        """Check that what goes with answers can be written.

        Args:
            classifier: The bundle that answers.
            failures: Entries of files that are known to fail.
            extras: What goes with each answer.
            alone: Whether there is one file only, which repeats no other.

        Raises:
            SonoforgeError: A folder cannot be written.
        """
        self.failures = failures
        self._classifier, self._extras = classifier, extras
        self._names: dict[str, str] = {}
        self._seen = Counter[str]()
        self._input = b""
        self._repeats = None if alone else Repeats()
        self._sweeps = Sweeps()
        self._fingerprints: dict[str, Fingerprint] = {}
        self._overlays: OverlayFolder | None = None
        if extras.overlay:
            from sonoforge.runtime.explanations import OverlayFolder  # noqa: PLC0415 - only with --overlay

            self._overlays = OverlayFolder(Path(extras.overlay))
        for folder in filter(None, (extras.sr, extras.sc)):
            prepare_folder(Path(folder))

    def name(self, files: Sequence[str]) -> dict[str, str]:
        """Return what to call each file in all that is printed and written, and reserve its picture's name.

        Reads standard input if that is among them.
        """
        if STDIN in files:
            self._input = read_stdin()
        names = dict(zip(files, files, strict=True))
        if self._extras.anonymous:
            from sonoforge.runtime.images.inputs import pseudonyms  # noqa: PLC0415 - only with --anonymous

            names = pseudonyms(files, {STDIN: self._input}, self._seen)
        if self._overlays:
            self._overlays.reserve([names[file] for file in files if file not in self.failures])
        self._names.update(names)
        return names

    def answer(self, file: str) -> Entry:
        """Return the entry of a file."""
        return self._named(file, self.failures.get(file) or self._classified(file))

    def take(self, file: str, entry: Entry, fingerprint: Fingerprint | None) -> Entry:
        """Return the entry of a file that another process has answered, as `answer` does."""
        if fingerprint:
            self._fingerprints[self._names[file]] = fingerprint
        return self._named(file, entry)

    def _named(self, file: str, entry: Entry) -> Entry:
        if not self._extras.anonymous:
            return entry
        from sonoforge.runtime.images.inputs import hide  # noqa: PLC0415 - only with --anonymous

        return hide(entry, file, self._names[file])

    def mark_repeat(self, entry: Entry) -> None:
        """Note in the entry of a file which earlier one shows the same picture, and which sweep it belongs to.

        Called in the order of the files.
        """
        file = entry["file"]
        own = self._fingerprints.pop(file, None)
        if self._repeats and own:
            entry.update(self._repeats.find(file, own), series=self._sweeps.find(file, own))
        elif entry["ok"]:
            entry.update(NOT_REPEATED, series=file)

    def _classified(self, file: str) -> Entry:
        try:
            data = self._input if file == STDIN else None
            answered = answer_file(self._classifier, file, data, fingerprint=self._repeats is not None)
            if answered.result.fingerprint:
                self._fingerprints[self._names[file]] = answered.result.fingerprint
            return {**answered.entry, **self._write(file, answered)}
        except ImageError as error:
            return failure(file, error.code, str(error))

    def _write(self, file: str, answered: Answer) -> Entry:
        """Write what goes with an answer; what cannot be written is noted in it, as the answer itself stands."""
        more: dict[str, Any] = {}
        unwritten = []
        if self._overlays:
            from sonoforge.runtime.explanations import write  # noqa: PLC0415 - only with --overlay

            picture = self._overlays.target(self._names[file])
            try:
                write(picture, answered.picture(), answered.result)
                more["overlay"] = str(picture)
            except SonoforgeError as error:
                unwritten.append(str(error))
        if self._extras.sr and "dicom" in answered.entry:
            from sonoforge.runtime.images.dicom.derived_objects import write_report  # noqa: PLC0415 - only with --sr

            try:
                more["sr"] = str(write_report(Path(self._extras.sr), file, answered.entry))
            except SonoforgeError as error:
                unwritten.append(str(error))
        if self._extras.sc and "dicom" in answered.entry:
            from sonoforge.runtime.explanations import draw  # noqa: PLC0415 - only with --sc
            from sonoforge.runtime.images.dicom.derived_objects import write_capture  # noqa: PLC0415 - only with --sc

            try:
                drawn = write_capture(
                    Path(self._extras.sc), file, answered.entry, lambda: draw(answered.picture(), answered.result)
                )
                more["sc"] = str(drawn)
            except SonoforgeError as error:
                unwritten.append(str(error))
        if self._extras.page:
            self._extras.page.picture(self._names[file], self._thumbnails(answered))
        if self._extras.beside:
            try:
                write_json(f"{file}.sonoforge.json", {**answered.entry, **more, "notice": NOTICE})
            except SonoforgeError as error:
                unwritten.append(str(error))
        return {**more, "unwritten": unwritten} if unwritten else more

    def _thumbnails(self, answered: Answer) -> list[str]:
        from sonoforge.runtime.pages.cards import map_alone, thumbnails  # noqa: PLC0415 - only with --html

        if self._extras.anonymous:
            return map_alone(answered.result)
        return thumbnails(answered.picture(), answered.result)
