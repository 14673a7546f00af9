"""Classify images with a bundle: probabilities, uncertainty set, trust and image quality, without torch."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, BundleError
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import decoding, plain_image, quality_metrics, repeats, scan_checks
from sonoforge.runtime.images.scan_checks import ScanKind, name_kind
from sonoforge.runtime.images.sketches import ALIKE
from sonoforge.runtime.inference import adaptation, decision, loading, onnx_session, result, trust
from sonoforge.runtime.inference.trust import mahalanobis_distances, neighbour_distances, read_references

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

# Difference allowed between softmax here and in the graph: float32, on logits up to some hundreds; for 16 bits, two
# steps of the numbers just below 1.
_SOFTMAX_TOLERANCE = {"fp32": 1e-4, "fp16": 1e-3, "int8": 1e-4}
_FOR_ANSWERS = ("PIL.PngImagePlugin", "sonoforge.runtime.images.burned_in_marks")  # imported while the model loads


class Classifier:
    """A bundle with its model loaded; one object may serve many threads.

    Examples:
        >>> from sonoforge.runtime import Classifier
        >>> classifier = Classifier()  # the shipped bundle
        >>> classifier.classify("scan.png").label in classifier.bundle.classes
        True

    Attributes:
        bundle: The opened `Bundle`.
        file: Name of the model file that answers.
        model: ``{"name", "version", "sha256"}`` of that file, as in each result.
        crop: Row of `preprocessing.CROPS` in use.
        abstains: Whether it abstains, see `trust.why_abstain`.
        clinic: Where its answers are used.
    """

    def __init__(
        self,
        bundle: loading.LoadingModel | Bundle[ClassifierManifest] | Path | str | None = None,
        threads: int = 1,
        file: str = ClassifierManifest.model,
        crop: str | None = None,
        asked: decision.AtClinic | None = None,
    ) -> None:
        """Open the bundle and load its model.

        Args:
            bundle: An opened bundle, or the folder or ``.zip`` of one; None for the bundle shipped with sonoforge. It
                can also be a model being loaded, with its own ``threads`` and ``file``.
            threads: Threads for one inference.  One starts fastest and is steadiest on a busy machine; more pay off
                only for large batches given to `predict`.
            file: The bundle's model file to answer with, ONNX or ORT, such as ``model.int8.onnx``.  Calibration, sets
                and the limits of trust were set with ``model.onnx``; the gate of the export bounds the difference.
            crop: Row of `preprocessing.CROPS`; None for the one used in the bundle's training. Others log a warning.
            asked: Prevalence, sensitivity and abstention where the answers are used; None for the defaults.

        Raises:
            SonoforgeError: The bundle is missing, damaged or unknown to this version; or it has no such file.
        """
        model = bundle if isinstance(bundle, loading.LoadingModel) else loading.LoadingModel(bundle, file, threads)
        self.bundle, self.file = model.bundle, model.file
        manifest = self.bundle.manifest
        self.crop, trained = crop or manifest.preprocessing.crop, manifest.preprocessing.crop
        self._preprocessing = replace(manifest.preprocessing, crop=self.crop)
        if self.crop != trained:
            log.warning(
                "crop %s DIFFERS FROM THE TRAINING of this model, which used crop %s: its accuracy, sets, trust and "
                "quality limits were not measured this way",
                self.crop,
                trained,
            )
        for module in _FOR_ANSWERS:
            with suppress(ImportError):  # raised where it is used
                import_module(module)
        try:
            self._reference, self._neighbours, self._trained_on = read_references(self.bundle)
        except SonoforgeError:
            model.session()  # faults of the model are reported first
            raise
        _ = self._trained_on and self._trained_on.vectors  # unpacked while the model loads
        asked = asked or decision.AtClinic()
        self.abstains = asked.abstain or manifest.checks.policy.always
        self.clinic = decision.read_clinic(asked.prevalence, asked.sensitivity, manifest)
        self._rules = adaptation.rules_of(manifest, self.clinic.prevalence)
        self.model = {**manifest.identity, "sha256": manifest.files[self.file].sha256}
        self._session = model.session()

    def predict(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the network.

        Args:
            pixels: (N, S, S, 3) uint8, from `Preprocessing.resize`.

        Returns:
            ``logits`` (N, n), ``probabilities`` (N, n; calibrated, each row sums to 1), ``embedding`` (N, D) and
            ``cam`` (N, n, h, w), the class-activation maps; all float32.

        Raises:
            BundleError: The network's answer contradicts the manifest.
        """
        names = list(self.bundle.manifest.outputs)
        where = f"{self.bundle.path}: {self.file}"
        values = onnx_session.run_session(
            self._session, loading.inputs_of(self.bundle, self.file, pixels), where, names
        )
        outputs: dict[str, NDArray[np.float32]] = dict(zip(names, values, strict=True))
        for name, value in outputs.items():
            expected = (len(pixels), *self.bundle.manifest.outputs[name])
            if value.shape != expected:
                raise BundleError(f"{where}: {name} has the shape {value.shape}, not {expected}; export it again")
            if not np.isfinite(value).all():
                raise BundleError(f"{where}: {name} holds numbers that are not finite; export the bundle again")
        scaled = outputs["logits"] / self.bundle.manifest.temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        allowed = _SOFTMAX_TOLERANCE[self.bundle.manifest.files[self.file].precision]
        if not (np.abs(softmax - outputs["probabilities"]) <= allowed).all():
            raise BundleError(
                f"{where}: its probabilities are not softmax(logits / temperature) for the "
                f"manifest's temperature {self.bundle.manifest.temperature}; export the bundle again"
            )
        return outputs

    def classify(self, image: Path | str | Image.Image | NDArray[np.uint8], fingerprint: bool = False) -> result.Result:
        """Classify one scan.

        Examples:
            >>> import numpy as np
            >>> from sonoforge.runtime import Classifier
            >>> result = Classifier().classify(np.zeros((300, 400), np.uint8))
            >>> result.trust.in_distribution, "black_high" in result.quality.flags
            (False, True)

        Args:
            image: A file; a Pillow image; or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.  The
                same picture gives the same answer in each form.
            fingerprint: Also compute a fingerprint that recognises the picture when it is given again.

        Raises:
            ImageError: The file or picture cannot be used; its ``code`` says why.
            TypeError: The image is something else.
            BundleError: The network's answer contradicts the manifest.
        """
        from sonoforge.runtime.images.burned_in_marks import Marks, find_marks  # noqa: PLC0415 - not needed to start

        started = perf_counter()
        decoded = decoding.as_image(image)
        read = perf_counter()
        area = self._preprocessing.scan_area(decoded)
        seen = decoded.crop(area.box) if area else decoded
        view = self._preprocessing.shrink(seen)  # grey pictures are measured once, not three times
        pixels = np.broadcast_to(view.reshape(*view.shape[:2], -1), (*view.shape[:2], 3))
        prepared = perf_counter()
        outputs = self.predict(pixels[None])
        inferred = perf_counter()
        manifest = self.bundle.manifest
        probabilities = dict(zip(manifest.classes, outputs["probabilities"][0].tolist(), strict=True))
        said = decision.decide(probabilities, manifest, self.clinic, self._rules)
        quality = quality_metrics.assess(view, seen.size, manifest.quality)
        levels = plain_image.grey_levels(decoded)
        marks = find_marks(decoded, area.box if area else None, levels)
        kind = name_kind(plain_image.grey_levels(view), overlay=marks.overlay)
        judged = trust.assess(self._evidence(view, outputs["embedding"], quality, kind), manifest)
        alike = manifest.checks.kind == BREAST_ULTRASOUND and trust.Cause.OTHER_KIND not in judged.causes
        if not alike:
            marks = Marks(())  # detection was not measured on other kinds of pictures
        detail = repeats.detail_of(plain_image.grey_levels(view))
        abstained = trust.why_abstain(judged, said.probabilities[said.label], manifest) if self.abstains else ""
        return result.Result(
            file=str(image) if isinstance(image, str | Path) else None,
            label=said.label,
            probabilities=said.probabilities,
            set=said.set,
            findings=said.findings,
            trust=judged,
            trained_on=self._trained_on.likeness(detail) >= ALIKE if self._trained_on else None,
            quality=quality,
            kind=kind,
            marks=marks,
            model=self.model,
            ms={
                "decode": 1e3 * (read - started),
                "preprocess": 1e3 * (prepared - read),
                "infer": 1e3 * (inferred - prepared),
                "total": 1e3 * (perf_counter() - started),
            },
            size=decoded.size,
            map=outputs["cam"][0, manifest.classes.index(said.label)],
            view=pixels,
            embedding=outputs["embedding"][0],
            fingerprint=repeats.take_fingerprint(levels, view if alike else None, detail) if fingerprint else None,
            crop=area,
            abstained=abstained,
            remarks=plain_image.remarks_on(decoded),
        )

    def _evidence(
        self,
        view: NDArray[np.uint8],
        embedding: NDArray[np.float32],
        quality: quality_metrics.Quality,
        kind: ScanKind,
    ) -> trust.Evidence:
        """Measure one image (S, S, 3), or (S, S) if grey, with embedding (1, D)."""
        manifest = self.bundle.manifest
        distance = float(mahalanobis_distances(embedding, self._reference)[0])
        neighbour = float(neighbour_distances(embedding, self._neighbours)[0])
        far = trust.how_far(distance, neighbour, manifest) > 1  # grain counts only beyond the limits
        pixels = view.reshape(1, *view.shape[:2], -1)
        return trust.Evidence(
            distance,
            grain=float(scan_checks.flatness(pixels)[0]) if far else None,
            quality=quality.metrics,
            neighbour=neighbour,
            upright=float(scan_checks.upright_score(pixels, manifest.checks.upright)[0]),
            dark=float(scan_checks.dark_columns(pixels)[0]),
            colour=float(scan_checks.coloured_share(pixels)[0]),
            kind=kind,
        )
