"""Bundles of small generators, for the tests of what was exported."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

# Every format that a generator and this machine can have, and engines, which are written without a GPU if asked for.
ALL = ("all", *(("tensorrt", "tensorrt-fp16") if find_spec("tensorrt_rtx") else ()))

# Recipe, classes, masks, formats of the bundle: those that other tests read.
CASES = [
    ("dcgan", 0, 0, ("onnx",)),
    ("dcgan", 2, 1, ("onnx",)),
    ("began", 2, 0, ("onnx",)),
    ("stylegan2", 2, 0, ("onnx",)),
    ("spade", 0, 2, ("onnx",)),
    ("projected", 2, 1, ("onnx",)),
]

# The other architectures, and a bundle of all formats.
SLOW_CASES = [
    ("stylegan1", 0, 0, ("onnx",)),
    ("stylegan3-t", 2, 0, ALL),
    ("stylegan3-r", 2, 0, ("onnx",)),
    ("dcgan-thesis", 0, 0, ("onnx",)),
    ("progan", 2, 0, ("onnx",)),
    ("biggan", 2, 0, ("onnx",)),
    ("ga-gan", 2, 0, ("onnx",)),
    ("projected:label-maps", 0, 2, ("onnx",)),
]


class ExportedGenerator(NamedTuple):
    """A checkpoint, its bundle's folder, and the manifest."""

    checkpoint: Path
    bundle: Path
    manifest: dict[str, Any]

    @property
    def rows(self) -> dict[str, Any]:
        """What became of each format."""
        rows: dict[str, Any] = self.manifest["parity"]["formats"]
        return rows


def read_export(run: Path) -> ExportedGenerator:
    """Return what lies in a run folder with one checkpoint and its bundle."""
    (description,) = run.glob("checkpoints/*/checkpoint.json")
    manifest = json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    return ExportedGenerator(description.parent, run / "bundle", manifest)
