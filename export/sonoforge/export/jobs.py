"""Export what a run trained, as ``sonoforge export`` does: see what the source is, and write its bundle."""

import logging
from pathlib import Path
from typing import NamedTuple

from sonoforge.export.bundle.classifier import bundle_from_bundle, bundle_from_run
from sonoforge.export.bundle.folder import FormatRow, write_zip
from sonoforge.export.bundle.generator import bundle_from_checkpoint
from sonoforge.export.formats.table import choose
from sonoforge.export.formats.triton import check_repository, write_repository
from sonoforge.export.settings import ExportConfig
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.files import SIGNATURE
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import SHIPPED, chosen_path, open_bundle
from sonoforge.runtime.bundle.signing import read_key
from sonoforge.runtime.errors import SonoforgeError, require
from sonoforge.training.classifier.model_folder import check_model
from sonoforge.training.devices import keep_freed_memory
from sonoforge.training.gan.checkpoint import best_checkpoint, find_checkpoint
from sonoforge.training.reports.conclusions import doubts

log = logging.getLogger(__name__)


class Exported(NamedTuple):
    """A bundle that was written."""

    folder: Path
    zip: Path | None  # the same as one file, if asked for
    rows: list[FormatRow]  # one for each format asked for
    manifest: Manifest
    triton: list[Path]  # folders of Triton's models, if asked for

    def formats(self, status: str) -> list[str]:
        """Return the names of the formats with a status, such as ``failed``; see `FormatRow`."""
        return [row["format"] for row in self.rows if row["status"] == status]

    def doubts(self) -> list[str]:
        """Return what speaks against using a classifier, by its own figures; nothing for a generator."""
        if not isinstance(self.manifest, ClassifierManifest):
            return []
        evaluation, weights = self.manifest.raw["evaluation"], self.manifest.raw["training"]["weights"]
        return [*map(str, doubts(evaluation, self.manifest.alpha, weights).values())]


class Plan(NamedTuple):
    """What is exported, and where to; nothing is written yet."""

    source: Path
    checkpoint: Path | None  # of a generator
    is_bundle: bool
    folder: Path
    zip: Path | None


def check(settings: ExportConfig) -> Plan:
    """Find ``settings.run``, and refuse settings that do not suit it and formats that cannot be written here."""
    source = chosen_path(settings.run)
    if not source.exists():
        raise SonoforgeError(f"{source}: no such run folder or bundle; sonoforge run, train and gan train make runs")
    is_generator = (source / "checkpoints").is_dir() and not (source / "model").is_dir()
    is_bundle = not is_generator and (source.suffix == ".zip" or (source / "manifest.json").is_file())
    if is_generator and settings.data:
        raise SonoforgeError(
            f"--data is not for a generator's run such as {source}: its files are checked on latents; leave it out"
        )
    if is_generator and len(settings.evidence) > 1:
        raise SonoforgeError(f"--evidence: a generator takes one run of evaluate, not {', '.join(settings.evidence)}")
    if is_bundle and not settings.out and (source == SHIPPED or source.suffix == ".zip"):
        raise SonoforgeError(f"{source}: give the new bundle a folder with --out FOLDER")
    choose(settings.formats, generators=is_generator)
    if settings.triton:
        check_repository(Path(settings.triton))
    if settings.sign:
        read_key(Path(settings.sign), private=True)
    checkpoint = None
    if is_generator:
        measured = best_checkpoint(source / "checkpoints")
        checkpoint = find_checkpoint(source, settings.checkpoint or ("best" if measured else "last"))
    elif not is_bundle:
        check_model(source / "model")
    if not is_bundle:
        require("export to ONNX", "export", "onnxscript")
    folder = Path(settings.out) if settings.out else source if is_bundle else source / "bundle"
    return Plan(source, checkpoint, is_bundle, folder, _zip_target(folder, source) if settings.zip else None)


def export_run(settings: ExportConfig) -> Exported:
    """Write the bundle of ``settings.run``: a run folder with a model, one of ``gan train``, or another bundle.

    Raise `GateError` if the ONNX file does not answer as the network does; nothing was written then.
    """
    keep_freed_memory()
    source, checkpoint, is_bundle, folder, target = check(settings)
    evidence = [Path(run) for run in settings.evidence]
    if checkpoint:
        log.info("%s", checkpoint)
        rows = bundle_from_checkpoint(checkpoint, folder, settings.formats, evidence[0] if evidence else None)
    elif is_bundle:
        rows = bundle_from_bundle(open_bundle(source), folder, settings.formats, settings.data, evidence)
    else:
        rows = bundle_from_run(source, folder, settings.formats, settings.data, evidence)
    if settings.sign:
        signature = read_key(Path(settings.sign), private=True).sign((folder / "manifest.json").read_bytes())
        atomic.write_bytes(folder / SIGNATURE, signature)
    if target:
        write_zip(folder, target)
    models = write_repository(folder, Path(settings.triton)) if settings.triton else []
    return Exported(folder, target, rows, open_bundle(folder, Manifest).manifest, models)


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
