"""``sonoforge export``: a run folder's model becomes a bundle of files that all answer as it does."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.export.add_formats import add_formats, cannot_write
from sonoforge.export.bundle_network import read_network
from sonoforge.export.bundle_writer import refuse_other_folder, write_bundle
from sonoforge.export.bundle_zip import write_zip
from sonoforge.export.formats import FORMATS
from sonoforge.export.gate_images import FEWEST, find_images
from sonoforge.export.generator_bundle import write_generator_bundle
from sonoforge.export.generator_formats import FORMATS as GENERATOR_FORMATS
from sonoforge.export.model_folder import load_model
from sonoforge.export.onnx_graph import BundleGraph
from sonoforge.export.source import Source
from sonoforge.runtime.bundle import SHIPPED, Bundle, open_bundle
from sonoforge.runtime.commandline import Outcome, closest, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.checkpoint import find_checkpoint
from sonoforge.training.gan.draws import evenly_spaced
from sonoforge.training.run_folder import CONFIG, read_config

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge export runs/00003-run-BUSI                              model.onnx alone
sonoforge export runs/00003-run-BUSI --formats all                every format that this machine can write
sonoforge export runs/00003-run-BUSI --formats onnx-int8,executorch --data BUSI/ --out phone --zip
sonoforge export my_bundle.zip --formats tensorrt-fp16 --out server
sonoforge export shipped --formats onnx-int8 --data BUSI/ --out small
sonoforge export runs/00005-gan-stylegan2-busi-malignant          a generator, for gan sample --bundle

exit code: 0 all formats asked for are in the bundle; 1 one failed its gate and was left out; 2 wrong usage or input
"""

CALIBRATION = 128


@dataclass(frozen=True)
class Config:
    """Settings of ``export``."""

    run: str = option(
        help="run folder of run, train or gan train; or a bundle (folder, .zip, or the word shipped)", positional=True
    )
    formats: tuple[str, ...] = option(
        ("onnx",), help=f"all, or some of {', '.join(FORMATS)}; of a generator {', '.join(GENERATOR_FORMATS)}"
    )
    data: str = option(
        "", help="folder of images to check the files on, or phantom (default: the run's own, or else phantom)"
    )
    checkpoint: str = option("best", help="of a generator: best, last or a step number")
    out: str = option("", help="folder of the bundle (default: RUN/bundle, or the bundle itself)")
    zip: bool = option(False, help="also pack the bundle as OUT.zip")


def main(config: Config) -> Outcome:
    """Export the model of a run folder, a bundle or a generator.

    Raises:
        GateError: The ONNX file itself does not answer as the network does.
        SonoforgeError: No such run, format or image folder.
    """
    place = SHIPPED if config.run == "shipped" else Path(config.run)
    if not place.exists():
        raise SonoforgeError(f"{place}: no such run folder or bundle; sonoforge run, train and gan train make runs")
    if (place / "checkpoints").is_dir() and not (place / "model").is_dir():
        return _export_generator(config, place)
    names = _choose(config.formats, tuple(FORMATS))
    is_bundle = place.suffix == ".zip" or (place / "manifest.json").is_file()
    folder = Path(config.out) if config.out else place if is_bundle else place / "bundle"
    if is_bundle and not config.out and (config.run == "shipped" or place.suffix == ".zip"):
        raise SonoforgeError(f"{place}: give the new bundle a place with --out FOLDER")
    refuse_other_folder(folder)
    if is_bundle:
        bundle = open_bundle(place)
        graph, settings, run, calibration = read_network(bundle), {}, None, None
    else:
        members, record, arrays = load_model(place / "model")
        write_bundle(members, record, arrays, folder)
        bundle = open_bundle(folder)
        graph = BundleGraph(members, record.temperature, record.shared_blocks, record.mirror).eval()
        settings = read_config(place) if (place / CONFIG).is_file() else {}
        run, calibration = place, arrays.parity_pixels
    rows: list[dict[str, Any]] = []
    if names != ["onnx"] or config.data:
        arm = str(bundle.manifest.raw["training"].get("arm", ""))
        images = find_images(config.data, run, settings, bundle.classes, arm)
        log.info("checked on %s", images.source)
        if calibration is None or len(calibration) < FEWEST:
            calibration = images.pixels[evenly_spaced(len(images.pixels), CALIBRATION)]
        source = Source(
            graph, bundle.read("model.onnx"), np.asarray(calibration), bundle.manifest.preprocessing, _metadata(bundle)
        )
        rows = add_formats(bundle, folder, source, images, names)
    return _report(config, folder, rows)


def _choose(asked: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    """Return rows of a table, the ONNX file first, whatever their order; ``all`` leaves out what is not installed.

    Raises:
        SonoforgeError: An unknown name, or one that cannot be written here.
    """
    for name in asked:
        if name not in (*known, "all"):
            raise SonoforgeError(
                f"--formats: found {name!r}, expected all or some of {', '.join(known)}{closest(name, list(known))}"
            )
    for name in asked:
        reason = cannot_write(FORMATS[name]) if name in FORMATS else ""
        if reason:
            raise SonoforgeError(f"--formats {name}: {reason}")
    return [name for name in known if name in asked or "all" in asked or name == "onnx"]


def _metadata(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    return {
        "sonoforge.preprocessing": json.dumps(manifest.preprocessing.to_dict()),
        "sonoforge.classes": json.dumps(manifest.classes),
        "sonoforge.name": f"{manifest.name} {manifest.version}",
        "sonoforge.use": "research use, not a medical device",
    }


def _report(config: Config, folder: Path, rows: list[dict[str, Any]]) -> Outcome:
    next_command = f"sonoforge bench {folder}" if len(rows) > 1 else f"sonoforge verify {folder}"
    return _finish(config, folder, open_bundle(folder).manifest.raw, rows, next_command)


def _finish(
    config: Config, folder: Path, manifest: dict[str, Any], rows: list[dict[str, Any]], next_command: str
) -> Outcome:
    """Say what is in the bundle and what was left out; pack it if that is asked for."""
    result: dict[str, Any] = {"bundle": str(folder), "parity": manifest["parity"], "formats": rows}
    files = manifest["files"].values()
    size = sum(entry["bytes"] for entry in files) / 1e6
    log.info("%s: %d files, %.1f MB (research use, not a medical device)", folder, len(files), size)
    if config.zip:
        target = folder.with_name(folder.name + ".zip")
        write_zip(folder, target)
        result["zip"] = str(target)
        log.info("%s: the same as one file", target)
    failed = [row["format"] for row in rows if row["status"] == "failed"]
    if failed:
        log.error("failed the gate and left out: %s", ", ".join(failed))
        return Outcome(result, "", 1)
    return Outcome(result, next_command)


def _export_generator(config: Config, run: Path) -> Outcome:
    if config.data:
        raise SonoforgeError(f"--data: found {config.data}, expected none: a generator's files are checked on latents")
    checkpoint = find_checkpoint(run, config.checkpoint)
    folder = Path(config.out) if config.out else run / "bundle"
    manifest = write_generator_bundle(checkpoint, folder, formats=config.formats)
    rows = list(manifest["parity"]["formats"].values())
    return _finish(config, folder, manifest, rows, f"sonoforge gan sample --bundle {folder}")
