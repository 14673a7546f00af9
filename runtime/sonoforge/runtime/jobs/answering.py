"""Answer files, several at a time, and write everything that goes with each."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sonoforge.runtime.atomic import prepare_folder, write_bytes
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import STDIN, Entry, failure, hide, pseudonyms, read_stdin, silent_libraries
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.repeats import NOT_REPEATED, Fingerprint, Repeats, Sweeps
from sonoforge.runtime.inference.clips import Answer, answer_file
from sonoforge.runtime.settings import ClassifyConfig

if TYPE_CHECKING:
    from sonoforge.runtime.inference.classifier import Classifier
    from sonoforge.runtime.pages.answer_page import AnswerPage

_MOST_WORKERS = 8  # default limit on decoded images in memory, on however many cores
_BLOCK = 16  # files per worker whose lines are printed together: few enough to watch, enough to keep all cores busy


class Answering:
    """Answers files, in several threads if needed, and writes what goes with each.

    Attributes:
        failures: Entries of files known to fail.
    """

    def __init__(
        self,
        classifier: Classifier,
        failures: Mapping[str, Entry],
        extras: ClassifyConfig,
        page: AnswerPage | None = None,
        alone: bool = False,
    ) -> None:
        """Check that what goes with answers can be written; ``alone`` means a single file, which repeats none."""
        self.failures = failures
        self._classifier, self._extras, self._page = classifier, extras, page
        self._names: dict[str, str] = {}
        self._seen = Counter[str]()
        self._input = b""
        self._repeats = None if alone else Repeats()
        self._sweeps = Sweeps()
        self._fingerprints: dict[str, Fingerprint] = {}
        self._overlays: dict[str, Path] = {}  # pictures by the name of their file
        for folder in filter(None, (extras.overlay, extras.sr, extras.sc)):
            prepare_folder(Path(folder))

    def name(self, files: Sequence[str]) -> dict[str, str]:
        """Return the name of each file in everything printed and written, and reserve its picture's name.

        This reads standard input if it is among them.
        """
        if STDIN in files:
            self._input = read_stdin()
        names = dict(zip(files, files, strict=True))
        if self._extras.anonymous:
            names = pseudonyms(files, {STDIN: self._input}, self._seen)
        if self._extras.overlay:
            from sonoforge.runtime.explanations import choose_targets  # noqa: PLC0415 - only with --overlay

            usable = [names[file] for file in files if file not in self.failures]
            choose_targets(Path(self._extras.overlay), usable, self._overlays)
        self._names.update(names)
        return names

    def answer(self, file: str) -> Entry:
        """Return the entry of a file."""
        entry = self.failures.get(file) or self._classified(file)
        return hide(entry, file, self._names[file]) if self._extras.anonymous else entry

    def mark_repeat(self, entry: Entry) -> None:
        """Note in a file's entry which earlier file shows the same picture, and which sweep it belongs to.

        Call it in the order of the files.
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
            if self._page:
                self._page.picture(self._names[file], self._thumbnails(answered))
            return {**answered.entry, **self._write(file, answered)}
        except ImageError as error:
            return failure(file, error.code, str(error))

    def _write(self, file: str, answered: Answer) -> Entry:
        """Write what goes with an answer; note in it what cannot be written, as the answer itself still holds."""
        more, unwritten = dict[str, Any](), []
        for key in ("overlay", "sr", "sc") if "dicom" in answered.entry else ("overlay",):
            if folder := getattr(self._extras, key):
                try:
                    more[key] = str(self._written(key, Path(folder), file, answered))
                except SonoforgeError as error:
                    unwritten.append(str(error))
                    if isinstance(error, ImageError):  # which no other try would change
                        more["unwritable"] = True
        return {**more, "unwritten": unwritten} if unwritten else more

    def _written(self, key: str, folder: Path, file: str, answered: Answer) -> Path:
        """Write a picture, report or capture of an answer; return its path."""
        from sonoforge.runtime.explanations import draw, png  # noqa: PLC0415 - only if asked for

        if key == "overlay":
            target = self._overlays[self._names[file]]
            write_bytes(target, png(draw(answered.picture(), answered.result), answered.result))
            return target
        from sonoforge.runtime.images.dicom import derived_objects  # noqa: PLC0415 - only for DICOM

        if key == "sr":
            return derived_objects.write_report(folder, file, answered.entry)
        picture = functools.partial(draw, answered.picture(), answered.result)
        return derived_objects.write_capture(folder, file, answered.entry, picture)

    def _thumbnails(self, answered: Answer) -> list[str]:
        from sonoforge.runtime.pages.cards import map_alone, thumbnails  # noqa: PLC0415 - only with --html

        if self._extras.anonymous:
            return map_alone(answered.result)
        return thumbnails(answered.picture(), answered.result)


class Scans(NamedTuple):
    """Answers to scans whose patients may be known."""

    answered: list[Entry]
    failed: list[Entry]
    groups: list[int]  # of each answered one, by patients and repeats, numbered by first appearance


def answer_scans(
    classifier: Classifier, patients: Mapping[str, str | None], title: str, workers: tuple[int, int]
) -> Scans:
    """Answer files by their known patients; those with scans that repeat one another's count as one."""
    answering, found, joined = Answering(classifier, {}, ClassifyConfig()), Scans([], [], []), dict[str, str]()
    answering.name([*patients])

    def group_of(file: str) -> str:
        group = patients[file] or f"file {file}"
        while group in joined:
            group = joined[group]
        return group

    for entry in answer_all(answering.answer, [*patients], title, workers):
        (found.answered if entry["ok"] else found.failed).append(entry)
        if entry["ok"]:
            answering.mark_repeat(entry)
            own, earlier = group_of(entry["file"]), entry["copy_of"] or entry["seems_copy_of"]
            if earlier and group_of(earlier) != own:
                joined[own] = group_of(earlier)
    groups = [group_of(entry["file"]) for entry in found.answered]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return found._replace(groups=[numbers[group] for group in groups])


def answer_all(
    answer: Callable[[str], Entry],
    files: Sequence[str],
    title: str,
    workers: tuple[int, int],
    keep: Callable[[Entry], None] = lambda entry: None,
) -> Iterator[Entry]:
    """Yield the answer for each file, in order, under a bar of this title; ``keep`` each as soon as it is known.

    ``workers`` are how many files to answer at a time, 0 for `workers_for`, and the threads of each. Silencing the
    decoders silences all of stderr, so a whole block of files is answered before any of it is yielded.  On Ctrl-C, the
    finished part of the block is yielded before the interruption is raised again.
    """
    done, at_once = itertools.count(1), workers[0] or workers_for(len(files), workers[1])
    with progress_bar(title, len(files), silenced=True) as advance:

        def known(entry: Entry) -> Entry:
            keep(entry)
            advance(next(done), None)
            return entry

        if at_once == 1:
            for file in files:
                with silent_libraries():
                    entry = answer(file)
                yield known(entry)
            return
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - one file does not wait for it

        pool = ThreadPoolExecutor(at_once)
        try:
            for begin in range(0, len(files), _BLOCK * at_once):
                futures = [pool.submit(answer, file) for file in files[begin : begin + _BLOCK * at_once]]
                finished, interrupted = [], False
                with silent_libraries():
                    try:
                        for future in futures:
                            finished.append(known(future.result()))
                    except KeyboardInterrupt:
                        interrupted = True
                yield from finished
                if interrupted:
                    raise KeyboardInterrupt
        finally:
            pool.shutdown(cancel_futures=True)


def workers_for(files: int, threads: int) -> int:
    """Return how many files to answer at a time on this machine, with this many threads each."""
    if files < 2:
        return 1
    from sonoforge.runtime.machine import cores  # noqa: PLC0415 - one file does not wait for it

    return max(1, min(cores() // threads, _MOST_WORKERS))
