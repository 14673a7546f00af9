"""Write a classifier's offline web app: a folder for any web server or a phone's web view."""

import base64
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime import atomic
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.files import load_arrays
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.cli.answer_files import csv_format, settings_in_words
from sonoforge.runtime.errors import SonoforgeError, reason, refusing
from sonoforge.runtime.explanations import heat
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.trust import Cause

log = logging.getLogger(__name__)

_SECONDS = 600


class NpmPackage(NamedTuple):
    """A package and the files wanted from it."""

    name: str
    version: str
    integrity: str  # SHA-512 of its ``.tgz`` in npm's form: ``sha512-`` and base64
    files: Sequence[str]  # paths in the package
    about: str = ""  # its licence and use

    @property
    def archive(self) -> str:
        """Name of the ``.tgz`` that ``npm pack`` writes."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


with Path(__file__).with_name("npm_packages.json").open(encoding="utf-8") as _file:
    ONNXRUNTIME_WEB, DICOM_PARSER, BUNDLETOOL = (NpmPackage(**row) for row in json.load(_file))


def read_files(package: NpmPackage, archive: Path | None = None) -> dict[str, bytes]:
    """Return the wanted files of a package by name.

    ``archive`` is its ``.tgz``; None means the cached one, which npm downloads the first time.
    """
    if archive is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        archive = cache / "sonoforge" / "npm" / package.archive
        if not archive.is_file():
            _load(package, archive)
    with refusing(f"{archive}: cannot be read", "check the path"):
        data = archive.read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != package.integrity:
        raise SonoforgeError(
            f"{archive}: its hash {found[:23]}... is not {package.integrity[:23]}... of {package.name} "
            f"{package.version}; remove the file and try again"
        )
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        for name in package.files:
            stream = tar.extractfile(f"package/{name}")
            if stream is None:
                raise SonoforgeError(f"{archive}: has no file {name}")
            contents[Path(name).name] = stream.read()
    return contents


def _load(package: NpmPackage, archive: Path) -> None:
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    remedy = f"run 'npm pack {wanted}' on a machine with a network, and put the file into {archive.parent}"
    if npm is None:
        raise SonoforgeError(f"{wanted}: npm is not installed; install Node.js, or {remedy}")
    log.info("loading %s with npm, once", wanted)
    with temporary_folder() as folder:
        command = [npm, "pack", wanted, "--silent", "--pack-destination", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise SonoforgeError(f"{wanted}: npm did not finish in {_SECONDS} s; {remedy}") from error
        loaded = folder / package.archive
        if done.returncode or not loaded.is_file():
            raise SonoforgeError(f"{wanted}: npm could not load it ({reason(done.stderr)}); {remedy}")
        atomic.write_bytes(archive, loaded.read_bytes())


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

    ``archive`` is onnxruntime-web's, see `read_files`; dicom-parser's may lie beside it.
    """
    bundle = classifier.bundle
    packed, arrays = _pack(bundle)
    beside = archive.with_name(DICOM_PARSER.archive) if archive else None
    packages = [(ONNXRUNTIME_WEB, archive), (DICOM_PARSER, beside if beside and beside.is_file() else None)]
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
