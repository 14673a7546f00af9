"""Open a classifier's bundle and hand out only what was checked; see `sonoforge.runtime.bundle.container`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.container import (
    BundleError,
    DamagedBundleError,
    check_sizes,
    checked_array,
    load_arrays,
    read_checked,
    read_manifest,
    task_of,
)
from sonoforge.runtime.bundle.manifest import Manifest, ManifestError, parse_manifest
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.trust import TrustReference

__all__ = ["SHIPPED", "Bundle", "BundleError", "DamagedBundleError", "open_bundle"]

SHIPPED = Path(__file__).parent / "shipped" / "busi"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: The folder or the ``.zip`` file.
        manifest: Its checked manifest.
    """

    path: Path
    manifest: Manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self.manifest.classes

    def read(self, name: str) -> bytes:
        """Read one file, checked against its size and SHA-256.

        Raises:
            DamagedBundleError: The file is missing, of another size or of another content.
        """
        return read_checked(self.path, name, self.manifest.files[name])

    def trust_reference(self) -> TrustReference:
        """Return the Gaussian of the training images' embeddings.

        Raises:
            BundleError: The arrays are missing or of another shape.
        """
        arrays = self._arrays("reference.npz")
        (size,) = self.manifest.outputs["embedding"]
        reference = TrustReference(
            self._array(arrays, "reference.npz", "trust_mean", np.float32, (size,)),
            self._array(arrays, "reference.npz", "trust_components", np.float32, (size, None)),
            self._array(arrays, "reference.npz", "trust_residual", np.float32, (1,)),
        )
        if not reference.residual[0] > 0 or not np.any(reference.components, axis=0).all():
            raise BundleError(f"{self.path}: reference.npz: found a deviation of zero, expected all above 0")
        return reference

    def golden(self) -> dict[str, NDArray[Any]]:
        """Return the golden vectors: ``pixels`` (N, S, S, 3) uint8 and each output (N, ...) float32.

        Raises:
            BundleError: The arrays are missing or of another shape.
        """
        arrays = self._arrays("golden.npz")
        side = self.manifest.preprocessing.size
        pixels = self._array(arrays, "golden.npz", "pixels", np.uint8, (None, side, side, 3))
        result = {"pixels": pixels}
        for name, shape in self.manifest.outputs.items():
            result[name] = self._array(arrays, "golden.npz", name, np.float32, (len(pixels), *shape))
        return result

    def _arrays(self, name: str) -> dict[str, NDArray[Any]]:
        return load_arrays(self.path, name, self.read(name))

    def _array(
        self, arrays: dict[str, NDArray[Any]], file: str, key: str, dtype: type, shape: tuple[int | None, ...]
    ) -> NDArray[Any]:
        return checked_array(arrays, f"{self.path}: {file}", key, dtype, shape)


def open_bundle(path: Path | str | None = None) -> Bundle:
    """Open a bundle and check its manifest and that every listed file is there with its size.

    The content of a file is checked when it is read, before use.

    Args:
        path: A bundle's folder or ``.zip``; None for the bundle shipped with sonoforge.

    Raises:
        SonoforgeError: No bundle there, or one that is damaged or that this version does not know.
    """
    if path is None and not SHIPPED.is_dir():
        raise BundleError("no bundle is shipped with this install; give --bundle FOLDER_OR_ZIP")
    place = SHIPPED if path is None else Path(path)
    data = read_manifest(place)
    if task_of(data) == "generation":
        raise BundleError(
            f"{place}: found a generator's bundle, expected a classifier's; use sonoforge gan sample --bundle"
        )
    try:
        manifest = parse_manifest(data)
    except SonoforgeError as error:
        raise ManifestError(f"{place}: manifest.json: {error}") from error
    check_sizes(place, manifest.files)
    return Bundle(place, manifest)
