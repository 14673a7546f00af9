"""Exports that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exported_generators import ExportedGenerator, read_export
from generator_checkpoints import small_checkpoint
from once import made_once
from sonoforge.export.bundle.generator import bundle_from_checkpoint


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ExportedGenerator]:
    """Export a small generator, once for each recipe, number of classes and formats; for reading only."""

    def make(recipe: str, classes: int = 0, formats: tuple[str, ...] = ("onnx",), masks: int = 0) -> ExportedGenerator:
        def export(folder: Path) -> None:
            checkpoint = small_checkpoint(folder, recipe, classes, masks=masks)
            bundle_from_checkpoint(checkpoint, folder / "bundle", formats)

        name = "-".join([recipe, str(classes), str(masks), *formats])
        return read_export(made_once(tmp_path_factory, name, export))

    return make
