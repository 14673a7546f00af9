"""Exports that several tests read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from generator_checkpoints import small_checkpoint
from sonoforge.export.bundle.generator import bundle_from_checkpoint


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


Make = Callable[..., ExportedGenerator]


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Export a small generator, once for each recipe, number of classes and formats; for reading only."""
    made: dict[tuple[object, ...], ExportedGenerator] = {}

    def make(recipe: str, classes: int = 0, formats: tuple[str, ...] = ("onnx",), masks: int = 0) -> ExportedGenerator:
        key = (recipe, classes, formats, masks)
        if key not in made:
            folder = tmp_path_factory.mktemp(recipe)
            checkpoint = small_checkpoint(folder, recipe, classes, masks=masks)
            bundle_from_checkpoint(checkpoint, folder / "bundle", formats)
            manifest = json.loads((folder / "bundle" / "manifest.json").read_text())
            made[key] = ExportedGenerator(checkpoint, folder / "bundle", manifest)
        return made[key]

    return make
