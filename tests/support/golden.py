"""Recorded numbers of official implementations, beside the checkout; tests that need them are skipped without."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from places import SHARED

FOLDER = SHARED / "golden"


@functools.cache
def golden_arrays(name: str) -> dict[str, Tensor]:
    """Read the arrays of one file by name; not to be changed."""
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no golden data at {path}")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def golden_settings(name: str) -> dict[str, Any]:
    """Read what the arrays of this name were recorded with."""
    golden_arrays(name)
    settings: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return settings


def below(record: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the arrays whose names begin with this prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in record.items() if key.startswith(prefix)}
