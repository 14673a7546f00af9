"""Run ``.onnx`` and ``.ort`` files with onnxruntime; see `sonoforge.runtime.inference.runners`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.errors import SonoforgeError, reason

if TYPE_CHECKING:
    import onnxruntime

    from sonoforge.runtime.inference.runners import Answer

CPU = "CPUExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
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
    """Whether a file is in ORT format; onnxruntime goes by its first bytes, whatever its name is."""
    return content[4:8] == b"ORTM"


def load_session(content: bytes, where: str, threads: int = 1, provider: str = CPU) -> onnxruntime.InferenceSession:
    """Load an ``.onnx`` or ``.ort`` file from its bytes, unchecked; see `check_graph`.

    The provider must run the whole file; nothing falls back to the CPU silently.  OpenVINO's can name a device, as in
    ``OpenVINOExecutionProvider:GPU``; without one it runs on the CPU.
    """
    import onnxruntime  # noqa: PLC0415 - not for --help

    offered = onnxruntime.get_available_providers()
    name, _, device = provider.partition(":")
    if name not in offered or name not in (_OPENVINO, provider):
        raise SonoforgeError(
            f"provider: onnxruntime does not have {provider!r} here; choose one of {', '.join(offered)}, or see "
            "sonoforge doctor"
        )
    options = session_options(threads)
    own = {"device_type": device, "precision": "ACCURACY"} if device else {}  # OpenVINO's default on a GPU is 16 bits
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        # onnxruntime's own fallback would print to stdout and retry files that it cannot load.
        session = onnxruntime.InferenceSession(content, options, providers=[(name, own)], enable_fallback=0)
        # Names and metadata are decoded on access, and may not be text.
        _ = [item.name for item in (*session.get_inputs(), *session.get_outputs())]
        _ = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime's errors have no common base
        what = "cannot load it" if provider == CPU else f"cannot run all of it on {provider}"
        raise BundleError(f"{where}: onnxruntime {what} ({_reason(error)})") from error
    if session.get_providers()[0] != name:  # such as where a driver is missing
        raise SonoforgeError(
            f"{where}: onnxruntime would run it on {session.get_providers()[0]}, not on {provider}; install what "
            "sonoforge doctor lists for it"
        )
    return session


def _reason(error: Exception) -> str:
    return reason(_SOURCE_PLACE.sub("", str(error)))


def run_session(
    session: onnxruntime.InferenceSession,
    inputs: Mapping[str, NDArray[Any]],
    where: str,
    names: list[str] | None = None,
) -> list[NDArray[Any]]:
    """Run a loaded file; return its outputs in the order of ``names``, or all in the file's own."""
    try:
        return list(session.run(names, dict(inputs)))
    except Exception as error:  # onnxruntime's errors have no common base
        raise BundleError(f"{where}: onnxruntime cannot run it ({_reason(error)})") from error


def open_file(path: Path, threads: int = 1, provider: str = CPU) -> Answer:
    """Load a file; see `load_session`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SonoforgeError(f"{path}: cannot be read ({error.strerror}); copy it again") from error
    if not is_ort(content):
        from sonoforge.runtime.bundle.onnx_graph import check_graph  # noqa: PLC0415 - the shipped bundle is not checked

        check_graph(content, str(path))
    session = load_session(content, str(path), threads, provider)
    names = [item.name for item in session.get_inputs()]

    def answer(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return run_session(session, dict(zip(names, inputs, strict=True)), path.name)

    return answer
