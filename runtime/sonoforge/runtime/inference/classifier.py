"""Classify images with a bundle: probabilities, uncertainty set, trust and image quality, without torch."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, BundleError, open_bundle
from sonoforge.runtime.images import quality_metrics
from sonoforge.runtime.images.decoding import as_image
from sonoforge.runtime.inference import trust
from sonoforge.runtime.inference.onnx_session import load_session, run_session
from sonoforge.runtime.inference.result import Result

if TYPE_CHECKING:
    import onnxruntime
    from PIL import Image

# Softmax in float32 here against softmax in the graph, on logits up to some hundreds.
_SOFTMAX_TOLERANCE = 1e-4


class Classifier:
    """A bundle with its model loaded; one object may serve many threads.

    Example:
        >>> from sonoforge.runtime import Classifier
        >>> classifier = Classifier()  # the shipped bundle
        >>> classifier.classify("scan.png").label in classifier.bundle.classes
        True

    Attributes:
        bundle: The opened `Bundle`.
        model: ``{"name", "version", "sha256"}`` of the model, as each result carries it.
    """

    def __init__(self, bundle: Bundle[ClassifierManifest] | Path | str | None = None, threads: int = 1) -> None:
        """Open the bundle and load its model.

        Args:
            bundle: An opened bundle, or the folder or ``.zip`` of one; None for the bundle shipped with sonoforge.
            threads: Threads for one inference.  One starts fastest and is the steadiest on a busy machine; more pay
                only for large batches given to `predict`.

        Raises:
            SonoforgeError: The bundle is missing, damaged, or not one that this version knows.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        manifest = self.bundle.manifest
        self._preprocessing = manifest.preprocessing
        self._session = _load_session(self.bundle, threads)
        self._reference = trust.read_reference(self.bundle)
        self.model = manifest.identity

    @property
    def provider(self) -> str:
        """The onnxruntime execution provider that computes the answers."""
        return str(self._session.get_providers()[0])

    def predict(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the network.

        Args:
            pixels: (N, S, S, 3) uint8, as `Preprocessing.resize` returns them.

        Returns:
            ``logits`` (N, n), ``probabilities`` (N, n; calibrated, each row sums to 1), ``embedding`` (N, D) and
            ``cam`` (N, n, h, w), the class-activation maps; all float32.

        Raises:
            BundleError: The network's answer contradicts the manifest.
        """
        names = list(self.bundle.manifest.outputs)
        where = f"{self.bundle.path}: model.onnx"
        values = run_session(self._session, {"input": self._preprocessing.normalise(pixels)}, where, names)
        outputs: dict[str, NDArray[np.float32]] = dict(zip(names, values, strict=True))
        for name, value in outputs.items():
            expected = (len(pixels), *self.bundle.manifest.outputs[name])
            if value.shape != expected or not np.isfinite(value).all():
                found = f"numbers that are not finite in {name}" if value.shape == expected else f"{name} {value.shape}"
                raise BundleError(
                    f"{where}: found {found}, expected finite numbers {expected}; export the bundle again"
                )
        scaled = outputs["logits"] / self.bundle.manifest.temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        if not (np.abs(softmax - outputs["probabilities"]) <= _SOFTMAX_TOLERANCE).all():
            raise BundleError(
                f"{where}: its probabilities are not softmax(logits / temperature) for the "
                f"manifest's temperature {self.bundle.manifest.temperature}; export the bundle again"
            )
        return outputs

    def classify(self, image: Path | str | Image.Image | NDArray[np.uint8]) -> Result:
        """Classify one scan.

        Example:
            >>> import numpy as np
            >>> from sonoforge.runtime import Classifier
            >>> result = Classifier().classify(np.zeros((300, 400), np.uint8))
            >>> result.trust.in_distribution, "black_high" in result.quality.flags
            (False, True)

        Args:
            image: A file; a Pillow image; or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.  The
                same picture gives the same answer in each form.

        Raises:
            ImageError: The file or picture cannot be used; its ``code`` says why.
            TypeError: It is something else.
            BundleError: The network's answer contradicts the manifest.
        """
        started = perf_counter()
        decoded = as_image(image)
        read = perf_counter()
        pixels = self._preprocessing.resize(decoded)
        prepared = perf_counter()
        outputs = self.predict(pixels[None])
        inferred = perf_counter()
        manifest = self.bundle.manifest
        probabilities = dict(zip(manifest.classes, outputs["probabilities"][0].tolist(), strict=True))
        label = max(probabilities, key=probabilities.__getitem__)
        distance = float(trust.distances(outputs["embedding"], self._reference)[0])
        return Result(
            file=str(image) if isinstance(image, str | Path) else None,
            label=label,
            probabilities=probabilities,
            set=tuple(name for name, p in probabilities.items() if p >= manifest.thresholds[name]),
            trust=trust.assess(distance, manifest.trust),
            quality=quality_metrics.assess(pixels, decoded.size, manifest.quality),
            model=self.model,
            ms={
                "decode": 1e3 * (read - started),
                "preprocess": 1e3 * (prepared - read),
                "infer": 1e3 * (inferred - prepared),
                "total": 1e3 * (perf_counter() - started),
            },
            size=decoded.size,
            map=outputs["cam"][0, manifest.classes.index(label)],
            embedding=outputs["embedding"][0],
        )


def _load_session(bundle: Bundle[ClassifierManifest], threads: int) -> onnxruntime.InferenceSession:
    """Load the checked model and compare its interface with the manifest."""
    # The model is read and hashed while onnxruntime is imported: each takes a large part of the start-up.
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read_model, bundle)
        import onnxruntime  # noqa: F401, PLC0415 - after the telemetry switch in onnx_session, and not for --help
    session = load_session(reading.result(), f"{bundle.path}: model.onnx", threads)
    _check_interface(bundle, session)
    return session


def _read_model(bundle: Bundle[ClassifierManifest]) -> bytes:
    """Read the model; one that did not come with sonoforge is first tried in a process of its own."""
    content = bundle.read("model.onnx")
    if not bundle.is_shipped:
        from sonoforge.runtime.inference.trial import admit  # noqa: PLC0415 - for other bundles only

        inputs = {"input": bundle.manifest.preprocessing.normalise(bundle.golden()["pixels"][:1])}
        admit(content, f"{bundle.path}: model.onnx", inputs)
    return content


def _check_interface(bundle: Bundle[ClassifierManifest], session: onnxruntime.InferenceSession) -> None:
    """Compare the model's inputs, outputs and preprocessing with the manifest's."""
    where, manifest = f"{bundle.path}: model.onnx", bundle.manifest
    side = manifest.preprocessing.size
    expected = {"input": (3, side, side)}
    inputs = {item.name: item for item in session.get_inputs()}
    outputs = {item.name: item for item in session.get_outputs()}
    for found, wanted, kind in ((inputs, expected, "input"), (outputs, manifest.outputs, "output")):
        if set(found) != set(wanted):
            raise BundleError(f"{where}: found {kind} {', '.join(found)}, expected {', '.join(wanted)}")
        for name, item in found.items():
            batch, *shape = item.shape
            if item.type != "tensor(float)" or tuple(shape) != tuple(wanted[name]) or isinstance(batch, int):
                raise BundleError(
                    f"{where}: {kind} {name}: found {item.type} {item.shape}, "
                    f"expected tensor(float) with any batch and {list(wanted[name])}"
                )
    text = session.get_modelmeta().custom_metadata_map.get("sonoforge.preprocessing", "null")
    try:
        stated = json.loads(text)
    except ValueError:
        stated = text
    if stated != manifest.preprocessing.to_dict():
        raise BundleError(
            f"{where}: its metadata key sonoforge.preprocessing holds {text:.120}, "
            f"the manifest {json.dumps(manifest.preprocessing.to_dict())}; export the bundle again"
        )
