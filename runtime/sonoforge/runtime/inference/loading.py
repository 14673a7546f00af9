"""Read, check and load a bundle's model file with onnxruntime while the caller does something else."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, BundleError, open_bundle
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.inference.onnx_session import load_session

if TYPE_CHECKING:
    import onnxruntime

_FROM_PIXELS = "-uint8"  # formats that resize and normalise by themselves end with this


class LoadingModel:
    """A model that loads in its own thread; reading, hashing and onnxruntime release Python's lock."""

    def __init__(self, bundle: Bundle[ClassifierManifest] | Path | str | None, file: str, threads: int) -> None:
        """Open the bundle and begin to load its model; see `Classifier` for the arguments."""
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        self.file = file
        entries = self.bundle.manifest.files
        usable = [name for name, entry in entries.items() if entry.format.split("-", maxsplit=1)[0] in ("onnx", "ort")]
        if file not in usable:
            if file in entries:
                why = f"is of format {entries[file].format}" if entries[file].format else "is not a model file"
            else:
                why = f"is not in {self.bundle.path}"
            raise SonoforgeError(f"file: {file!r} {why}; choose one of {', '.join(usable)}{did_you_mean(file, usable)}")
        self._session: onnxruntime.InferenceSession | None = None
        self._error: BaseException | None = None
        tried = None if self.bundle.is_shipped else read_tried(self.bundle, file)  # not in the thread, for Ctrl-C
        self._thread = Thread(target=self._load, args=(tried, threads))
        self._thread.start()
        with suppress(ImportError):  # raised by the thread; here, so that two imports do not wait for each other
            import_module("onnxruntime")

    def _load(self, tried: bytes | None, threads: int) -> None:
        try:
            content = self.bundle.read(self.file) if tried is None else tried
            self._session = load_session(content, f"{self.bundle.path}: {self.file}", threads)
        except BaseException as error:
            self._error = error

    def session(self) -> onnxruntime.InferenceSession:
        """Wait for the model, check its interface against the manifest, and return it."""
        self._thread.join()
        if self._session is None:
            raise self._error or SonoforgeError(f"{self.bundle.path}: {self.file}: it was not loaded; try again")
        _check_interface(self.bundle, self.file, self._session)
        return self._session


def read_tried(bundle: Bundle[ClassifierManifest], file: str) -> bytes:
    """Read a model that did not come with sonoforge, and try it in a separate process."""
    from sonoforge.runtime.inference.trial import admit  # noqa: PLC0415 - not for the shipped bundle

    content = bundle.read(file)
    admit(content, f"{bundle.path}: {file}", inputs_of(bundle, file, bundle.golden()["pixels"][:1]))
    return content


def inputs_of(bundle: Bundle[ClassifierManifest], file: str, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return a model file's inputs by name, for pixels (N, S, S, 3)."""
    manifest = bundle.manifest
    if manifest.files[file].format.endswith(_FROM_PIXELS):
        return {"pixels": np.ascontiguousarray(pixels)}
    return {"input": manifest.preprocessing.normalise(pixels)}


def _check_interface(bundle: Bundle[ClassifierManifest], file: str, session: onnxruntime.InferenceSession) -> None:
    """Compare the model's inputs, outputs, preprocessing and classes with the manifest's."""
    where, manifest = f"{bundle.path}: {file}", bundle.manifest
    side, from_pixels = manifest.preprocessing.size, manifest.files[file].format.endswith(_FROM_PIXELS)
    expected = {"pixels": ("height", "width", "channels")} if from_pixels else {"input": (3, side, side)}
    kinds = {"input": "tensor(uint8)" if from_pixels else "tensor(float)", "output": "tensor(float)"}
    inputs = {item.name: item for item in session.get_inputs()}
    outputs = {item.name: item for item in session.get_outputs()}
    for found, wanted, kind in ((inputs, expected, "input"), (outputs, manifest.outputs, "output")):
        if set(found) != set(wanted):
            raise BundleError(f"{where}: {kind} {', '.join(found)} should be {', '.join(wanted)}")
        for name, item in found.items():
            batch, *shape = item.shape
            if item.type != kinds[kind] or tuple(shape) != tuple(wanted[name]) or isinstance(batch, int):
                raise BundleError(
                    f"{where}: {kind} {name} is {item.type} {item.shape}, not {kinds[kind]} with any batch and "
                    f"{list(wanted[name])}"
                )
    said = session.get_modelmeta().custom_metadata_map
    for key, own in (("preprocessing", manifest.preprocessing.to_dict()), ("classes", list(manifest.classes))):
        text = said.get(f"sonoforge.{key}", "null")
        try:
            stated = json.loads(text)
        except (ValueError, RecursionError):
            stated = text
        if stated != own:
            raise BundleError(
                f"{where}: its metadata key sonoforge.{key} holds {text:.120}, the manifest {json.dumps(own)}; export "
                "the bundle again"
            )
