"""What ``sonoforge mobile build`` and ``sonoforge serve`` do alike with the settings of the app."""

from pathlib import Path

from sonoforge.mobile.verbs.settings import AppSettings
from sonoforge.mobile.web_app import app_files
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier


def open_classifier(app: AppSettings, bundle: Bundle[ClassifierManifest]) -> Classifier:
    """Load the classifier that the app answers as.

    Raises:
        SonoforgeError: The page cannot run the file, or the bundle cannot answer as it is told.
    """
    entry = bundle.manifest.files.get(app.file)
    if entry and (not entry.format.startswith("onnx") or entry.format.endswith("-uint8")):
        raise SonoforgeError(f"file: found {app.file!r}, expected an ONNX file with float input, such as model.onnx")
    crop = None if app.crop == "bundle" else app.crop
    return Classifier(bundle, file=app.file, crop=crop, abstain=app.abstain)


def open_generator(app: AppSettings) -> Bundle[GeneratorManifest] | None:
    """Open the generator's bundle; None where none is given."""
    return open_bundle(app.generator, GeneratorManifest) if app.generator else None


def files_of(app: AppSettings, classifier: Classifier, generator: Bundle[GeneratorManifest] | None) -> dict[str, bytes]:
    """Return every file of the app by its path; see `app_files`."""
    archive = Path(app.onnxruntime_web) if app.onnxruntime_web else None
    return app_files(classifier, generator, webgpu=app.webgpu, archive=archive)
