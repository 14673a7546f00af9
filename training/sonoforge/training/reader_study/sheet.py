"""Choose the images of a reading sheet at random, write them all alike, and seal which is which.

A reader should have the pixels alone to judge by.  So all images have one size, and each is a PNG file without
compression and without text: files of equal length, which are equal in every byte but those of the pixels.
(Compressed, a generated image that is smoother than a scan would be the smaller file.)
"""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.reader_study.key import Entry, Key

MOST_BYTES = 60_000_000
"""Of all pictures of a sheet; as text the page is a third larger, and a phone must hold it."""


class Pair(NamedTuple):
    """Real and generated images of one class, at one size."""

    real: ImageSet
    fake: ImageSet


class Sheet(NamedTuple):
    """What the page shows, and what it hides."""

    pictures: list[bytes]  # PNG files in the order of the page
    key: Key


def make_sheet(pairs: Sequence[Pair], count: int, classes: tuple[str, ...], nonce: bytes) -> Sheet:
    """Take ``count`` real and as many generated images of each pair, and shuffle them.

    Of the real images at most one of each near-duplicate group is taken: who sees a scan twice knows that it is real.

    Args:
        pairs: All of one size.
        count: Images of each kind and pair.
        classes: Answers of the second question; empty to ask the first alone.
        nonce: Random bytes, from which the choice and the order follow; to be kept in the key alone.

    Raises:
        SonoforgeError: Too few images, too much data, or images of different sizes or of a class that is no answer.
    """
    _check_alike(pairs, count, classes)
    rng = np.random.default_rng(int.from_bytes(nonce, "big"))
    drawn: list[tuple[Entry, bytes]] = []
    for real, fake in pairs:
        groups = np.unique(real.groups)
        _check_enough(real.source, len(groups), "groups of near-duplicates", count)
        _check_enough(fake.source, len(fake), "generated images", count)
        chosen = rng.choice(groups, count, replace=False)
        reals = np.array([rng.choice(np.flatnonzero(real.groups == group)) for group in chosen])
        shown = fake.class_name or real.class_name
        drawn += _entries(real, reals, "real", real.class_name or shown)
        drawn += _entries(fake, rng.choice(len(fake), count, replace=False), "generated", shown)
    order = [drawn[index] for index in rng.permutation(len(drawn))]
    entries = tuple(dataclasses.replace(entry, number=place) for place, (entry, _) in enumerate(order, start=1))
    side = int(pairs[0].real.pixels.shape[1])
    return Sheet([picture for _, picture in order], Key(nonce.hex(), classes, side, entries))


def encode(pixels: Pixels) -> bytes:
    """Return (S, S, C) uint8 as a PNG file whose length depends on S and C alone."""
    stream = io.BytesIO()
    as_picture(pixels).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def picture_hash(pixels: Pixels) -> str:
    """Return the sha256 of an image's file on the page, as the key has it."""
    return hashlib.sha256(encode(pixels)).hexdigest()


def _entries(images: ImageSet, indices: NDArray[np.intp], kind: str, shown: str) -> list[tuple[Entry, bytes]]:
    found = []
    for index in indices.tolist():
        described, pixels = images.described[index], images.pixels[index]
        entry = Entry(0, kind, shown, images.source, described.name, described.content, picture_hash(pixels))
        found.append((entry, encode(pixels)))
    return found


def _check_alike(pairs: Sequence[Pair], count: int, classes: tuple[str, ...]) -> None:
    shapes = {pair.fake.source: pair.fake.pixels.shape[1:] for pair in pairs}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{source} {'x'.join(map(str, shape))}" for source, shape in shapes.items())
        raise SonoforgeError(
            f"--reading-sheet: found images of different sizes ({found}); give one with --image-size, --channels 1"
        )
    total = 2 * count * len(pairs) * int(np.prod(next(iter(shapes.values()))))
    if total > MOST_BYTES:
        raise SonoforgeError(
            f"--reading-sheet: found {total / 1e6:.0f} MB of pixels, expected at most {MOST_BYTES / 1e6:.0f} in one "
            "page; take fewer images, or a smaller --image-size"
        )
    for pair in pairs:
        shown = pair.fake.class_name or pair.real.class_name
        if classes and shown not in classes:
            raise SonoforgeError(
                f"--reading-classes: found {', '.join(classes)}, but {pair.fake.source} shows "
                f"{shown or 'no class that it names'}; add it, or give --class"
            )


def _check_enough(source: str, found: int, what: str, count: int) -> None:
    if found < count:
        raise SonoforgeError(
            f"{source}: found {found} {what}, expected at least {count}; ask for at most --reading-sheet {found}"
        )
