"""Try a foreign bundle's model in a separate process before loading it in this one.

A graph's bytes do not show what it computes: an engine may crash on it, fill the memory, or never end.  A model that
did not come with sonoforge therefore first answers its golden input in a child process, limited to half a minute of
processor time and a few hundred megabytes. If the child fails, the bundle is refused with one line, and no answer is
lost. The same process does not try a file again once it has passed.

Where the system can (not on Windows), processor time is limited rather than waiting time, so that a busy machine
refuses no model; waiting is limited everywhere.  Memory is limited on Linux; macOS does not enforce its limit, and
Windows has none.  A graph that does harm only on some later input is not detected.
"""

import contextlib
import hashlib
import io
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.errors import SonoforgeError, reason, refusing
from sonoforge.runtime.inference.onnx_session import is_ort, load_session, run_session
from sonoforge.runtime.inference.runners import module_environment

SECONDS = 30
"""Seconds of processor time to import onnxruntime, load the model and answer once: 0.4 s for the shipped one."""

WAIT_SECONDS = 600
"""Limit on waiting on a busy machine; `SECONDS` if processor time cannot be limited."""

GENERATOR_BYTES = 4_000_000_000
"""Memory for a generator: StyleGAN3 upsamples its maps to gigabytes."""

# For a classifier: the libraries and a MobileNetV2 take 105 MB; loading holds up to three copies of the weights.
_BASE_BYTES, _BYTES_PER_BYTE = 300_000_000, 8
_MOST_SAID = 100_000  # bytes of stderr

_passed: set[str] = set()


def admit(content: bytes, where: str, inputs: Mapping[str, NDArray[Any]], memory: int = 0) -> None:
    """Check a foreign ONNX file (ORT files are not checked) and try it, once in the life of this process.

    ``inputs`` go by name; ``memory`` is a limit in bytes, or 0 for the limit of a classifier of this size.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest in _passed:
        return
    if not is_ort(content):
        check_graph(content, where)
    problem = _try_in_child(content, where, inputs, memory or _BASE_BYTES + _BYTES_PER_BYTE * len(content))
    if problem:
        raise BundleError(f"{where}: {problem}; do not use this bundle")
    _passed.add(digest)


def _try_in_child(content: bytes, where: str, inputs: Mapping[str, NDArray[Any]], memory: int) -> str:
    """Return what went wrong; empty if the model answered."""
    arrays = io.BytesIO()
    np.savez(arrays, **inputs)  # type: ignore[arg-type]
    task = b"%d %d %d\n" % (memory, SECONDS, len(content)) + content + arrays.getvalue()
    cpu_signal = getattr(signal, "SIGXCPU", None)  # sent when the processor time is used up
    wait = SECONDS if cpu_signal is None else WAIT_SECONDS
    untried = "it could not be tried in a separate process"
    too_long = f"it did not answer its golden input within {SECONDS} s of processor time"
    with tempfile.TemporaryFile() as file:
        with refusing(f"{where}: {untried}", kind=BundleError):
            child = subprocess.Popen(
                [sys.executable, "-B", "-m", "sonoforge.runtime.inference.trial"],  # its limits would cut off byte code
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
                env=module_environment(),
                cwd=sys.prefix,  # the interpreter's own folder holds no modules that could shadow ours
            )
        try:
            child.communicate(task, timeout=wait)
        except subprocess.TimeoutExpired as error:
            if cpu_signal is None:
                return too_long
            why = f"no answer within {wait} s: the machine is busy; try again later"
            raise BundleError(f"{where}: {untried} ({why})") from error
        finally:  # on Ctrl-C, too
            child.kill()
            child.wait()
        file.seek(0)
        said = file.read(_MOST_SAID).decode("utf-8", "replace").strip()
    said = reason(said.rpartition("\n")[2]) or "without a message"
    code = child.returncode
    if code == 0:
        return ""
    if code == (cpu_signal and -cpu_signal):
        return too_long
    if code == SonoforgeError.exit_code:
        return said
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"onnxruntime ends with {ended} ({said}) on its golden input"


def _answer_once() -> None:
    """Run in the child: read a model and its inputs from stdin, within limits, and answer."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would wait for the engine to return
    stream = sys.stdin.buffer
    memory, seconds, size = map(int, stream.readline().split())
    with contextlib.suppress(ImportError):  # Windows
        import resource  # noqa: PLC0415 - not on Windows

        limits = ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0))
        for kind, most in (*limits, (resource.RLIMIT_FSIZE, _MOST_SAID)):
            with contextlib.suppress(OSError, ValueError):  # a stricter limit is in force already
                resource.setrlimit(kind, (most, most + (kind == resource.RLIMIT_CPU)))  # SIGXCPU before SIGKILL
    content = stream.read(size)
    with np.load(io.BytesIO(stream.read()), allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    for values in run_session(load_session(content, ""), inputs, ""):
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise BundleError("its outputs for its golden input are not finite numbers")


if __name__ == "__main__":
    try:
        _answer_once()
    except SonoforgeError as error:
        sys.stderr.write(str(error).removeprefix(": "))
        sys.exit(SonoforgeError.exit_code)
