"""Exports that several tests read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from generator_checkpoints import ExportedGenerator, read_export, small_checkpoint
from once import made_once
from sonoforge.export.bundle.classifier import read_network
from sonoforge.export.bundle.generator import bundle_from_checkpoint
from sonoforge.export.formats.onnx_graph import to_onnx
from sonoforge.export.formats.quantisation import to_int8
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import FORMATS
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images.preprocessing import IMAGENET


@pytest.fixture(scope="session")
def single_look(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The shipped network as an ONNX file for 224 x 224 pixels without a second pass."""

    def export(folder: Path) -> None:
        network = read_network(open_bundle())
        network.look, network.outlines = None, nn.ModuleList()
        (folder / "model.onnx").write_bytes(to_onnx(network, IMAGENET.size, {}))

    return (made_once(tmp_path_factory, "single-look", export) / "model.onnx").read_bytes()


@pytest.fixture(scope="session")
def shipped_int8(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The shipped ONNX file in 8 bits, calibrated on its golden images."""

    def quantise(folder: Path) -> None:
        bundle = open_bundle()
        inputs = bundle.manifest.preprocessing.normalise(bundle.golden()["pixels"])
        (folder / "model.onnx").write_bytes(to_int8(bundle.read("model.onnx"), inputs).data)

    return (made_once(tmp_path_factory, "shipped-int8", quantise) / "model.onnx").read_bytes()


@pytest.fixture(scope="session")
def source() -> Source:
    """The shipped network, as format writers take it."""
    bundle = open_bundle()
    pixels = bundle.golden()["pixels"]
    return Source(read_network(bundle), bundle.read("model.onnx"), pixels, bundle.manifest.preprocessing)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Callable[[str], Path]:
    """Write the shipped network in a format, once, and return the path of the file; for reading only."""

    def write(name: str) -> Path:
        def fill(folder: Path) -> None:
            made = FORMATS[name].write(source)
            files = made if isinstance(made, dict) else {f"model{FORMATS[name].suffix}": made}
            for file, data in files.items():
                (folder / file).write_bytes(data)

        return made_once(tmp_path_factory, f"written-{name}", fill) / f"model{FORMATS[name].suffix}"

    return write


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
