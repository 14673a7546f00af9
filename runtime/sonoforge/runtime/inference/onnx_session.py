"""Run ``.onnx`` and ``.ort`` files with onnxruntime; see `sonoforge.runtime.inference.runners`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.errors import reason, refusing

if TYPE_CHECKING:
    import onnxruntime

    from sonoforge.runtime.inference.runners import Answer

CPU = "CPUExecutionProvider"
# An error begins with a prefix and a place in the sources: ``/onnxruntime_src/.../ops.h:560 void Append(...) ``.
_SOURCE_PLACE = re.compile(r"\[ONNXRuntimeError\] : \d+ : |(?:Status Message: )?/\S+:\d+ [^()]*\([^()]*\)(?: const)? ")


def session_options(threads: int) -> Any:
    """Return onnxruntime's options: threads that sleep while they wait, and no log."""
    import onnxruntime  # noqa: PLC0415 - not for --help

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads sleep instead of burning the cores that the next decode needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.inter_op_num_threads = 1
    # On x86 without VNNI the fast 8-bit sums overflow: an int8 file then misses the network's probabilities by 0.03 on
    # scans of BUSI, and by 0.009 with this (AVX2, measured); float files are not affected.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4  # none: failures are raised as well, and the rest does not concern the user
    return options


def is_ort(content: bytes) -> bool:
    """Whether a file is in ORT format; onnxruntime goes by its first bytes, whatever its name."""
    return content[4:8] == b"ORTM"


def load_session(content: bytes, where: str, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load an ``.onnx`` or ``.ort`` file from its bytes, unchecked; see `check_graph`."""
    import onnxruntime  # noqa: PLC0415 - not for --help

    try:
        # onnxruntime's own fallback would print to stdout and retry files that it cannot load.
        session = onnxruntime.InferenceSession(content, session_options(threads), providers=[CPU], enable_fallback=0)
        # Names and metadata are decoded on access, and may not be text.
        _ = [item.name for item in (*session.get_inputs(), *session.get_outputs())]
        _ = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime's errors have no common base
        raise BundleError(f"{where}: onnxruntime cannot load it ({_reason(error)})") from error
    return session


def _reason(error: Exception) -> str:
    return reason(_SOURCE_PLACE.sub("", str(error)))


def run_session(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, NDArray[Any]],
    where: str,
    names: list[str] | None = None,
) -> list[NDArray[Any]]:
    """Run a loaded file; return its outputs in the order of ``names``, or all in the file's own order."""
    try:
        return list(session.run(names, dict(inputs)))
    except Exception as error:  # onnxruntime's errors have no common base
        raise BundleError(f"{where}: onnxruntime cannot run it ({_reason(error)})") from error


def open_file(path: Path, threads: int = 1) -> Answer:
    """Load a file; see `load_session`."""
    with refusing(f"{path}: cannot be read", "copy it again"):
        content = path.read_bytes()
    if not is_ort(content):
        from sonoforge.runtime.bundle.onnx_graph import check_graph  # noqa: PLC0415 - the shipped bundle is not checked

        check_graph(content, str(path))
    session = load_session(content, str(path), threads)
    names = [item.name for item in session.get_inputs()]

    def answer(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return run_session(session, dict(zip(names, inputs, strict=True)), path.name)

    return answer
