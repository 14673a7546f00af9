"""Tasks, results and files on their way to and from machines that do not see the run folder.

Paths inside the run folder are packed relative to it, and unpacked in the folder that replaces it elsewhere.  The
folder of decoded images becomes that machine's own.
"""

import io
import pickle
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sonoforge.runtime.atomic import is_unfinished, replacing_folder, write_bytes
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import CacheSettings, chosen_folder
from sonoforge.training.run_folder import LOG, RESULTS

_RUN, _CACHE = "run folder", "decoded images"


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, run: Path) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._run = run

    def persistent_id(self, obj: object) -> tuple[str, str, str] | None:
        if not isinstance(obj, Path):
            return None
        if obj.absolute().is_relative_to(self._run):
            return _RUN, obj.absolute().relative_to(self._run).as_posix(), ""
        choice = chosen_folder(obj)
        return None if choice is None else (_CACHE, str(obj), choice)


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, run: Path) -> None:
        super().__init__(file)
        self._run = run

    def persistent_load(self, pid: tuple[str, str, str]) -> Path:
        kind, path, choice = pid
        if kind == _RUN:
            return self._run / path
        return Path(path) if Path(path).is_dir() else CacheSettings(choice).open()


def pack(value: Any, run: Path) -> bytes:
    """Pickle a value with paths in the run folder (an absolute path)."""
    file = io.BytesIO()
    _Packer(file, run).dump(value)
    return file.getvalue()


def unpack(data: bytes, run: Path) -> Any:
    """Unpickle what `pack` packed, with its paths in this run folder.

    Only for data from this run's own processes: a pickle runs code.
    """
    return _Unpacker(io.BytesIO(data), run).load()


def read_files(run: Path, paths: Iterable[Path]) -> dict[str, bytes]:
    """Read files, and all files of folders, by path in the run folder; missing ones are left out."""
    found = [path for given in paths for path in ((given,) if given.is_file() else sorted(given.rglob("*")))]
    names = [path.relative_to(run) for path in found if path.is_file()]
    return {name.as_posix(): (run / name).read_bytes() for name in names if not any(map(is_unfinished, name.parts))}


def write_files(run: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a run folder; new folders appear whole, so that a kill leaves no part of a checkpoint.

    The log is appended to, and the results of a finished training are written last.

    Raises:
        SonoforgeError: A path leads out of the folder, or a file cannot be written.
    """
    folders: defaultdict[PurePosixPath, dict[PurePosixPath, bytes]] = defaultdict(dict)
    alone: dict[PurePosixPath, bytes] = {}
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise SonoforgeError(f"{name}: is outside the run folder")
        new = next((parent for parent in list(path.parents)[-2::-1] if not (run / parent).is_dir()), None)
        if new is None:
            alone[path] = content
        else:
            folders[new][path.relative_to(new)] = content
    for folder, inside in folders.items():
        with replacing_folder(run / folder) as temporary:
            for path, content in inside.items():
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                (temporary / path).write_bytes(content)
    for path, content in sorted(alone.items(), key=lambda item: item[0].name == RESULTS):
        if path.name == LOG:
            with (run / path).open("ab") as log:
                log.write(content)
        else:
            write_bytes(run / path, content)
