"""Generate images with a generator's bundle: the same ones as on the machine that trained it, without torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle, BundleError, open_bundle
from sonoforge.runtime.errors import SonoforgeError, check_known
from sonoforge.runtime.images.synthetic import Pixels, to_pixels
from sonoforge.runtime.inference.latents import check_limit, draw_latent
from sonoforge.runtime.inference.onnx_session import load_session, run_session
from sonoforge.runtime.inference.trial import GENERATOR_BYTES, admit

BATCH = 8  # images computed together, as in training's own sampling on a CPU


class Generator:
    """A generator's bundle, loaded and ready.

    Examples:
        >>> from sonoforge.runtime import Generator
        >>> images = Generator("generator").generate(2, seed=3)
        >>> images.dtype
        dtype('uint8')

    Attributes:
        bundle: The opened `Bundle`.
    """

    def __init__(
        self, bundle: Bundle[GeneratorManifest] | Path | str, threads: int = 1, file: str = GeneratorManifest.model
    ) -> None:
        """Open a bundle, or the folder or ``.zip`` of one, and load one of its ONNX files with this many threads.

        Raises:
            SonoforgeError: The bundle is missing, damaged or unknown to this version.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, GeneratorManifest)
        where = f"{self.bundle.path}: {file}"
        content = self.bundle.read(file)
        about, golden = self.manifest, self.bundle.golden()
        latent = draw_latent(int(golden["seeds"][0]), 0, about.latent_size, about.distribution)
        rows = {"latents": latent[None], "psi": golden["psi"][:1], "labels": golden["labels"][:1]}
        admit(content, where, {name: rows[name] for name in about.raw["inputs"]}, GENERATOR_BYTES)
        self._session = load_session(content, where, threads)
        found = [item.name for item in self._session.get_inputs()]
        if found != list(self.manifest.raw["inputs"]):
            raise BundleError(f"{where}: its inputs {', '.join(found)} are not the manifest's")
        self._where = where

    @property
    def manifest(self) -> GeneratorManifest:
        """The bundle's checked manifest."""
        return self.bundle.manifest

    def generate(
        self,
        count: int,
        seed: int = 0,
        class_name: str = "",
        psi: float | None = None,
        truncation: float | None = None,
    ) -> Pixels:
        """Generate images 0 to ``count - 1`` of a seed.

        Args:
            count: Number of images.
            seed: Image i depends only on (seed, i, class, psi, truncation).
            class_name: Class to generate, if the generator has several.
            psi: For StyleGAN, the share of the styles' distance from their mean to keep; None for the bundle's default.
            truncation: Largest number in a normal latent, for generators without styles; None for no limit.

        Returns:
            (count, S, S, C) uint8; the last channel is the mask if ``manifest.channels`` exceeds
            ``manifest.image_channels``.

        Raises:
            SonoforgeError: The class does not exist, psi or truncation does not apply to this generator, or the file
                contradicts the manifest.
        """
        return np.concatenate([*self.batches(count, seed, self.label(class_name), psi, truncation)])

    def batches(
        self, count: int, seed: int, label: int | None, psi: float | None = None, truncation: float | None = None
    ) -> Iterator[Pixels]:
        """Yield images in batches, (n, S, S, C) uint8, so that any number fits in memory; see `generate`."""
        for first in range(0, max(count, 1), BATCH):
            latents = np.stack([self.latent(seed, first + index, truncation) for index in range(BATCH)])
            yield to_pixels(self.images(latents, label, psi))[: max(0, count - first)]

    def label(self, class_name: str) -> int | None:
        """Return a class's label, or None if the generator has one class; see `find_label`."""
        return find_label(class_name, self.manifest.classes, self.manifest.class_name)

    def latent(self, seed: int, index: int, truncation: float | None = None) -> NDArray[np.float32]:
        """Draw the latent (Z,) of image number ``index``; see `sonoforge.runtime.inference.latents`.

        Raises:
            SonoforgeError: Truncation is given, but the latents become styles or are not normal.
        """
        about = self.manifest
        if truncation is not None:
            check_limit(about.distribution, styled=about.accepts_psi)
        return draw_latent(seed, index, about.latent_size, about.distribution, truncation)

    def images(
        self, latents: NDArray[np.float32], label: int | None = None, psi: float | None = None
    ) -> NDArray[np.float32]:
        """Run the file to turn latents (N, Z) into images (N, C, S, S) float32, in about [-1, 1].

        Raises:
            SonoforgeError: There is a psi without styles, a label without classes, or classes without a label; or the
                images have another shape or are not finite.
        """
        about = self.manifest
        fed: dict[str, NDArray[Any]] = {"latents": latents}
        if about.accepts_psi:
            fed["psi"] = np.array([about.psi if psi is None else psi], np.float32)
        elif psi is not None:
            raise SonoforgeError("psi: this generator has no styles; use truncation")
        if (label is not None) != bool(about.classes):
            raise SonoforgeError(f"{self._where}: it takes {'a' if about.classes else 'no'} label, not {label}")
        if about.classes:
            fed["labels"] = np.full(len(latents), label, np.int64)
        images: NDArray[np.float32] = run_session(self._session, fed, self._where, ["images"])[0]
        expected = (len(latents), about.channels, about.image_size, about.image_size)
        if images.shape != expected or images.dtype != np.float32 or not np.isfinite(images).all():
            raise BundleError(
                f"{self._where}: its images are {images.dtype} {images.shape} or not finite, not float32 {expected}"
            )
        return images


def find_label(class_name: str, classes: Sequence[str], only: str) -> int | None:
    """Return a class's label, or None if the generator has no ``classes`` but one class, ``only``."""
    if not classes:
        if class_name not in ("", only):
            raise SonoforgeError(f"class_name: this generator has only {only!r}, not {class_name!r}")
        return None
    if not class_name:
        raise SonoforgeError(f"class_name: is missing; choose one of {', '.join(classes)}")
    check_known("class_name", class_name, classes)
    return classes.index(class_name)
