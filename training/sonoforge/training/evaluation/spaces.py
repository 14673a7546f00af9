"""Open feature spaces by name: they turn images into vectors, for distances between them.

Each figure has its space's ``protocol``: network, hash of its weights, resize, dimension, library. Nothing ever
replaces a space that cannot be opened. Only figures in ``inception`` are comparable with published ones.

On one device an image always gives the same vector, to the last bit: batches have one size, the last is padded.
Vectors are therefore cached, in files of up to 512 images, named by a hash of everything that they depend on.  An
interrupted run keeps its finished files; a damaged file is made again.
"""

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, OTHER
from sonoforge.runtime.cli.progress import Advance
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.runtime.inference import trust
from sonoforge.training.checked_file import read_checked, write_checked
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.pixels import Pixels, to_tensor, to_unit
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation import inception
from sonoforge.training.evaluation.features import EMBED_SIZE, NETWORKS, Features, open_features
from sonoforge.training.pretrained import DIGEST, is_downloaded

log = logging.getLogger(__name__)

IMAGENET_NETWORKS = {
    "mobilenetv2-imagenet": "mobilenet_v2",
    "squeezenet-imagenet": "squeezenet1_1",
    "vgg16-imagenet": "vgg16",
}
CHOICES = ("inception", *IMAGENET_NETWORKS, "bundle", "bundle:PATH", "pixels")
BUNDLE, NEUTRAL, PLAIN = "bundle", "mobilenetv2-imagenet", "pixels"
SAMPLED = 60  # images that a choice of space looks at: a second on one core

_BATCH = {"cpu": 8, "cuda": 64}
_MOST_THREADS = 8  # more wait for each other on batches of 8 images
_PIXELS_SIDE = 64  # more would measure speckle and registration, not pictures


class Embedded(NamedTuple):
    """Images in a feature space."""

    features: NDArray[np.float32]  # (N, D) float32
    # (N, K) float32, each row sums to 1; None where the space has no classifier.
    probabilities: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Space:
    """A feature space, ready to embed."""

    name: str  # network, version and hash of its weights in words; printed with every figure
    # What a figure depends on, by item; two spaces with equal protocols give comparable figures.
    protocol: Mapping[str, Any]
    run: Callable[[Pixels], Embedded]  # embeds one batch, (B, S, S, C) uint8
    batch: int  # images computed together
    device: str = "cpu"  # `cpu` or `cuda`: rounding differs between them
    cached: bool = True  # whether vectors are worth caching
    filled: bool = True  # whether batches are padded; otherwise a vector's last bits depend on the size of its batch

    @property
    def short_name(self) -> str:
        """The name without the hash of its weights."""
        return self.name.split(" (")[0].split(",")[0]

    @property
    def identity(self) -> str:
        """SHA-256 of everything that a vector depends on, except its image."""
        return hashlib.sha256(json.dumps([dict(self.protocol), self.device], sort_keys=True).encode()).hexdigest()

    def embed(self, images: Pixels, progress: Advance | None = None) -> Embedded:
        """Embed images (N, S, S, C) uint8, N >= 1, C = 1 (shown as three equal channels) or 3, batch by batch.

        Raises:
            ValueError: The images have another shape or type.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
            raise ValueError(f"must be uint8 (N, S, S, 1) or (N, S, S, 3), N >= 1, not {images.dtype} {images.shape}")
        parts = []
        for first in range(0, len(images), self.batch):
            block = images[first : first + self.batch]
            filling = self.batch - len(block) if self.filled else 0
            padded = self.run(np.concatenate([block, np.repeat(block[-1:], filling, axis=0)]))
            chances = padded.probabilities
            parts.append(Embedded(padded.features[: len(block)], None if chances is None else chances[: len(block)]))
            if progress is not None:
                progress(first + len(block), None)
        return joined(parts)


def joined(parts: list[Embedded]) -> Embedded:
    """Concatenate batches of one space."""
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Embedded(
        np.concatenate([p.features for p in parts]), np.concatenate(probabilities) if probabilities else None
    )


def open_space(choice: str, weights: str | Path | None = None, device: torch.device | str = "cpu") -> Space:
    """Open one of `CHOICES`; ``bundle`` and ``pixels`` run on the CPU.

    ``weights`` is a file for ``inception`` (``.safetensors`` or ``.pth``) or an ImageNet network (``.safetensors``);
    None downloads the published ones.

    Raises:
        SonoforgeError: The space is unknown, takes no weights or has weights of another network, or the download
            failed.
    """
    kind, _, path = choice.partition(":")
    if kind not in CHOICES or (path and kind != "bundle") or choice == "bundle:":
        raise SonoforgeError(
            f"feature space: must be one of {', '.join(CHOICES)}, not {choice!r}{did_you_mean(choice, CHOICES)}"
        )
    if weights is not None and kind in ("bundle", "pixels"):
        hint = "name it bundle:PATH" if kind == "bundle" else "leave it out"
        raise SonoforgeError(f"weights: the feature space {kind} takes no weights file such as {weights}; {hint}")
    if kind == "pixels":
        return _pixels()
    if kind == "bundle":
        return _bundle(path)
    file, target = (None if weights is None else Path(weights)), torch.device(device)
    return _inception(file, target) if kind == "inception" else _imagenet(kind, file, target)


def open_spaces(
    choices: Sequence[str], weights: str, device: str, flags: tuple[str, str] = ("--features", "--weights")
) -> list[Space]:
    """Open several of `CHOICES`; the weights file, if any, belongs to the one that takes it; ``flags`` names both.

    Raises:
        SonoforgeError: There is no space, or a weights file for none or several of them; see also `open_space`.
    """
    takers = [choice for choice in choices if choice.partition(":")[0] not in ("bundle", "pixels")]
    if not choices or len(set(choices)) != len(choices):
        raise SonoforgeError(f"{flags[0]}: {','.join(choices) or 'empty'}; give different feature spaces")
    if weights and len(takers) != 1:
        raise SonoforgeError(
            f"{flags[1]}: {len(takers)} of the feature spaces {','.join(choices)} take weights ({weights} is for one); "
            + ("measure each separately" if takers else "leave it out")
        )
    return [open_space(choice, weights if choice in takers and weights else None, device) for choice in choices]


def _inception(weights: Path | None, device: torch.device) -> Space:
    network = inception.open_inception(
        weights, device, "give weights, a file, or choose mobilenetv2-imagenet, bundle or pixels"
    )

    def run(images: Pixels) -> Embedded:
        colours = torch.from_numpy(np.array(np.broadcast_to(images, (*images.shape[:3], 3)))).permute(0, 3, 1, 2)
        with torch.inference_mode(), _full_precision():
            features, probabilities = network(colours.contiguous().to(device))
        return Embedded(features.cpu().numpy(), probabilities.cpu().numpy())

    protocol = {
        "space": "inception",
        "weights": f"tensors sha256 {network.weights}",
        "resize": f"bilinear of TensorFlow 1, not antialiased, to {inception.SIZE}x{inception.SIZE}",
        "features": "last average pooling; probabilities from the logits without bias",
        "dimension": inception.FEATURES,
        "library": inception.library(),
    }
    return Space(network.name, protocol, run, _BATCH[device.type], device.type)


def _imagenet(choice: str, weights: Path | None, device: torch.device) -> Space:
    network, vision = IMAGENET_NETWORKS[choice], import_torchvision()
    features = open_features(network, device, weights, "give weights, a file, or choose bundle or pixels")
    protocol = {
        "space": choice,
        "weights": features.name,
        "resize": f"bilinear, antialiased, in floating point, to {EMBED_SIZE}x{EMBED_SIZE}",
        "features": "mean over the last feature map",
        "dimension": NETWORKS[network].dimension,
        # Without what follows a plus sign: a build for a CPU and one for a GPU are one version.
        "library": f"torch {torch.__version__.partition('+')[0]}, torchvision {vision.__version__.partition('+')[0]}",
    }
    run = functools.partial(_embed_batch, features)
    return Space(f"{choice}, {features.name}", protocol, run, _BATCH[device.type], device.type)


def network_space(features: Features) -> Space:
    """Use a network that is already open, such as that of a perceptual loss, as a feature space.

    This is for comparisons within one training run: vectors are not cached and batches not filled up.
    """
    device = next(features.module.parameters()).device.type
    run = functools.partial(_embed_batch, features)
    return Space(features.name, {"weights": features.name}, run, batch=32, device=device, cached=False, filled=False)


def _embed_batch(features: Features, images: Pixels) -> Embedded:
    device = next(features.module.parameters()).device
    with torch.inference_mode(), _full_precision():
        return Embedded(features.embed(to_unit(to_tensor(images).to(device))).cpu().numpy(), None)


def _bundle(path: str) -> Space:
    from sonoforge.runtime.inference.classifier import Classifier  # noqa: PLC0415 - onnxruntime for this space only

    classifier = Classifier(path or None, min(os.cpu_count() or 1, _MOST_THREADS))
    manifest, model = classifier.bundle.manifest, classifier.model
    preprocessing, side = manifest.preprocessing, manifest.preprocessing.size

    def run(images: Pixels) -> Embedded:
        resized = np.stack([preprocessing.resize(as_picture(image)) for image in images])
        outputs = classifier.predict(resized)
        return Embedded(outputs["embedding"], outputs["probabilities"])

    protocol = {
        "space": "bundle",
        "weights": f"{model['name']} {model['version']} (model.onnx sha256 {model['sha256'][:DIGEST]})",
        "resize": f"{preprocessing.resample} of Pillow, antialiased, in 8 bits, to {side}x{side}",
        "features": "the classifier's embedding; calibrated probabilities",
        "dimension": manifest.outputs["embedding"][0],
        "library": f"onnxruntime {importlib.metadata.version('onnxruntime')}, pillow {PIL.__version__}",
    }
    record = manifest.raw["training"]
    if "data" in record:  # its space is not neutral among those images
        fingerprint = record.get("fingerprint")
        protocol["trained on"] = record["data"] + (f" (fingerprint {fingerprint[:DIGEST]})" if fingerprint else "")
    return Space(f"bundle {protocol['weights']}", protocol, run, _BATCH["cpu"])


def _pixels() -> Space:

    def flatten(images: Pixels) -> Embedded:
        values = images.astype(np.float32) / np.float32(255)
        if images.shape[1] > _PIXELS_SIDE:
            size = (_PIXELS_SIDE, _PIXELS_SIDE)
            values = np.stack([cv2.resize(own, size, interpolation=cv2.INTER_AREA) for own in values])
        return Embedded(np.asarray(values.reshape(len(values), -1), np.float32), None)

    protocol = {
        "space": "pixels",
        "weights": "none",
        "resize": f"none up to {_PIXELS_SIDE} px a side, else area average to {_PIXELS_SIDE}x{_PIXELS_SIDE}",
        "features": "grey levels or colours, 0 to 1",
        "dimension": "side x side x channels",
        "library": f"numpy {np.__version__}",
    }
    return Space("pixels (no network)", protocol, flatten, _BATCH["cuda"], cached=False)


def _full_precision() -> Any:
    """Use true float32 (cuDNN would round to 10 bits) and repeatable algorithms on a GPU."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def choose_space(images: Sequence[Pixels], source: str, option: str, otherwise: str = "") -> str:
    """Return the name of a feature space that suits the real images, and log the choice.

    It is the shipped bundle's if the bundle recognises them, else the ImageNet MobileNetV2's if torch already has its
    weights, else ``otherwise``. Images are (H, W, C) uint8 each, if possible not smaller than the network's input,
    which mistakes blurred images for another kind. ``source`` and ``option`` are for messages.

    Raises:
        SonoforgeError: Neither suits, and ``otherwise`` is empty.
    """
    known = known_share([images[index] for index in evenly_spaced(len(images), SAMPLED)])
    if known >= trust.LEAST_KNOWN:
        log.info(
            "feature space: bundle, the shipped network, which recognises %.0f%% of %s; %s names another",
            100 * known, source, option,
        )  # fmt: skip
        return BUNDLE
    why = f"the shipped network learned from breast ultrasound and recognises {known:.0%} of these images"
    if is_downloaded(NETWORKS[IMAGENET_NETWORKS[NEUTRAL]].weights):
        log.info("feature space: %s, since %s; %s names another", NEUTRAL, why, option)
        return NEUTRAL
    if otherwise:
        log.warning(
            "feature space: %s, since %s and %s is not downloaded; a coarse measure: %s %s (14 MB) is a better one",
            otherwise, why, NEUTRAL, option, NEUTRAL,
        )  # fmt: skip
        return otherwise
    raise SonoforgeError(
        f"{source}: no feature space suits these images: {why}; give {option} {NEUTRAL} (a download of 14 MB, or a "
        "weights file), inception (the published one), bundle:PATH (your own bundle), pixels (no network), or bundle "
        "anyway"
    )


def kind_of(images: Pixels, among: NDArray[np.int64]) -> str:
    """Return the kind of the images (N, S, S, C) at these indices: breast ultrasound if the bundle recognises them."""
    known = known_share([images[index] for index in among[evenly_spaced(len(among), SAMPLED)]])
    return BREAST_ULTRASOUND if known >= trust.LEAST_KNOWN else OTHER


def known_share(images: Sequence[Pixels]) -> float:
    """Return the share of images that the shipped bundle recognises as its own kind."""
    from sonoforge.runtime.inference.classifier import Classifier  # noqa: PLC0415 - onnxruntime for this alone

    classifier = Classifier()
    return float(np.mean([classifier.classify(as_picture(image)).trust.in_distribution for image in images]))


FOLDER = "features"
_CHUNK = 512  # images a file: what an interrupted run loses at most; whole batches


def embed_cached(
    space: Space, images: Pixels, cache_folder: Path | None = None, progress: Advance | None = None
) -> Embedded:
    """Embed images as ``space.embed`` does, or read their vectors from the cache.

    Raises:
        SonoforgeError: A file cannot be written.
    """
    if not space.cached:
        return space.embed(images, progress)
    folder = (cache_folder or default_folder()) / FOLDER
    parts = []
    for first in range(0, len(images), _CHUNK):
        chunk = images[first : first + _CHUNK]

        def advance(done: float, state: str | None, first: int = first) -> None:
            if progress is not None:
                progress(first + done, state)

        digest = hashlib.sha256(f"{space.identity} {chunk.shape}".encode())
        digest.update(np.ascontiguousarray(chunk).data)
        path = folder / f"{digest.hexdigest()}.bin"
        part = _read_embedded(path)
        if part is None:
            part = space.embed(chunk, advance)
            tables = [table for table in part if table is not None]
            write_checked(path, (table.astype("<f4") for table in tables), [table.shape for table in tables])
        else:
            advance(len(chunk), None)
        parts.append(part)
    return joined(parts)


def _read_embedded(path: Path) -> Embedded | None:
    found = read_checked(path)
    if found is None:
        return None
    shapes, data = found
    features, *probabilities = np.split(data.view("<f4"), np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    tables = [np.array(t).reshape(shape) for t, shape in zip((features, *probabilities), shapes, strict=True)]
    return Embedded(tables[0], tables[1] if len(tables) > 1 else None)
