"""Compare the answers of a bundle's model files on this machine with the golden answers that the exporter computed."""

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import PIL
from numpy.typing import NDArray

from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.bundle.classification import OUTPUTS, ClassifierManifest
from sonoforge.runtime.bundle.files import BundleError
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import SHIPPED, Bundle, DamagedBundleError, open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import SENSITIVITY, Clinic, decide
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.latents import draw_latent
from sonoforge.runtime.inference.loading import inputs_of, read_tried
from sonoforge.runtime.inference.onnx_session import CPU
from sonoforge.runtime.inference.runners import NOT_TRUSTED, missing, needs_trust, run_in_subprocess

# float32 sums in another order: 3e-6 between thread counts and optimisation levels on one x86 CPU (measured with
# MobileNetV2); 1e-3 leaves room for other processors and is far below what moves a probability's third digit.
TOLERANCE = 1e-3

PROBABILITY_TOLERANCES = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.25}
"""Largest difference of a probability by precision. Golden images are simulated scans, so a model may be unsure: it is
more than the export's gate allows on the model's own kind of image (measured with the shipped model: fp16 0.005, int8
0.08).
"""

IMAGE_TOLERANCES = {"fp32": 1e-3, "fp16": 0.05}
"""Largest difference of a generated image, in [-1, 1], by precision.

StyleGAN's networks are deep: 1e-3 leaves room for a different order of additions on other processors, and is an eighth
of one of 256 levels.
"""


Rows = dict[str, dict[str, Any]]
Checked = tuple[list[str], dict[str, Any], Rows]
"""Problems, what the golden inputs gave, and a row for each further format."""


def verify(path: str = "", trust: bool = False, key: str = "") -> dict[str, Any]:
    """Check that a bundle is complete and gives the same answers on this machine; an empty path: the shipped one.

    Every file is compared with its SHA-256, then the golden inputs are run and compared with the outputs that the
    exporter recorded. For a generator, golden images are drawn from their seeds with every file that can run here.
    None of this tells who made the bundle, or whether the figures of its card are true.

    Args:
        path: Folder or ``.zip``.
        trust: Whether files that are programs may run.
        key: Public key that must have signed it, see `signing`; empty: it need not be signed.

    Returns:
        What ``sonoforge verify --json`` prints, see ``sonoforge settings verify``.

    Raises:
        SonoforgeError: There is no bundle.
    """
    result: dict[str, Any] = {"bundle": path or str(SHIPPED), "ok": False, "problems": []}
    try:
        bundle = open_bundle(path or None, Manifest)
        result["files"] = {name: len(bundle.read(name)) for name in bundle.manifest.files}
        checked = _check_classifier if isinstance(bundle.manifest, ClassifierManifest) else _check_generator
        problems, golden, formats = checked(bundle, trust)
        result |= {
            "problems": problems + [row["reason"] for row in formats.values() if row["status"] == "failed"],
            "golden": golden,
            "figures": _who_states(bundle, key),
            "model": bundle.manifest.identity,
            "provider": CPU,
            "formats": formats,
            "versions": _versions(),
        }
    except SonoforgeError as error:
        if "files" not in result and not isinstance(error, DamagedBundleError):  # nothing there, or no bundle at all
            raise
        result["problems"].append(str(error))
    return result | {"ok": not result["problems"]}


def _who_states(bundle: Bundle[Manifest], key: str) -> str:
    """Say whose the figures of a bundle's card are; raise `BundleError` if ``key`` did not sign it."""
    if key:
        from sonoforge.runtime.bundle.signing import check_signature  # noqa: PLC0415 - for the few with a key

        check_signature(bundle.path, Path(key))
        return f"signed with {key}"
    if bundle.is_shipped:
        return bundle.manifest.origin
    known = f", which is {bundle.manifest.origin}" if bundle.manifest.origin else ""
    return f"as stated by {bundle.manifest.title}{known}: nothing here proves them; --key asks who signed them"


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
    }


def _check_classifier(bundle: Bundle[Any], trust: bool) -> Checked:
    classifier, golden = Classifier(bundle), bundle.golden()
    outputs = classifier.predict(golden["pixels"])
    differences = {name: float(np.abs(outputs[name] - golden[name]).max()) for name in outputs}
    labels_equal = bool((outputs["logits"].argmax(1) == golden["logits"].argmax(1)).all())
    problems = [
        f"golden vectors: {name} differs by {difference:.2g}, more than {TOLERANCE:g}"
        for name, difference in differences.items()
        if not difference <= TOLERANCE
    ]
    if not labels_equal:
        problems.append("golden vectors: a label differs")
    problems += _site_problems(bundle.manifest, outputs["probabilities"])

    def difference(name: str) -> float:
        if not bundle.is_shipped and not needs_trust(bundle.manifest.files[name].format):
            try:  # `run_in_subprocess` would wait for half an hour
                read_tried(bundle, name)
            except BundleError as error:
                raise GateError(str(error).removeprefix(f"{bundle.path}: ")) from error
        found = _run_extracted(bundle, name, [*inputs_of(bundle, name, golden["pixels"]).values()])
        shapes, expected = [output.shape for output in found], [golden[output].shape for output in OUTPUTS]
        if shapes != expected:
            raise GateError(f"{name}: its outputs have the shapes {shapes}, not {expected}; export it again")
        largest = float(np.abs(found[1] - golden["probabilities"]).max())
        if not np.isfinite(largest):
            raise GateError(f"{name}: a probability is not a number; export it again")
        return largest

    formats = _check_files(bundle, difference, "a probability of a golden image", PROBABILITY_TOLERANCES, trust)
    found = {"images": len(golden["pixels"]), "tolerance": TOLERANCE, "max_abs_difference": differences}
    return problems, {**found, "labels_equal": labels_equal}, formats


def _site_problems(manifest: ClassifierManifest, probabilities: NDArray[np.float32]) -> list[str]:
    """Compare an adapted bundle's labels of its golden images with those that `adapt` recorded."""
    if not manifest.site:
        return []
    clinic = Clinic(manifest.site.prevalence, next((q.points[0].aim for q in manifest.questions), SENSITIVITY))
    rows = [dict(zip(manifest.classes, row, strict=True)) for row in probabilities.tolist()]
    found = tuple(decide(row, manifest, clinic).label for row in rows)
    return [] if found == manifest.site.golden else ["golden images: a site label differs; adapt the bundle again"]


def _check_generator(bundle: Bundle[Any], trust: bool) -> Checked:
    manifest, golden = bundle.manifest, bundle.golden()
    latents = [draw_latent(int(seed), 0, manifest.latent_size, manifest.distribution) for seed in golden["seeds"]]
    rows = {"latents": np.stack(latents), "psi": golden["psi"], "labels": golden["labels"]}
    fed = [rows[key] for key in manifest.raw["inputs"]]

    def difference(name: str) -> float:
        if manifest.files[name].format.startswith("onnx"):
            return golden_difference(Generator(bundle, file=name))
        images = _run_extracted(bundle, name, fed)[0]
        if images.shape != golden["images"].shape:
            raise GateError(f"{name}: its images have the shape {images.shape}, not {golden['images'].shape}")
        return float(np.abs(images - golden["images"]).max())

    formats = _check_files(bundle, difference, "a golden image", IMAGE_TOLERANCES, trust)
    differences = {row["file"]: row["max_abs_difference"] for row in formats.values() if "max_abs_difference" in row}
    found = {"images": len(golden["images"]), "tolerance": IMAGE_TOLERANCES["fp32"]}
    return [], {**found, "max_abs_difference": differences}, formats


def golden_difference(generator: Generator) -> float:
    """Return the largest difference from the bundle's golden images, in [-1, 1]."""
    about, golden = generator.manifest, generator.bundle.golden()
    differences = []
    for seed, label, psi, image in zip(*(golden[key] for key in ("seeds", "labels", "psi", "images")), strict=True):
        asked = int(label) if about.classes else None, float(psi) if about.accepts_psi else None
        found = generator.images(generator.latent(int(seed), 0)[None], *asked)
        differences.append(float(np.abs(found[0] - image).max()))
    return max(differences)


def _check_files(
    bundle: Bundle[Manifest],
    difference: Callable[[str], float],
    what: str,
    tolerances: Mapping[str, float],
    trust: bool,
) -> Rows:
    """Compare each model file's answers with the golden ones, by format, except a classifier's float32 ONNX file.

    ``difference`` runs a file and returns the largest difference of ``what``; ``tolerances`` go by precision.
    """
    rows: Rows = {}
    for name, entry in bundle.manifest.files.items():
        if not entry.format or name == ClassifierManifest.model:
            continue
        row = rows[entry.format] = {"file": name, "status": "not run"}
        reason = NOT_TRUSTED if needs_trust(entry.format) and not trust else missing(entry.format)
        if reason:
            row["reason"] = reason
            continue
        row["tolerance"] = tolerances[entry.precision]
        try:
            row["max_abs_difference"] = difference(name)
            if not row["max_abs_difference"] <= row["tolerance"]:
                found = f"{row['max_abs_difference']:.2g}, more than {row['tolerance']:g}"
                row["reason"] = f"{name}: {what} differs by {found}"
        except SonoforgeError as error:
            row["reason"] = str(error)
        row["status"] = "failed" if "reason" in row else "passed"
    return rows


def _run_extracted(bundle: Bundle[Manifest], name: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a file in a subprocess, in a temporary folder that errors do not mention."""
    with temporary_folder() as folder:
        try:
            return run_in_subprocess(bundle.manifest.files[name].format, bundle.extract(name, folder), inputs)
        except GateError as error:
            raise GateError(str(error).replace(f"{folder}/", "")) from error
