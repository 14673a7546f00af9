"""The torch-free side: read a bundle, classify images, say when not to answer.

from sonoforge.runtime import Classifier
result = Classifier().classify("scan.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.reader import Bundle, open_bundle
    from sonoforge.runtime.images.decoding import ImageError
    from sonoforge.runtime.inference.classifier import Classifier
    from sonoforge.runtime.inference.generator import Generator
    from sonoforge.runtime.inference.result import Result

__all__ = ["Bundle", "Classifier", "Generator", "ImageError", "Result", "open_bundle"]

_MODULES = {
    "Bundle": "bundle.reader",
    "Classifier": "inference.classifier",
    "Generator": "inference.generator",
    "ImageError": "images.decoding",
    "Result": "inference.result",
    "open_bundle": "bundle.reader",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``sonoforge --help`` waits for none of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
