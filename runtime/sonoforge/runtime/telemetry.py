"""Turn off onnxruntime's telemetry, whatever is imported first."""

from __future__ import annotations

import contextlib
import os
import sys

_SWITCH = "ORT_DISABLE_TELEMETRY"


def switch_off_telemetry() -> None:
    """Keep onnxruntime from reporting this machine to its maker; called when the package is imported.

    Measured with the Linux wheels of 1.31.1: on import, unless the switch is "1", it opens a database in the user's
    cache folder, records the machine (system, processor, memory, an identifier), and sends that from a thread within
    seconds.  ``disable_telemetry_events`` does not undo this.  With the switch it opens no socket, writes no file and
    starts no thread.
    """
    switched_on = os.environ.get(_SWITCH) != "1"
    os.environ[_SWITCH] = "1"
    if switched_on and "onnxruntime" in sys.modules:
        import warnings  # noqa: PLC0415 - in this case only

        with contextlib.suppress(AttributeError):  # an older or a half-imported onnxruntime
            sys.modules["onnxruntime"].disable_telemetry_events()
        warnings.warn(
            "onnxruntime was imported before sonoforge.runtime, with its telemetry on: it may already have "
            f"reported this machine; set {_SWITCH}=1, or import sonoforge.runtime first",
            RuntimeWarning,
            stacklevel=2,
        )
