"""Write the offline web app of a classifier: one folder that any web server, or a phone's web view, can show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.mobile import constants
from sonoforge.mobile.drawing import generator_files, without_page
from sonoforge.mobile.npm_package import ONNXRUNTIME_WEB, ONNXRUNTIME_WEBGPU, read_files
from sonoforge.mobile.own_golden import record_golden
from sonoforge.mobile.sources import PWA, WWW
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.cli.answer_files import settings_in_words
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.explanations.colours import heat
from sonoforge.runtime.inference.classifier import Classifier

_WORKER = "service-worker.js"
_OF_THE_BUNDLE = ("reference.npz", "MODEL_CARD.md")


class Additions(NamedTuple):
    """What an app may carry beside its classifier.

    Attributes:
        generator: What draws on the page of synthetic images; None for an app without that page.
        webgpu: Whether the page offers to compute on a graphics processor.
    """

    generator: Bundle[GeneratorManifest] | None = None
    webgpu: bool = False


NOTHING_MORE = Additions()


def app_files(
    classifier: Classifier, archive: Path | None = None, additions: Additions = NOTHING_MORE
) -> dict[str, bytes]:
    """Return every file of the app by its path.

    Args:
        classifier: What the page answers as: with the same file of the same bundle, cropping and abstaining as it does.
        archive: onnxruntime-web's ``.tgz``, see `read_files`.
        additions: What the app carries beside the classifier.

    Raises:
        SonoforgeError: The page cannot answer with this file, or a file cannot be had.
    """
    bundle, model = classifier.bundle, classifier.file
    own = record_golden(classifier)
    golden = {"golden.npz": own.content} if own else {"bundle/golden.npz": bundle.read("golden.npz")}
    page, generator = _folder(WWW), additions.generator
    packages = [ONNXRUNTIME_WEB, *([ONNXRUNTIME_WEBGPU] if additions.webgpu else [])]
    settings = {
        "model": model,
        "golden": own.record if own else None,
        "generator": generator is not None,
        "webgpu": additions.webgpu,
        "crop": classifier.crop,
        "abstain": classifier.abstains,
        "settings": settings_in_words(classifier),
        "colours": heat().tolist(),
    }
    files = {
        **({**page, **generator_files(generator)} if generator else without_page(page)),
        "js/constants.js": constants.script(),
        **_folder(PWA),
        **{f"vendor/{name}": data for one in packages for name, data in read_files(one, archive).items()},
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


def write_files(files: dict[str, bytes], folder: Path) -> None:
    """Write an app's files into a new folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _folder(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in _sorted(folder)}


def _sorted(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise SonoforgeError(f"{folder}: the app's files are missing; install sonoforge again")
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def summary(files: dict[str, bytes]) -> dict[str, Any]:
    """Return ``{"files", "bytes", "version"}`` of an app."""
    worker = files[_WORKER].decode()
    version = worker.partition('VERSION = "')[2].partition('"')[0]
    return {"files": len(files), "bytes": sum(map(len, files.values())), "version": version}
