"""Try a foreign bundle's model in a process of its own, before this one loads it.

What a graph computes cannot be told from its bytes: an engine may crash on it, fill the memory, or never end.  So a
model that did not come with sonoforge first answers its golden input in a child process that may take half a minute of
processor time and a few hundred megabytes.  If that child ends badly, the bundle is refused in one line, and no answer
is lost.  A file that passed is not tried again by the same process.

Processor time is limited where the system has such a limit (not on Windows), so that a busy machine refuses nothing;
waiting is limited everywhere.  Memory is limited on Linux; macOS does not enforce its limit, Windows has none.  A graph
that does harm on some later input alone is not found.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.inference.onnx_session import is_ort, load_session, run_session
from sonoforge.runtime.inference.runners import module_environment

SECONDS = 30
"""Processor time to import onnxruntime, load the model and answer once: 0.4 s for the shipped one."""

WAIT_SECONDS = 600
"""For all of that on a machine that does other work; where processor time cannot be limited, `SECONDS`."""

GENERATOR_BYTES = 4_000_000_000
"""Memory of a generator: the maps of StyleGAN3 are upsampled to gigabytes."""

# Of a classifier: the libraries and a MobileNetV2 take 105 MB; weights are held up to three times during loading.
_BASE_BYTES, _BYTES_PER_BYTE = 300_000_000, 8
_DIGITS = 20  # of the limits and of the model's size, which are sent first
_MOST_SAID = 100_000  # bytes of a child's messages

_passed: set[str] = set()


class _UntriedError(Exception):
    """Why a model could not be tried; it may be a good one."""


def admit(content: bytes, where: str, inputs: Mapping[str, NDArray[Any]], memory: int = 0) -> None:
    """Look into a foreign ONNX file, or take an ORT file as it is, and try it once in the life of this process.

    Args:
        content: The file.
        where: Its path, as an error names it.
        inputs: What it is tried on, by name.
        memory: Bytes that its process may take; 0 for those of a classifier of this size.

    Raises:
        BundleError: `check_graph` refuses it, its process crashed, failed, or took too much time or memory; or it could
            not be tried.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest in _passed:
        return
    if not is_ort(content):
        check_graph(content, where)
    try:
        problem = _try_in_child(content, inputs, memory or _BASE_BYTES + _BYTES_PER_BYTE * len(content))
    except _UntriedError as error:
        raise BundleError(f"{where}: it could not be tried in a process of its own ({error})") from error
    if problem:
        raise BundleError(f"{where}: {problem}; do not use this bundle")
    _passed.add(digest)


def _try_in_child(content: bytes, inputs: Mapping[str, NDArray[Any]], memory: int) -> str:
    """Return what went wrong; nothing if the model answered."""
    arrays = io.BytesIO()
    np.savez(arrays, **inputs)  # type: ignore[arg-type]
    try:
        # The interpreter's own folder holds no modules that could be taken for ours.
        child = subprocess.Popen(
            [sys.executable, "-m", "sonoforge.runtime.inference.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=module_environment(),
            cwd=sys.prefix,
        )
    except OSError as error:
        raise _UntriedError(error.strerror) from error
    too_long = threading.Event()

    def end() -> None:
        too_long.set()
        child.kill()

    limit = getattr(signal, "SIGXCPU", None)  # how a process ends that has used its processor time
    wait = SECONDS if limit is None else WAIT_SECONDS
    timer = threading.Timer(wait, end)
    timer.start()
    try:
        said = _talk(child, (*map(_number, (memory, SECONDS, len(content))), content, arrays.getvalue()))
    finally:
        timer.cancel()
        child.kill()
        child.wait()
    if child.returncode == (limit and -limit) or (too_long.is_set() and limit is None):
        return f"found no answer to its golden input within {SECONDS} s of processor time, expected one"
    if too_long.is_set():
        raise _UntriedError(f"no answer within {wait} s: the machine is busy; try again later")
    if child.returncode == 0:
        return ""
    if child.returncode == SonoforgeError.exit_code:
        return said
    ended = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
    return f"found that onnxruntime ends with {ended} ({said}), expected an answer to its golden input"


def _number(value: int) -> bytes:
    return b"%0*d" % (_DIGITS, value)


def _talk(child: subprocess.Popen[bytes], parts: Sequence[bytes]) -> str:
    """Send a child its task, and return the last line that it said once it has ended."""
    assert child.stdin and child.stderr  # noqa: S101 - both are pipes
    with child.stderr:
        with contextlib.suppress(OSError), child.stdin:  # it may have ended already
            for part in parts:
                child.stdin.write(part)
        said = child.stderr.read(_MOST_SAID).decode("utf-8", "replace").strip()
    if len(said) < _MOST_SAID:
        child.wait()
    return reason(said.rpartition("\n")[2]) or "without a message"


def _answer_once() -> None:
    """Be the child: read a model and its inputs from stdin, within limits, and answer."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would wait for the engine to return
    stream = sys.stdin.buffer
    _limit(int(stream.read(_DIGITS)), int(stream.read(_DIGITS)))
    content = stream.read(int(stream.read(_DIGITS)))
    with np.load(io.BytesIO(stream.read()), allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    for values in run_session(load_session(content, ""), inputs, ""):
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise BundleError("found outputs that are not finite numbers, expected such for its golden input")


def _limit(memory: int, seconds: int) -> None:
    """Limit memory and processor time where the system can, and write no core file."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    limits = ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0))
    for kind, most in limits:
        with contextlib.suppress(OSError, ValueError):  # a stricter limit holds already
            resource.setrlimit(kind, (most, most + (kind == resource.RLIMIT_CPU)))  # SIGXCPU before SIGKILL


if __name__ == "__main__":
    try:
        _answer_once()
    except SonoforgeError as error:
        sys.stderr.write(str(error).removeprefix(": "))
        sys.exit(SonoforgeError.exit_code)
