"""Open a bundle for any task; everything that it returns has been checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from numpy.typing import NDArray

from sonoforge.runtime.bundle import files
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.files import BundleError, DamagedBundleError
from sonoforge.runtime.bundle.manifest import (
    DIGEST,
    FORMAT_VERSION,
    SHIPPED_DIGESTS,
    ArrayKind,
    Manifest,
    ManifestError,
    exact_keys,
    load_json,
    text,
    with_digest,
)
from sonoforge.runtime.errors import SonoforgeError, refusing

__all__ = ["Bundle", "BundleError", "DamagedBundleError", "open_bundle"]

SHIPPED = Path(__file__).parent / "shipped" / "breast-ultrasound"
SHIPPED_GENERATOR = Path(__file__).parent / "shipped" / "breast-ultrasound-generator"

TASKS = ("classification", "generation")

_HEADER = ("name", "version", "created", "intended_use")
_KEYS = ("format_version", "task", *_HEADER, "classes", "outputs", "files", DIGEST)

Kind = TypeVar("Kind", bound=Manifest)
Kind_co = TypeVar("Kind_co", bound=Manifest, covariant=True)


@dataclass(frozen=True)
class Bundle(Generic[Kind_co]):
    """An opened bundle.

    Examples:
        >>> from sonoforge.runtime import open_bundle
        >>> open_bundle().manifest.preprocessing.size
        256

    Attributes:
        path: The folder or the ``.zip`` file.
        manifest: Its checked manifest, a `ClassifierManifest` or a `GeneratorManifest`.
    """

    path: Path
    manifest: Kind_co

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of outputs or labels."""
        return self.manifest.classes

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of ``manifest.json``, which holds the hashes of all other files: it identifies the whole bundle."""
        return hashlib.sha256(files.read_manifest(self.path)).hexdigest()

    @property
    def is_shipped(self) -> bool:
        """Whether it is a bundle shipped with sonoforge, wherever it lies."""
        return self.manifest.raw[DIGEST] in SHIPPED_DIGESTS.values()

    def read(self, name: str) -> bytes:
        """Read one file, checked against its size and SHA-256.

        Raises:
            DamagedBundleError: The file is missing, or its size or content differs.
        """
        return files.read_checked(self.path, name, self.manifest.files[name])

    def extract(self, name: str, folder: Path) -> Path:
        """Write a model file and its record to a folder, for programs that open files; return its path."""
        for file in (name, f"{name}.json"):
            if file in self.manifest.files:
                (folder / file).write_bytes(self.read(file))
        return folder / name

    def arrays(
        self, name: str, expected: Mapping[str, ArrayKind], newer: Mapping[str, ArrayKind] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Read the arrays of an ``.npz`` file; those that are ``newer`` than some bundles are there together or not.

        Raises:
            BundleError: An array is missing, has another type or shape, or is not finite.
        """
        where = f"{self.path}: {name}"
        found = files.load_arrays(where, self.read(name))
        more = newer if newer and newer.keys() & found.keys() else {}
        return files.checked_arrays(found, where, {**expected, **more})

    def golden(self) -> dict[str, NDArray[Any]]:
        """Return the golden inputs and outputs; see ``golden_arrays`` of the task's manifest.

        Raises:
            BundleError: An array is missing, has another shape, or cannot be used.
        """
        arrays = self.arrays("golden.npz", self.manifest.golden_arrays)
        problem = self.manifest.golden_problem(arrays)
        if problem:
            raise BundleError(f"{self.path}: golden.npz: {problem}")
        return arrays


@overload
def open_bundle(path: Path | str | None = None) -> Bundle[ClassifierManifest]: ...


@overload
def open_bundle(path: Path | str | None, kind: type[Kind]) -> Bundle[Kind]: ...


def open_bundle(path: Path | str | None = None, kind: type[Manifest] = ClassifierManifest) -> Bundle[Manifest]:
    """Open a bundle; check its manifest, and that every listed file is there with its size.

    The content of a file is checked when it is read.

    Examples:
        >>> from sonoforge.runtime import open_bundle
        >>> open_bundle().classes
        ('normal', 'benign', 'malignant')

    Args:
        path: A bundle's folder or ``.zip``, or the run folder that holds it as ``bundle``; None for the bundle shipped
            with sonoforge.
        kind: Required kind; `Manifest` accepts a bundle for any task.

    Raises:
        SonoforgeError: There is no bundle, or it is damaged, for another task, or unknown to this version.
    """
    if path is None and not SHIPPED.is_dir():
        raise BundleError("no bundle is shipped with this install; give the folder or .zip of one")
    path = SHIPPED if path is None else Path(path)
    inside = path / "bundle"
    if not (path / "manifest.json").exists() and (inside / "manifest.json").is_file():
        path = inside
    data = files.read_manifest(path)
    try:
        manifest = parse_manifest(data)
    except SonoforgeError as error:
        raise ManifestError(f"{path}: manifest.json: {error}") from error
    if not isinstance(manifest, kind):
        raise BundleError(f"{path}: this is {manifest.owner}'s bundle, not {kind.owner}'s; use {manifest.used_by}")
    files.check_sizes(path, manifest.files)
    return Bundle(path, manifest)


def chosen_path(choice: str, shipped: Path = SHIPPED) -> Path:
    """Return the path of the bundle or run that was asked for; ``shipped`` means one that comes with sonoforge."""
    return shipped if choice == "shipped" else Path(choice)


def manifest_kind(task: str) -> type[Manifest]:
    """Return the manifest class of one of `TASKS`."""
    if task == ClassifierManifest.task:
        return ClassifierManifest
    from sonoforge.runtime.bundle.generation import GeneratorManifest  # noqa: PLC0415 - not for classifiers

    return GeneratorManifest


def parse_manifest(data: bytes) -> Manifest:
    """Read and check the content of a ``manifest.json``."""
    raw = load_json(data)
    version, task = raw.get("format_version"), raw.get("task")
    if type(version) is not int or version != FORMAT_VERSION:  # True == 1
        raise ManifestError(f"format_version: {version!r:.80} is not {FORMAT_VERSION}; update sonoforge")
    if task not in TASKS:
        raise ManifestError(f"task: {task!r:.80} is not {' or '.join(map(repr, TASKS))}; update sonoforge")
    kind = manifest_kind(task)
    exact_keys("manifest", raw, (*_KEYS, *kind.keys, *(key for key in kind.optional if key in raw)))
    for key in _HEADER:
        text(key, raw[key])
    manifest = kind.parse(raw)
    kinds = (ValueError, RecursionError)  # a huge number, a thousand levels
    with refusing("it holds a value that JSON cannot", kinds=kinds, kind=ManifestError):
        digest = with_digest(raw)[DIGEST]
    if raw[DIGEST] != digest:
        raise ManifestError(
            f"{DIGEST}: {raw[DIGEST]!r:.80} is not the SHA-256 of all other keys: the manifest was changed after the "
            "bundle was written; take the bundle from its source again"
        )
    return manifest
