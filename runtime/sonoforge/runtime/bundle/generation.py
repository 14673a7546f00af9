"""The manifest of a generator's bundle: the keys that its task adds.

Beside the keys of every bundle, all of them required and no other allowed:

| key | value |
|---|---|
| `recipe` | name of the GAN recipe |
| `image` | `size`: side S in pixels; `channels`: 1 or 3; `masks`: number of channels after these that are masks; `structures`: names of what they are of, or none; `range`: `[-1, 1]` |
| `class_name` | class of all images; empty with `classes` |
| `classes` | names in the order of the labels; empty for a generator without labels |
| `latents` | `recipe`: `"sha256-box-muller-1"`; `size`: Z; `distribution`: `"normal"` or `"uniform"` |
| `inputs` | name to shape, in the order of the files: `latents` `["N", Z]`; `psi` `[1]` where it is accepted; `labels` `["N"]` with classes |
| `outputs` | `images`: `["N", C, S, S]`, C with the mask |
| `psi` | `accepted`: whether it is an input; `default`: its value where none is given |
| `parity` | `checked`: batches and psi; `formats`: format to `file`, `precision`, `status` (`passed`, `failed`, `not checked`, `not written`), `reason`, `bytes`, `max_abs`, `tolerance` |
| `provenance` | packages and their versions |
| `training` | `step`, `data`, `fingerprint` of the images, `generator_sha256` of the weights, `label_maps`, how many of the training images it keeps, `weights`, what was done to them, `sources`, for each known collection `name`, `licence`, `citation`, and `measured`, what `sonoforge evaluate` found; 0 and empty where it does not apply |
| `reference` | null, or with the file `reference.npz`: `model`, the classifier (`name`, `version`, `sha256` of `model.onnx`) in whose embedding the training images are recorded; `dimension` of it; `images`: how many, by class |

`reference.npz` holds `embeddings` (M, D) float16 and `labels` (M,) int64, 0 without classes.
"""  # noqa: E501 - a table's rows cannot be broken

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.manifest import (
    ArrayKind,
    Manifest,
    ManifestError,
    digest,
    exact_keys,
    mapping,
    number,
    one_of,
    read_classes,
    read_files,
    text,
    whole,
)

LATENT_RECIPE = "sha256-box-muller-1"
"""The one recipe of `sonoforge.runtime.inference.latents`."""

DISTRIBUTIONS = ("normal", "uniform")

REFERENCE = "reference.npz"

_LARGEST_SIDE = 4096
_MOST_MASKS = 64
_MOST_LABEL_MAPS = 1_000_000
_STRUCTURE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LARGEST_LATENT = 65536


class TrainingReference(NamedTuple):
    """Where the training images are recorded in a classifier's features.

    Attributes:
        model: ``name``, ``version`` and ``sha256`` of the classifier's float32 ONNX file.
        dimension: D of its embedding.
        images: How many there are, by class.
    """

    model: dict[str, str]
    dimension: int
    images: dict[str, int]

    @property
    def arrays(self) -> dict[str, ArrayKind]:
        """The arrays of ``reference.npz``."""
        return {"embeddings": ArrayKind(np.float16, ("N", self.dimension)), "labels": ArrayKind(np.int64, ("N",))}


@dataclass(frozen=True)
class GeneratorManifest(Manifest):
    """The manifest of a generator.

    Attributes:
        recipe: Name of the GAN recipe.
        image_size: Side S in pixels.
        image_channels: Channels that are image.
        structures: Names of what the masks are of; empty where they have none.
        channels: Channels C of the output: one more where there is a mask.
        class_name: Class of all images; empty with ``classes``.
        latent_size: Length Z of a latent.
        distribution: ``normal`` or ``uniform``: what latents are drawn from.
        accepts_psi: Whether styles can be drawn to their mean.
        psi: Its value where none is given.
        step: Training step of the weights.
        fingerprint: Hash of the training images.
        generator_sha256: Hash of the weights' file.
        reference: Of the training images; None where the bundle has none.
    """

    recipe: str
    image_size: int
    image_channels: int
    structures: tuple[str, ...]
    channels: int
    class_name: str
    latent_size: int
    distribution: str
    accepts_psi: bool
    psi: float
    step: int
    fingerprint: str
    generator_sha256: str
    reference: TrainingReference | None

    task: ClassVar[str] = "generation"
    owner: ClassVar[str] = "a generator"
    used_by: ClassVar[str] = "sonoforge gan sample --bundle"
    model: ClassVar[str] = "generator.onnx"
    required: ClassVar[tuple[str, ...]] = ("generator.onnx", "golden.npz", "MODEL_CARD.md")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    keys: ClassVar[tuple[str, ...]] = (
        *("recipe", "image", "class_name", "latents", "inputs", "psi"),
        *("training", "parity", "provenance", "reference"),
    )

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> GeneratorManifest:
        """Check the values; see `Manifest.parse`."""
        for key in ("parity", "provenance"):
            mapping(key, raw[key])
        image, latents, psi = _image(raw["image"]), _latents(raw["latents"]), _psi(raw["psi"])
        size, channels = image["size"], image["channels"] + image["masks"]
        classes = read_classes(raw["classes"], 0)
        class_name = text("class_name", raw["class_name"], empty=True)
        if classes and class_name:
            raise ManifestError(f"class_name: found {class_name!r:.80} beside classes, expected one of the two")
        psis, labels = {"psi": [1]} if psi["accepted"] else {}, {"labels": ["N"]} if classes else {}
        _expect("inputs", raw["inputs"], {"latents": ["N", latents["size"]], **psis, **labels})
        _expect("outputs", raw["outputs"], {"images": ["N", channels, size, size]})
        training, reference = mapping("training", raw["training"]), raw["reference"]
        _training(training)
        files = read_files(raw["files"], cls)
        if (reference is not None) != (REFERENCE in files):
            raise ManifestError(f"reference: found only one of it and the file {REFERENCE}, expected both or none")
        return cls(
            name=raw["name"],
            version=raw["version"],
            classes=classes,
            files=files,
            raw=raw,
            recipe=text("recipe", raw["recipe"]),
            image_size=size,
            image_channels=image["channels"],
            structures=tuple(image["structures"]),
            channels=channels,
            class_name=class_name,
            latent_size=latents["size"],
            distribution=latents["distribution"],
            accepts_psi=psi["accepted"],
            psi=number("psi.default", psi["default"]),
            step=whole("training.step", training["step"], 0, 10**12),
            fingerprint=text("training.fingerprint", training["fingerprint"]),
            generator_sha256=digest("training.generator_sha256", training["generator_sha256"]),
            reference=None if reference is None else _reference(reference, classes or (class_name,)),
        )

    @property
    def golden_arrays(self) -> dict[str, ArrayKind]:
        """Image number 0 of each seed.

        ``images`` (N, C, S, S) float32, ``seeds`` (N,) int64, ``labels`` (N,) int64, 0 without classes, ``psi`` (N,)
        float32.
        """
        return {
            "images": ArrayKind(np.float32, ("N", self.channels, self.image_size, self.image_size)),
            "seeds": ArrayKind(np.int64, ("N",)),
            "labels": ArrayKind(np.int64, ("N",)),
            "psi": ArrayKind(np.float32, ("N",)),
        }

    def golden_problem(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Refuse numbers of seeds and labels that there are not."""
        known = set(range(max(1, len(self.classes))))
        usable = arrays["seeds"].min() >= 0 and set(arrays["labels"].tolist()) <= known
        return "" if usable else "found a seed below 0 or a label that is no class's"


def _training(raw: Mapping[str, Any]) -> None:
    measured = ("label_maps", "weights", "sources", "measured")
    exact_keys("training", raw, ("step", "data", "fingerprint", "generator_sha256", *measured))
    for key in ("data", "weights"):
        text(f"training.{key}", raw[key], empty=True)
    whole("training.label_maps", raw["label_maps"], 0, _MOST_LABEL_MAPS)
    mapping("training.measured", raw["measured"])
    sources = raw["sources"]
    if not isinstance(sources, list):
        raise ManifestError(f"training.sources: found {sources!r:.80}, expected a list")
    for index, source in enumerate(sources):
        name = f"training.sources[{index}]"
        own = mapping(name, source)
        exact_keys(name, own, ("name", "licence", "citation"))
        for key in own:
            text(f"{name}.{key}", own[key])


def _expect(name: str, found: Any, expected: dict[str, Any]) -> None:
    # As text, because an order other than the files', 1.0 and True would compare equal.
    if repr(found) != repr(expected):
        raise ManifestError(f"{name}: found {found!r:.120}, expected {expected!r}")


def _image(value: Any) -> dict[str, Any]:
    image = mapping("image", value)
    exact_keys("image", image, ("size", "channels", "masks", "structures", "range"))
    if image["range"] != [-1, 1]:
        raise ManifestError(f"image.range: found {image['range']!r:.80}, expected [-1, 1]")
    one_of("image.channels", image["channels"], (1, 3))
    whole("image.size", image["size"], 1, _LARGEST_SIDE)
    masks, names = whole("image.masks", image["masks"], 0, _MOST_MASKS), image["structures"]
    if not isinstance(names, list) or len(names) not in (0, masks):
        raise ManifestError(f"image.structures: found {names!r:.80}, expected none or {masks} names")
    for name in names:  # each becomes part of a file's
        if not isinstance(name, str) or not _STRUCTURE.fullmatch(name):
            raise ManifestError(f"image.structures: found {name!r:.80}, expected lower-case words with hyphens")
    return image


def _latents(value: Any) -> dict[str, Any]:
    latents = mapping("latents", value)
    exact_keys("latents", latents, ("recipe", "size", "distribution"))
    one_of("latents.recipe", latents["recipe"], (LATENT_RECIPE,))
    one_of("latents.distribution", latents["distribution"], DISTRIBUTIONS)
    whole("latents.size", latents["size"], 1, _LARGEST_LATENT)
    return latents


def _psi(value: Any) -> dict[str, Any]:
    psi = mapping("psi", value)
    exact_keys("psi", psi, ("accepted", "default"))
    if not isinstance(psi["accepted"], bool):
        raise ManifestError(f"psi.accepted: found {psi['accepted']!r:.80}, expected true or false")
    return psi


def _reference(value: Any, classes: tuple[str, ...]) -> TrainingReference:
    reference = mapping("reference", value)
    exact_keys("reference", reference, ("model", "dimension", "images"))
    model = mapping("reference.model", reference["model"])
    exact_keys("reference.model", model, ("name", "version", "sha256"))
    images = mapping("reference.images", reference["images"])
    exact_keys("reference.images", images, classes)
    return TrainingReference(
        {
            "name": text("reference.model.name", model["name"]),
            "version": text("reference.model.version", model["version"]),
            "sha256": digest("reference.model.sha256", model["sha256"]),
        },
        whole("reference.dimension", reference["dimension"], 1, _LARGEST_LATENT),
        {name: whole(f"reference.images.{name}", count, 1, 10**9) for name, count in images.items()},
    )
