"""``sonoforge classify --cluster``: a large folder, answered on the machines of a Ray cluster.

Workers answer a few files at a time.  This machine finds the files and keeps the answers in their order, with all that
is told of several: repeats, series, counts.  So ``--csv`` is that of one machine, to the byte, and ``--resume`` goes on
with either's; ``--jsonl`` differs in ``ms`` alone.

The bundle travels by its checked content.  An image is read where a machine has a file of the same path, size and time
of change; to other machines its content is sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime import leftovers
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.files import read_manifest
from sonoforge.runtime.bundle.reader import Bundle, BundleError
from sonoforge.runtime.cli.answering import Answering
from sonoforge.runtime.cli.options import Outcome, options
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import STDIN, Entry, failure
from sonoforge.runtime.images.limits import MAX_FILE_BYTES, ImageError
from sonoforge.runtime.images.repeats import Fingerprint
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.clips import answer_file
from sonoforge.runtime.inference.loading import LoadingModel
from sonoforge.runtime.inference.onnx_session import CPU
from sonoforge.runtime.verbs.classifying import classify, open_classifier
from sonoforge.runtime.verbs.settings import ClassifyConfig
from sonoforge.training.workers.opening import open_workers
from sonoforge.training.workers.ray_cluster import check_cluster
from sonoforge.training.workers.workers import Workers, WorkerSettings

_FILES = 16  # of a task; each answer takes some 70 kB, most of it the view by which repeats are told
_SENT_BYTES = 32_000_000  # of contents in a task, after which no other is added
_AHEAD = 4 * _FILES  # files for each worker that are given out before the first of them is answered

_NOT_HERE = ("watch", "html", "overlay", "sr", "sc", "beside")
"""Settings of what is written beside the answers, by the process that has the pictures; and of scans yet to come."""


class Image(NamedTuple):
    """A file to answer: its path, by which size and time of change a machine knows it, and its content if sent."""

    file: str
    stamp: tuple[int, int] | None
    content: bytes = b""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What answers: a worker that has it ready does not read the bundle again."""

    digest: str  # of the bundle
    config: ClassifyConfig
    bundle: Path = dataclasses.field(compare=False)


class Task(NamedTuple):
    """What a worker is given."""

    setup: Setup
    images: Sequence[Image]


class Answered(NamedTuple):
    """An entry, and what its picture is recognised by."""

    entry: Entry
    fingerprint: Fingerprint | None


def main(config: ClassifyConfig) -> Outcome:
    """Classify every file; see `sonoforge.runtime.verbs.classify` for the result and the exit code."""
    _check(config)
    model = LoadingModel(config.bundle or None, config.file, config.threads, config.provider)
    return classify(config, model, functools.partial(_answer_all, config, model.bundle))


def _check(config: ClassifyConfig) -> None:
    """Refuse what this machine alone can do.

    Raises:
        SonoforgeError: Such a setting is given, or Ray is not installed.
    """
    given = [one.name for one in options(ClassifyConfig).values() if one.path[-1] in _NOT_HERE and one.value(config)]
    given += ["- (standard input)"] * (STDIN in config.paths)
    given += [f"model.threads={config.threads}"] * (config.threads != 1)
    given += [f"model.provider={config.provider}"] * (config.provider != CPU)
    if given:
        raise SonoforgeError(
            f"--cluster {config.cluster}: found it with {', '.join(given)}, expected files that machines answer with "
            "one thread each for --csv, --jsonl or --json; leave these out, or --cluster"
        )
    check_cluster(config.cluster, "cpu")


def _answer_all(
    config: ClassifyConfig,
    bundle: Bundle[ClassifierManifest],
    answering: Answering,
    keep: Callable[[Entry], None],
    files: Sequence[str],
) -> Iterator[Entry]:
    """Answer files on the cluster; see `classifying.AnswerAll`.  What is known to be no file is answered here."""
    here = {file for file in files if file in answering.failures or not os.path.isfile(file)}  # noqa: PTH113 - many
    there = [file for file in files if file not in here]
    settings = WorkerSettings("cpu", config.workers or None, config.cluster)
    with _folder_of_tasks() as folder, open_workers(settings, folder, math.ceil(len(there) / _FILES)) as workers:
        own = dataclasses.replace(config, paths=(), bundle=str(bundle.path))
        answers = _answers(workers, Setup(bundle.manifest_sha256, own, _copy(bundle, folder / "bundle")), there)
        for file in files:
            answered = None if file in here else next(answers)
            entry = answering.take(file, *answered) if answered else answering.answer(file)
            keep(entry)
            yield entry


@contextlib.contextmanager
def _folder_of_tasks() -> Iterator[Path]:
    """Make a folder for what tasks read, and remove it at the end; what a killed command left goes first."""
    base = Path(tempfile.gettempdir())
    leftovers.remove_leftovers(base)
    folder = leftovers.temporary_name(base / "sonoforge-classify")
    with leftovers.new_folder(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _copy(bundle: Bundle[ClassifierManifest], folder: Path) -> Path:
    """Write a bundle's checked files where tasks find them, or are sent them from."""
    folder.mkdir()
    (folder / "manifest.json").write_bytes(read_manifest(bundle.path))
    for name in bundle.manifest.files:
        (folder / name).write_bytes(bundle.read(name))
    return folder


def _answers(workers: Workers, setup: Setup, files: Sequence[str]) -> Iterator[Answered | None]:
    """Yield the answer for each file, in order; None for one to be answered here, as it cannot be sent."""
    left, given = deque(files), deque[str]()
    answers: dict[str, Answered | None] = {}
    unseen = deque[str]()  # by the machines that were to answer them

    def tasks() -> Iterator[Task | None]:
        while left or given:
            sent = list(_contents(unseen, answers))
            if sent:
                yield Task(setup, sent)
            elif left and len(given) < _AHEAD * workers.slots:
                some = [left.popleft() for _ in range(min(_FILES, len(left)))]
                given.extend(some)
                yield Task(setup, [Image(file, _stamp(file)) for file in some])
            else:
                yield None

    while left or given:
        for task in workers.run(answer_images, tasks(), lambda task: [task.setup.bundle]):
            for file, answered in task:
                if answered:
                    answers[file] = answered
                else:
                    unseen.append(file)
            while given and given[0] in answers:
                yield answers.pop(given.popleft())
        while given and given[0] in answers:  # of files that could not be sent, after the last task
            yield answers.pop(given.popleft())


def _contents(unseen: deque[str], answers: dict[str, Answered | None]) -> Iterator[Image]:
    """Take files with their contents, of a task's size at most; note those that this machine cannot read either."""
    size = 0
    while unseen and size < _SENT_BYTES:
        file = unseen.popleft()
        stamp = _stamp(file)
        try:
            content = Path(file).read_bytes() if stamp and stamp[0] <= MAX_FILE_BYTES else b""
        except OSError:
            content = b""
        if content:
            size += len(content)
            yield Image(file, stamp, content)
        else:
            answers[file] = None


def _stamp(file: str) -> tuple[int, int] | None:
    """Return a file's size and time of change; None for one that a process of this user cannot read."""
    try:
        about = os.stat(file)  # noqa: PTH116 - thousands of files
    except (OSError, ValueError):
        return None
    return (about.st_size, about.st_mtime_ns) if os.access(file, os.R_OK) else None


def answer_images(task: Task) -> list[tuple[str, Answered | None]]:
    """Answer files, as a worker does; None for one that is not on this machine as it is at home.

    Raises:
        BundleError: The network's answer contradicts the manifest.
    """
    classifier = _open(task.setup)
    try:
        return [(image.file, _answer(classifier, image)) for image in task.images]
    except BundleError as error:
        raise BundleError(str(error).replace(str(classifier.bundle.path), task.setup.config.bundle)) from error


@functools.lru_cache(maxsize=1)
def _open(setup: Setup) -> Classifier:
    config = setup.config
    return open_classifier(config, LoadingModel(setup.bundle, config.file, config.threads, config.provider))


def _answer(classifier: Classifier, image: Image) -> Answered | None:
    if not image.content and (image.stamp is None or _stamp(image.file) != image.stamp):
        return None
    try:
        answered = answer_file(classifier, image.file, image.content or None, fingerprint=True)
    except ImageError as error:
        return Answered(failure(image.file, error.code, str(error)), None)
    return Answered(answered.entry, answered.result.fingerprint)
