"""What ``sonoforge mobile build`` and ``sonoforge serve`` are told of the app, declared once for both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sonoforge.mobile.web_app import Additions, app_files
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.cli.options import option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier


@dataclass(frozen=True)
class AppSettings:
    """How the app answers, and what it carries beside its classifier."""

    file: str = option("model.onnx", help="model file of the bundle that answers", metavar="NAME")
    generator: str = option(
        "", help="generator's bundle (folder or .zip): adds a page that draws images with it", metavar="BUNDLE"
    )
    webgpu: bool = option(False, help="let the page offer the graphics processor (WebGPU); 27 MB more to load")
    crop: str = option(
        "bundle",
        help="what the network sees: as in the bundle's training, the scan found in each image, or whole images",
        choices=("bundle", "auto", "none"),
    )
    abstain: bool = option(False, help="say uncertain instead of a label where the bundle's policy hands a scan back")
    onnxruntime_web: str = option("", help="its .tgz, as npm pack writes it, instead of loading it", metavar="FILE")

    def open_classifier(self, bundle: Bundle[ClassifierManifest]) -> Classifier:
        """Load the classifier that the app answers as.

        Raises:
            SonoforgeError: The page cannot run the file, or the bundle cannot answer as it is told.
        """
        entry = bundle.manifest.files.get(self.file)
        if entry and (not entry.format.startswith("onnx") or entry.format.endswith("-uint8")):
            raise SonoforgeError(
                f"file: found {self.file!r}, expected an ONNX file with float input, such as model.onnx"
            )
        crop = None if self.crop == "bundle" else self.crop
        return Classifier(bundle, file=self.file, crop=crop, abstain=self.abstain)

    def open_generator(self) -> Bundle[GeneratorManifest] | None:
        """Open the generator's bundle; None where none is given.

        Raises:
            SonoforgeError: It is no generator's bundle.
        """
        return open_bundle(self.generator, GeneratorManifest) if self.generator else None

    def files(self, classifier: Classifier, generator: Bundle[GeneratorManifest] | None) -> dict[str, bytes]:
        """Return every file of the app by its path; see `app_files`."""
        archive = Path(self.onnxruntime_web) if self.onnxruntime_web else None
        return app_files(classifier, archive, Additions(generator, self.webgpu))
