"""Read a bundle, classify images and know when not to answer, all without torch.

from sonoforge.runtime import Classifier
result = Classifier().classify("scan.png")
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any


def switch_off_telemetry() -> None:
    """Stop onnxruntime from reporting this machine to its maker; called when the package is imported.

    Measured with 1.31.1 on Linux: unless the switch is "1", importing it records the machine in the user's cache folder
    and sends that from a thread within seconds; ``disable_telemetry_events`` does not undo this.
    """
    switched_on = os.environ.get("ORT_DISABLE_TELEMETRY") != "1"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if switched_on and "onnxruntime" in sys.modules:
        import warnings  # noqa: PLC0415 - in this case only

        with contextlib.suppress(AttributeError):  # an older or a half-imported onnxruntime
            sys.modules["onnxruntime"].disable_telemetry_events()
        warnings.warn(
            "onnxruntime was imported before sonoforge.runtime, with its telemetry on: it may already have "
            "reported this machine; set ORT_DISABLE_TELEMETRY=1, or import sonoforge.runtime first",
            RuntimeWarning,
            stacklevel=2,
        )


switch_off_telemetry()

if TYPE_CHECKING:
    from sonoforge.runtime import distances, quality
    from sonoforge.runtime.bundle.reader import Bundle, open_bundle
    from sonoforge.runtime.explanations import draw as draw_overlay
    from sonoforge.runtime.images.limits import ImageError
    from sonoforge.runtime.inference.classifier import Classifier
    from sonoforge.runtime.inference.decision import AtClinic
    from sonoforge.runtime.inference.generator import Generator
    from sonoforge.runtime.inference.result import Result

__all__ = [
    "AtClinic",
    "Bundle",
    "Classifier",
    "Generator",
    "ImageError",
    "Result",
    "distances",
    "draw_overlay",
    "open_bundle",
    "quality",
]

# Module of each public name, and its name there; empty for the module itself.
_MODULES = {
    "AtClinic": ("inference.decision", "AtClinic"),
    "Bundle": ("bundle.reader", "Bundle"),
    "Classifier": ("inference.classifier", "Classifier"),
    "Generator": ("inference.generator", "Generator"),
    "ImageError": ("images.limits", "ImageError"),
    "Result": ("inference.result", "Result"),
    "distances": ("distances", ""),
    "draw_overlay": ("explanations", "draw"),
    "open_bundle": ("bundle.reader", "open_bundle"),
    "quality": ("quality", ""),
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``sonoforge --help`` does not wait for it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    module, own = _MODULES[name]
    found = import_module(f"{__name__}.{module}")
    return getattr(found, own) if own else found
