"""What ``sonoforge mobile build`` and ``sonoforge serve`` do alike with the settings of the app."""

import shlex
from pathlib import Path
from typing import NamedTuple

from sonoforge.mobile.network import EVERY_ADDRESS
from sonoforge.mobile.verbs.settings import AppSettings, ServeConfig
from sonoforge.mobile.web_app import app_files
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.cli.options import options, typed
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic


class App(NamedTuple):
    """An app, ready to be written or served."""

    classifier: Classifier  # that it answers as
    generator: Bundle[GeneratorManifest] | None
    files: dict[str, bytes]  # every file by its path, see `app_files`


def open_app(app: AppSettings, path: str) -> App:
    """Load what the app answers and draws with, and make its files; an empty path is that of the shipped bundle.

    Raises:
        SonoforgeError: The page cannot run the file, or the bundle cannot answer as it is told.
    """
    bundle = open_bundle(path or None)
    entry = bundle.manifest.files.get(app.file)
    if entry and (not entry.format.startswith("onnx") or entry.format.endswith("-uint8")):
        raise SonoforgeError(f"file: found {app.file!r}, expected an ONNX file with float input, such as model.onnx")
    crop = None if app.crop == "bundle" else app.crop
    classifier = Classifier(
        bundle,
        file=app.file,
        crop=crop,
        asked=AtClinic(app.prevalence, app.sensitivity, app.abstain),
    )
    generator = open_bundle(app.generator, GeneratorManifest) if app.generator else None
    archive = Path(app.onnxruntime_web) if app.onnxruntime_web else None
    return App(classifier, generator, app_files(classifier, generator, webgpu=app.webgpu, archive=archive))


def serve_command(app: AppSettings, path: str) -> str:
    """Return the command that shows the same app to the phones of this network."""
    words = ["sonoforge", "serve", *[path] * bool(path), "--host", EVERY_ADDRESS[0]]
    for option in options(ServeConfig).values():
        if option.path[0] == "app" and (value := getattr(app, option.path[1])) != option.default:
            words += typed(option, value)
    return shlex.join(words)
