"""Write a classifier's offline web app: one folder for any web server or a phone's web view."""

import hashlib
import io
import json
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.mobile.npm_package import DICOM_PARSER, ONNXRUNTIME_WEB, ONNXRUNTIME_WEBGPU, beside, read_files
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.generation import REFERENCE, GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.cli.answer_files import csv_format, settings_in_words
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.explanations import heat
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.golden import IMAGE_TOLERANCES, PROBABILITY_TOLERANCES, golden_difference
from sonoforge.runtime.inference.trust import Cause

ALLOWED = {"fp16": 0.02, "int8": 0.05}
"""Largest difference of a probability on the device from the same file's answer at the build.

int8: WebAssembly's rounding flips single 8-bit levels, which moved golden probabilities by up to 0.010 (Chromium,
against AVX2); overflowing 8-bit sums, as on x86 without VNNI, moved them by 0.06 to 0.09 and must be noticed.
"""

_PACKAGE = Path(__file__).parent
_WORKER = "service-worker.js"
_OF_THE_BUNDLE = ("reference.npz", "MODEL_CARD.md")
_DRAWING_PAGE = "draw"  # start of its files' names
# The runtime's modules whose constants the page shares.
_MEASURING = {
    "images": "burned_in_marks calipers coloured_ink file_checks frame_motion lettering limits plain_image "
    "quality_metrics repeats scan_area scan_checks scan_metrics synthetic",
    "images.dicom": "data_set header reader",
    "inference": "activation_map clips golden trust verdict",
}
_KINDS = (int, float, str, tuple, dict, np.ndarray)  # of constants


def source_folder(name: str) -> Path:
    """Return a folder of the app's own files: beside this package in a checkout, inside it in a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parents[1] / name


WWW = source_folder("www")
"""Page, style, scripts and words."""

PWA = source_folder("pwa")
"""Web manifest, service worker and icons."""


def app_files(
    classifier: Classifier,
    generator: Bundle[GeneratorManifest] | None = None,
    *,
    webgpu: bool = False,
    archive: Path | None = None,
) -> dict[str, bytes]:
    """Return every file of the app by its path.

    The page answers as the classifier does: with the same file, clinic, cropping and abstaining.

    Args:
        classifier: The classifier.
        generator: Adds the page of synthetic images.
        webgpu: Whether the page offers to compute on a graphics processor.
        archive: Of onnxruntime-web, see `read_files`.

    Raises:
        SonoforgeError: The page cannot answer with this file, or a file is missing.
    """
    bundle, model = classifier.bundle, classifier.file
    golden, own = _golden(classifier)
    packages = [(ONNXRUNTIME_WEB, archive), (DICOM_PARSER, beside(archive, DICOM_PARSER))]
    packages += [(ONNXRUNTIME_WEBGPU, archive)] if webgpu else []
    settings = {
        "model": model,
        "golden": own,
        "generator": generator is not None,
        "webgpu": webgpu,
        "crop": classifier.crop,
        "abstain": classifier.abstains,
        "clinic": classifier.clinic.to_dict(),
        "settings": settings_in_words(classifier),
        "columns": csv_format(bundle.manifest).columns,
        "colours": heat().tolist(),
    }
    files = {
        **_page(generator),
        "js/constants.js": constants_script(),
        **_folder(PWA),
        **{f"vendor/{name}": data for one in packages for name, data in read_files(*one).items()},
        "bundle/manifest.json": json.dumps(bundle.manifest.raw).encode(),
        **{f"bundle/{name}": bundle.read(name) for name in (model, *_OF_THE_BUNDLE)},
        **golden,
        "app.json": json.dumps(settings).encode(),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items()) if name != _WORKER}
    version = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]
    worker = files[_WORKER].decode()
    worker = worker.replace("{/*FILES*/}", json.dumps(hashes, indent=2)).replace("@VERSION@", version)
    return {**files, _WORKER: worker.encode()}


def _folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise SonoforgeError(f"{folder}: the app's files are missing; install sonoforge again")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def _page(generator: Bundle[GeneratorManifest] | None) -> dict[str, bytes]:
    """Return the page's files; with a generator, also the drawing page and the generator's files.

    Raises:
        SonoforgeError: The bundle is damaged, or does not draw its golden images on this machine.
    """
    page = _folder(WWW)
    if generator is None:
        return {name: data for name, data in page.items() if not Path(name).name.startswith(_DRAWING_PAGE)}
    difference, allowed = golden_difference(Generator(generator)), IMAGE_TOLERANCES["fp32"]
    if not difference <= allowed:
        raise SonoforgeError(
            f"{generator.path}: its golden images differ by {difference:.2g}, more than {allowed:g}; export it again"
        )
    names = [name for name in (*GeneratorManifest.required, REFERENCE) if name in generator.manifest.files]
    page["generator/manifest.json"] = json.dumps(generator.manifest.raw).encode()
    return page | {f"generator/{name}": generator.read(name) for name in names}


def _golden(classifier: Classifier) -> tuple[dict[str, bytes], dict[str, Any] | None]:
    """Return the golden answers for the page's self-test, and a record of them unless they are the bundle's own.

    A bundle's ``golden.npz`` holds the answers of ``model.onnx``.  An int8 or fp16 file answers differently, and a
    tolerance that allows for that would not notice a broken device, so such a file's own answers are recorded here:
    ``file``, ``sha256``, ``bytes``, ``tolerance``, ``recorded`` (by what).

    Raises:
        SonoforgeError: The file's answers here are too far from the bundle's.
    """
    bundle, model = classifier.bundle, classifier.file
    precision = bundle.manifest.files[model].precision
    if precision == "fp32":
        return {"bundle/golden.npz": bundle.read("golden.npz")}, None
    golden = bundle.golden()
    answers = classifier.predict(golden["pixels"])
    difference = float(np.abs(answers["probabilities"] - golden["probabilities"]).max())
    allowed = PROBABILITY_TOLERANCES[precision]
    if not difference <= allowed:
        raise SonoforgeError(
            f"{bundle.path}: {model}: probabilities of golden images differ from {ClassifierManifest.model}'s by "
            f"{difference:.2g}, more than {allowed:g}; export it again, or set another model.file"
        )
    stream = io.BytesIO()
    np.savez_compressed(stream, pixels=golden["pixels"], **answers)  # type: ignore[arg-type]
    content = stream.getvalue()
    record = {
        "file": "golden.npz",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "tolerance": ALLOWED[precision],
        "recorded": f"{model}, {classifier.provider} on {platform.machine()}",
    }
    return {"golden.npz": content}, record


def about_distance(generator: Bundle[GeneratorManifest], answers: str) -> str:
    """Say in one line whether the page can measure KID; ``answers`` is the answering file's SHA-256."""
    reference = generator.manifest.reference
    if reference is None:
        return "no KID: the bundle records no training images; export it again with --reference"
    if reference.model["sha256"] != answers:
        name = f"{reference.model['name']} {reference.model['version']}, model.onnx {reference.model['sha256'][:16]}"
        return f"no KID: its training images are recorded as features of {name}, not of this app's classifier"
    return f"KID against {sum(reference.images.values())} training images"


def summary(files: dict[str, bytes]) -> dict[str, Any]:
    """Return ``{"files", "bytes", "version"}`` of an app."""
    worker = files[_WORKER].decode()
    version = worker.partition('VERSION = "')[2].partition('"')[0]
    return {"files": len(files), "bytes": sum(map(len, files.values())), "version": version}


def constants_script() -> bytes:
    """Return ``js/constants.js``: the constants of each module, by names without underscores.

    Not as JSON: importing that needs import attributes, which the web views of older phones lack.
    """
    found: dict[str, dict[str, Any]] = {}
    for room, name in ((room, name) for room, names in _MEASURING.items() for name in names.split()):
        module = vars(import_module(f"sonoforge.runtime.{room}.{name}"))
        known = {key.lstrip("_"): value for key, value in module.items() if _is_constant(value)}
        found[name] = {key: _plain(value) for key, value in known.items() if key.isupper()}
    found["trust"]["CAUSES"] = {cause.name: cause.value for cause in Cause}
    return f"export default {json.dumps(found, indent=1, ensure_ascii=False)};\n".encode()


def _is_constant(value: Any) -> bool:
    """Whether a value can be written as JSON, which tuples of bytes or patterns cannot."""
    return isinstance(value, _KINDS) and not (isinstance(value, tuple) and any(isinstance(one, bytes) for one in value))


def _plain(value: Any) -> Any:
    """Return a table's rows by their fields' names, and an array as lists."""
    if isinstance(value, dict):
        return {name: row._asdict() if hasattr(row, "_asdict") else row for name, row in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
