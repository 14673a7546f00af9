"""The ``manifest.json`` of a generator's bundle, format version 1: read into types, or refused in one line.

Keys, all of them required and no other allowed:

| key | value |
|---|---|
| `format_version`, `task` | `1`, `"generation"` |
| `name`, `version`, `created`, `intended_use` | text |
| `recipe` | name of the GAN recipe |
| `image` | `size`: side S in pixels; `channels`: 1 or 3; `masks`: 1 where one more channel is a mask, else 0; `range`: `[-1, 1]` |
| `class_name` | class of all images; empty with `classes` |
| `classes` | names in the order of the labels; empty for a generator without labels |
| `latents` | `recipe`: `"sha256-box-muller-1"`; `size`: Z; `distribution`: `"normal"` or `"uniform"` |
| `inputs` | name to shape, in the order of the files: `latents` `["N", Z]`; `psi` `[1]` where it is accepted; `labels` `["N"]` with classes |
| `outputs` | `images`: `["N", C, S, S]`, C with the mask |
| `psi` | `accepted`: whether it is an input; `default`: what is fed where nobody says otherwise |
| `files` | name to `sha256`, `bytes` and, for a model file, `format` and `precision` |
| `parity` | `checked`: batches and psi; `formats`: format to `file`, `precision`, `status` (`passed`, `failed`, `not checked`, `not written`), `reason`, `bytes`, `max_abs`, `tolerance` |
| `provenance` | packages and their versions, hash of the weights |
| `training` | `step`, `data`, `fingerprint` of the images, `generator_sha256` of the weights |
"""  # noqa: E501 - a table's rows cannot be broken

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sonoforge.runtime.bundle.manifest import (
    _FILE_NAME,
    _SHA256,
    FORMAT_VERSION,
    MAX_FILE_BYTES,
    ManifestError,
    _exact_keys,
    _load_json,
    _mapping,
    _number,
)
from sonoforge.runtime.inference.latents import DISTRIBUTIONS, RECIPE

MODEL = "generator.onnx"
REQUIRED_FILES = (MODEL, "golden.npz", "MODEL_CARD.md")
PRECISIONS = ("fp32", "fp16")

_KEYS = (
    *("format_version", "task", "name", "version", "created", "recipe", "image", "class_name", "classes", "latents"),
    *("inputs", "outputs", "psi", "files", "parity", "provenance", "training", "intended_use"),
)
_LARGEST_SIDE = 4096
_LARGEST_LATENT = 65536
_LONGEST_TEXT = 1000


class ModelFile(NamedTuple):
    """One file: its SHA-256 in hex, its size in bytes and, for a model, its format and precision, else nothing."""

    sha256: str
    bytes: int
    format: str
    precision: str


@dataclass(frozen=True)
class GeneratorManifest:
    """What a reader needs of ``manifest.json``; ``raw`` is the whole document.

    Attributes:
        name: Name of the bundle.
        version: Its version.
        recipe: Name of the GAN recipe.
        image_size: Side S in pixels.
        image_channels: Channels that are image.
        channels: Channels C of the output: one more where there is a mask.
        class_name: Class of all images; empty with ``classes``.
        classes: Names in the order of the labels; empty for a generator without labels.
        latent_size: Length Z of a latent.
        distribution: ``normal`` or ``uniform``: what latents are drawn from.
        accepts_psi: Whether styles can be drawn to their mean.
        psi: What is fed where nobody says otherwise.
        files: Every file of the bundle but the manifest.
        step: Training step of the weights.
        fingerprint: Hash of the training images.
        generator_sha256: Hash of the weights' file.
        raw: The document as read.
    """

    name: str
    version: str
    recipe: str
    image_size: int
    image_channels: int
    channels: int
    class_name: str
    classes: tuple[str, ...]
    latent_size: int
    distribution: str
    accepts_psi: bool
    psi: float
    files: dict[str, ModelFile]
    step: int
    fingerprint: str
    generator_sha256: str
    raw: dict[str, Any]


def parse_generator_manifest(data: bytes) -> GeneratorManifest:
    """Read and check a manifest; its keys are at the top of this module.

    Raises:
        SonoforgeError: One line: which key, what was found, what was expected.
    """
    raw = _load_json(data)
    version = raw.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:  # True == 1
        raise ManifestError(f"format_version: found {version!r}, expected {FORMAT_VERSION}; update sonoforge")
    if raw.get("task") != "generation":
        raise ManifestError(f"task: found {raw.get('task')!r:.80}, expected 'generation'")
    _exact_keys("manifest", raw, _KEYS)
    for key in ("name", "version", "created", "recipe", "intended_use"):
        _text(key, raw[key])
    for key in ("parity", "provenance"):
        _mapping(key, raw[key])
    size, image_channels, masks = _image(raw["image"])
    classes = _classes(raw["classes"])
    class_name = _text("class_name", raw["class_name"], empty=True)
    if classes and class_name:
        raise ManifestError(f"class_name: found {class_name!r:.80} beside classes, expected one of the two")
    latent_size, distribution = _latents(raw["latents"])
    accepts, psi = _psi(raw["psi"])
    channels = image_channels + masks
    psis, labels = {"psi": [1]} if accepts else {}, {"labels": ["N"]} if classes else {}
    _expect("inputs", raw["inputs"], {"latents": ["N", latent_size], **psis, **labels})
    _expect("outputs", raw["outputs"], {"images": ["N", channels, size, size]})
    training = _mapping("training", raw["training"])
    _exact_keys("training", training, ("step", "data", "fingerprint", "generator_sha256"))
    _text("training.data", training["data"], empty=True)
    return GeneratorManifest(
        name=raw["name"],
        version=raw["version"],
        recipe=raw["recipe"],
        image_size=size,
        image_channels=image_channels,
        channels=channels,
        class_name=class_name,
        classes=classes,
        latent_size=latent_size,
        distribution=distribution,
        accepts_psi=accepts,
        psi=psi,
        files=_files(raw["files"]),
        step=_whole("training.step", training["step"], 0, 10**12),
        fingerprint=_text("training.fingerprint", training["fingerprint"]),
        generator_sha256=_digest("training.generator_sha256", training["generator_sha256"]),
        raw=raw,
    )


def _expect(name: str, found: Any, expected: dict[str, Any]) -> None:
    # As text, because an order other than the files', 1.0 and True would compare equal.
    if repr(found) != repr(expected):
        raise ManifestError(f"{name}: found {found!r:.120}, expected {expected!r}")


def _text(name: str, value: Any, *, empty: bool = False) -> str:
    good = isinstance(value, str) and (empty or value) and len(value) <= _LONGEST_TEXT
    if not good or not value.isprintable():
        raise ManifestError(f"{name}: found {value!r:.80}, expected text of at most {_LONGEST_TEXT} characters")
    return str(value)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ManifestError(f"{name}: found {value!r:.80}, expected a whole number from {low} to {high}")
    return value


def _digest(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ManifestError(f"{name}: found {value!r:.80}, expected 64 lower-case hex digits")
    return value


def _image(value: Any) -> tuple[int, int, int]:
    image = _mapping("image", value)
    _exact_keys("image", image, ("size", "channels", "masks", "range"))
    if image["range"] != [-1, 1]:
        raise ManifestError(f"image.range: found {image['range']!r:.80}, expected [-1, 1]")
    if image["channels"] not in (1, 3):
        raise ManifestError(f"image.channels: found {image['channels']!r:.80}, expected 1 or 3")
    return (
        _whole("image.size", image["size"], 1, _LARGEST_SIDE),
        _whole("image.channels", image["channels"], 1, 3),
        _whole("image.masks", image["masks"], 0, 1),
    )


def _classes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ManifestError(f"classes: found {value!r:.80}, expected a list of names")
    names = tuple(_text(f"classes[{index}]", name) for index, name in enumerate(value))
    if len(set(names)) != len(names):
        raise ManifestError(f"classes: found {', '.join(names):.80}, expected different names")
    return names


def _latents(value: Any) -> tuple[int, str]:
    latents = _mapping("latents", value)
    _exact_keys("latents", latents, ("recipe", "size", "distribution"))
    if latents["recipe"] != RECIPE:
        raise ManifestError(f"latents.recipe: found {latents['recipe']!r:.80}, expected {RECIPE!r}; update sonoforge")
    if latents["distribution"] not in DISTRIBUTIONS:
        expected = " or ".join(map(repr, DISTRIBUTIONS))
        raise ManifestError(f"latents.distribution: found {latents['distribution']!r:.80}, expected {expected}")
    return _whole("latents.size", latents["size"], 1, _LARGEST_LATENT), str(latents["distribution"])


def _psi(value: Any) -> tuple[bool, float]:
    psi = _mapping("psi", value)
    _exact_keys("psi", psi, ("accepted", "default"))
    if not isinstance(psi["accepted"], bool):
        raise ManifestError(f"psi.accepted: found {psi['accepted']!r:.80}, expected true or false")
    return psi["accepted"], _number("psi.default", psi["default"])


def _files(value: Any) -> dict[str, ModelFile]:
    files = _mapping("files", value)
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise ManifestError(f"files: {', '.join(missing)} is missing")
    result = {}
    for name, raw in files.items():
        # Plain names only: no folder, no drive, no way out of the bundle.
        if not _FILE_NAME.fullmatch(name) or name == "manifest.json":
            raise ManifestError(f"files: found the name {name!r:.120}, expected a plain file name")
        entry = _mapping(f"files.{name}", raw)
        if set(entry) not in ({"sha256", "bytes"}, {"sha256", "bytes", "format", "precision"}):
            raise ManifestError(f"files.{name}: found {', '.join(entry)}, expected sha256, bytes, format, precision")
        form, precision = entry.get("format", ""), entry.get("precision", "")
        if "format" in entry and precision not in PRECISIONS:
            raise ManifestError(
                f"files.{name}.precision: found {precision!r:.80}, expected one of {', '.join(PRECISIONS)}"
            )
        result[name] = ModelFile(
            _digest(f"files.{name}.sha256", entry["sha256"]),
            _whole(f"files.{name}.bytes", entry["bytes"], 1, MAX_FILE_BYTES),
            _text(f"files.{name}.format", form, empty=True),
            precision,
        )
    if result[MODEL].format != "onnx" or result[MODEL].precision != "fp32":
        raise ManifestError(f"files.{MODEL}: found {files[MODEL]!r:.120}, expected format 'onnx', precision 'fp32'")
    return result
