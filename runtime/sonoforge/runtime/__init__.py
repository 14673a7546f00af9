"""The torch-free side: read a bundle, classify images, say when not to answer.

from sonoforge.runtime import Classifier
result = Classifier().classify("scan.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.reader import Bundle, open_bundle
    from sonoforge.runtime.explanations.overlay import draw as draw_overlay
    from sonoforge.runtime.images.decoding import ImageError
    from sonoforge.runtime.inference.classifier import Classifier
    from sonoforge.runtime.inference.generator import Generator
    from sonoforge.runtime.inference.result import Result

__all__ = ["Bundle", "Classifier", "Generator", "ImageError", "Result", "draw_overlay", "open_bundle"]

# Module and name in it of each public name.
_MODULES = {
    "Bundle": ("bundle.reader", "Bundle"),
    "Classifier": ("inference.classifier", "Classifier"),
    "Generator": ("inference.generator", "Generator"),
    "ImageError": ("images.decoding", "ImageError"),
    "Result": ("inference.result", "Result"),
    "draw_overlay": ("explanations.overlay", "draw"),
    "open_bundle": ("bundle.reader", "open_bundle"),
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``sonoforge --help`` waits for none of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    module, own = _MODULES[name]
    return getattr(import_module(f"{__name__}.{module}"), own)
