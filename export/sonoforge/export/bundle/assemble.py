"""From a run folder or a bundle to a bundle with the files of these formats, each of them judged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sonoforge.export.bundle.add_formats import add_formats
from sonoforge.export.bundle.folder import replacing_folder
from sonoforge.export.bundle.network import read_network
from sonoforge.export.bundle.writer import fill_bundle, model_metadata
from sonoforge.export.formats.source import Source
from sonoforge.export.gate.images import FEWEST, GateImages, find_images
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.training.classifier.model_folder import load_model
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.run_folder import CONFIG, read_config

log = logging.getLogger(__name__)

CALIBRATION = 128


def bundle_from_run(
    run: Path, folder: Path, names: Sequence[str], asked: Sequence[str] = (), data: str = ""
) -> list[dict[str, Any]]:
    """Export the model of a run folder.

    Args:
        run: With ``model/``, and ``predictions.csv`` where it was cross-validated.
        folder: Of the bundle; one that is there is replaced, at the very end.
        names: Rows of `formats.FORMATS`.
        asked: See `add_formats`.
        data: Images to judge the files on; empty for the run's own.

    Returns:
        See `add_formats`.

    Raises:
        GateError: The ONNX file does not answer as the network does.
        SonoforgeError: No model there, no images, or ``folder`` holds something else.
    """
    members, record, arrays = load_model(run / "model")
    with replacing_folder(folder, "classification") as fresh:
        settings = read_config(run) if (run / CONFIG).is_file() else {}
        images = find_images(data, run, settings, record.classes, str(record.training.get("arm", "")))
        graph = fill_bundle(members, record, arrays, fresh)
        rows = _judge(fresh, graph, images, arrays.parity_pixels, names, asked)
        _say_what_goes(folder, fresh)
    return rows


def bundle_from_bundle(
    bundle: Bundle[ClassifierManifest], folder: Path, names: Sequence[str], asked: Sequence[str] = (), data: str = ""
) -> list[dict[str, Any]]:
    """Copy a bundle and add the files of these formats; see `bundle_from_run`."""
    with replacing_folder(folder, "classification") as fresh:
        images = find_images(data, None, {}, bundle.classes, "")
        for name in bundle.manifest.files:
            atomic.write_bytes(fresh / name, bundle.read(name))
        atomic.write_json(fresh / "manifest.json", bundle.manifest.raw)
        rows = _judge(fresh, read_network(bundle), images, None, names, asked)
    return rows


def _judge(
    fresh: Path,
    graph: nn.Module,
    images: GateImages,
    training: NDArray[np.uint8] | None,
    names: Sequence[str],
    asked: Sequence[str],
) -> list[dict[str, Any]]:
    """Add the formats to a bundle that holds ``model.onnx``; ``training``: images that ranges may be measured on."""
    log.info("checked on %s", images.source)
    if training is None or len(training) < FEWEST:
        training = images.pixels[evenly_spaced(len(images.pixels), CALIBRATION)]
    bundle = open_bundle(fresh)
    manifest = bundle.manifest
    metadata = model_metadata(manifest.preprocessing, manifest.classes, f"{manifest.name} {manifest.version}")
    source = Source(graph, bundle.read("model.onnx"), np.asarray(training), manifest.preprocessing, metadata)
    return add_formats(fresh, source, images, names, asked)


def _say_what_goes(folder: Path, fresh: Path) -> None:
    """Name the formats of an earlier bundle that the new one does not have."""
    if folder.exists():
        old, new = ({entry.format for entry in open_bundle(place).manifest.files.values()} for place in (folder, fresh))
        gone = ", ".join(sorted(old - new))
        if gone:
            log.warning("%s: the new bundle does without %s, which the old one had", folder, gone)
