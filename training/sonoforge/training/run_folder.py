"""Keep numbered run folders that describe themselves: ``runs/00012-gan-dcgan-thesis-malignant/``.

A run folder holds ``config.yaml`` (the settings), ``environment.json``, ``log.txt`` and, at the very end,
``results.json``: a folder without it is an unfinished run.
"""

import contextlib
import errno
import importlib.metadata
import json
import logging
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime import atomic
from sonoforge.runtime.atomic import plain, write_json, write_text
from sonoforge.runtime.csv_tables import csv_text
from sonoforge.runtime.errors import DAMAGED, SonoforgeError, name_some, refusing
from sonoforge.training import remote_runs

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
RESULTS = "results.json"
LOG = "log.txt"
AUDIT, ENVIRONMENT = "audit.json", "environment.json"
_MADE_FIRST = {CONFIG, LOG, AUDIT, ENVIRONMENT}  # before the first work
# Settings that say where or how to continue, not what is computed.
NOT_COMPARED = frozenset({"out", "resume", "minutes", "jobs", "cluster"})
_SMALL_FILES = 10**8  # bytes of a run, at most, beside what is estimated
_NUMBERED = re.compile(r"(\d{5,})-(.+)")
_HASH = re.compile(r"#[0-9a-f]{16}")  # of own code
_PACKAGES = "sonoforge torch torchvision numpy pillow onnxruntime pydicom scikit-learn safetensors"


class Written(NamedTuple):
    """A finished run: its folder holds the page and ``results.json``."""

    folder: Path
    page: Path
    results: dict[str, Any]


class Length(NamedTuple):
    """The settings for the length of a training run, for runs that can continue a shorter one."""

    names: tuple[str, ...]
    is_shorter: Callable[[Mapping[str, Any]], bool]  # given settings of an earlier run, which differ in these alone


def slug(*parts: str) -> str:
    """Join words into the name of a run folder."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def create_run(root: Path, name: str, config: Mapping[str, Any]) -> Path:
    """Make the next numbered folder under ``root``, atomically with its ``config.yaml``."""
    with refusing(f"{root}: cannot make a run folder here", "choose another folder", kinds=OSError):
        root.mkdir(parents=True, exist_ok=True)
        atomic.remove_leftovers(root)
        number = 1 + max((_number(path) for path in root.iterdir()), default=-1)
        temporary = atomic.temporary_name(root / name)
        with atomic.new_folder(temporary):
            write_config(temporary, config)
            while True:
                folder = root / f"{number:05d}-{atomic.safe_name(name)}"
                if not any(_number(path) == number for path in root.iterdir()):
                    try:
                        temporary.rename(folder)
                        break
                    except OSError as error:  # another process may have taken the number since
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                            raise
                number += 1
        if not remote_runs.claim(folder):
            return create_run(root, name, config)
    return folder


def _number(path: Path) -> int:
    match = _NUMBERED.fullmatch(path.name)
    return int(match[1]) if match else -1


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.yaml`` to an existing run folder, or to a training run's folder inside one."""
    try:
        import yaml  # noqa: PLC0415 - comes with the extras

        settings = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    except ImportError:  # JSON is YAML
        settings = json.dumps(plain(config), indent=1, ensure_ascii=False) + "\n"
    write_text(folder / CONFIG, remote_runs.shown_in(settings))


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.yaml`` of a run folder."""
    import yaml  # noqa: PLC0415

    path = folder / CONFIG
    with refusing(f"{path}: cannot be read", "is this a run folder?", (*DAMAGED, yaml.YAMLError)):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise SonoforgeError(f"{path}: must hold settings by name, not a {type(values).__name__}")
    return values


def _runs(root: Path, name: str) -> list[Path]:
    """Return the run folders with this name, newest first."""
    matches = [(path, _NUMBERED.fullmatch(path.name)) for path in (root.iterdir() if root.is_dir() else ())]
    name = atomic.safe_name(name)
    found = [path for path, match in matches if match and match[2] == name and (path / CONFIG).is_file()]
    return sorted(found, key=_number, reverse=True)


def differences(folder: Path, config: Mapping[str, Any], compared: Collection[str]) -> dict[str, str]:
    """Say how a run's settings differ, by name; ignore those in `NOT_COMPARED` unless ``compared``."""
    was, now = read_config(folder), plain(config)
    names = [name for name in sorted({*was, *now}) if name not in NOT_COMPARED or name in compared]
    return {name: f"{was.get(name)}, not {now.get(name)}" for name in names if was.get(name) != now.get(name)}


def find_run(
    root: Path,
    name: str,
    config: Mapping[str, Any],
    compared: Collection[str] = (),
    length: Length | None = None,
) -> Path | None:
    """Return the newest run folder with this name and the same settings, finished or not; see `differences`.

    Failing that, and given ``length``, return the newest one that is shorter but otherwise the same. Its files are
    fetched if it is at a URL.
    """
    found, others = None, []
    for folder in _runs(root, name):
        differing = differences(folder, config, compared)
        others.append((folder, differing))
        if not differing:
            found = folder
            break
        if length and not found and set(differing) <= set(length.names) and length.is_shorter(read_config(folder)):
            found = folder
    if found:
        remote_runs.fetch(found)
        return found
    for other, changed in others:
        halves = [_HASH.sub("", how).partition(", not ") for how in changed.values()]
        if all(was == now for was, _, now in halves):
            raise SonoforgeError(
                f"{other}: code was edited since ({name_some(f'{key} was {how}' for key, how in changed.items())}); "
                "name it with that hash to go on with that version, or leave out --resume to start anew"
            )
    return None


def is_finished(folder: Path) -> bool:
    """Whether the run wrote its results."""
    return (folder / RESULTS).is_file()


def open_run(
    root: Path,
    name: str,
    config: Mapping[str, Any],
    *,
    resume: bool,
    compared: Collection[str] = (),
    length: Length | None = None,
) -> Path:
    """Return the folder to work in, and log which and why.

    With ``resume`` it is the run of `find_run`, if any: an unfinished one to continue, a finished one to return, or a
    shorter one to continue after `lengthen`. Otherwise it is a new one.
    """
    if resume:
        folder = find_run(root, name, config, compared, length)
        if folder is not None:
            if changes := differences(folder, config, compared):
                said = name_some(f"{key} was {how}" for key, how in changes.items())
                log.info("going on with the shorter run %s: %s", folder, said)
            else:
                log.info("%s %s", "already finished:" if is_finished(folder) else "resuming", folder)
            return folder
    folder = create_run(root, name, config)
    suffix = ""
    if resume:
        before = [
            f"; {other.name} had " + name_some(f"{key} {how}" for key, how in found.items())
            for other in _runs(root, name)
            if other != folder and (found := differences(other, config, compared))
        ]
        suffix = f" (nothing to resume: no earlier run with these settings{before[0] if before else ''})"
    log.info("run folder %s%s", folder, suffix)
    return folder


def check_disk(root: Path, needed: Mapping[str, int]) -> str:
    """Refuse to write so many bytes, by what they are, under ``root``, which need not exist; say how many are free."""
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free, total = shutil.disk_usage(place).free, _SMALL_FILES + sum(needed.values())
    parts = ", ".join(f"{name} {size / 1e9:.2g} GB" for name, size in needed.items() if size > _SMALL_FILES)
    said = f"about {total / 1e9:.2g} GB{f' ({parts})' if parts else ''}; {free / 1e9:.3g} GB are free"
    if total > free:
        raise SonoforgeError(f"{root}: this run writes {said}; make room, or choose another --out")
    return said


def lengthen(folder: Path, config: Mapping[str, Any], length: Length) -> None:
    """Turn a shorter run, finished or not, into an unfinished one of this length.

    Its results are removed first: a kill in between leaves an unfinished run of the old length, which can be resumed
    either way.
    """
    (folder / RESULTS).unlink(missing_ok=True)
    write_config(folder, read_config(folder) | {name: config[name] for name in length.names})


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json``, the last file of a run: from now on it counts as finished."""
    write_json(folder / RESULTS, remote_runs.shown_in(dict(results)))


def read_results(folder: Path) -> dict[str, Any]:
    """Read ``results.json`` of a finished run."""
    values: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    return values


def package_versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of installed packages, by default the ones that figures depend on."""
    versions = {}
    for package in packages or _PACKAGES.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def write_environment(folder: Path, device: str, seed: int, fingerprint: str, packages: Sequence[str] = ()) -> None:
    """Write what figures depend on besides the settings to ``environment.json``; a resumed run appends what differs.

    Args:
        folder: The run folder.
        device: What computes.
        seed: The first random seed.
        fingerprint: Of the images.
        packages: More packages to name the versions of.
    """
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": package_versions() | (package_versions(packages) if packages else {}),
        "device": device,
        "seed": seed,
        "data_fingerprint": fingerprint,
        "git_revision": git_revision(),
        "command": sys.argv,
    }
    path = folder / ENVIRONMENT
    previous: list[Any] = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    if not previous or previous[-1] != plain(environment):
        write_json(path, {"runs": [*previous, plain(environment)]})


def git_revision() -> str | None:
    """Return the commit of this code's checkout, with ``+changes`` if edited; None without a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # fails in a checkout of something else
        revision = git("rev-parse", "HEAD")
        return revision + ("+changes" if git("status", "--porcelain", "--", str(here)) else "")
    except (OSError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Lock a run folder and write its log while inside; remove it if an error occurs before any work is done."""
    with atomic.alone_in(folder) as alone:
        if not alone:
            raise SonoforgeError(f"{folder}: another process works in it; wait for it to end, or stop it")
        try:
            with log_to(folder):
                yield
        except SonoforgeError:
            if {path.name for path in folder.iterdir()} <= _MADE_FIRST:
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Also write the ``sonoforge`` loggers' messages to ``log.txt`` while inside; only once if nested."""
    logger = logging.getLogger("sonoforge")
    path = (folder / LOG).resolve()
    if any(isinstance(other, logging.FileHandler) and Path(other.baseFilename) == path for other in logger.handlers):
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield
    except BaseException as error:
        handler.emit(logging.makeLogRecord({"levelname": "ERROR", "msg": f"stopped: {type(error).__name__}: {error}"}))
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV file; missing values stay empty."""
    write_text(path, csv_text([columns, *([row.get(column) for column in columns] for row in rows)]))
