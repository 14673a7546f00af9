"""Define the manifest keys that a generator's bundle adds.

All of these keys are required besides the common ones, and no others are allowed:

| key | value |
|---|---|
| `recipe` | name of the GAN recipe |
| `image` | `size`: side S in pixels; `channels`: 1 or 3; `masks`: number of mask channels after these; `structures`: names of what they show, or none; `range`: `[-1, 1]` |
| `class_name` | class of all images; empty with `classes` |
| `classes` | names in the order of the labels; empty for a generator without labels |
| `latents` | `recipe`: `"sha256-box-muller-1"`; `size`: Z; `distribution`: `"normal"` or `"uniform"` |
| `inputs` | name to shape, in the order of the files: `latents` `["N", Z]`; `psi` `[1]` where it is accepted; `labels` `["N"]` with classes |
| `outputs` | `images`: `["N", C, S, S]`, C with the mask |
| `psi` | `accepted`: whether it is an input; `default`: its value where none is given |
| `parity` | `checked`: batches and psi; `formats`: format to `file`, `precision`, `status` (`passed`, `failed`, `not checked`, `not written`), `reason`, `bytes`, `max_abs`, `tolerance` |
| `provenance` | packages and their versions |
| `training` | `step`; `data`; `fingerprint` of the images; `generator_sha256` of the weights; `label_maps`: how many it keeps of the training images; `weights`: how they were processed; `sources`: `name`, `licence`, `citation` of each known collection; `measured`: result of `sonoforge evaluate`; 0 and empty where not applicable |
| `reference` | null |
"""  # noqa: E501 - a table's rows cannot be broken

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle import manifest

LATENT_RECIPE = "sha256-box-muller-1"
"""The only recipe that `sonoforge.runtime.inference.latents` has."""

DISTRIBUTIONS = ("normal", "uniform")

_STRUCTURE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class GeneratorManifest(manifest.Manifest):
    """The manifest of a generator."""

    recipe: str  # name of the GAN recipe
    image_size: int  # side S in pixels
    image_channels: int  # channels that are image
    structures: tuple[str, ...]  # names of what the masks show; empty where they have none
    channels: int  # channels C of the output: one more where there is a mask
    class_name: str  # class of all images; empty with ``classes``
    latent_size: int  # length Z of a latent
    distribution: str  # of latents, ``normal`` or ``uniform``
    accepts_psi: bool  # whether styles can be drawn to their mean
    psi: float  # default value
    step: int  # training step of the weights
    fingerprint: str  # hash of the training images
    generator_sha256: str  # hash of the weights' file

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
            manifest.mapping(key, raw[key])
        image, latents, psi, training = (manifest.fields(key, raw[key], own) for key, own in _OBJECTS.items())
        size, channels, structures = image["size"], image["channels"] + image["masks"], image["structures"]
        if len(structures) not in (0, image["masks"]):
            raise manifest.wrong("image.structures", structures, f"none or {image['masks']} names")
        classes = manifest.read_classes(raw["classes"], 0)
        class_name = manifest.text("class_name", raw["class_name"], empty=True)
        if classes and class_name:
            raise manifest.ManifestError(
                f"class_name: {class_name!r:.80} is given beside classes; only one of them may be"
            )
        psis, labels = {"psi": [1]} if psi["accepted"] else {}, {"labels": ["N"]} if classes else {}
        for key, expected in (
            ("inputs", {"latents": ["N", latents["size"]], **psis, **labels}),
            ("outputs", {"images": ["N", channels, size, size]}),
        ):
            if repr(raw[key]) != repr(expected):  # as text, since another order, 1.0 and True would compare equal
                raise manifest.wrong(key, raw[key], repr(expected))
        if raw["reference"] is not None:
            raise manifest.wrong("reference", raw["reference"], "null")
        return cls(
            name=raw["name"],
            version=raw["version"],
            classes=classes,
            files=manifest.read_files(raw["files"], cls),
            raw=raw,
            recipe=manifest.text("recipe", raw["recipe"]),
            image_size=size,
            image_channels=image["channels"],
            structures=structures,
            channels=channels,
            class_name=class_name,
            latent_size=latents["size"],
            distribution=latents["distribution"],
            accepts_psi=psi["accepted"],
            psi=psi["default"],
            step=training["step"],
            fingerprint=training["fingerprint"],
            generator_sha256=training["generator_sha256"],
        )

    @property
    def golden_arrays(self) -> dict[str, manifest.ArrayKind]:
        """Return image 0 of each seed; ``labels`` are 0 without classes."""
        return {
            "images": manifest.ArrayKind(np.float32, ("N", self.channels, self.image_size, self.image_size)),
            "seeds": manifest.ArrayKind(np.int64, ("N",)),
            "labels": manifest.ArrayKind(np.int64, ("N",)),
            "psi": manifest.ArrayKind(np.float32, ("N",)),
        }

    def golden_problem(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Refuse seeds and labels out of range."""
        known = set(range(max(1, len(self.classes))))
        usable = arrays["seeds"].min() >= 0 and set(arrays["labels"].tolist()) <= known
        return "" if usable else "a seed is below 0, or a label belongs to no class"


def _sources(name: str, value: Any) -> list[Any]:
    readers: manifest.Readers = {"name": manifest.text, "licence": manifest.text, "citation": manifest.text}
    if not isinstance(value, list):
        raise manifest.wrong(name, value, "a list")
    return [manifest.fields(f"{name}[{index}]", source, readers) for index, source in enumerate(value)]


def _structures(name: str, value: Any) -> tuple[str, ...]:
    """Return names that can be part of file names."""
    names = value if isinstance(value, list) else [None]
    if not all(isinstance(item, str) and _STRUCTURE.fullmatch(item) for item in names):
        raise manifest.wrong(name, value, "a list of lower-case words with hyphens")
    return tuple(names)


_line = partial(manifest.text, empty=True)
_OBJECTS: Mapping[str, manifest.Readers] = {
    "image": {
        "size": partial(manifest.whole, low=1, high=4096),
        "channels": partial(manifest.one_of, expected=(1, 3)),
        "masks": partial(manifest.whole, low=0, high=64),
        "structures": _structures,
        "range": partial(manifest.one_of, expected=([-1, 1],)),
    },
    "latents": {
        "recipe": partial(manifest.one_of, expected=(LATENT_RECIPE,)),
        "size": partial(manifest.whole, low=1, high=65536),
        "distribution": partial(manifest.one_of, expected=DISTRIBUTIONS),
    },
    "psi": {"accepted": manifest.boolean, "default": manifest.number},
    "training": {
        "step": partial(manifest.whole, low=0, high=10**12),
        "data": _line,
        "fingerprint": manifest.text,
        "generator_sha256": manifest.digest,
        "label_maps": partial(manifest.whole, low=0, high=1_000_000),
        "weights": _line,
        "sources": _sources,
        "measured": manifest.mapping,
    },
}
