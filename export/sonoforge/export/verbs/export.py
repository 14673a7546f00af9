"""``sonoforge export``: turn a run folder's model into a bundle of files that all give its answers."""

import logging
from pathlib import Path
from typing import Any

from sonoforge.export.bundle.classifier import bundle_from_bundle, bundle_from_run
from sonoforge.export.bundle.folder import FormatRow, write_zip
from sonoforge.export.bundle.generator import Extras, bundle_from_checkpoint
from sonoforge.export.settings import ExportConfig
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, steps
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.devices import keep_freed_memory
from sonoforge.training.gan.checkpoint import best_checkpoint, find_checkpoint
from sonoforge.training.statistics.verdict import doubts

log = logging.getLogger(__name__)


def main(config: ExportConfig) -> Outcome:
    """Export the model of a run folder, a bundle or a generator."""
    keep_freed_memory()
    source = SHIPPED if config.run == "shipped" else Path(config.run)
    if not source.exists():
        raise SonoforgeError(f"{source}: no such run folder or bundle; sonoforge run, train and gan train make runs")
    is_generator = (source / "checkpoints").is_dir() and not (source / "model").is_dir()
    is_bundle = not is_generator and (source.suffix == ".zip" or (source / "manifest.json").is_file())
    if is_generator and config.data:
        raise SonoforgeError(
            f"--data is not for a generator's run such as {source}: its files are checked on latents; leave it out"
        )
    if config.half_weights and not is_generator:
        raise SonoforgeError(f"--half-weights requires a run of gan train; {source} is not one; use onnx-fp16")
    if is_generator and len(config.evidence) > 1:
        raise SonoforgeError(f"--evidence: a generator takes one run of evaluate, not {', '.join(config.evidence)}")
    if is_bundle and not config.out and (config.run == "shipped" or source.suffix == ".zip"):
        raise SonoforgeError(f"{source}: give the new bundle a folder with --out FOLDER")
    folder = Path(config.out) if config.out else source if is_bundle else source / "bundle"
    target = _zip_target(folder, source) if config.zip else None
    evidence = [Path(run) for run in config.evidence]
    if is_generator:
        measured = best_checkpoint(source / "checkpoints")
        checkpoint = find_checkpoint(source, config.checkpoint or ("best" if measured else "last"))
        log.info("%s", checkpoint)
        extras = Extras(evidence[0] if evidence else None, config.half_weights)
        rows = bundle_from_checkpoint(checkpoint, folder, config.formats, extras)
    elif is_bundle:
        rows = bundle_from_bundle(open_bundle(source), folder, config.formats, config.data, evidence)
    else:
        rows = bundle_from_run(source, folder, config.formats, config.data, evidence)
    return _report(folder, target, rows)


def _zip_target(folder: Path, source: Path) -> Path:
    """Return where the packed bundle goes; refuse to replace anything but another bundle."""
    target = folder.with_name(folder.name + ".zip")
    if target.exists():
        if target.resolve() == source.resolve():
            raise SonoforgeError(f"{target}: is the bundle being read; choose another --out")
        try:
            open_bundle(target, Manifest)
        except SonoforgeError as error:
            raise SonoforgeError(f"{target}: exists but is not a bundle; choose another --out") from error
    return target


def _report(folder: Path, target: Path | None, rows: list[FormatRow]) -> Outcome:
    """Print what is in the bundle and what was left out; pack it if there is a target."""
    manifest = open_bundle(folder, Manifest).manifest
    result: dict[str, Any] = {"bundle": str(folder), "parity": manifest.raw["parity"], "formats": rows}
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    say("%s: %d files, %.1f MB (research use, not a medical device)", folder, len(manifest.files), size)
    if isinstance(manifest, ClassifierManifest):
        for doubt in doubts(manifest.raw["evaluation"], manifest.alpha, manifest.raw["training"]["weights"]):
            say("%s", doubt.line)
    if target is not None:
        write_zip(folder, target)
        result["zip"] = str(target)
        say("%s: the same as one file", target)
    unchecked = [row["format"] for row in rows if row["status"] == "not checked"]
    if unchecked:
        say("in the bundle, but this machine cannot check: %s", ", ".join(unchecked))
    failed = [row["format"] for row in rows if row["status"] == "failed"]
    if failed:
        say("failed the gate and left out: %s", ", ".join(failed))
        return Outcome(result, "", 1)
    if manifest.task == "generation":
        return Outcome(result, f"sonoforge gan sample --bundle {folder}")
    compared = f"sonoforge bench {folder} --trust" if len(rows) > 1 else ""
    return Outcome(result, steps(f"sonoforge classify IMAGES --bundle {folder}", compared))
