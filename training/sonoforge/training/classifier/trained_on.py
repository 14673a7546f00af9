"""Which images of a data set a bundle's model was trained on, copies that were changed included.

Every classifier's bundle has `SIGNATURES`, an ``.npz`` file with `copy_detection.signatures` of its training images.
"""

from __future__ import annotations

import hashlib
import io
import logging
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import GateError
from sonoforge.training.classifier.model_folder import HASH_PREFIX, SIGNATURES
from sonoforge.training.copy_detection.signatures import BITS, Copy, Signatures, find_copies, make_signatures
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.checked_file import read_checked, write_checked
from sonoforge.training.progress import is_shown, progress_bar

log = logging.getLogger(__name__)

_VERSION = 1  # of the search; what another one found is looked for again
_NAMED = 3  # pairs that a refusal names
_ARRAYS = {
    "middle": ArrayKind(np.float32, (128,)),
    "axes": ArrayKind(np.float32, (128, BITS)),
    "spread": ArrayKind(np.float32, (BITS,)),
    "counts": ArrayKind(np.uint8, (None,)),
    "points": ArrayKind(np.uint8, ("N", 2)),
    "sizes": ArrayKind(np.uint8, ("N",)),
    "angles": ArrayKind(np.uint8, ("N",)),
    "bits": ArrayKind(np.uint8, ("N", BITS // 8)),
}
_LABELS = {"labels": ArrayKind(np.uint8, (None,))}


class Seen(NamedTuple):
    """An image that shows what the model was trained on."""

    image: int  # its index
    why: str  # which training image it shows, and how


def write_signatures(cache: ImageCache, indices: NDArray[np.int64]) -> bytes:
    """Return the content of `SIGNATURES` for the training images at these indices, and their class indices."""
    log.info("taking the signatures of the %d training images", len(indices))
    signatures = make_signatures([cache.pictures[index] for index in indices])
    buffer = io.BytesIO()
    labels = cache.dataset.labels[indices].astype(np.uint8)
    np.savez(buffer, labels=labels, **signatures._asdict())
    return buffer.getvalue()


def find_seen(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> list[Seen]:
    """Find the images of a set that a bundle's model was trained on, changed or not, in their order.

    About 45 core-milliseconds an image the first time; the answer is kept beside the decoded images.
    """
    exact = set(bundle.manifest.raw["training"]["images"])
    found = {i: Seen(i, "the same pixels") for i, name in enumerate(cache.hashes) if name[:HASH_PREFIX] in exact}
    found |= {seen.image: seen for seen in _stored_copies(bundle, cache)}
    return [found[image] for image in sorted(found)]


def refuse_seen(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> None:
    """Refuse a data set with images that the bundle's model was trained on.

    Raises:
        GateError: It holds some; names the first, and what they show.
    """
    seen = find_seen(bundle, cache)
    if seen:
        named = "; ".join(f"{cache.dataset.items[image].path} ~ {why}" for image, why in seen[:_NAMED])
        more = f"; and {len(seen) - _NAMED} more" if len(seen) > _NAMED else ""
        raise GateError(
            f"weights: the shipped backbone was trained on {len(seen)} of these {len(cache.hashes)} images or on other "
            f"versions of them, so any figure on them would be leaked ({named}{more}); use imagenet or a file"
        )


def _stored_copies(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> list[Seen]:
    if cache.store is None:
        return _copies(bundle, cache)
    key = "\n".join((bundle.manifest.files[SIGNATURES].sha256, *cache.hashes))
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    path = cache.store / f"seen{_VERSION}-opencv{cv2.__version__}" / f"{name}.bin"
    known = read_checked(path)
    if known is not None:
        return [Seen(image, why) for image, why in known[0]]
    copies = _copies(bundle, cache)
    write_checked(path, [], [list(seen) for seen in copies])
    return copies


def _copies(bundle: Bundle[ClassifierManifest], cache: ImageCache) -> list[Seen]:
    signatures = Signatures(**bundle.arrays(SIGNATURES, _ARRAYS))
    labels = bundle.arrays(SIGNATURES, _LABELS)["labels"]
    count = len(cache.pictures)
    with progress_bar("looking for images it has seen", count, show=count > 100 and is_shown()) as advance:
        copies = find_copies(signatures, cache.pictures, lambda done: advance(done, None))
    return [Seen(copy.picture, _describe(copy, bundle.classes[labels[copy.original]])) for copy in copies]


def _describe(copy: Copy, class_name: str) -> str:
    """Say which training image it is, and how that has to be changed to fit."""
    scale, degrees = copy.alignment.scale, copy.alignment.degrees
    words = [
        *(["mirrored"] if copy.look.mirrored else []),
        *(["as a negative"] if copy.look.inverted else []),
        *([f"zoom {scale:.2f}"] if abs(scale - 1) >= 0.03 else []),
        *([f"turned by {abs(degrees):.0f} degrees"] if abs(degrees) >= 2 else []),
    ]
    return ", ".join((f"training image {copy.original + 1} ({class_name})", *words))
