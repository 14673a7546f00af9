"""The constants by which the page measures: those of the Python modules that measure the same."""

import json
from importlib import import_module
from typing import Any

import numpy as np

from sonoforge.runtime.inference.trust import Cause

_IMAGES = (
    "burned_in_marks calipers lesion_contrast lettering limits quality_metrics repeats scan_area synthetic scan_checks"
)
_INFERENCE = "activation_map golden training_distance trust"

_KINDS = (int, float, str, tuple, dict, np.ndarray)


def constants() -> dict[str, dict[str, Any]]:
    """Return each module's constants by its name and theirs, without the underscore of private ones."""
    rooms = {"images": _IMAGES, "inference": _INFERENCE}
    named = [(room, name) for room, names in rooms.items() for name in names.split()]
    found: dict[str, dict[str, Any]] = {name: {} for _, name in named}
    for room, name in named:
        for constant, value in vars(import_module(f"sonoforge.runtime.{room}.{name}")).items():
            if constant.lstrip("_").isupper() and isinstance(value, _KINDS):
                found[name][constant.lstrip("_")] = _plain(value)
    found["trust"]["CAUSES"] = {cause.name: cause.value for cause in Cause}
    return found


def script() -> bytes:
    """Return the constants as the module ``js/constants.js``.

    Not as JSON: importing that needs import attributes, which the web views of older phones lack.
    """
    return f"export default {json.dumps(constants(), indent=1, ensure_ascii=False)};\n".encode()


def _plain(value: Any) -> Any:
    """Return a table's rows by their fields' names, and an array as lists."""
    if isinstance(value, dict):
        return {name: row._asdict() if hasattr(row, "_asdict") else row for name, row in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
