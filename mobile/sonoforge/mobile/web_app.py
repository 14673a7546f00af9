"""Write a classifier's offline web app: a folder for any web server or a phone's web view."""

import hashlib
import json
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.mobile.npm_package import DICOM_PARSER, ONNXRUNTIME_WEB, beside, read_files
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.files import load_arrays
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.cli.answer_files import csv_format, settings_in_words
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.explanations import heat
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause

_PACKAGE = Path(__file__).parent
_WORKER = "service-worker.js"
_ARRAYS = ("reference", "golden")  # archives of the bundle
# The runtime's modules whose constants the page shares.
_MEASURING = {
    "images": "burned_in_marks calipers file_checks limits plain_image "
    "quality_metrics repeats scan_area scan_checks scan_metrics sketches",
    "images.dicom": "data_set header reader",
    "inference": "activation_map clips golden trust verdict",
}
_KINDS = (int, float, str, tuple, dict, np.ndarray)  # of constants


def source_folder(name: str) -> Path:
    """Return a folder of the app's own files, beside this package in a checkout and inside it in a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parents[1] / name


WWW = source_folder("www")
"""Page, style, scripts and words."""

PWA = source_folder("pwa")
"""Web manifest, service worker and icons."""


def app_files(classifier: Classifier, archive: Path | None = None) -> dict[str, bytes]:
    """Return every file of the app by its path; the page answers as the classifier does.

    ``archive`` is onnxruntime-web's, see `read_files`.
    """
    bundle = classifier.bundle
    packed, arrays = _pack(bundle)
    packages = [(ONNXRUNTIME_WEB, archive), (DICOM_PARSER, beside(archive, DICOM_PARSER))]
    settings = {
        "model": classifier.file,
        "crop": classifier.crop,
        "abstain": classifier.abstains,
        "clinic": classifier.clinic._asdict(),
        "settings": settings_in_words(classifier),
        "columns": csv_format(bundle.manifest).columns,
        "colours": heat().tolist(),
        "arrays": arrays,
    }
    files = {
        **_folder(WWW),
        "js/constants.js": constants_script(),
        **_folder(PWA),
        **{f"vendor/{name}": data for one in packages for name, data in read_files(*one).items()},
        "bundle/manifest.json": json.dumps(bundle.manifest.raw).encode(),
        **{f"bundle/{name}": bundle.read(name) for name in (ClassifierManifest.model, "MODEL_CARD.md")},
        "bundle/arrays.bin": packed,
        "app.json": json.dumps(settings).encode(),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items()) if name != _WORKER}
    version = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]
    worker = files[_WORKER].decode()
    worker = worker.replace("{/*FILES*/}", json.dumps(hashes, indent=2)).replace("@VERSION@", version)
    return {**files, _WORKER: worker.encode()}


def _pack(bundle: Bundle[ClassifierManifest]) -> tuple[bytes, dict[str, Any]]:
    """Compress a bundle's arrays, one after the other; also return each one's type, shape and place, and a hash."""
    data, tables = bytearray(), dict[str, Any]()
    for archive in _ARRAYS:
        found = load_arrays(f"{bundle.path}: {archive}.npz", bundle.read(f"{archive}.npz"))
        rows = tables[archive] = {}
        for name, array in found.items():
            own = array.astype(np.float32) if array.dtype == np.float16 else array  # old phones have no such arrays
            rows[name] = own.dtype.char.replace("l", "q"), own.shape, len(data)
            data += own.tobytes() + bytes(-own.nbytes % 8)
    packed = zlib.compress(data, 9)
    about = {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest(), "size": len(data)}
    return packed, {**tables, **about}


def _folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise SonoforgeError(f"{folder}: the app's files are missing; install sonoforge again")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def summary(files: dict[str, bytes]) -> dict[str, Any]:
    """Return ``{"files", "bytes", "version"}`` of an app."""
    worker = files[_WORKER].decode()
    version = worker.partition('VERSION = "')[2].partition('"')[0]
    return {"files": len(files), "bytes": sum(map(len, files.values())), "version": version}


def constants_script() -> bytes:
    """Return ``js/constants.js``: the constants of each module, by names without underscores.

    JSON will not do: importing it needs import attributes, which web views of older phones lack.
    """
    found: dict[str, dict[str, Any]] = {}
    for room, name in ((room, name) for room, names in _MEASURING.items() for name in names.split()):
        module = vars(import_module(f"sonoforge.runtime.{room}.{name}"))
        known = {key.lstrip("_"): value for key, value in module.items() if _is_constant(value)}
        found[name] = {key: _plain(value) for key, value in known.items() if key.isupper()}
    found["trust"]["CAUSES"] = {cause.name: cause.value for cause in Cause}
    return f"export default {json.dumps(found, indent=1, ensure_ascii=False)};\n".encode()


def _is_constant(value: Any) -> bool:
    """Whether a value can be written as JSON; tuples of bytes or patterns cannot."""
    return isinstance(value, _KINDS) and not (isinstance(value, tuple) and any(isinstance(one, bytes) for one in value))


def _plain(value: Any) -> Any:
    """Return a table's rows as dicts, and an array as lists."""
    if isinstance(value, dict):
        return {name: row._asdict() if hasattr(row, "_asdict") else row for name, row in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
