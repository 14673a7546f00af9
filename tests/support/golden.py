"""Figures that papers print, and recorded numbers of official implementations; without these their tests skip."""

from __future__ import annotations

import csv
import functools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from places import CHECKOUT, SHARED

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


def printed(source: str) -> dict[str, dict[str, dict[str, str]]]:
    """Read the figures that a paper prints, by table, row and column in its order, as they were copied by hand."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    path = CHECKOUT / "tests" / "golden" / "papers" / f"{source}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            tables.setdefault(line["table"], {}).setdefault(line["row"], {})[line["column"]] = line["value"]
    return tables
