"""Generate images with a generator's bundle: the same images as the workstation that trained it, without torch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
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
    lay_out,
    load_arrays,
    read_checked,
    read_manifest,
)
from sonoforge.runtime.bundle.generator_manifest import MODEL, GeneratorManifest, parse_generator_manifest
from sonoforge.runtime.bundle.manifest import ManifestError
from sonoforge.runtime.errors import GateError, SonoforgeError, did_you_mean
from sonoforge.runtime.images.synthetic import Pixels, to_pixels
from sonoforge.runtime.inference.latents import check_limit, draw_latent
from sonoforge.runtime.inference.model_files import NOT_TRUSTED, missing, run_in_subprocess, runs_code
from sonoforge.runtime.inference.onnx_file import OUTSIDE, reads_other_files, session_options

# Images computed together: as many as training's own sampling computes on a CPU.
PORTION = 8

# Largest difference of golden images, in [-1, 1], by precision.  StyleGAN's networks are deep: 1e-3 leaves room for
# other processors' order of additions, and is an eighth of one of 256 levels.
TOLERANCES = {"fp32": 1e-3, "fp16": 0.05}


@dataclass(frozen=True)
class GeneratorBundle:
    """An opened bundle of a generator: ``path``, the folder or ``.zip``, and its checked ``manifest``."""

    path: Path
    manifest: GeneratorManifest

    def read(self, name: str) -> bytes:
        """Read one file, checked against its size and SHA-256.

        Raises:
            DamagedBundleError: The file is missing, of another size or of another content.
        """
        return read_checked(self.path, name, self.manifest.files[name])

    def golden(self) -> dict[str, NDArray[Any]]:
        """Return the golden answers, of image number 0 of each seed, one for each row.

        ``seeds`` (N,) int64, ``labels`` (N,) int64, 0 without classes, ``psi`` (N,) float32, ``images`` (N, C, S, S)
        float32.

        Raises:
            BundleError: The arrays are missing or of another shape.
        """
        about, where = self.manifest, f"{self.path}: golden.npz"
        arrays = load_arrays(self.path, "golden.npz", self.read("golden.npz"))
        shape = (None, about.channels, about.image_size, about.image_size)
        images = checked_array(arrays, where, "images", np.float32, shape)
        result = {"images": images}
        for key, dtype in (("seeds", np.int64), ("labels", np.int64), ("psi", np.float32)):
            result[key] = checked_array(arrays, where, key, dtype, (len(images),))
        if result["seeds"].min() < 0 or not set(result["labels"]) <= set(range(max(1, len(about.classes)))):
            raise BundleError(f"{where}: found a seed below 0 or a label that is no class's")
        return result


def open_generator_bundle(path: Path | str) -> GeneratorBundle:
    """Open a bundle and check its manifest and that every listed file is there with its size.

    Args:
        path: A folder or ``.zip``.

    Raises:
        SonoforgeError: No generator's bundle, or one that is damaged or that this version does not know.
    """
    place = Path(path)
    try:
        manifest = parse_generator_manifest(read_manifest(place))
    except ManifestError as error:
        raise ManifestError(f"{place}: manifest.json: {error}") from error
    check_sizes(place, manifest.files)
    return GeneratorBundle(place, manifest)


class Generator:
    """A generator's bundle made ready to answer.

    Example:
        >>> from sonoforge.runtime.inference.generator import Generator
        >>> images = Generator("generator.zip").generate(16, seed=3)  # doctest: +SKIP

    Attributes:
        bundle: The opened `GeneratorBundle`.
    """

    def __init__(self, bundle: GeneratorBundle | Path | str, threads: int = 1, file: str = MODEL) -> None:
        """Open the bundle and load one of its ONNX files.

        Args:
            bundle: An opened bundle, or the folder or ``.zip`` of one.
            threads: Threads for one inference.
            file: Name of the file.

        Raises:
            SonoforgeError: The bundle is missing, damaged, or not one that this version knows.
        """
        import onnxruntime  # noqa: PLC0415 - not for --help

        self.bundle = bundle if isinstance(bundle, GeneratorBundle) else open_generator_bundle(bundle)
        content, where = self.bundle.read(file), f"{self.bundle.path}: {file}"
        if reads_other_files(content):
            raise BundleError(f"{where}: {OUTSIDE}")
        try:
            self._session = onnxruntime.InferenceSession(
                content, session_options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a family of its own that has no common base
            reason = " ".join(str(error).split())[:160]
            raise BundleError(f"{where}: onnxruntime cannot load it ({reason})") from error
        found = [item.name for item in self._session.get_inputs()]
        if found != list(self.manifest.raw["inputs"]):
            raise BundleError(f"{where}: found inputs {', '.join(found)}, expected those of the manifest")
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
            count: How many.
            seed: Image i depends on (seed, i, class, psi, truncation) alone.
            class_name: Class to generate, for a generator of several.
            psi: Of StyleGAN: share of the styles' distance from their mean that is kept; None for the bundle's own.
            truncation: Largest number in a normal latent of a generator without styles; None for no limit.

        Returns:
            (count, S, S, C) uint8; the last channel is the mask where ``manifest.channels`` is more than
            ``manifest.image_channels``.

        Raises:
            SonoforgeError: No such class, a psi or a truncation that this generator does not have, or a file that does
                not answer as the manifest says.
        """
        portions = self.portions(count, seed, self.label(class_name), psi, truncation)
        return np.concatenate([*portions])

    def portions(
        self, count: int, seed: int, label: int | None, psi: float | None = None, truncation: float | None = None
    ) -> Iterator[Pixels]:
        """Generate a few at a time, (n, S, S, C) uint8, so that any number fits in memory; see `generate`."""
        for first in range(0, max(count, 1), PORTION):
            latents = np.stack([self.latent(seed, first + index, truncation) for index in range(PORTION)])
            yield self.pixels(latents, label, psi)[: max(0, count - first)]

    def pixels(self, latents: NDArray[np.float32], label: int | None = None, psi: float | None = None) -> Pixels:
        """Generate from latents (N, Z): (N, S, S, C) uint8; see `images`."""
        parts = [latents[first : first + PORTION] for first in range(0, len(latents), PORTION)]
        return to_pixels(np.concatenate([self.images(part, label, psi) for part in parts]))

    def label(self, class_name: str) -> int | None:
        """Return the label of a class, or None for a generator of one class; see `find_label`."""
        return find_label(class_name, self.manifest.classes, self.manifest.class_name)

    def latent(self, seed: int, index: int, truncation: float | None = None) -> NDArray[np.float32]:
        """Draw the latent (Z,) of image number ``index``; see `sonoforge.runtime.inference.latents`.

        Raises:
            SonoforgeError: A truncation of latents that become styles or are not normal.
        """
        about = self.manifest
        if truncation is not None:
            check_limit(about.distribution, styled=about.accepts_psi)
        return draw_latent(seed, index, about.latent_size, about.distribution, truncation)

    def images(
        self, latents: NDArray[np.float32], label: int | None = None, psi: float | None = None
    ) -> NDArray[np.float32]:
        """Run the file: latents (N, Z) to images (N, C, S, S) float32, in about [-1, 1].

        Raises:
            SonoforgeError: A psi for a generator without styles, a label where there are no classes or none where there
                are, or images of another shape, or NaN.
        """
        about = self.manifest
        fed: dict[str, NDArray[Any]] = {"latents": latents}
        if about.accepts_psi:
            fed["psi"] = np.array([about.psi if psi is None else psi], np.float32)
        elif psi is not None:
            raise SonoforgeError(
                "--psi: this generator has no styles to draw to their mean, expected one of StyleGAN; use --truncation"
            )
        if (label is not None) != bool(about.classes):
            raise SonoforgeError(f"{self._where}: found label {label}, expected {'a' if about.classes else 'no'} label")
        if about.classes:
            fed["labels"] = np.full(len(latents), label, np.int64)
        try:
            images: NDArray[np.float32] = self._session.run(["images"], fed)[0]
        except Exception as error:  # see __init__
            reason = " ".join(str(error).split())[:160]
            raise BundleError(f"{self._where}: onnxruntime cannot run it ({reason})") from error
        expected = (len(latents), about.channels, about.image_size, about.image_size)
        if images.shape != expected or images.dtype != np.float32 or not np.isfinite(images).all():
            raise BundleError(
                f"{self._where}: found images {images.dtype} {images.shape}, or not finite, expected float32 {expected}"
            )
        return images


def find_label(class_name: str, classes: Sequence[str], only: str) -> int | None:
    """Return the label of a class, or None for a generator of one class.

    Args:
        class_name: As given by ``--class-name``; empty where there is but one.
        classes: Names in the order of the labels; empty for a generator without labels.
        only: Class of a generator without labels.

    Raises:
        SonoforgeError: No class of this generator, or none for one of several.
    """
    if not classes:
        if class_name not in ("", only):
            raise SonoforgeError(f"--class-name: found {class_name!r}, expected {only!r}: the only class it knows")
        return None
    if class_name not in classes:
        found = f"found {class_name!r}" if class_name else "missing"
        hint = did_you_mean(class_name, classes)
        raise SonoforgeError(f"--class-name: {found}, expected one of {', '.join(classes)}{hint}")
    return classes.index(class_name)


def golden_difference(generator: Generator) -> float:
    """Return the largest difference from the bundle's golden images, in [-1, 1]."""
    about, golden = generator.manifest, generator.bundle.golden()
    differences = []
    for seed, label, psi, image in zip(*(golden[key] for key in ("seeds", "labels", "psi", "images")), strict=True):
        latents = generator.latent(int(seed), 0)[None]
        found = generator.images(
            latents, int(label) if about.classes else None, float(psi) if about.accepts_psi else None
        )
        differences.append(float(np.abs(found[0] - image).max()))
    return max(differences)


def golden_difference_apart(bundle: GeneratorBundle, name: str) -> float:
    """Return the same of a file that another program than onnxruntime runs, in a process of its own.

    Args:
        bundle: The bundle; only files that fit its hashes are run.
        name: Name of the file.

    Raises:
        BundleError: The file cannot be run, or its images are of another shape.
    """
    about, golden = bundle.manifest, bundle.golden()
    latents = [draw_latent(int(seed), 0, about.latent_size, about.distribution) for seed in golden["seeds"]]
    rows = {"latents": np.stack(latents), "psi": golden["psi"], "labels": golden["labels"]}
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        place = lay_out(about.files, bundle.read, name, Path(folder))
        fed = [rows[key] for key in about.raw["inputs"]]
        try:
            images = run_in_subprocess(about.files[name].format, place, fed)[0]
        except GateError as error:
            raise BundleError(f"{bundle.path}: {str(error).replace(f'{folder}/', '')}") from error
    if images.shape != golden["images"].shape:
        raise BundleError(f"{bundle.path}: {name}: found images {images.shape}, expected {golden['images'].shape}")
    return float(np.abs(images - golden["images"]).max())


def verify_generator(path: Path | str, trust: bool = False) -> dict[str, Any]:
    """Check a bundle as ``sonoforge verify`` does: every size and hash, and the golden images of what runs here.

    Args:
        path: A folder or ``.zip``.
        trust: Whether to run files that are programs, too.

    Returns:
        ``bundle``, ``ok``, ``problems``, ``files`` ({name: bytes}), ``golden`` ({"images", "tolerance",
        "max_abs_difference": {file: value}}), ``not_run`` ({file: reason}), ``model``, ``provider``; without the last
        four where a file is damaged.

    Raises:
        SonoforgeError: No generator's bundle there.
    """
    result: dict[str, Any] = {"bundle": str(path), "ok": False, "problems": []}
    try:
        bundle = open_generator_bundle(path)
        about = bundle.manifest
        result["files"] = {name: len(bundle.read(name)) for name in about.files}
        differences, not_run = {}, {}
        for name, entry in about.files.items():
            if not entry.format:
                continue
            reason = NOT_TRUSTED if runs_code(entry.format) and not trust else missing(entry.format)
            if reason:
                not_run[name] = reason
                continue
            if entry.format.startswith("onnx"):
                differences[name] = golden_difference(Generator(bundle, file=name))
            else:
                differences[name] = golden_difference_apart(bundle, name)
            allowed = TOLERANCES[entry.precision]
            if not differences[name] <= allowed:
                result["problems"].append(
                    f"golden images: {name} differs by {differences[name]:.2g}, expected at most {allowed:g}"
                )
        result |= {
            "golden": {
                "images": len(bundle.golden()["images"]),
                "tolerance": TOLERANCES["fp32"],
                "max_abs_difference": differences,
            },
            "not_run": not_run,
            "model": {"name": about.name, "version": about.version, "sha256": about.files[MODEL].sha256},
            "provider": "CPUExecutionProvider",
        }
    except BundleError as error:
        if "files" not in result and not isinstance(error, DamagedBundleError):  # nothing there
            raise
        result["problems"].append(str(error))
    result["ok"] = not result["problems"]
    return result
