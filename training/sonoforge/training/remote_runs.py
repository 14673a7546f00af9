"""Keep run folders at a URL, such as ``--out s3://bucket/runs``: make them in a temporary folder, and copy them.

The temporary folder has the names and settings of all remote runs, and all files of a resumed run. Changed files are
copied every few seconds and at the end. After each round, a run's ``copied.json`` lists what is complete there; nothing
else is ever fetched, so a killed command never leaves half a checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.urls import clear_errors, open_url

log = logging.getLogger(__name__)

LIST = "copied.json"
RUN = re.compile(r"\d{5,}-.+")
NOT_COPIED = "features"  # a folder of large intermediate values, which is removed at the end of a run
SECONDS = 10.0  # between two rounds of copying

_active: RemoteRuns | None = None


def work_at(url: str, work: Callable[[str], Outcome]) -> Outcome:
    """Call ``work`` with a folder that stands for the URL; messages, errors and the result show the URL.

    A next command that would read from the folder is left out.

    Raises:
        SonoforgeError: The URL cannot be read or written, or has a password. Files that could not be copied at the end
            are kept locally, and the message says where.
    """
    global _active  # noqa: PLW0603 - a process works at one URL
    before = logging.getLogRecordFactory()
    with atomic.private_folder("sonoforge-runs") as here:
        try:
            _active = remote = RemoteRuns(url, here)
            logging.setLogRecordFactory(lambda *args, **kwargs: remote.renamed(before(*args, **kwargs)))
            with remote.copying():
                outcome = work(str(here))
        except SonoforgeError as error:
            error.args = (shown_in(str(error)),)
            raise
        finally:
            logging.setLogRecordFactory(before)
            _active = None
    following = "" if str(here) in outcome.next_command else outcome.next_command
    return Outcome(remote.shown_in(outcome.result), following, outcome.exit_code)


def claim(folder: Path) -> bool:
    """Take the name of a new run folder at the URL; return False if another machine was faster, True without a URL."""
    return _active is None or _active.claim(folder)


def fetch(folder: Path) -> None:
    """Fetch all files of a run to resume from the URL, if there is one."""
    if _active is not None:
        _active.fetch(folder)


def copy_now() -> None:
    """Copy changed files without waiting for the next round, if there is a URL."""
    if _active is not None:
        _active.copy()


def shown_in(value: Any) -> Any:
    """Return a text or nested value with the URL in place of its folder."""
    return value if _active is None else _active.shown_in(value)


class RemoteRuns:
    """The runs at a URL, and the local folder that stands for them."""

    def __init__(self, url: str, here: Path) -> None:
        self.url, self.here = url.rstrip("/"), here
        self._files, self._root = open_url("--out", url)
        self._copied: dict[Path, dict[str, tuple[int, int]]] = {}  # of each run in use: the files there, by stamp
        self._made: set[str] = set()  # folders there
        self._failed = False
        self._lock = threading.Lock()
        with clear_errors("--out", self.url):
            for name in self._names():
                (here / name).mkdir()
                with contextlib.suppress(FileNotFoundError):
                    (here / name / "config.yaml").write_bytes(self._files.cat_file(f"{self._root}/{name}/config.yaml"))

    def _names(self) -> list[str]:
        """Return the names of the remote runs."""
        try:
            found = self._files.ls(self._root, detail=False)
        except FileNotFoundError:  # nothing yet
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in found]
        return sorted(name for name in names if RUN.fullmatch(name))

    def shown_in(self, value: Any) -> Any:
        """Show the URL in every text of a value."""
        if isinstance(value, str):
            return value.replace(str(self.here), self.url)
        if isinstance(value, dict):
            return {key: self.shown_in(item) for key, item in value.items()}
        return [self.shown_in(item) for item in value] if isinstance(value, list | tuple) else value

    def renamed(self, record: logging.LogRecord) -> logging.LogRecord:
        """Show the URL in a log message."""
        if record.name.startswith("sonoforge"):
            record.msg, record.args = self.shown_in(record.getMessage()), None
        return record

    def claim(self, folder: Path) -> bool:
        """See `claim`: write the settings unless there are some."""
        target = f"{self._root}/{folder.name}"
        with clear_errors("--out", self.url):
            try:
                self._make(target)
                content = folder.joinpath("config.yaml").read_bytes()
                self._files.pipe_file(f"{target}/config.yaml", content, mode="create")
            except FileExistsError:
                return False
        self._copied[folder] = {}
        return True

    def fetch(self, folder: Path) -> None:
        """See `fetch`."""
        if folder in self._copied:
            return
        with clear_errors("--out", self.url):
            try:
                names = json.loads(self._files.cat_file(f"{self._root}/{folder.name}/{LIST}"))["files"]
            except FileNotFoundError:
                names = []
            for name in names:
                target = folder / name
                if not target.resolve().is_relative_to(folder.resolve()):
                    raise SonoforgeError(f"{self.url}/{folder.name}/{LIST}: lists {name}, which is outside the run")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(f"{self._root}/{folder.name}/{name}", str(target))
        self._copied[folder] = stamps(folder)

    def copy(self) -> None:
        """Copy what has changed since last time; retry failures next time."""
        try:
            self._copy()
        except SonoforgeError as error:
            if not self._failed:
                log.warning("%s; trying again", error)
            self._failed = True

    def _copy(self) -> None:
        with self._lock, clear_errors("--out", self.url):
            for folder, before in self._copied.items():
                now = stamps(folder)
                changed = [name for name in now if before.get(name) != now[name]]
                gone = before.keys() - now.keys()
                # The mark of a finished run goes last.
                for name in sorted(changed, key=lambda name: name == "results.json"):
                    target = f"{self._root}/{folder.name}/{name}"
                    self._make(target.rpartition("/")[0])
                    with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                        self._files.put_file(str(folder / name), target)
                if changed or gone:
                    listed = json.dumps({"files": sorted(name for name in now if (folder / name).is_file())}, indent=2)
                    self._files.pipe_file(f"{self._root}/{folder.name}/{LIST}", listed.encode())
                self._copied[folder] = now
                for name in gone:
                    with contextlib.suppress(FileNotFoundError):
                        self._files.rm_file(f"{self._root}/{folder.name}/{name}")

    def _make(self, folder: str) -> None:
        """Make a folder and its parents, but no bucket."""
        if folder in self._made or "/" not in folder.rstrip("/"):
            return
        self._make(folder.rpartition("/")[0])
        with contextlib.suppress(FileExistsError):
            self._files.mkdir(folder, create_parents=False)
        self._made.add(folder)

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Copy in rounds while inside, and everything at the end; keep locally what cannot be copied then."""
        over = threading.Event()

        def rounds() -> None:
            while not over.wait(SECONDS):
                self.copy()

        thread = threading.Thread(target=rounds, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            try:
                self._copy()
            except BaseException as error:
                kept = Path(tempfile.mkdtemp(prefix="sonoforge-not-copied-"))
                for folder in self._copied:
                    shutil.move(folder, kept / folder.name)
                raise SonoforgeError(f"{reason(error)}; what was not copied is kept in {kept}") from error


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the time and size of each finished file of a run, by name."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if NOT_COPIED not in name.parts and not any(map(atomic.LEFTOVER.fullmatch, name.parts)):
            with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                status = path.stat()
                if path.is_file():
                    found[name.as_posix()] = status.st_mtime_ns, status.st_size
    return found
