"""Find the images of a data set, changed copies included, that a bundle's model was trained on.

Every classifier's bundle has `SIGNATURES`, an ``.npz`` file with `copies.signatures` of its training images.
"""

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.files import npz
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import GateError, name_some
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.repeats import detail_of
from sonoforge.runtime.images.sketches import SIGNS, Sketches, amplitudes
from sonoforge.training.classifier.model_folder import HASH_PREFIX, SIGNATURES, read_origins
from sonoforge.training.copies.matches import Match
from sonoforge.training.copies.signatures import BITS, Signatures, make_signatures, recognise_once
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.data.load import find_simulated

log = logging.getLogger(__name__)

_ARRAYS = {
    "middle": ArrayKind(np.float32, (128,)),
    "axes": ArrayKind(np.float32, (128, BITS)),
    "spread": ArrayKind(np.float32, (BITS,)),
    "counts": ArrayKind(np.uint8, (None,)),
    "points": ArrayKind(np.uint8, ("N", 2)),
    "sizes": ArrayKind(np.uint8, ("N",)),
    "angles": ArrayKind(np.uint8, ("N",)),
    "bits": ArrayKind(np.uint8, ("N", BITS // 8)),
    "usual": ArrayKind(np.float32, (SIGNS,)),
    "sketches": ArrayKind(np.uint8, (None, SIGNS // 8)),
}


class Seen(NamedTuple):
    """An image that the model was trained on."""

    image: int  # its index
    why: str  # the training image that it shows, and how it was changed
    collection: str  # of that training image


def write_signatures(cache: ImageCache, indices: NDArray[np.int64]) -> bytes:
    """Return the content of `SIGNATURES` for the training images at these indices.

    It also has their class indices, the indices of their collections among `collection_names`, and the first bytes of
    their content hashes.
    """
    log.info("taking the signatures of the %d training images", len(indices))
    signatures = make_signatures([cache.pictures[index] for index in indices])
    names, sources = collection_names(cache.dataset), cache.dataset.sources
    origins = {
        "labels": cache.dataset.labels[indices].astype(np.uint8),
        "collections": np.array([names.index(sources[i]) if sources else 0 for i in indices], np.uint8),
        "hashes": np.array([list(bytes.fromhex(cache.hashes[i][:HASH_PREFIX])) for i in indices], np.uint8),
    }
    return npz({**origins, **signatures._asdict()})


def sketch_views(cache: ImageCache, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return what `Classifier` recognises the training images at these indices by, as arrays of ``reference.npz``."""
    details = [detail_of(grey_levels(cache.images[index])) for index in indices]
    found = Sketches.of(np.stack([amplitudes(detail) for detail in details]))
    return {"trained_usual": found.usual, "trained_signs": found.signs}


def collection_names(dataset: Dataset) -> list[str]:
    """Return the names of a data set's collections, or its own name if it is a single one."""
    return list(dataset.collections) or [dataset.name]


def find_seen(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> list[Seen]:
    """Find the images of a set that a bundle's model was trained on, changed or not, in their order.

    This takes about 45 core-milliseconds per image the first time; the answer is kept beside the decoded images.
    Simulated scans are not compared with the shipped bundle.
    """
    names = bundle.manifest.raw["training"]["collections"]
    origins = read_origins(f"{bundle.path}: {SIGNATURES}", bundle.read(SIGNATURES), bundle.classes, names)
    collections = [collection for *_, collection in origins]  # of each training image

    def seen(image: int, first: int, *how: str) -> Seen:
        _, label, name = origins[first]
        which = f"training image {collections[: first + 1].count(name)} of {name} ({label})"
        return Seen(image, ", ".join([which, *how]), name)

    places = {digest: place for place, (digest, *_) in enumerate(origins)}
    same = {image: places.get(digest[:HASH_PREFIX]) for image, digest in enumerate(cache.hashes)}
    found = {image: seen(image, place, "the same pixels") for image, place in same.items() if place is not None}
    simulated = find_simulated(cache.dataset) if bundle.is_shipped else set()
    others = [image for image, place in same.items() if place is None and image not in simulated]
    if others:
        matches = recognise_once(
            cache.store,
            lambda: Signatures(**bundle.arrays(SIGNATURES, _ARRAYS)),
            [bundle.manifest.files[SIGNATURES].sha256],
            [cache.pictures[image] for image in others],
            [cache.hashes[image] for image in others],
        )
        for match in matches:
            found[others[match.second]] = seen(others[match.second], match.first, *_changes(match))
    return [found[image] for image in sorted(found)]


def refuse_seen(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> None:
    """Refuse a data set with images that the bundle's model was trained on."""
    if seen := find_seen(bundle, cache):
        named = name_some((f"{cache.dataset.items[one.image].path} ~ {one.why}" for one in seen), "; ")
        raise GateError(
            f"weights: the bundle's network was trained on {len(seen)} of these {len(cache.hashes)} images or on other "
            f"versions of them, so any figure on them would be leaked ({named}); use imagenet or a file"
        )


def _changes(match: Match) -> list[str]:
    """Say how a training image was changed."""
    return [
        *(["mirrored"] if match.mirrored else []),
        *(["as a negative"] if match.inverted else []),
        *([f"zoom {match.scale:.2f}"] if abs(match.scale - 1) >= 0.03 else []),
        *([f"turned by {abs(match.degrees):.0f} degrees"] if abs(match.degrees) >= 2 else []),
    ]
