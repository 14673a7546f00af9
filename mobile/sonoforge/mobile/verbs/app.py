"""What ``sonoforge mobile build`` and ``sonoforge serve`` do alike with the settings of the app."""

import shlex
from pathlib import Path

from sonoforge.mobile.server import EVERY_ADDRESS
from sonoforge.mobile.verbs.settings import AppSettings, ServeConfig
from sonoforge.mobile.web_app import app_files
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.options import options, typed
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic


def open_app(app: AppSettings, path: str) -> tuple[Classifier, dict[str, bytes]]:
    """Load the classifier that the app answers as, and make its files; an empty path is that of the shipped bundle."""
    crop = None if app.crop == "bundle" else app.crop
    asked = AtClinic(app.prevalence, app.sensitivity, app.abstain)
    classifier = Classifier(open_bundle(path or None), crop=crop, asked=asked)
    return classifier, app_files(classifier, Path(app.onnxruntime_web) if app.onnxruntime_web else None)


def serve_command(app: AppSettings, path: str) -> str:
    """Return the command that shows the same app to the phones of this network."""
    words = ["sonoforge", "serve", *[path] * bool(path), "--host", EVERY_ADDRESS[0]]
    for option in options(ServeConfig).values():
        if option.path[0] == "app" and (value := getattr(app, option.path[1])) != option.default:
            words += typed(option, value)
    return shlex.join(words)
