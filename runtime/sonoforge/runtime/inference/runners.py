"""Run a model file of any format, through a table of runner modules that are imported only when needed.

A format's name begins with its runner's: ``onnx`` runs ``onnx-int8``.  A runner is a module with

* ``open_file(path, threads) -> Answer``: load the file once and run it many times;
* optionally ``missing() -> str``: what to install on this machine before a file can be run, or an empty text.

TorchScript, ExecuTorch and TensorRT files are programs: their maker decides what they do on this machine, such as
writing files.  ONNX and ORT files are data, checked before use; LiteRT files are data that nothing checks, see
`needs_trust`.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.errors import GateError, SonoforgeError, install_extra, reason

Answer = Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]
"""Takes inputs in the order of the file's interface, batch first, and returns outputs in theirs."""

RUNNERS = {
    "onnx": "sonoforge.runtime.inference.onnx_session",
    "ort": "sonoforge.runtime.inference.onnx_session",
    "torchscript": "sonoforge.export.formats.torchscript",
    "executorch": "sonoforge.export.formats.executorch",
    "litert": "sonoforge.export.formats.litert",
    "tensorrt": "sonoforge.export.formats.tensorrt",
}

CHECKED = ("onnx", "ort")
"""Runners of files that are data and checked first; others' files contain code or are read unchecked."""

NOT_TRUSTED = "runs only with --trust, for bundles whose maker you trust"
"""Why ``verify`` and ``bench`` skip a file."""

_LONGEST = 1800  # seconds that one process may take: enough for thousands of images on a slow machine
_WATCH_SECONDS = 1.0  # between checks that the parent is alive


def runner(name: str) -> ModuleType:
    """Import the module that runs files of a format, such as ``onnx-int8``."""
    first = name.split("-", maxsplit=1)[0]
    if first not in RUNNERS:
        raise SonoforgeError(f"format: {name!r} does not begin with one of {', '.join(RUNNERS)}")
    try:
        return importlib.import_module(RUNNERS[first])
    except ModuleNotFoundError as error:
        raise SonoforgeError(f"{name}: {error.name} is not installed; run {install_extra('export')}") from error
    except Exception as error:  # a broken torch ends in OSError, ImportError and others
        again = install_extra("export", "--force-reinstall")
        raise SonoforgeError(f"{name}: its runner cannot be imported ({reason(error)}); run {again}") from error


def needs_trust(name: str) -> bool:
    """Whether a format's files should be run only if their maker is trusted."""
    return name.split("-", maxsplit=1)[0] not in CHECKED


def missing(name: str) -> str:
    """Return the reason why this machine cannot run a format and what to install; empty if it can."""
    try:
        module = runner(name)
        return str(module.missing()) if hasattr(module, "missing") else ""
    except SonoforgeError as error:
        return str(error)
    except Exception as error:  # the optional packages behind it fail in ways of their own
        return f"{name}: its runner is broken ({reason(error)}); install it again"


def open_file(name: str, path: Path, threads: int = 1) -> Answer:
    """Load a file in this process, with this many threads per inference if its runner supports it."""
    if why := missing(name):
        raise SonoforgeError(f"{path}: {why}")
    answer: Answer = runner(name).open_file(path, threads)
    return answer


def run_in_subprocess(name: str, path: Path, inputs: Sequence[NDArray[Any]], *, batch: int = 1) -> list[NDArray[Any]]:
    """Run a file on many inputs in a subprocess: some runners crash with a signal instead of raising an error.

    Inputs are (N, ...); one with a single row, such as psi, goes into each batch unchanged.  Outputs are (N, ...).
    """
    with temporary_folder() as task_folder:
        for index, values in enumerate(inputs):
            np.save(task_folder / f"input-{index}.npy", values)
        task = {"name": name, "path": str(path.absolute()), "inputs": len(inputs), "batch": batch}
        (task_folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        if how := run_module("sonoforge.runtime.inference.runners", task_folder, task_folder, _LONGEST):
            how = how.replace(f"{path.absolute()}: ", "").replace(str(path.absolute()), str(path))[:300]
            remedy = "; try fewer images, or skip this format" * how.startswith("did not end")
            raise GateError(f"{path}: its runner {how}{remedy}")
        with np.load(task_folder / "outputs.npz", allow_pickle=False) as archive:
            return [archive[name] for name in archive.files]


def run_module(module: str, argument: Path, folder: Path, limit: float | None = None) -> str:
    """Run a sonoforge module in a process that imports nothing from the user's folder; return how it failed, if so.

    Python before 3.11 ignores ``PYTHONSAFEPATH`` and looks for modules in its starting folder, so the process starts in
    ``folder``, which has no Python files. Its only argument is an absolute path; after ``limit`` seconds it is killed.
    """
    command = [sys.executable, "-m", module, str(argument)]  # this very interpreter
    how: dict[str, Any] = {"env": module_environment(), "cwd": folder, "timeout": limit, "errors": "replace"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **how)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"did not end within {limit:g} seconds"
    if done.returncode == 0:
        return ""
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"ended with {ended}: {' '.join((done.stderr.strip().splitlines() or ['no message'])[-1].split())}"


def module_environment() -> dict[str, str]:
    """Return the environment of a process that imports nothing from the user's folder; see `run_module`."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    # Relative entries count from the user's folder; an empty one would mean that folder itself.
    given = [entry for entry in environment.pop("PYTHONPATH", "").split(os.pathsep) if entry]
    if given:
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in given)
    return environment


def leave_with_parent() -> None:
    """End this process, started by `run_module`, when its parent is gone, even if it was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:  # another one takes over its children; on Windows none does
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_task(folder: Path) -> None:
    """Run the task that `run_in_subprocess` wrote to a folder."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    inputs = [np.load(folder / f"input-{index}.npy", mmap_mode="r") for index in range(task["inputs"])]
    answer = open_file(task["name"], Path(task["path"]))
    count = max(len(values) for values in inputs)
    parts = []
    for begin in range(0, count, task["batch"]):
        batch = slice(begin, begin + task["batch"])
        parts.append(answer([np.ascontiguousarray(rows if len(rows) == 1 else rows[batch]) for rows in inputs]))
    for value in parts[0]:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            found = getattr(value, "dtype", type(value).__name__)
            raise SonoforgeError(f"{task['path']}: an output is of {found}, not numbers; export it again")
    np.savez(folder / "outputs.npz", *map(np.concatenate, zip(*parts, strict=True)))


if __name__ == "__main__":
    leave_with_parent()
    try:
        _run_task(Path(sys.argv[1]))
    except SonoforgeError as error:
        sys.exit(str(error))
